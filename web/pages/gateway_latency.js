// Latency of a gateway over time: a picture, the same as a table, and what it comes to.
import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import { get } from "../api.js";
import { Fault, Moment, PlainTable } from "../components/basics.js";
import { LatencyChart } from "../components/chart.js";
import { Choice } from "../components/list.js";
import { capitalized, counted, duration, milliseconds } from "../format.js";
import { serverNow } from "../time.js";

/** How often it is read anew. */
const EVERY_MS = 60_000;
/** Round trips that are kept while the page is open: those of an hour. */
const MAX_SEEN = 3_600;

/** Hours, length of a bucket, its seconds, and words. @type {[string, string, number, string][]} */
const SPANS = [
  ["1", "5m", 300, "the last hour"],
  ["24", "15m", 900, "the last 24 hours"],
  ["168", "1h", 3600, "the last 7 days"],
];

/** @param {number[]} sorted @param {number} percent */
function percentile(sorted, percent) {
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] ?? null;
}

/**
 * What this page saw itself, in buckets, where the daemon has written none down yet: it does so every few minutes.
 * @param {{at: number, p50: number | null, p95: number | null, count: number}[]} buckets
 * @param {{at: number, ms: number}[]} seen
 * @param {number} length Seconds.
 */
function completed(buckets, seen, length) {
  const written = new Set(buckets.filter(({ p50 }) => typeof p50 === "number").map(({ at }) => at));
  /** @type {Map<number, number[]>} */
  const own = new Map();
  for (const { at, ms } of seen) {
    const begin = at - (at % length);
    if (!written.has(begin)) own.set(begin, [...(own.get(begin) ?? []), ms]);
  }
  const made = [...own].map(([at, all]) => {
    const sorted = all.sort((a, b) => a - b);
    return { at, p50: percentile(sorted, 50), p95: percentile(sorted, 95), count: sorted.length };
  });
  return [...buckets.filter(({ at }) => !own.has(at)), ...made].sort((a, b) => a.at - b.at);
}

/** @param {{id: number, row?: import("../types.js").Row, createdAt: number}} props `createdAt` in seconds. */
export function LatencyPanel({ id, row, createdAt }) {
  const [answer, setAnswer] = useState(/** @type {any} */ (null));
  const [error, setError] = useState(/** @type {unknown} */ (null));
  const [isTable, setTable] = useState(false);
  const [hours, setHours] = useState(() => (serverNow() / 1000 - createdAt < 2 * 3600 ? "1" : "24"));
  const [seen, setSeen] = useState(/** @type {{at: number, ms: number}[]} */ ([]));
  const span = SPANS.find(([name]) => name === hours) ?? SPANS[1];
  const [, bucket = "15m", length = 900, words = ""] = span ?? [];
  const { latency, last_seen: at, status } = row ?? {};
  useEffect(() => {
    if (latency != null && at != null && (status === "online" || status === "degraded"))
      setSeen((before) => (before.at(-1)?.at === at ? before : [...before, { at, ms: latency }].slice(-MAX_SEEN)));
  }, [latency, at, status]);
  useEffect(() => {
    const ended = new AbortController();
    const read = async () => {
      try {
        setAnswer(await get(`/api/gateways/${id}/latency?bucket=${bucket}&hours=${hours}`, ended.signal));
        setError(null);
      } catch (fault) {
        if (!ended.signal.aborted) setError(fault);
      }
    };
    read();
    const again = setInterval(() => !document.hidden && read(), EVERY_MS);
    return () => {
      ended.abort();
      clearInterval(again);
    };
  }, [id, hours]);
  const data = answer && of(answer, seen, length);
  const known = data?.buckets.filter((/** @type {any} */ one) => one.p50 !== null && one.p50 !== undefined) ?? [];
  return h(
    "section",
    { class: "panel" },
    h(
      "div",
      { class: "page-head" },
      h("h2", null, `Latency of ${words}`),
      h(
        "div",
        { class: "buttons" },
        h(Choice, {
          label: "Time of the latency",
          value: hours,
          set: setHours,
          options: SPANS.map(
            ([name, , , text]) => /** @type {[string, string]} */ ([name, text.replace("the last", "Last")]),
          ),
        }),
        data &&
          h("button", { type: "button", "aria-pressed": isTable, onClick: () => setTable(!isTable) }, "As a table"),
      ),
    ),
    error ? h(Fault, { error, what: "The latency could not be read" }) : null,
    data && known.length === 0 && h("p", { class: "quiet" }, "Nothing was measured in this time."),
    known.length > 0 && h(LatencyChart, { key: hours, data, words }),
    data?.outages.length > 0 && h("p", { class: "quiet" }, inAll("Not online", data.outages)),
    data?.gaps.length > 0 &&
      h("p", { class: "quiet" }, `${inAll("Not observed", data.gaps)} The picture has it in gray.`),
    data && isTable && h(AsTable, { known, outages: data.outages, gaps: data.gaps }),
  );
}

