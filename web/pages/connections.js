// CLI tools that are connected directly, without a gateway.
import { h } from "preact";
import { remove } from "../api.js";
import { Age, Command, say } from "../components/basics.js";
import { closeDialog, openDialog } from "../components/dialog.js";
import { Form } from "../components/form.js";
import { List, Pager, ReadState, State } from "../components/list.js";
import { capitalized, counted, duration, visible } from "../format.js";
import { isStale, may } from "../live.js";
import { ask, asked } from "../place.js";
import { useRead } from "../read.js";
import { now } from "../time.js";

/** @type {Record<string, string>} */
const ENDS = { closed: "It was closed", replaced: "The agent connected anew", silent: "It was silent for too long" };

/** How long the tool may still be silent. @param {{connection: any}} props */
function Silence({ connection }) {
  const { last_heartbeat: last, heartbeat_timeout_s: most } = connection;
  const silent = Math.max(0, now.value / 1000 - last);
  if (!most) return h("span", null, `Silent for ${duration(silent)}`);
  const left = Math.ceil(most - silent);
  if (left <= 0) return h("span", { class: "problem" }, "Silent for too long: about to be disconnected");
  return h(
    "span",
    { title: `It is taken for gone after ${duration(most)} without a heartbeat` },
    h("meter", {
      min: 0,
      max: most,
      low: most / 3,
      value: left,
      "aria-label": "Left of the time in which a heartbeat is due",
    }),
    h("span", { class: left < most / 3 ? "problem" : "" }, ` ${duration(left)} left`),
  );
}

/** What the tool tells of itself. @param {{text: string | null | undefined}} props */
function Told({ text }) {
  if (!text) return "–";
  /** @type {[string, unknown][]} */
  let pairs = [];
  try {
    pairs = Object.entries(JSON.parse(text));
  } catch {
    return h("bdi", null, visible(text));
  }
  if (pairs.length === 0) return "–";
  return h(
    "details",
    null,
    h("summary", null, counted(pairs.length, "field")),
    pairs.map(([name, value]) =>
      h(
        "div",
        { key: name, class: "mono", dir: "auto" },
        `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`,
      ),
    ),
  );
}

export function Page() {
  const isAll = asked("all") === "yes";
  // Heartbeats are no events.
  const read = useRead(
    `/api/connect?limit=50&offset=${encodeURIComponent(asked("offset") || "0")}${isAll ? "" : "&status=connected"}`,
    ({ type }) => type.startsWith("connection.") || type === "agent.status",
    5_000,
  );
  const { answer } = read;
  const columns = [
    {
      name: "Status",
      show: (/** @type {any} */ one) =>
        h(State, { tone: one.status === "connected" ? "good" : "quiet", word: one.status }),
    },
    {
      name: "Agent",
      kind: "wide",
      show: (/** @type {any} */ one) => [
        h("strong", { key: "n" }, h("bdi", null, visible(one.agent_name))),
        h(
          "div",
          { key: "r", class: "quiet" },
          h("bdi", null, visible(one.agent_role)),
          ` · ${capitalized(one.agent_status)}`,
        ),
      ],
    },
    {
      name: "Tool",
      show: (/** @type {any} */ one) => h("bdi", null, visible(`${one.tool_name} ${one.tool_version ?? ""}`.trim())),
    },
    {
      name: "Last heartbeat",
      show: (/** @type {any} */ one) => (one.last_heartbeat ? h(Age, { at: one.last_heartbeat }) : "None"),
    },
    {
      name: "Silence",
      show: (/** @type {any} */ one) =>
        one.status === "connected" ? h(Silence, { connection: one }) : (ENDS[one.end_reason] ?? "–"),
    },
    { name: "Since", show: (/** @type {any} */ one) => h(Age, { at: one.created_at }) },
    { name: "Tells of itself", show: (/** @type {any} */ one) => h(Told, { text: one.metadata }) },
    ...(may("operator")
      ? [
          {
            name: "Actions",
            hideName: true,
            show: (/** @type {any} */ one) =>
              one.status === "connected" &&
              h(
                "button",
                {
                  type: "button",
                  class: "danger",
                  "aria-label": `Disconnect ${one.tool_name} of ${one.agent_name}`,
                  onClick: () => askToDisconnect(one, read.again),
                },
                "Disconnect",
              ),
          },
        ]
      : []),
  ];
  return [
    h("h1", { key: "h", tabIndex: -1 }, "Direct CLI connections"),
    h(
      "p",
      { key: "what", class: "quiet" },
      "Tools such as Claude Code, Codex or a script that report to the daemon by themselves, without a gateway.",
      !may("operator") && " Disconnecting one needs a key with the role operator.",
    ),
    h(
      "div",
      { key: "tools", class: "tools" },
      h(
        "label",
        { class: "check" },
        h("input", {
          type: "checkbox",
          checked: isAll,
          onChange: (/** @type {any} */ event) => ask({ all: event.currentTarget.checked ? "yes" : "", offset: "" }),
        }),
        "Also those that have ended",
      ),
      h("span", { class: "quiet", role: "status" }, answer ? counted(answer.total, "connection") : ""),
    ),
    h(ReadState, { key: "state", read, what: "The connections" }),
    answer &&
      (answer.connections.length > 0
        ? h(
            "div",
            { key: "list", class: isStale.value ? "stale" : "" },
            h(List, { label: "Direct CLI connections", columns, rows: answer.connections, keyOf: (one) => one.id }),
            h(Pager, { part: answer, move: (offset) => ask({ offset: offset || "" }) }),
          )
        : h(
            "div",
            { key: "none", class: "empty" },
            h("p", null, isAll ? "No tool has connected yet." : "No tool is connected."),
            h("p", null, "A tool connects with a key of the role operator:"),
            h(Command, {
              text: `curl -X POST -H "X-API-Key: $KEY" -H "Content-Type: application/json" ${location.origin}/api/connect -d '{"agent_name": "my-agent", "tool_name": "my-tool"}'`,
            }),
          )),
  ];
}

/** @param {any} connection @param {() => void} done */
function askToDisconnect(connection, done) {
  openDialog(`Disconnect ${connection.tool_name}?`, () =>
    h(Form, {
      values: {},
      button: "Disconnect",
      danger: true,
      onCancel: closeDialog,
      fields: () =>
        h(
          "p",
          null,
          "The daemon refuses the tool's heartbeats until it connects again, and ",
          h("bdi", null, visible(connection.agent_name)),
          " goes offline. The tool itself runs on.",
        ),
      async send() {
        await remove("/api/connect", { connection_id: connection.connection_id });
        closeDialog();
        say(`${connection.tool_name} is disconnected`);
        done();
      },
    }),
  );
}
