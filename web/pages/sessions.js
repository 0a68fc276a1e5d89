// The sessions of all gateways, and one of them with its history and controls.
import { signal } from "@preact/signals";
import { h } from "preact";
import { useState } from "preact/hooks";
import { post, Refusal, remove, wordsOf } from "../api.js";
import { Age, Facts, Fault, Moment, Notice, say, sayFault } from "../components/basics.js";
import { closeDialog, openDialog } from "../components/dialog.js";
import { Field, Form } from "../components/form.js";
import {
  Choice,
  Empty,
  GatewayChoice,
  GatewayLink,
  List,
  LongText,
  NeedsRole,
  Pager,
  ReadState,
  randomKey,
  State,
} from "../components/list.js";
import { capitalized, counted, makerOf, visible } from "../format.js";
import { fleet, isStale, may } from "../live.js";
import { ask, asked, queryWith, visit } from "../place.js";
import { useRead } from "../read.js";

/** What a gateway said that it can't do: the reason by gateway and action. @type {import("@preact/signals").Signal<Map<string, string>>} */
const refusedActions = signal(new Map());

/** @param {{status: string | null | undefined}} props */
function SessionState({ status }) {
  if (!status) return h(State, { tone: "quiet", word: "not told" });
  return h(State, { tone: status === "active" ? "busy" : status === "paused" ? "warn" : "good", word: status });
}

/** @param {any} session */
function linkTo({ key, gateway_id: of }) {
  return queryWith({ session: key, of });
}

/** @param {{key: string, label?: string | null}} session */
function nameOf({ key, label }) {
  return label || makerOf(key) || key;
}

/** @param {{session: any}} props */
function Name({ session }) {
  return [
    h("a", { key: "a", href: linkTo(session), class: "strong" }, h("bdi", null, visible(nameOf(session)))),
    nameOf(session) !== session.key &&
      h("div", { key: "k", class: "quiet mono" }, h("bdi", null, visible(session.key))),
  ];
}

const COLUMNS = [
  { name: "Status", show: (/** @type {any} */ session) => h(SessionState, { status: session.status }) },
  { name: "Session", kind: "wide", show: (/** @type {any} */ session) => h(Name, { session }) },
  {
    name: "Gateway",
    show: (/** @type {any} */ session) => h(GatewayLink, { id: session.gateway_id, name: session.gateway }),
  },
  { name: "Agent", show: (/** @type {any} */ session) => h("bdi", null, visible(session.agent ?? "–")) },
  { name: "Model", show: (/** @type {any} */ session) => session.model ?? "–" },
  {
    name: "Tokens",
    kind: "number",
    show: (/** @type {any} */ session) => session.totalTokens?.toLocaleString("en") ?? "–",
  },
  {
    name: "Changed",
    show: (/** @type {any} */ session) => (session.updatedAt ? h(Age, { at: session.updatedAt / 1000 }) : "–"),
  },
];

export function Page() {
  if (asked("session"))
    return h(Session, { key: `${asked("session")} ${asked("of")}`, sessionKey: asked("session"), of: asked("of") });
  return h(All, null);
}

