// All sessions of the gateway, a part at a time, with what can be done with them.
import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Age, Fault } from "../components/basics.js";
import { List, Pager, State } from "../components/rows.js";
import { capitalized, shortKey, visible } from "../format.js";
import { Act } from "./acts.js";
import { isOld } from "./link.js";
import { readJobNames, sessionName } from "./names.js";
import { useAnswers } from "./reading.js";
import { openTalk } from "./talk.js";

/** Sessions on a page. */
const ON_A_PAGE = 50;

/** @param {any} row */
function StateOf({ row }) {
  if (row.paused) return h(State, { tone: "warn", word: "paused" });
  if (row.hasActiveRun) return h(State, { tone: "busy", word: "at work" });
  if (row.status === "failed") return h("span", { title: row.lastRunError }, h(State, { tone: "bad", word: "failed" }));
  if (row.status === "killed") return h(State, { tone: "quiet", word: "stopped" });
  return h(State, { tone: "quiet", word: "idle" });
}

/** @param {{row: any, mainKey: string, done: () => void}} props */
function Actions({ row: { key, hasActiveRun, paused }, mainKey, done }) {
  const control = (/** @type {string} */ action) => ({
    name: capitalized(action),
    call: /** @type {[string, any]} */ (["control", { sessionKey: key, action }]),
    done,
  });
  return h(
    "div",
    { class: "buttons" },
    hasActiveRun && !paused && h(Act, control("pause")),
    paused && h(Act, control("resume")),
    hasActiveRun &&
      h(Act, {
        ...control("kill"),
        kind: "danger",
        question: { title: "Kill this session's run?", of: key, effect: "What it is at ends without an answer." },
      }),
    h(Act, {
      name: "Delete",
      call: ["sessions.delete", { key }],
      done,
      refusal: key === mainKey ? "The main session of the default agent can't be deleted." : undefined,
      question: {
        title: "Delete this session?",
        of: key,
        effect: "Its messages are deleted with it. This can't be undone.",
      },
    }),
  );
}

export function SessionsPage() {
  const [offset, setOffset] = useState(0);
  const [typed, setTyped] = useState("");
  const search = typed.trim();
  const { answers, error, again } = useAnswers(
    { listed: ["sessions.list", { limit: ON_A_PAGE, offset, ...(search ? { search } : {}) }], agents: ["agents.list"] },
    (event) => event === "sessions.changed",
  );
  const rows = answers?.listed.sessions ?? [];
  const mainKey = `agent:${answers?.agents.defaultId}:main`;
  useEffect(() => {
    readJobNames(rows);
  }, [answers]);
  return [
    h("h1", { key: "h", tabIndex: -1 }, "Sessions"),
    h(
      "div",
      { key: "t", class: "tools" },
      h("input", {
        type: "search",
        "aria-label": "Search by key or label",
        placeholder: "Search by key or label",
        value: typed,
        onInput: (/** @type {any} */ event) => {
          setOffset(0);
          setTyped(event.currentTarget.value);
        },
      }),
    ),
    error && h(Fault, { key: "f", error, what: "The sessions could not be read" }),
    !answers && !error && h("p", { key: "l", class: "loading" }, isOld.value ? "Not read yet." : "Reading…"),
    answers &&
      rows.length === 0 &&
      h("p", { key: "e", class: "empty" }, search ? "No session is like that." : "There are no sessions yet."),
    rows.length > 0 &&
      h(List, {
        key: "s",
        label: "Sessions",
        rows,
        keyOf: (row) => row.key,
        columns: [
          {
            name: "Session",
            kind: "wide",
            show: (row) => {
              const name = sessionName(row);
              const isNamed = name !== shortKey(row.key);
              return [
                h(
                  "a",
                  { key: "a", href: "#chat", onClick: () => openTalk(row.key) },
                  h("bdi", null, visible(isNamed ? name : row.key)),
                ),
                isNamed && h("div", { key: "k", class: "quiet mono" }, visible(row.key)),
              ];
            },
          },
          { name: "State", show: (row) => h(StateOf, { row }) },
          { name: "Messages", kind: "number", show: (row) => (row.messageCount ?? 0).toLocaleString("en") },
          { name: "Tokens", kind: "number", show: (row) => row.totalTokens?.toLocaleString("en") ?? "–" },
          { name: "Changed", show: (row) => h(Age, { at: row.updatedAt / 1000 }) },
          { name: "Actions", hideName: true, show: (row) => h(Actions, { row, mainKey, done: again }) },
        ],
      }),
    answers &&
      h(Pager, {
        key: "p",
        part: { total: answers.listed.totalCount ?? rows.length, limit: ON_A_PAGE, offset },
        move: setOffset,
      }),
  ];
}
