// API keys: made here, shown once, revoked.
import { h } from "preact";
import { useState } from "preact/hooks";
import { post, remove } from "../api.js";
import { Age, Command, Moment, Notice, say } from "../components/basics.js";
import { closeDialog, openDialog } from "../components/dialog.js";
import { Field, Form } from "../components/form.js";
import { ForRole, List, Pager, ReadState } from "../components/list.js";
import { visible } from "../format.js";
import { isStale, session } from "../live.js";
import { ask, asked } from "../place.js";
import { useRead } from "../read.js";
import { now, serverNow } from "../time.js";

const DAY_S = 86_400;

/** @type {[string, string][]} */
const ROLES = [
  ["viewer", "viewer: reads"],
  ["operator", "operator: gives work, controls sessions, reconnects"],
  ["admin", "admin: everything, keys too"],
];

export function Page() {
  return h(ForRole, { title: "Keys", role: "admin" }, h(Keys, null));
}

function Keys() {
  const read = useRead(
    `/api/keys?limit=50&offset=${encodeURIComponent(asked("offset") || "0")}`,
    ({ type, data }) => type === "audit" && String(data.action).startsWith("key."),
    15_000,
  );
  const { answer } = read;
  const columns = [
    {
      name: "Name",
      kind: "wide",
      show: (/** @type {any} */ key) => h("strong", null, h("bdi", null, visible(key.name))),
    },
    { name: "Role", show: (/** @type {any} */ key) => key.role },
    { name: "Begins with", show: (/** @type {any} */ key) => h("code", null, `${key.prefix}…`) },
    { name: "Made", show: (/** @type {any} */ key) => h(Age, { at: key.created_at }) },
    {
      name: "Last used",
      show: (/** @type {any} */ key) => (key.last_used_at ? h(Age, { at: key.last_used_at }) : "Never"),
    },
    {
      name: "Expires",
      show: (/** @type {any} */ key) =>
        key.expires_at
          ? key.expires_at * 1000 <= now.value
            ? h("span", { class: "problem" }, "Expired ", h(Age, { at: key.expires_at }))
            : h(Moment, { ms: key.expires_at * 1000 })
          : "Never",
    },
    {
      name: "Actions",
      hideName: true,
      show: (/** @type {any} */ key) =>
        h(
          "button",
          {
            type: "button",
            class: "danger",
            "aria-label": `Revoke ${key.name}`,
            onClick: () => askToRevoke(key, read.again),
          },
          "Revoke",
        ),
    },
  ];
  return [
    h(
      "div",
      { key: "head", class: "page-head" },
      h("h1", { tabIndex: -1 }, "Keys"),
      h("button", { type: "button", class: "main", onClick: () => askForKey(read.again) }, "+ New key"),
    ),
    h(
      "p",
      { key: "what", class: "quiet" },
      "Programs and people prove with a key who they are. Only its beginning is kept readable: a key is shown once, when it is made.",
    ),
    h(ReadState, { key: "state", read, what: "The keys" }),
    answer?.configured &&
      h(
        Notice,
        { key: "conf" },
        answer.configured_in === "admin.key"
          ? "One more key, with the role admin, is in the file admin.key of the daemon's state directory. It is changed there."
          : "The configuration holds one more key, with the role admin. It is changed there.",
      ),
    answer &&
      (answer.keys.length > 0
        ? h(
            "div",
            { key: "list", class: isStale.value ? "stale" : "" },
            h(List, { label: "Keys", columns, rows: answer.keys, keyOf: (key) => key.id }),
            h(Pager, { part: answer, move: (offset) => ask({ offset: offset || "" }) }),
          )
        : h("div", { key: "none", class: "empty" }, h("p", null, "There is no key here."))),
  ];
}

/** @param {() => void} done */
function askForKey(done) {
  openDialog("New key", () => h(NewKey, { done }));
}

/** @param {{done: () => void}} props */
function NewKey({ done }) {
  const [made, setMade] = useState(/** @type {any} */ (null));
  if (made) {
    return h(
      "div",
      { class: "form" },
      h(Notice, { kind: "warn", title: "Copy it now: it is never shown again." }),
      h(
        "p",
        null,
        "The key ",
        h("bdi", { class: "strong" }, visible(made.key.name)),
        ` with the role ${made.key.role}:`,
      ),
      h(Command, { text: made.api_key }),
      h("div", { class: "buttons" }, h("button", { type: "button", class: "main", onClick: closeDialog }, "I have it")),
    );
  }
  return h(Form, {
    values: { name: "", role: "viewer", days: "" },
    button: "Make key",
    onCancel: closeDialog,
    fields: (values, set, problems) => [
      h(Field, {
        name: "name",
        label: "Name",
        value: values.name,
        onInput: set("name"),
        problem: problems.name,
        maxLength: 200,
        autofocus: true,
        help: "Who or what uses it; the audit log shows it",
      }),
      h(Field, {
        name: "role",
        label: "Role",
        value: values.role,
        onInput: set("role"),
        problem: problems.role,
        options: ROLES,
      }),
      h(Field, {
        name: "days",
        label: "Expires after",
        value: values.days,
        onInput: set("days"),
        problem: problems.expires_at,
        options: [
          ["", "Never"],
          ["1", "A day"],
          ["7", "A week"],
          ["30", "30 days"],
          ["90", "90 days"],
          ["365", "A year"],
        ],
      }),
    ],
    async send({ name, role, days }) {
      const answer = await post("/api/keys", {
        name,
        role,
        ...(days && { expires_at: Math.floor(serverNow() / 1000) + Number(days) * DAY_S }),
      });
      setMade(answer);
      done();
    },
  });
}

/** @param {any} key @param {() => void} done */
function askToRevoke(key, done) {
  const isMine = session.peek()?.name === key.name;
  openDialog(`Revoke ${key.name}?`, () =>
    h(Form, {
      values: {},
      button: "Revoke key",
      danger: true,
      onCancel: closeDialog,
      fields: () => [
        h(
          "p",
          null,
          "Whoever uses this key is refused from now on, and its browser sessions end. This can't be undone.",
        ),
        isMine &&
          h(Notice, { kind: "warn" }, "This looks like the key that you are logged in with: you will be logged out."),
      ],
      async send() {
        await remove(`/api/keys/${key.id}`);
        closeDialog();
        say(`${key.name} is revoked`);
        done();
      },
    }),
  );
}