function All() {
  const filters = { agent: asked("agent"), gateway: asked("gateway"), status: asked("status") };
  const search = new URLSearchParams({ limit: "50", offset: asked("offset") || "0" });
  for (const [name, value] of Object.entries(filters)) if (value) search.set(name, value);
  const read = useRead(`/api/sessions?${search}`, ({ type }) => type === "session.update" || type === "gateway.status");
  const set = (/** @type {string} */ name) => (/** @type {string} */ value) => ask({ [name]: value, offset: "" });
  const isFiltered = Object.values(filters).some(Boolean);
  const { answer } = read;
  return [
    h("div", { key: "head", class: "page-head" }, h("h1", { tabIndex: -1 }, "Sessions"), h(OpenByKey, null)),
    h(
      "div",
      { key: "tools", class: "tools", role: "search" },
      h("input", {
        type: "search",
        id: "search",
        "aria-label": "Show by agent",
        placeholder: "Agent: its exact id  ( / )",
        value: filters.agent,
        onChange: (/** @type {any} */ event) => set("agent")(event.currentTarget.value.trim()),
      }),
      h(GatewayChoice, { value: filters.gateway, set: set("gateway") }),
      h(Choice, {
        label: "Show by status",
        value: filters.status,
        set: set("status"),
        options: [
          ["", "Any status"],
          ["active", "Active"],
          ["paused", "Paused"],
          ["completed", "Completed"],
        ],
      }),
      h("span", { class: "quiet", role: "status" }, answer ? counted(answer.total, "session") : ""),
    ),
    h(ReadState, { key: "state", read, what: "The sessions" }),
    answer && h(Incomplete, { key: "parts", gateways: answer.gateways ?? [] }),
    answer &&
      (answer.sessions.length > 0
        ? h(
            "div",
            { key: "list", class: isStale.value ? "stale" : "" },
            h(List, {
              label: "Sessions",
              columns: COLUMNS,
              rows: answer.sessions,
              keyOf: (session) => `${session.gateway_id} ${session.key}`,
            }),
            h(Pager, { part: answer, move: (offset) => ask({ offset: offset || "" }) }),
          )
        : h(
            Empty,
            {
              key: "none",
              isFiltered,
              what: "session",
              showAll: () => ask({ agent: "", gateway: "", status: "", offset: "" }),
            },
            h("p", null, "No gateway has told of a session."),
            h("p", null, h("a", { href: "/spawns" }, "Give a gateway a task"), " to begin one."),
          )),
  ];
}

/** What the list can't know at the moment. @param {{gateways: any[]}} props */
function Incomplete({ gateways }) {
  const away = gateways.filter(({ reachable }) => !reachable).length;
  const partial = gateways.filter(({ reachable, complete }) => reachable && !complete).length;
  if (!away && !partial) return null;
  const parts = [
    away > 0 &&
      `${counted(away, "gateway")} ${away === 1 ? "is" : "are"} not connected: ${away === 1 ? "its" : "their"} sessions are as last seen.`,
    partial > 0 && `${counted(partial, "gateway")} ${partial === 1 ? "has" : "have"} not sent all sessions yet.`,
  ];
  return h(Notice, { kind: "warn" }, parts.filter(Boolean).join(" "));
}

/** For a key that somebody has in a log or a message. */
function OpenByKey() {
  const [key, setKey] = useState("");
  const open = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (key.trim()) visit({ session: key.trim(), of: "" });
  };
  return h(
    "form",
    { class: "buttons", onSubmit: open },
    h("input", {
      type: "text",
      "aria-label": "Key of a session",
      placeholder: "Key of a session",
      value: key,
      maxLength: 512,
      spellcheck: false,
      autocomplete: "off",
      onInput: (/** @type {any} */ event) => setKey(event.currentTarget.value),
    }),
    h("button", { type: "submit" }, "Open"),
  );
}

/** The session that this page is deleting: it isn't read again when its gateway says that it is gone. */
let leaving = "";

/** @param {{sessionKey: string, of: string}} props */
function Session({ sessionKey, of }) {
  const mine = (/** @type {import("../types.js").Message} */ { type, data }) =>
    type === "session.update" &&
    data.key === sessionKey &&
    (!of || String(data.gateway_id) === of) &&
    leaving !== sessionKey;
  const path = encodeURIComponent(sessionKey);
  const history = useRead(
    `/api/sessions/${path}/history?limit=100${of ? `&gateway_id=${encodeURIComponent(of)}` : ""}`,
    mine,
  );
  const gateway = history.answer?.gateway_id ?? (of || null);
  const list = useRead(gateway ? `/api/sessions?gateway=${gateway}&limit=200&gateways=false` : null, mine);
  const session = list.answer?.sessions.find((/** @type {any} */ one) => one.key === sessionKey);
  const { error } = history;
  const refusal = error instanceof Refusal && !history.answer ? error : null;
  const holders = refusal?.code === "session_ambiguous" ? (refusal.details?.gateways ?? []) : null;
  const mayHold = refusal?.code === "session_not_found" ? (refusal.details?.not_listed ?? []) : null;
  return h(
    "div",
    { class: isStale.value ? "stale" : "" },
    h("p", null, h("a", { href: queryWith({ session: "", of: "" }) }, "← Sessions")),
    h("h1", { tabIndex: -1 }, h("bdi", null, visible(nameOf({ key: sessionKey, label: session?.label })))),
    holders || mayHold
      ? h(WhichGateway, { sessionKey, holders, mayHold })
      : [
          session && h(SessionFacts, { key: "facts", session }),
          gateway &&
            (may("operator")
              ? h(Controls, { key: "controls", sessionKey, gateway: Number(gateway), session })
              : h(NeedsRole, {
                  key: "role",
                  role: "operator",
                  what: "Pausing, ending and changing a session, and writing to it,",
                })),
          h(History, { key: "history", read: history }),
          gateway && may("operator") && h(Message, { key: "message", sessionKey, gateway: Number(gateway) }),
        ],
  );
}

