// Small parts that every page uses.
import { signal } from "@preact/signals";
import { h } from "preact";
import { Unanswered, wordsOf } from "../api.js";
import { capitalized, counted, duration, shapeOf, visible } from "../format.js";
import { clockTime, fullTime, now } from "../time.js";

/** A status as shape, word and color. @param {{status: string}} props */
export function Status({ status }) {
  return h(
    "span",
    { class: `status ${status}` },
    h("span", { "aria-hidden": "true", class: "shape" }, shapeOf(status)),
    capitalized(status),
  );
}

/** @param {{kind?: string, title?: string, children?: any}} props */
export function Badge({ kind = "", title, children }) {
  return h("span", { class: `badge ${kind}`, title }, children);
}

/** How long ago something was, or how long it is until then; the exact time on demand. @param {{at: number, ahead?: boolean}} props `at` in seconds. */
export function Age({ at, ahead = false }) {
  const seconds = now.value / 1000 - at;
  const text = ahead
    ? seconds < 0
      ? `in ${duration(-seconds)}`
      : "now"
    : seconds < 2
      ? "just now"
      : `${duration(seconds)} ago`;
  return h("time", { dateTime: new Date(at * 1000).toISOString(), title: fullTime(at * 1000) }, text);
}

/** A moment. @param {{ms: number, day?: boolean}} props */
export function Moment({ ms, day = true }) {
  const parts = (day ? fullTime(ms) : clockTime(ms)).split(" ");
  // Broken between its parts only.
  return h(
    "time",
    { dateTime: new Date(ms).toISOString(), title: fullTime(ms) },
    parts.map((part, at) => [at > 0 && " ", h("span", { class: "whole" }, part)]),
  );
}

/** A sentence that must not be missed. @param {{kind?: string, title?: any, children?: any, action?: any}} props */
export function Notice({ kind = "", title, children, action }) {
  return h(
    "div",
    { class: `notice ${kind}`, role: kind === "bad" ? "alert" : "status" },
    h("div", null, title && h("strong", null, title), title && children && " ", children),
    action,
  );
}

/** What went wrong with a request. @param {{error: unknown, what?: string, action?: any}} props */
export function Fault({ error, what, action }) {
  const { message: words, help } = wordsOf(error);
  const message = visible(words);
  return h(Notice, { kind: "bad", title: what ? `${what}: ${message}` : message, action }, help);
}

/** A command to be copied. @param {{text: string}} props */
export function Command({ text }) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      say("Copied");
    } catch {
      say("The browser didn't let the page copy: select the text instead.", "bad");
    }
  };
  return h(
    "div",
    { class: "command" },
    h("code", { tabIndex: 0 }, text),
    h("button", { type: "button", onClick: copy }, "Copy"),
  );
}

/** A list of names and values. @param {{rows: [any, any][]}} props */
export function Facts({ rows }) {
  return h(
    "dl",
    { class: "facts" },
    rows.map(([name, value]) =>
      h("div", { key: typeof name === "string" ? name : undefined }, h("dt", null, name), h("dd", null, value)),
    ),
  );
}

/** Seconds without an answer, after which the link is in doubt. */
const DOUBT_S = 5;

/**
 * How the connection to the server of these pages is, always in sight.
 * @param {object} props
 * @param {string} props.of Its server: daemon or gateway.
 * @param {{state: string, asOf: number | null, nextTry: number | null, roundTrip: number | null, reconnects: number, why: string}} props.link
 * @param {number} props.silentFor Seconds for which the oldest question has had no answer.
 * @param {(() => void) | null} props.hurry Tries again now.
 */
export function LinkState({ of, link: { state, asOf, nextTry, roundTrip, reconnects, why }, silentFor, hurry }) {
  const isDoubtful = state === "live" && silentFor > DOUBT_S;
  const wait = nextTry ? Math.max(0, Math.ceil((nextTry - now.value) / 1000)) : 0;
  const text = isDoubtful
    ? `No answer for ${silentFor} s`
    : state === "live"
      ? "Connected"
      : state === "lost"
        ? `Disconnected${wait > 0 ? `, next try in ${wait} s` : ""}`
        : asOf === null
          ? "Connecting…"
          : "Reconnecting…";
  return h(
    "div",
    {
      class: `link ${isDoubtful ? "doubtful" : state}`,
      title: state === "live" ? `Round trip to the ${of}, and how often this page had to reconnect` : why,
    },
    h("span", { "aria-hidden": "true", class: "shape" }, isDoubtful ? "▲" : state === "live" ? "●" : "■"),
    h("span", { role: "status" }, text),
    state === "lost" && hurry && h("button", { type: "button", class: "plain", onClick: hurry }, "Try now"),
    state === "live" && !isDoubtful && roundTrip !== null && h("span", { class: "quiet" }, ` ${roundTrip} ms`),
    reconnects > 0 && h("span", { class: "quiet" }, ` · ${counted(reconnects, "reconnect")}`),
  );
}

/** What is said at the edge of the page. @type {import("@preact/signals").Signal<{id: number, text: string, kind: string}[]>} */
const said = signal([]);
let nextSaid = 1;

/** Says something; what is bad stays until it is closed. @param {string} text @param {string} [kind] */
export function say(text, kind = "") {
  const id = nextSaid++;
  said.value = [...said.value.slice(-3), { id, text, kind }];
  if (kind !== "bad") setTimeout(() => unsay(id), 8_000);
}

/** Says what went wrong. @param {string} what @param {unknown} error */
export function sayFault(what, error) {
  const { message, help } = wordsOf(error);
  // What was asked for may have been done.
  if (error instanceof Unanswered && error.isWrite)
    return say(`${message}: it is not known whether this is so: "${what}". ${help}`, "bad");
  say(`${what}: ${message}. ${help}`.replace("..", "."), "bad");
}

/** @param {number} id */
function unsay(id) {
  said.value = said.value.filter((one) => one.id !== id);
}

export function Sayings() {
  return h(
    "div",
    { class: "sayings", role: "region", "aria-label": "Messages", "aria-live": "polite" },
    said.value.map(({ id, text, kind }) =>
      h(
        "div",
        { key: id, class: `saying ${kind}` },
        h("span", null, visible(text)),
        h("button", { type: "button", class: "plain", "aria-label": "Close message", onClick: () => unsay(id) }, "✕"),
      ),
    ),
  );
}

/** A table of text. @param {{names: string[], children?: any}} props */
export function PlainTable({ names, children }) {
  return h(
    "table",
    { class: "plain" },
    h(
      "thead",
      null,
      h(
        "tr",
        null,
        names.map((name) => h("th", { key: name, scope: "col" }, name)),
      ),
    ),
    h("tbody", null, children),
  );
}
