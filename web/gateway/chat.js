// WebChat: the sessions of an agent, one conversation, and a place to write. What agents say is text, and never becomes markup.
import { signal } from "@preact/signals";
import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Age, Badge, Fault, Moment, Notice } from "../components/basics.js";
import { Choice, State } from "../components/rows.js";
import { Scroll } from "../components/scroll.js";
import { counted, makerOf, shortKey, visible } from "../format.js";
import { Approvals } from "./approvals.js";
import { isUnderWay, itemsOf } from "./conversation.js";
import { callGateway, gatewayLink, isOld } from "./link.js";
import { readJobNames, sessionName } from "./names.js";
import { useReads } from "./reading.js";
import {
  agentOf,
  discard,
  drafts,
  isReadingOlder,
  newSessionKey,
  openTalk,
  readOlder,
  readTalkAgain,
  rememberedKey,
  sendAnew,
  sendOnceMore,
  sendText,
  stopRuns,
  talk,
  talkFault,
} from "./talk.js";

/** Characters of a text that are shown at first, and more at each demand. */
const SHOWN_CHARS = 6_000;
/** Sessions that are listed at first, and more at each demand. */
const SESSIONS_AT_A_TIME = 30;

/** @type {import("@preact/signals").Signal<{id: string, name: string}[]>} */
const chatAgents = signal([]);
/** @type {import("@preact/signals").Signal<{rows: any[], total: number}>} */
const chatSessions = signal({ rows: [], total: 0 });
/** What was said last in each of them. @type {import("@preact/signals").Signal<Map<string, string>>} */
const lastWords = signal(new Map());

/** A text of any length, a bounded part at a time. @param {{text: string, kind?: string}} props */
function BoundedText({ text, kind = "words" }) {
  const [shown, setShown] = useState(SHOWN_CHARS);
  if (text.length <= shown) return h("div", { class: kind, dir: "auto" }, text);
  return [
    h("div", { key: "t", class: kind, dir: "auto" }, text.slice(0, shown)),
    h(
      "button",
      {
        key: "b",
        type: "button",
        class: "plain more-text",
        onClick: () => setShown((before) => before + 4 * SHOWN_CHARS),
      },
      `Show more (${counted(text.length - shown, "character")} left)`,
    ),
  ];
}

/** @param {unknown} value */
function asText(value) {
  return typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? "");
}

/** @param {{tool: import("./conversation.js").Tool}} props */
function ToolCall({ tool: { name, args, result, state } }) {
  const [isOpen, setOpen] = useState(false);
  const mark = { running: "◐", done: "✓", failed: "✕", denied: "✕", stopped: "■" }[state];
  const word = { running: "is running", stopped: "ended without a result" }[/** @type {string} */ (state)] ?? state;
  return h(
    "details",
    { class: `tool ${state}`, onToggle: (/** @type {any} */ event) => setOpen(event.currentTarget.open) },
    h(
      "summary",
      null,
      h("span", { "aria-hidden": "true", class: "shape" }, `${mark} `),
      h("span", { class: "mono" }, visible(name)),
      h("span", { class: "quiet" }, ` ${word}`),
    ),
    isOpen && [
      args !== undefined && args !== null && h("p", { key: "al", class: "quiet" }, "Called with"),
      args !== undefined && args !== null && h(BoundedText, { key: "a", text: asText(args), kind: "raw" }),
      result !== undefined && result !== null && h("p", { key: "rl", class: "quiet" }, "Result"),
      result !== undefined && result !== null && h(BoundedText, { key: "r", text: asText(result), kind: "raw" }),
    ],
  );
}

/** @param {{run: import("./conversation.js").Run}} props */
function RunItem({ run }) {
  const { state, text, thinking, tools, error } = run;
  return h(
    "div",
    { class: "said agent" },
    thinking &&
      h("details", { class: "tool" }, h("summary", { class: "quiet" }, "Thoughts"), h(BoundedText, { text: thinking })),
    tools.map((tool, at) => h(ToolCall, { key: `${at} ${tool.id}`, tool })),
    text && h(BoundedText, { text }),
    state === "running" && h("p", { class: "quiet working" }, h("span", { "aria-hidden": "true" }, "◐ "), "Working…"),
    state === "waiting" && h("p", { class: "quiet" }, "Waits until the message before it is answered."),
    state === "paused" && h("p", { class: "quiet" }, "Paused."),
    state === "stopped" && h("p", { class: "quiet" }, "Stopped."),
    state === "resent" && h("p", { class: "quiet" }, "Stopped before its turn, then sent again."),
    state === "unbegun" && [
      h("p", { key: "p", class: "problem" }, "Not answered: it was stopped before its turn."),
      h("button", { key: "b", type: "button", onClick: () => sendAnew(run.id) }, "Send again"),
    ],
    state === "failed" && h("p", { class: "problem" }, `Failed: ${visible(error || "the agent gave no reason")}`),
    state === "done" &&
      !text &&
      tools.length === 0 &&
      !thinking &&
      h("p", { class: "quiet" }, "Ended without an answer."),
  );
}

