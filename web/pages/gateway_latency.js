// Latency of the last 24 hours: a picture, the same as a table, and what it comes to.
import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import { get } from "../api.js";
import { Fault, Moment, PlainTable } from "../components/basics.js";
import { LatencyChart } from "../components/chart.js";
import { capitalized, counted, duration, milliseconds } from "../format.js";

/** How often it is read anew. */
const EVERY_MS = 60_000;

/** @param {{id: number}} props */
export function LatencyPanel({ id }) {
  const [data, setData] = useState(/** @type {any} */ (null));
  const [error, setError] = useState(/** @type {unknown} */ (null));
  const [isTable, setTable] = useState(false);
  useEffect(() => {
    const ended = new AbortController();
    const read = async () => {
      try {
        const { from, to, gateways } = await get(`/api/gateways/${id}/latency?bucket=15m&hours=24`, ended.signal);
        const { buckets, outages } = gateways[0];
        // What lasts ends where the picture does.
        setData({
          from,
          to,
          buckets,
          outages: outages.map((/** @type {any} */ one) => ({ ...one, to: one.to ?? to })),
        });
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
  }, [id]);
  const known =
    data?.buckets?.filter((/** @type {any} */ bucket) => bucket.p50 !== null && bucket.p50 !== undefined) ?? [];
  return h(
    "section",
    { class: "panel" },
    h(
      "div",
      { class: "page-head" },
      h("h2", null, "Latency of the last 24 hours"),
      data && h("button", { type: "button", "aria-pressed": isTable, onClick: () => setTable(!isTable) }, "As a table"),
    ),
    error ? h(Fault, { error, what: "The latency could not be read" }) : null,
    data && known.length === 0 && h("p", { class: "quiet" }, "Nothing was measured yet."),
    data && known.length > 0 && h(LatencyChart, { data }),
    data?.outages?.length > 0 &&
      h(
        "p",
        { class: "quiet" },
        `Not online ${counted(data.outages.length, "time")}, ${duration(data.outages.reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + one.to - one.from, 0))} in all.`,
      ),
    data &&
      isTable &&
      h(
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
        data.outages.length > 0 &&
          h(
            PlainTable,
            { names: ["Not online from", "Until", "As"] },
            data.outages.map((/** @type {any} */ one) =>
              h(
                "tr",
                { key: one.from },
                h("td", null, h(Moment, { ms: one.from * 1000 })),
                h("td", null, h(Moment, { ms: one.to * 1000 })),
                h("td", null, capitalized(one.status)),
              ),
            ),
          ),
      ),
  );
}