/** Without a line over the time in which nothing was measured. @param {any[]} buckets @param {number} length */
function broken(buckets, length) {
  const before = (/** @type {number} */ at) => buckets[at - 1]?.at ?? Number.POSITIVE_INFINITY;
  return buckets.flatMap((bucket, at) =>
    bucket.at - before(at) > length ? [{ at: before(at) + length, p50: null, p95: null, count: 0 }, bucket] : [bucket],
  );
}

/** A sum of times, in words. @param {string} what @param {{from: number, to: number}[]} times */
function inAll(what, times) {
  const seconds = times.reduce((sum, { from, to }) => sum + to - from, 0);
  return `${what} ${counted(times.length, "time")}, ${seconds < 1 ? "less than a second" : duration(seconds)} in all.`;
}

/** What lasts ends where the picture does. @param {any} answer @param {{at: number, ms: number}[]} seen @param {number} length */
function of({ from, to: asked, gateways, not_observed: gaps = [] }, seen, length) {
  const { buckets, outages } = gateways[0];
  const to = Math.max(asked, seen.at(-1)?.at ?? 0);
  return {
    from,
    to,
    buckets: broken(
      completed(
        buckets,
        seen.filter(({ at }) => at >= from),
        length,
      ),
      length,
    ),
    outages: outages.map((/** @type {any} */ one) => ({ ...one, to: one.to ?? to })),
    gaps: gaps
      .filter((/** @type {any} */ gap) => gap.to > from)
      .map((/** @type {any} */ gap) => ({ ...gap, from: Math.max(gap.from, from) })),
  };
}

/** @param {{known: any[], outages: any[], gaps: any[]}} props */
function AsTable({ known, outages, gaps }) {
  const away = [...outages, ...gaps.map((gap) => ({ ...gap, status: "not observed" }))].sort((a, b) => b.from - a.from);
  return h(
    "div",
    { class: "scroll", tabIndex: 0, role: "region", "aria-label": "Latency as a table" },
    h(
      PlainTable,
      { names: ["From", "Median", "95th percentile", "Measurements"] },
      [...known]
        .reverse()
        .map((bucket) =>
          h(
            "tr",
            { key: bucket.at },
            h("td", null, h(Moment, { ms: bucket.at * 1000 })),
            h("td", null, milliseconds(bucket.p50)),
            h("td", null, milliseconds(bucket.p95)),
            h("td", null, bucket.count),
          ),
        ),
    ),
    away.length > 0 &&
      h(
        PlainTable,
        { names: ["Not online, or not observed, from", "Until", "As"] },
        away.map((one) =>
          h(
            "tr",
            { key: one.from },
            h("td", null, h(Moment, { ms: one.from * 1000 })),
            h("td", null, h(Moment, { ms: one.to * 1000 })),
            h("td", null, capitalized(one.status)),
          ),
        ),
      ),
  );
}