/** @param {{outgoing: import("./conversation.js").Outgoing}} props */
function OutgoingItem({ outgoing: { id, text, state, error } }) {
  const words = { sending: "Sending…", kept: "Is sent when the connection is back.", sent: "", refused: "" }[state];
  return h(
    "div",
    { class: "said user" },
    h(BoundedText, { text }),
    words && h("p", { class: "quiet" }, words),
    state === "refused" && [
      h("p", { key: "p", class: "problem" }, `Not sent: ${visible(error)}`),
      h(
        "div",
        { key: "b", class: "buttons" },
        h("button", { type: "button", onClick: () => sendOnceMore(id) }, "Send again"),
        h("button", { type: "button", onClick: () => discard(id) }, "Discard"),
      ),
    ],
  );
}

/** @param {import("./conversation.js").Item} item */
function ItemOf({ message, run, outgoing }) {
  if (run) return h(RunItem, { run });
  if (outgoing) return h(OutgoingItem, { outgoing });
  if (!message) return null;
  const { role, text, at, model } = message;
  // In a session of a job or channel others write, too.
  const writer = makerOf(talk.peek().key) ? "Message" : "You";
  const who = role === "user" ? writer : role === "assistant" ? "Agent" : "Gateway";
  return h(
    "div",
    { class: `said ${role === "user" ? "user" : role === "assistant" ? "agent" : "gateway"}` },
    h(
      "p",
      { class: "by quiet" },
      who,
      at > 0 && [" · ", h(Moment, { key: "m", ms: at, day: false })],
      model && ` · ${visible(model)}`,
    ),
    h(BoundedText, { text }),
  );
}

/** @param {{items: import("./conversation.js").Item[]}} props */
function Conversation({ items }) {
  const { key, isRead, hasOlder } = talk.value;
  if (talkFault.value)
    return h(Fault, {
      error: talkFault.value,
      what: "The conversation could not be read",
      action: h("button", { type: "button", onClick: readTalkAgain }, "Try again"),
    });
  if (!isRead && items.length === 0) return h("p", { class: "loading" }, isOld.value ? "Not read yet." : "Reading…");
  if (items.length === 0)
    return h("div", { class: "empty" }, h("p", null, "Nothing was said here yet. Write a message below."));
  return h(Scroll, {
    key,
    label: "Conversation",
    items,
    show: ItemOf,
    onTop: readOlder,
    before: h(
      "p",
      { class: "quiet beginning" },
      isReadingOlder.value ? "Reading older messages…" : hasOlder ? "Scroll up for older messages." : "The beginning.",
    ),
  });
}

/** @param {{isBusy: boolean, agentName: string}} props */
function Composer({ isBusy, agentName }) {
  const { key } = talk.value;
  const [text, setText] = useState(drafts.get(key) ?? "");
  const field = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  useEffect(() => {
    setText(drafts.get(key) ?? "");
  }, [key]);
  const write = (/** @type {string} */ words) => {
    drafts.set(key, words);
    setText(words);
  };
  const send = () => {
    if (text.trim() === "") return field.current?.focus();
    sendText(text);
    write("");
    field.current?.focus();
  };
  return h(
    "form",
    {
      class: "composer",
      onSubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        send();
      },
    },
    h("textarea", {
      ref: field,
      "aria-label": `Message to ${agentName}`,
      placeholder: `Message to ${agentName}`,
      rows: 2,
      value: text,
      onInput: (/** @type {any} */ event) => write(event.currentTarget.value),
      onKeyDown: (/** @type {KeyboardEvent} */ event) => {
        // Enter ends a word where words are composed of several keys.
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        event.preventDefault();
        send();
      },
    }),
    h(
      "div",
      { class: "buttons" },
      isBusy && !isOld.value && h("button", { type: "button", class: "danger", onClick: stopRuns }, "Stop"),
      h("button", { type: "submit", class: "main", "aria-disabled": text.trim() === "" ? "true" : undefined }, "Send"),
    ),
  );
}

/** @param {{row: any, isOpen: boolean, open: (key: string) => void}} props */
function SessionButton({ row, isOpen, open }) {
  const words = lastWords.value.get(row.key);
  return h(
    "button",
    { type: "button", "aria-current": isOpen ? "true" : undefined, title: row.key, onClick: () => open(row.key) },
    h("span", { class: "clipped name" }, visible(sessionName(row))),
    words && h("span", { class: "clipped quiet", dir: "auto" }, visible(words)),
    h(
      "span",
      { class: "quiet" },
      row.hasActiveRun
        ? h(State, { tone: row.paused ? "warn" : "busy", word: row.paused ? "paused" : "at work" })
        : row.updatedAt > 0 && h(Age, { at: row.updatedAt / 1000 }),
    ),
  );
}

/** Told to whoever can't see it, once an answer is there. */
function Announcement() {
  const last = talk.value.messages.at(-1);
  const words = last?.role === "assistant" ? `Answer: ${last.text.slice(0, 300)}` : "";
  return h("p", { class: "hidden", role: "status" }, words);
}

