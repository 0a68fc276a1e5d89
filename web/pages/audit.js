// Who changed what, and what was refused.
import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import { get } from "../api.js";
import { Fault, Moment } from "../components/basics.js";
import { AuditTarget, Choice, ForRole, gatewayNameIn, Json, List, State } from "../components/list.js";
import { counted } from "../format.js";
import { isStale, listen } from "../live.js";
import { ask, asked } from "../place.js";
import { serverNow } from "../time.js";

/** @type {Record<string, "good" | "warn" | "bad" | "quiet">} */
const RESULTS = { ok: "good", refused: "warn", failed: "bad", unknown: "quiet" };

/** @type {[string, string][]} Seconds back. */
const SPANS = [
  ["", "All that is kept"],
  ["3600", "The last hour"],
  ["86400", "The last day"],
  ["604800", "The last week"],
];

/** More than these are not kept in the page: a filter or a span finds the rest. */
const MAX_KEPT = 2_000;

export function Page() {
  return h(ForRole, { title: "Audit log", role: "admin" }, h(Log, null));
}

function Log() {
  const span = asked("span");
  const [entries, setEntries] = useState(/** @type {any[] | null} */ (null));
  const [next, setNext] = useState(/** @type {number | null} */ (null));
  const [error, setError] = useState(/** @type {unknown} */ (null));
  const [turn, setTurn] = useState(0);
  const [isReading, setReading] = useState(false);
  const since = () => (span ? `&since=${Math.floor(serverNow() / 1000 - Number(span))}` : "");
  useEffect(() => {
    const ended = new AbortController();
    /** What came while the first page was under way. @type {any[]} */
    let early = [];
    setEntries(null);
    get(`/api/audit?limit=100${since()}`, ended.signal).then(
      ({ audit, next_before: before }) => {
        setEntries(joined(early, audit));
        setNext(before ?? null);
        setError(null);
      },
      (fault) => ended.signal.aborted || setError(fault),
    );
    const unlisten = listen(({ type, data }) => {
      if (type === "reset" || type === "lagged") setTurn((before) => before + 1);
      if (type !== "audit") return;
      early = [data, ...early].slice(0, 200);
      setEntries((known) => (known ? joined([data], known) : known));
    });
    return () => {
      ended.abort();
      unlisten();
    };
  }, [span, turn]);
  const older = async () => {
    if (isReading || next === null) return;
    setReading(true);
    try {
      const { audit, next_before: before } = await get(`/api/audit?limit=100&before=${next}${since()}`);
      setEntries((known) => joined(known ?? [], audit));
      setNext(before ?? null);
      setError(null);
    } catch (fault) {
      setError(fault);
    }
    setReading(false);
  };
  const result = asked("result");
  const words = asked("q").toLowerCase().split(/\s+/).filter(Boolean);
  const shown = (entries ?? []).filter(
    (entry) => (!result || entry.result === result) && words.every((word) => textOf(entry).includes(word)),
  );
  const isFiltered = result !== "" || words.length > 0;
  return [
    h("h1", { key: "h", tabIndex: -1 }, "Audit log"),
    h(
      "div",
      { key: "tools", class: "tools", role: "search" },
      h("input", {
        type: "search",
        id: "search",
        "aria-label": "Search what is shown",
        placeholder: "Search who, what, where  ( / )",
        value: asked("q"),
        onInput: (/** @type {any} */ event) => ask({ q: event.currentTarget.value }),
      }),
      h(Choice, {
        label: "Show by result",
        value: result,
        set: (value) => ask({ result: value }),
        options: [
          ["", "Any result"],
          ...Object.keys(RESULTS).map(
            (name) =>
              /** @type {[string, string]} */ ([
                name,
                name === "ok" ? "OK" : name.charAt(0).toUpperCase() + name.slice(1),
              ]),
          ),
        ],
      }),
      h(Choice, { label: "From when on", value: span, set: (value) => ask({ span: value }), options: SPANS }),
      h(
        "span",
        { class: "quiet", role: "status" },
        entries
          ? isFiltered
            ? `${shown.length} of ${counted(entries.length, "entry", "entries")} that were read`
            : `${counted(entries.length, "entry", "entries")}${next === null ? "" : ", there are older ones"}`
          : "",
      ),
    ),
    error
      ? h(Fault, {
          key: "fault",
          error,
          what: "The audit log could not be read",
          action: h("button", { type: "button", onClick: () => (entries ? older() : setTurn(turn + 1)) }, "Try again"),
        })
      : null,
    !entries && !error && h("p", { key: "l", class: "loading" }, "Reading…"),
    entries &&
      (shown.length > 0
        ? h(
            "div",
            { key: "list", class: isStale.value ? "stale" : "" },
            h(List, { label: "Audit log", columns: COLUMNS, rows: shown, keyOf: (entry) => entry.id }),
          )
        : h(
            "div",
            { key: "none", class: "empty" },
            h("p", null, isFiltered ? "Nothing that was read is like that." : "Nothing is recorded."),
          )),
    entries &&
      next !== null &&
      entries.length < MAX_KEPT &&
      h(
        "p",
        { key: "more" },
        h(
          "button",
          { type: "button", "aria-disabled": isReading ? "true" : undefined, onClick: older },
          isReading ? "Reading…" : "Older entries",
        ),
      ),
  ];
}

const COLUMNS = [
  { name: "When", show: (/** @type {any} */ entry) => h(Moment, { ms: entry.at_ms }) },
  {
    name: "Who",
    show: (/** @type {any} */ entry) => [
      h("bdi", { key: "n" }, entry.actor.name),
      entry.actor.role && h("span", { key: "r", class: "quiet" }, ` ${entry.actor.role}`),
    ],
  },
  { name: "What", show: (/** @type {any} */ entry) => h("code", null, entry.action) },
  { name: "Of", kind: "wide", show: (/** @type {any} */ entry) => h(AuditTarget, { target: entry.target }) },
  {
    name: "Result",
    show: (/** @type {any} */ entry) =>
      h(State, { tone: RESULTS[entry.result] ?? "quiet", word: entry.result === "ok" ? "OK" : entry.result }),
  },
  { name: "From", show: (/** @type {any} */ entry) => h("span", { class: "mono" }, entry.address ?? "–") },
  {
    name: "Details",
    show: (/** @type {any} */ entry) =>
      h(
        "details",
        null,
        h("summary", null, entry.details?.code ?? "Details"),
        h(Json, { value: { ...entry.details, request_id: entry.request_id } }),
      ),
  },
];

/** @param {any} entry */
function textOf(entry) {
  return `${entry.actor.name} ${entry.actor.role ?? ""} ${entry.action} ${entry.target ?? ""} ${gatewayNameIn(entry.target)} ${entry.address ?? ""} ${entry.details?.code ?? ""} ${entry.request_id ?? ""}`.toLowerCase();
}

/** Both, each entry once, the newest first. @param {any[]} some @param {any[]} others */
function joined(some, others) {
  const known = new Map([...others, ...some].map((entry) => [entry.id, entry]));
  return [...known.values()].sort((a, b) => b.id - a.id).slice(0, MAX_KEPT);
}
