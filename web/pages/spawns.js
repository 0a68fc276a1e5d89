// Work that was given to gateways, what became of it, and the form for more.
import { h } from "preact";
import { get, post, Refusal } from "../api.js";
import { Age, Facts, Moment, Notice, say } from "../components/basics.js";
import { closeDialog, openDialog } from "../components/dialog.js";
import { Field, Form } from "../components/form.js";
import {
  GatewayField,
  GatewayLink,
  gatewayIdOf,
  Json,
  List,
  LongText,
  Pager,
  ReadState,
  randomKey,
  State,
} from "../components/list.js";
import { duration, visible } from "../format.js";
import { isStale, may } from "../live.js";
import { ask, asked, queryWith, visit } from "../place.js";
import { useRead } from "../read.js";
import { labelsOf } from "./gateway_form.js";

/** @type {Record<string, ["good" | "warn" | "bad" | "quiet" | "busy", string]>} What each state means. */
const STATES = {
  recorded: ["quiet", "It is written down and not sent yet."],
  sent: ["busy", "It is on the way to the gateway."],
  accepted: ["busy", "The gateway took it."],
  running: ["busy", "It runs."],
  unknown: ["warn", "The gateway can't tell what became of it. It is asked again, and the work is never sent twice."],
  completed: ["good", "It ended well."],
  failed: ["bad", "It failed."],
  killed: ["bad", "It was ended before it was done."],
  lost: ["bad", "Nobody knows what became of it, and nobody will."],
};

/** @type {Record<string, string>} Why a gateway was chosen. */
const ROUTES = {
  preferred: "the agent prefers it",
  requested: "the request names it",
  primary: "it is the primary",
  acting_primary: "it stands in for the primary",
  least_loaded: "it has the least to do",
};

/** @param {{status: string}} props */
function SpawnState({ status }) {
  return h(State, { tone: STATES[status]?.[0] ?? "quiet", word: status });
}

/** @param {{spawn: any}} props */
function Route({ spawn }) {
  if (!spawn.gateway) return h("span", { class: "quiet" }, "None");
  return [
    h(GatewayLink, { key: "g", id: spawn.gateway.id, name: spawn.gateway.name }),
    spawn.route && h("div", { key: "r", class: "quiet" }, ROUTES[spawn.route] ?? spawn.route),
  ];
}

/** @param {string} text */
function firstLine(text) {
  const line = text.split("\n", 1)[0] ?? "";
  return line.length > 120 ? `${line.slice(0, 120)}…` : line || "(empty)";
}

const COLUMNS = [
  { name: "State", show: (/** @type {any} */ spawn) => h(SpawnState, { status: spawn.status }) },
  {
    name: "Task",
    kind: "wide",
    show: (/** @type {any} */ spawn) => [
      h(
        "a",
        { key: "a", class: "strong", href: queryWith({ spawn: spawn.spawnId }) },
        h("bdi", null, visible(spawn.label || firstLine(spawn.task))),
      ),
      spawn.label && h("div", { key: "t", class: "quiet" }, h("bdi", null, visible(firstLine(spawn.task)))),
    ],
  },
  { name: "Agent", show: (/** @type {any} */ spawn) => h("bdi", null, visible(spawn.agent ?? "–")) },
  { name: "Gateway, and why", show: (/** @type {any} */ spawn) => h(Route, { spawn }) },
  { name: "Begun", show: (/** @type {any} */ spawn) => h(Age, { at: spawn.createdAt / 1000 }) },
  {
    name: "Took",
    show: (/** @type {any} */ spawn) =>
      spawn.completedAt ? duration((spawn.completedAt - spawn.createdAt) / 1000) : "–",
  },
];

export function Page() {
  const id = asked("spawn");
  return id ? h(Spawn, { key: id, id }) : h(All, null);
}

