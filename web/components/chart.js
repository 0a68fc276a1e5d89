// Latency over time as a picture: median, 95th percentile, the line above which a gateway is slow, and bands where it was away.
import { h } from "preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { inUtc } from "../time.js";

/** Above this a gateway is slow, milliseconds. */
const SLOW_MS = 500;

/**
 * @typedef {object} Latencies
 * @property {number} from Seconds.
 * @property {number} to Seconds.
 * @property {{at: number, p50: number | null, p95: number | null, count: number}[]} buckets
 * @property {{from: number, to: number, status: string}[]} outages
 * @property {{from: number, to: number}[]} gaps When nothing was observed.
 */

/** A color of the style sheet, as canvases take it. @param {HTMLElement} element @param {string} name */
function colorOf(element, name) {
  element.style.color = `var(${name})`;
  const { color } = getComputedStyle(element);
  element.style.color = "";
  return color;
}

/** @param {{data: Latencies, words: string}} props */
export function LatencyChart({ data, words }) {
  const place = useRef(/** @type {HTMLDivElement | null} */ (null));
  const utc = inUtc.value;
  useEffect(() => {
    const element = place.current;
    if (!element) return;
    if (!document.querySelector("link[data-uplot]")) {
      const style = document.createElement("link");
      style.rel = "stylesheet";
      style.dataset.uplot = "";
      style.href = new URL("../vendor/uplot.css", import.meta.url).href;
      document.head.append(style);
    }
    /** @type {any} */
    let plot = null;
    const draw = () => {
      plot?.destroy();
      const [text, line, p50, p95, bad] = ["--quiet", "--line", "--link", "--warn", "--bad"].map((name) =>
        colorOf(element, name),
      );
      const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
      const bands = (/** @type {any} */ u) => {
        const { ctx, bbox } = u;
        ctx.save();
        const fill = (/** @type {string} */ color, /** @type {{from: number, to: number}[]} */ times) => {
          ctx.fillStyle = color;
          ctx.globalAlpha = 0.16;
          for (const { from, to } of times) {
            const left = Math.max(bbox.left, u.valToPos(from, "x", true));
            const right = Math.min(bbox.left + bbox.width, u.valToPos(to, "x", true));
            if (right > left) ctx.fillRect(left, bbox.top, Math.max(right - left, 2), bbox.height);
          }
        };
        fill(bad, data.outages);
        fill(text, data.gaps);
        ctx.restore();
      };
      const slow = (/** @type {any} */ u) => {
        const y = u.valToPos(SLOW_MS, "y", true);
        const { ctx, bbox } = u;
        if (y < bbox.top) return;
        ctx.save();
        ctx.strokeStyle = bad;
        ctx.setLineDash([6, 5]);
        ctx.beginPath();
        ctx.moveTo(bbox.left, y);
        ctx.lineTo(bbox.left + bbox.width, y);
        ctx.stroke();
        ctx.restore();
      };
      const ms = (/** @type {any} */ _, /** @type {any} */ value) =>
        value === null || value === undefined ? "–" : `${Math.round(value)} ms`;
      plot = new uPlot(
        {
          width: element.clientWidth,
          height: 220,
          tzDate: (/** @type {number} */ at) => (utc ? uPlot.tzDate(new Date(at * 1000), "UTC") : new Date(at * 1000)),
          scales: {
            x: { range: () => [data.from, data.to] },
            y: {
              range: (/** @type {any} */ _, /** @type {any} */ __, /** @type {number} */ max) => [
                0,
                Math.max(10, (max || 10) * 1.15),
              ],
            },
          },
          series: [
            { value: utc ? "{YYYY}-{MM}-{DD} {HH}:{mm}" : "{YYYY}-{MM}-{DD} {HH}:{mm}" },
            { label: "median", stroke: p50, width: 2, value: ms, points: { size: 4 } },
            { label: "95th percentile", stroke: p95, width: 1.5, dash: [4, 3], value: ms, points: { size: 4 } },
          ],
          axes: [
            {
              ...axis,
              values: [
                [3600, "{HH}:{mm}", "\n{YYYY}-{MM}-{DD}", null, null, null, null, null, 1],
                [60, "{HH}:{mm}", null, null, null, null, null, null, 1],
                [1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1],
              ],
            },
            {
              ...axis,
              size: 64,
              values: (/** @type {any} */ _, /** @type {number[]} */ splits) => splits.map((value) => `${value} ms`),
            },
          ],
          hooks: { drawClear: [bands], draw: [slow] },
        },
        [
          data.buckets.map(({ at }) => at),
          data.buckets.map((bucket) => bucket.p50),
          data.buckets.map((bucket) => bucket.p95),
        ],
        element,
      );
    };
    draw();
    const resized = new ResizeObserver(() => plot?.setSize({ width: element.clientWidth, height: 220 }));
    resized.observe(element);
    const themed = new MutationObserver(draw);
    themed.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", draw);
    return () => {
      resized.disconnect();
      themed.disconnect();
      system.removeEventListener("change", draw);
      plot?.destroy();
    };
  }, [data, utc]);
  return h("div", {
    class: "chart",
    ref: place,
    role: "img",
    "aria-label": `Latency of ${words}; the same as a table below`,
  });
}
