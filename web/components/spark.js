// Latency of the last hours in a line, of the rows that are in sight: read slowly, and many gateways at once.
import { signal } from "@preact/signals";
import { h } from "preact";
import { get } from "../api.js";
import { isStale } from "../live.js";

/** How old a line may be, and how long a row is in sight before it is read. */
const KEPT_MS = 60_000;
const PAUSE_MS = 400;
/** The daemon tells of no more in one answer. */
const MAX_IDS = 100;
/** What is drawn: so many buckets of 15 minutes. */
const HOURS = 6;
const BUCKET_S = 900;
const WIDTH = 60;
const HEIGHT = 13;

/** Lines by gateway, and when they were read. @type {import("@preact/signals").Signal<Map<number, {at: number, line: string, away: string}>>} */
const lines = signal(new Map());
/** @type {number[]} */
let inSight = [];
/** @type {any} */
let sparkTimer = null;

/** @param {number[]} ids Of the rows in sight. */
export function watchLatency(ids) {
  inSight = ids;
  clearTimeout(sparkTimer);
  if (ids.length > 0) sparkTimer = setTimeout(readLines, PAUSE_MS);
}

async function readLines() {
  const isOld = (/** @type {number} */ id) => performance.now() - (lines.peek().get(id)?.at ?? -KEPT_MS) >= KEPT_MS;
  const wanted = inSight.filter(isOld).slice(0, MAX_IDS);
  if (wanted.length > 0 && !document.hidden && !isStale.peek()) {
    try {
      const { from, gateways } = await get(`/api/gateways/latency?ids=${wanted}&bucket=15m&hours=${HOURS}`);
      // Of rows that have left the sight nothing is kept.
      const kept = new Map([...lines.peek()].filter(([id]) => inSight.includes(id)));
      for (const { gateway_id: id, buckets, outages } of gateways)
        kept.set(id, { at: performance.now(), ...drawn(from, buckets, outages) });
      lines.value = kept;
    } catch {
      // A row without a line says as much as before; the next turn tries again.
    }
  }
  clearTimeout(sparkTimer);
  sparkTimer = setTimeout(readLines, KEPT_MS);
}

/** Paths of the line, and of the times in which it was away. @param {number} from @param {any[]} buckets @param {any[]} outages */
function drawn(from, buckets, outages) {
  const known = buckets.filter(({ p50 }) => typeof p50 === "number");
  const top = Math.max(50, ...known.map(({ p50 }) => p50));
  const x = (/** @type {number} */ at) =>
    Math.round((Math.min(Math.max(at - from, 0), HOURS * 3600) / (HOURS * 3600)) * WIDTH * 10) / 10;
  let line = "";
  let before = 0;
  for (const { at, p50 } of known) {
    const y = Math.round((HEIGHT - 1 - (p50 / top) * (HEIGHT - 2)) * 10) / 10;
    // A bucket in which nothing was measured breaks the line; one alone is a dot.
    line += at - before > BUCKET_S ? `M${x(at)} ${y}h1` : `L${x(at)} ${y}`;
    before = at;
  }
  const away = outages
    .map(({ from: began, to }) => {
      // However short it was, it can be seen.
      const left = Math.min(x(began), WIDTH - 2);
      return `M${left} ${HEIGHT}H${Math.max(x(to ?? from + HOURS * 3600), left + 2)}`;
    })
    .join("");
  return { line, away };
}

/** @param {{id: number}} props */
export function Spark({ id }) {
  const known = lines.value.get(id);
  if (!known || !(known.line || known.away)) return null;
  return h(
    "svg",
    { class: "spark", "aria-hidden": "true", viewBox: `0 0 ${WIDTH} ${HEIGHT + 1}`, width: WIDTH, height: HEIGHT + 1 },
    known.line && h("path", { d: known.line }),
    known.away && h("path", { class: "away", d: known.away }),
  );
}