function All() {
  const read = useRead(
    `/api/spawn?limit=50&offset=${encodeURIComponent(asked("offset") || "0")}`,
    ({ type }) => type === "spawn_result",
  );
  const { answer } = read;
  return [
    h(
      "div",
      { key: "head", class: "page-head" },
      h("h1", { tabIndex: -1 }, "Spawns"),
      may("operator") && h("button", { type: "button", class: "main", onClick: askForTask }, "+ New task"),
    ),
    h(
      "p",
      { key: "what", class: "quiet" },
      "A spawn is work that the daemon gives to a gateway. It never runs twice.",
      !may("operator") && " Giving work needs a key with the role operator.",
    ),
    h(ReadState, { key: "state", read, what: "The spawns" }),
    answer &&
      (answer.history.length > 0
        ? h(
            "div",
            { key: "list", class: isStale.value ? "stale" : "" },
            h(List, { label: "Spawns", columns: COLUMNS, rows: answer.history, keyOf: (spawn) => spawn.spawnId }),
            h(Pager, { part: answer, move: (offset) => ask({ offset: offset || "" }) }),
          )
        : h("div", { key: "none", class: "empty" }, h("p", null, "No work was given to a gateway yet."))),
  ];
}

/** @param {{id: string}} props */
function Spawn({ id }) {
  const read = useRead(
    `/api/spawn/${encodeURIComponent(id)}`,
    ({ type, data }) => type === "spawn_result" && data.spawnId === id,
  );
  const spawn = read.answer;
  return h(
    "div",
    { class: isStale.value ? "stale" : "" },
    h("p", null, h("a", { href: queryWith({ spawn: "" }) }, "← Spawns")),
    h("h1", { tabIndex: -1 }, spawn ? h("bdi", null, visible(spawn.label || firstLine(spawn.task))) : "Spawn"),
    h(ReadState, { read, what: "The spawn" }),
    spawn && [
      h(
        "p",
        { key: "now", role: "status" },
        h(SpawnState, { status: spawn.status }),
        " ",
        h("span", { class: "quiet" }, STATES[spawn.status]?.[1]),
      ),
      (spawn.error || spawn.reason) &&
        h(
          Notice,
          { key: "error", kind: spawn.status === "unknown" ? "warn" : "bad", title: spawn.error ?? spawn.reason },
          spawn.error && spawn.reason ? spawn.reason : null,
          spawn.errorCode && ` Code ${spawn.errorCode}.`,
        ),
      h(
        "section",
        { key: "facts", class: "panel" },
        h(Facts, {
          rows: [
            ["Gateway", spawn.gateway ? h(GatewayLink, { id: spawn.gateway.id, name: spawn.gateway.name }) : "None"],
            ["Chosen because", spawn.route ? (ROUTES[spawn.route] ?? spawn.route) : "–"],
            ["Agent", h("bdi", null, visible(spawn.agent ?? "The gateway's default"))],
            ["Model", spawn.model ?? "The agent's own"],
            [
              "Session",
              spawn.sessionKey
                ? h(
                    "a",
                    {
                      href: `/sessions?${new URLSearchParams({ session: spawn.sessionKey, ...(spawn.gateway ? { of: String(spawn.gateway.id) } : {}) })}`,
                    },
                    h("bdi", null, visible(spawn.sessionKey)),
                  )
                : "–",
            ],
            ["Begun", h(Moment, { ms: spawn.createdAt })],
            ["Changed", h(Moment, { ms: spawn.updatedAt })],
            ["Ended", spawn.completedAt ? h(Moment, { ms: spawn.completedAt }) : "Not yet"],
            ["Run", h("span", { class: "mono" }, spawn.runId ?? "–")],
            ["Id", h("span", { class: "mono" }, spawn.spawnId)],
          ],
        }),
      ),
      h(
        "section",
        { key: "task", class: "panel" },
        h("h2", null, spawn.kind === "command" ? "Command" : "Task"),
        h(LongText, { text: spawn.task }),
      ),
      spawn.result &&
        h("section", { key: "result", class: "panel" }, h("h2", null, "Result"), h(Result, { result: spawn.result })),
    ],
  );
}

/** The text of a result, where it has one; all of it on demand. @param {{result: any}} props */
function Result({ result }) {
  const said = Array.isArray(result.payloads)
    ? result.payloads.map((/** @type {any} */ one) => one?.text)
    : [result.text, result.summary, result.output, result.stdout];
  const text = said.filter((/** @type {unknown} */ one) => typeof one === "string" && one).join("\n\n");
  if (!text) return h(Json, { value: result });
  return [
    h(LongText, { key: "t", text }),
    h("details", { key: "d" }, h("summary", null, "All that the gateway answered"), h(Json, { value: result })),
  ];
}