/** Several gateways hold the key, or none is known to. @param {{sessionKey: string, holders: any[] | null, mayHold: any[] | null}} props */
function WhichGateway({ sessionKey, holders, mayHold }) {
  const choices = holders ?? mayHold ?? [];
  return h(
    "section",
    { class: "panel" },
    h("h2", null, holders ? "Which gateway?" : "No gateway is known to hold this session"),
    h(
      "p",
      null,
      holders
        ? "Several gateways hold a session of this key."
        : choices.length > 0
          ? "These have not sent all of their sessions yet; one of them may hold it:"
          : "It may have been deleted, or its gateway was.",
    ),
    h(
      "ul",
      { class: "choices" },
      choices.map((/** @type {any} */ { id, name }) =>
        h(
          "li",
          { key: id },
          h("a", { class: "button", href: queryWith({ session: sessionKey, of: id }) }, h("bdi", null, visible(name))),
        ),
      ),
    ),
  );
}

/** @param {{session: any}} props */
function SessionFacts({ session }) {
  return h(
    "section",
    { class: "panel" },
    h(Facts, {
      rows: [
        ["Status", h(SessionState, { status: session.status })],
        ["Key", h("bdi", { class: "mono" }, visible(session.key))],
        ["Gateway", h(GatewayLink, { id: session.gateway_id, name: session.gateway })],
        ["Agent", h("bdi", null, visible(session.agent ?? "–"))],
        ["Model", session.model ?? "–"],
        [
          "Tokens",
          session.totalTokens
            ? `${session.totalTokens.toLocaleString("en")}${session.contextTokens ? ` of ${session.contextTokens.toLocaleString("en")}` : ""}`
            : "–",
        ],
        ["Messages", session.messageCount ?? "–"],
        ["Cost", session.cost ?? "–"],
        ["Kind", session.kind ? capitalized(session.kind) : "–"],
        ["Changed", session.updatedAt ? h(Moment, { ms: session.updatedAt }) : "–"],
        ["Known as of", session.as_of ? h(Age, { at: session.as_of }) : "–"],
      ],
    }),
  );
}

/** @param {any} result Of a control: whether it found nothing to do. */
function foundNothing(result) {
  return result?.aborted === false || result?.status === "no-active-run";
}