export function ChatPage() {
  const [fault, setFault] = useState(/** @type {unknown} */ (null));
  const [limit, setLimit] = useState(SESSIONS_AT_A_TIME);
  const { key } = talk.value;
  const agent = agentOf(key);
  useReads(
    async (isGone) => {
      const { agents, defaultId } = await callGateway("agents.list");
      if (isGone()) return;
      chatAgents.value = agents.map((/** @type {any} */ one) => ({ id: one.id, name: one.name || one.id }));
      const ids = agents.map((/** @type {any} */ one) => one.id);
      const known = talk.peek().key || rememberedKey();
      if (!ids.includes(agentOf(known))) {
        if (ids.length > 0) openTalk(`agent:${defaultId ?? ids[0]}:main`);
      } else openTalk(known);
      // Of another agent: read for that one.
      const agentId = agentOf(talk.peek().key);
      if (agentId !== agent) return;
      if (agentId) {
        const listed = await callGateway("sessions.list", { agentId, limit });
        if (isGone()) return;
        chatSessions.value = { rows: listed.sessions, total: listed.totalCount ?? listed.sessions.length };
        readJobNames([...listed.sessions, { key: talk.peek().key }]);
        const keys = listed.sessions.slice(0, 200).map((/** @type {any} */ one) => one.key);
        const { previews } =
          keys.length > 0 ? await callGateway("sessions.preview", { keys, limit: 1 }) : { previews: [] };
        if (isGone()) return;
        lastWords.value = new Map(previews.map((/** @type {any} */ one) => [one.key, one.items.at(-1)?.text ?? ""]));
      }
      setFault(null);
    },
    setFault,
    (event) => event.startsWith("sessions.") || event === "config.changed",
    [limit, agent],
  );
  const items = itemsOf(talk.value);
  const isBusy = talk.value.runs.some(isUnderWay);
  const { rows, total } = chatSessions.value;
  const sessions = rows.filter((row) => agentOf(row.key) === agent);
  const isNew = key !== "" && !sessions.some((row) => row.key === key);
  const agentName = chatAgents.value.find(({ id }) => id === agent)?.name ?? agent;
  const row = sessions.find((one) => one.key === key);
  // What the key beside it doesn't say.
  const name = sessionName({ key, label: row?.label });
  const made = name === shortKey(key) ? "" : name;
  if (fault && !key)
    return [
      h("h1", { key: "h", tabIndex: -1 }, "Chat"),
      h(Fault, { key: "f", error: fault, what: "The agents could not be read" }),
    ];
  if (!key)
    return [
      h("h1", { key: "h", tabIndex: -1 }, "Chat"),
      gatewayLink.value.state === "live" && chatAgents.value.length === 0 && fault === null
        ? h("p", { key: "p", class: "loading" }, "Reading…")
        : h(
            Notice,
            { key: "n", kind: "warn", title: "There is no agent to talk to." },
            "Give the gateway one: agents.entries in its configuration.",
          ),
    ];
  return h(
    "div",
    { class: "chat" },
    h(
      "aside",
      { class: "side", "aria-label": "Sessions" },
      h(
        "div",
        { class: "side-head" },
        chatAgents.value.length > 1 &&
          h(Choice, {
            label: "Agent",
            value: agent,
            options: chatAgents.value.map(({ id, name }) => /** @type {[string, string]} */ ([id, name])),
            set: (id) => openTalk(`agent:${id}:main`),
          }),
        h("button", { type: "button", onClick: () => openTalk(newSessionKey(agent)) }, "New session"),
      ),
      h(
        "ul",
        { class: "sessions" },
        isNew &&
          h(
            "li",
            { key },
            h(SessionButton, {
              row: { key, label: talk.value.messages.length === 0 && key.includes(":webchat:") ? "New session" : "" },
              isOpen: true,
              open: openTalk,
            }),
          ),
        sessions.map((one) =>
          h("li", { key: one.key }, h(SessionButton, { row: one, isOpen: one.key === key, open: openTalk })),
        ),
      ),
      total > sessions.length &&
        h(
          "button",
          { type: "button", class: "plain", onClick: () => setLimit((before) => before + SESSIONS_AT_A_TIME) },
          `More of ${total.toLocaleString("en")}`,
        ),
      h(
        "div",
        { class: "narrow-choice" },
        h(Choice, {
          label: "Session",
          value: key,
          options: [
            ...(isNew ? [{ key, label: talk.value.messages.length > 0 ? "" : "New session" }] : []),
            ...sessions,
          ].map((one) => /** @type {[string, string]} */ ([one.key, sessionName(one)])),
          set: openTalk,
        }),
      ),
    ),
    h(
      "section",
      { class: "conversation", "aria-labelledby": "chat-title" },
      h(
        "div",
        { class: "talk-head" },
        h("h1", { id: "chat-title", tabIndex: -1 }, visible(agentName)),
        made && h("bdi", { class: "clipped" }, visible(made)),
        row?.paused && h(Badge, null, "PAUSED"),
        h("code", { class: "quiet clipped", title: "The session's key" }, key),
      ),
      h(Conversation, { items }),
      h(Announcement, null),
      h(Approvals, { sessionKey: key }),
      h(Composer, { isBusy, agentName }),
    ),
  );
}
