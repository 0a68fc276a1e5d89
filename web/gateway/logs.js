// The gateway's log, as it is written: the newest lines are kept here, and filters only hide.
import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Fault } from "../components/basics.js";
import { Choice } from "../components/rows.js";
import { Scroll } from "../components/scroll.js";
import { counted, visible } from "../format.js";
import { fullTime } from "../time.js";
import { callGateway, isOld, wasLost } from "./link.js";

/** Lines that are kept. */
const RING = 5_000;
/** The file is looked at so often while the page is in sight. */
const LOOK_MS = 2_000;
/** Characters of a line that are shown. */
const LINE_CHARS = 2_000;

const LEVELS = ["debug", "info", "warn", "error"];

/** @typedef {{key: string, level: string, at: number, from: string, text: string}} LogLine */

/** @param {string} line @param {number} number @returns {LogLine} */
function lineOf(line, number) {
  const key = String(number);
  try {
    const { level, time, subsystem, message, _meta: meta, 0: first, 1: second } = JSON.parse(line);
    const names = typeof first === "string" && first.startsWith("{") ? JSON.parse(first) : {};
    return {
      key,
      level: String(level ?? meta?.logLevelName ?? "info").toLowerCase(),
      at: Date.parse(time ?? meta?.date) || 0,
      from: subsystem ?? names.subsystem ?? "",
      text: String(message ?? second ?? first ?? line).slice(0, LINE_CHARS),
    };
  } catch {
    return { key, level: "info", at: 0, from: "", text: line.slice(0, LINE_CHARS) };
  }
}

/** @param {LogLine} line */
function LogItem({ level, at, from, text }) {
  return h(
    "div",
    { class: `log-line ${level}` },
    at > 0 && h("span", { class: "quiet" }, `${fullTime(at)} `),
    h("span", { class: "level" }, `${level} `),
    from && h("span", { class: "quiet" }, `${visible(from)} `),
    h("span", { dir: "auto" }, visible(text)),
  );
}

export function LogsPage() {
  const [lines, setLines] = useState(/** @type {LogLine[] | null} */ (null));
  const [error, setError] = useState(/** @type {unknown} */ (null));
  const [level, setLevel] = useState("debug");
  const [typed, setTyped] = useState("");
  const [isHeld, setHeld] = useState(false);
  const held = useRef(false);
  held.current = isHeld;
  useEffect(() => {
    let cursor = /** @type {number | undefined} */ (undefined);
    let number = 0;
    let isReading = false;
    let isGone = false;
    const read = async () => {
      if (isReading || isOld.peek() || document.hidden || held.current) return;
      isReading = true;
      try {
        const answer = await callGateway(
          "logs.tail",
          cursor === undefined ? { limit: 1_000 } : { cursor, limit: 1_000 },
        );
        // Of more than it gives at a time, it gives the last ones.
        const areMissing = answer.reset || (cursor !== undefined && answer.truncated);
        cursor = answer.cursor;
        const read = answer.lines.map((/** @type {string} */ line) => lineOf(line, number++));
        if (areMissing && number > read.length)
          read.unshift({
            key: String(number++),
            level: "warn",
            at: 0,
            from: "",
            text: "Lines are missing here: the log was written faster than it was read, or begun anew.",
          });
        if (!isGone && read.length > 0) setLines((before) => [...(before ?? []), ...read].slice(-RING));
        else if (!isGone) setLines((before) => before ?? []);
        if (!isGone) setError(null);
      } catch (fault) {
        if (!isGone && !wasLost(fault)) setError(fault);
      }
      isReading = false;
    };
    read();
    const clock = setInterval(read, LOOK_MS);
    return () => {
      isGone = true;
      clearInterval(clock);
    };
  }, []);
  const least = LEVELS.indexOf(level);
  const words = typed.trim().toLowerCase();
  const shown = (lines ?? []).filter((line) => {
    const rank = LEVELS.indexOf(line.level);
    return (rank < 0 || rank >= least) && (!words || `${line.from} ${line.text}`.toLowerCase().includes(words));
  });
  return h(
    "div",
    { class: "log-page" },
    h("h1", { tabIndex: -1 }, "Logs"),
    h(
      "div",
      { class: "tools" },
      h("input", {
        type: "search",
        "aria-label": "Show only lines with",
        placeholder: "Show only lines with",
        value: typed,
        onInput: (/** @type {any} */ event) => setTyped(event.currentTarget.value),
      }),
      h(Choice, {
        label: "Least level",
        value: level,
        options: [
          ["debug", "All levels"],
          ["info", "Info and worse"],
          ["warn", "Warnings and errors"],
          ["error", "Errors"],
        ],
        set: setLevel,
      }),
      h("button", { type: "button", "aria-pressed": isHeld, onClick: () => setHeld(!isHeld) }, "Hold"),
      lines &&
        h(
          "span",
          { class: "quiet", role: "status" },
          `${counted(shown.length, "line")}${shown.length < lines.length ? ` of ${lines.length.toLocaleString("en")}` : ""}`,
        ),
    ),
    error ? h(Fault, { error, what: "The log could not be read" }) : null,
    lines === null
      ? !error && h("p", { class: "loading" }, "Reading…")
      : shown.length === 0
        ? h("p", { class: "empty" }, "No line is like that.")
        : h(Scroll, { label: "Log", items: shown, show: LogItem }),
  );
}