/** @param {{sessionKey: string, gateway: number, session: any}} props */
function Controls({ sessionKey, gateway, session }) {
  const [running, setRunning] = useState("");
  const control = async (/** @type {string} */ action, /** @type {string} */ done) => {
    if (running) return;
    setRunning(action);
    try {
      const { result } = await post(`/api/sessions/${encodeURIComponent(sessionKey)}/control`, {
        action,
        gateway_id: gateway,
      });
      say(action === "kill" && foundNothing(result) ? "Nothing was running in this session" : done);
    } catch (error) {
      if (error instanceof Refusal && error.code === "not_supported_by_gateway")
        refusedActions.value = new Map(refusedActions.peek()).set(`${gateway} ${action}`, wordsOf(error).message);
      else sayFault("The session was not changed", error);
    }
    setRunning("");
  };
  const reasons = ["pause", "resume", "kill"]
    .map((action) => refusedActions.value.get(`${gateway} ${action}`))
    .filter(Boolean);
  const order = (
    /** @type {string} */ action,
    /** @type {string} */ name,
    /** @type {string} */ done,
    danger = false,
  ) =>
    refusedActions.value.has(`${gateway} ${action}`)
      ? null
      : h(
          "button",
          {
            key: action,
            type: "button",
            class: danger ? "danger" : "",
            "aria-disabled": running ? "true" : undefined,
            onClick: () => control(action, done),
          },
          running === action ? "Waiting…" : name,
        );
  return h(
    "section",
    { class: "controls", "aria-label": "Controls" },
    h(
      "div",
      { class: "buttons" },
      !["paused", "completed"].includes(session?.status) && order("pause", "Pause", "The session is paused"),
      !["active", "completed"].includes(session?.status) && order("resume", "Resume", "The session goes on"),
      session?.status !== "completed" && order("kill", "End the run", "The run was ended", true),
      h("button", { type: "button", onClick: () => askForLabel(sessionKey, gateway, session) }, "Label…"),
      h("button", { type: "button", onClick: () => askForLevels(sessionKey, gateway) }, "Levels…"),
      h("button", { type: "button", class: "danger", onClick: () => askToDelete(sessionKey, gateway) }, "Delete…"),
    ),
    reasons.map((reason) => h("p", { key: reason, class: "quiet", role: "status" }, reason)),
  );
}

/** @param {string} sessionKey @param {number} gateway @param {any} session */
function askForLabel(sessionKey, gateway, session) {
  openDialog("Label of the session", () =>
    h(Form, {
      values: { label: session?.label ?? "" },
      button: "Save",
      onCancel: closeDialog,
      fields: (values, set, problems) =>
        h(Field, {
          name: "label",
          label: "Label",
          value: values.label,
          onInput: set("label"),
          problem: problems.label,
          maxLength: 100,
          help: "Empty removes it",
          autofocus: true,
        }),
      async send({ label }) {
        await post("/api/sessions?action=set-label", { sessionKey, gateway_id: gateway, label: label.trim() });
        closeDialog();
        say(label.trim() ? "The label is set" : "The label is removed");
      },
    }),
  );
}

const THINKING = ["off", "minimal", "low", "medium", "high", "xhigh"];
const VERBOSE = ["off", "on", "full"];
/** For a level that is not changed, and one that the gateway lists beyond the usual ones. */
const SAME = "";
const OTHER = "other";

/** How much a session thinks and tells. What is set now no gateway says. @param {string} sessionKey @param {number} gateway */
function askForLevels(sessionKey, gateway) {
  /** @param {string[]} levels @returns {[string, string][]} */
  const choices = (levels) => [
    [SAME, "Leave as it is"],
    ...levels.map((one) => /** @type {[string, string]} */ ([one, capitalized(one)])),
  ];
  const set = (/** @type {string} */ action, /** @type {string} */ level) =>
    post(`/api/sessions?action=${action}`, { sessionKey, gateway_id: gateway, level });
  openDialog("Levels of the session", () =>
    h(Form, {
      values: { thinking: SAME, level: "", verbose: SAME },
      button: "Set",
      onCancel: closeDialog,
      fields: (values, change, problems) => [
        h(Field, {
          name: "thinking",
          label: "Thinking",
          value: values.thinking,
          onInput: change("thinking"),
          options: [...choices(THINKING), [OTHER, "Another that the gateway lists"]],
          help: "How long the model thinks before it answers",
        }),
        (values.thinking === OTHER || problems.level) &&
          h(Field, {
            name: "level",
            label: "Its name",
            value: values.level,
            onInput: change("level"),
            problem: problems.level?.replace("level must", "must"),
          }),
        h(Field, {
          name: "verbose",
          label: "Verbose",
          value: values.verbose,
          onInput: change("verbose"),
          options: choices(VERBOSE),
          help: "How much it tells of what its tools do",
        }),
      ],
      async send({ thinking, level, verbose }) {
        if (thinking) await set("set-thinking", thinking === OTHER ? level.trim() : thinking);
        if (verbose) await set("set-verbose", verbose);
        closeDialog();
        say(thinking || verbose ? "The levels are set from the next message on" : "Nothing was changed");
      },
    }),
  );
}