async function askForTask() {
  /** @type {any[]} */
  let agents = [];
  try {
    ({ agents } = await get("/api/agents?limit=200"));
  } catch {
    // The name can still be typed.
  }
  const key = randomKey();
  openDialog("New task", () =>
    h(Form, {
      values: { task: "", agent: "", gateway: "", selector: "", label: "", model: "", timeout: "", key },
      button: "Give it to a gateway",
      onCancel: closeDialog,
      fields: (values, set, problems) => taskFields(values, set, problems, agents),
      send: sendTask,
    }),
  );
}

/** @param {Record<string, any>} values @param {(name: string) => (value: any) => void} set @param {Record<string, string>} problems @param {any[]} agents */
function taskFields(values, set, problems, agents) {
  return [
    h(Field, {
      name: "task",
      label: "Task",
      type: "textarea",
      value: values.task,
      onInput: set("task"),
      problem: problems.task,
      autofocus: true,
      help: "What the agent is to do",
    }),
    h(Field, {
      name: "agent",
      label: "Agent",
      value: values.agent,
      onInput: set("agent"),
      problem: problems.agent,
      list: "task-agents",
      help: "Empty: the gateway's default agent",
    }),
    h(
      "datalist",
      { id: "task-agents" },
      agents.map(({ id, name }) => h("option", { key: id, value: name })),
    ),
    h(GatewayField, {
      value: values.gateway,
      onInput: set("gateway"),
      problem: problems.gateway ?? problems.gateway_id,
      none: "Let the daemon choose",
    }),
    h(
      "details",
      null,
      h("summary", null, "More"),
      h(
        "div",
        { class: "more-fields" },
        h(Field, {
          name: "selector",
          label: "Labels that the gateway must have",
          type: "textarea",
          rows: 2,
          value: values.selector,
          onInput: set("selector"),
          problem: problems.selector,
          help: "One name=value in a line",
        }),
        h(Field, {
          name: "label",
          label: "Label",
          value: values.label,
          onInput: set("label"),
          problem: problems.label,
          help: "What people call this task",
        }),
        h(Field, {
          name: "model",
          label: "Model",
          value: values.model,
          onInput: set("model"),
          problem: problems.model,
          help: "Empty: the agent's own",
        }),
        h(Field, {
          name: "timeout",
          label: "Give up after (seconds)",
          value: values.timeout,
          onInput: set("timeout"),
          problem: problems.timeoutSeconds,
          inputMode: "numeric",
        }),
        h(Field, {
          name: "key",
          label: "Idempotency key",
          value: values.key,
          onInput: set("key"),
          help: "The same key gives the same work only once in a day",
        }),
      ),
    ),
  ];
}

/** @param {Record<string, any>} values */
async function sendTask(values) {
  const number = (/** @type {string} */ text) => (/^\d+$/.test(text.trim()) ? Number(text) : text.trim());
  const body = {
    task: values.task,
    ...(values.agent.trim() && { agent: values.agent.trim() }),
    ...(values.gateway.trim() && { gateway_id: gatewayIdOf(values.gateway, "gateway") }),
    ...(values.selector.trim() && { selector: labelsOf(values.selector, "selector") }),
    ...(values.label.trim() && { label: values.label.trim() }),
    ...(values.model.trim() && { model: values.model.trim() }),
    ...(values.timeout.trim() && { timeoutSeconds: number(values.timeout) }),
  };
  try {
    const { spawnId, gateway, replayed } = await post(
      "/api/spawn",
      body,
      values.key.trim() ? { "Idempotency-Key": values.key.trim() } : {},
    );
    closeDialog();
    say(
      replayed
        ? "This work had been given before: here is what became of it"
        : `${gateway?.name ?? "A gateway"} took the task`,
    );
    visit({ spawn: spawnId });
  } catch (error) {
    // It is recorded, and followed: it must not be sent again.
    if (!(error instanceof Refusal) || !error.details?.spawnId) throw error;
    closeDialog();
    say(`${error.message}. ${error.help}`, "bad");
    visit({ spawn: error.details.spawnId });
  }
}