/** @param {string} sessionKey @param {number} gateway */
function askToDelete(sessionKey, gateway) {
  const name = fleet.value.rows.get(gateway)?.name ?? "its gateway";
  openDialog("Delete this session?", () =>
    h(Form, {
      values: {},
      button: "Delete session",
      danger: true,
      onCancel: closeDialog,
      fields: () =>
        h(
          "p",
          null,
          "The session ",
          h("bdi", { class: "mono" }, visible(sessionKey)),
          " and its history are deleted on ",
          h("bdi", null, visible(name)),
          ". This can't be undone.",
        ),
      async send() {
        leaving = sessionKey;
        const { deleted } = await remove("/api/sessions", { sessionKey, gateway_id: gateway }).finally(() => {
          leaving = "";
        });
        closeDialog();
        say(deleted ? "The session is deleted" : "The gateway no longer had it");
        visit({ session: "", of: "" });
      },
    }),
  );
}

/** @param {{read: {answer: any, error: unknown, again: () => void}}} props */
function History({ read }) {
  const entries = read.answer?.history ?? [];
  return h(
    "section",
    { class: "panel" },
    h("h2", null, "History"),
    h(ReadState, { read, what: "The history" }),
    read.answer && entries.length === 0 && h("p", { class: "quiet" }, "Nothing was said yet."),
    h(
      "ol",
      { class: "talk", "aria-label": "Entries, the oldest first" },
      entries.map((/** @type {any} */ entry, /** @type {number} */ at) =>
        h(
          "li",
          { key: `${entry.timestamp} ${at}`, class: entry.role },
          h(
            "p",
            { class: "quiet" },
            h("strong", null, capitalized(entry.role)),
            entry.timestamp && [" ", h(Moment, { key: "t", ms: entry.timestamp })],
            entry.model && ` · ${entry.model}`,
            entry.tools?.length > 0 && ` · tools: ${entry.tools.join(", ")}`,
            entry.truncated && " · cut",
          ),
          entry.content && h(LongText, { text: entry.content }),
          entry.errorMessage && h("p", { class: "problem" }, entry.errorMessage),
        ),
      ),
    ),
  );
}

/** @param {{sessionKey: string, gateway: number}} props */
function Message({ sessionKey, gateway }) {
  const [content, setContent] = useState("");
  // The same for the same text: repeating a message whose answer was lost doesn't send it twice.
  const [sendKey, setSendKey] = useState(randomKey);
  const [error, setError] = useState(/** @type {unknown} */ (null));
  const [isSending, setSending] = useState(false);
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (isSending || !content.trim()) return;
    setSending(true);
    setError(null);
    try {
      await post(
        `/api/sessions/${encodeURIComponent(sessionKey)}/message`,
        { content, gateway_id: gateway },
        { "Idempotency-Key": sendKey },
      );
      setContent("");
      setSendKey(randomKey());
      say("The gateway took the message; the history shows the reply");
    } catch (fault) {
      setError(fault);
    }
    setSending(false);
  };
  const type = (/** @type {string} */ text) => {
    setContent(text);
    setSendKey(randomKey());
  };
  return h(
    "form",
    { class: "panel form", onSubmit: send },
    error ? h(Fault, { error, what: "The message may not have arrived" }) : null,
    h(Field, {
      name: "message",
      label: "Write to this session",
      type: "textarea",
      value: content,
      onInput: type,
      rows: 3,
    }),
    h(
      "div",
      { class: "buttons" },
      h(
        "button",
        { type: "submit", class: "main", "aria-disabled": isSending || !content.trim() ? "true" : undefined },
        isSending ? "Sending…" : "Send",
      ),
    ),
  );
}
