// The log of one gateway: read when it is asked for, followed as long as that is wanted. Gaps are marked.
import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { get } from "../api.js";
import { Fault } from "../components/basics.js";
import { may } from "../live.js";
import { fullTime } from "../time.js";

/** Entries that are kept in the page. */
const MOST = 300;

/** @param {{id: number, name: string}} props */
export function LogPanel({ id, name }) {
  const [mode, setMode] = useState("closed");
  if (!may("operator"))
    return h(
      "section",
      { class: "panel" },
      h("h2", null, "Log"),
      h("p", { class: "quiet" }, "Reading the log needs a key with the role operator."),
    );
  return h(
    "section",
    { class: "panel" },
    h(
      "div",
      { class: "page-head" },
      h("h2", null, "Log"),
      h(
        "div",
        { class: "buttons" },
        h(
          "button",
          {
            type: "button",
            "aria-pressed": mode === "shown",
            onClick: () => setMode(mode === "shown" ? "closed" : "shown"),
          },
          "Show",
        ),
        h(
          "button",
          {
            type: "button",
            "aria-pressed": mode === "followed",
            onClick: () => setMode(mode === "followed" ? "shown" : "followed"),
          },
          "Follow",
        ),
      ),
    ),
    mode !== "closed" && h(Log, { key: mode, id, name, follows: mode === "followed" }),
  );
}

/** @param {{id: number, name: string, follows: boolean}} props */
function Log({ id, name, follows }) {
  const [entries, setEntries] = useState(/** @type {any[] | null} */ (null));
  const [error, setError] = useState(/** @type {unknown} */ (null));
  const [filter, setFilter] = useState("");
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  const isAtEnd = useRef(true);
  useEffect(() => {
    const ended = new AbortController();
    const add = (/** @type {any} */ entry) =>
      setEntries((before) => [...(before ?? []), { ...entry, at: nextEntry++ }].slice(-MOST));
    const gap = (/** @type {string} */ message) => add({ gap: true, message });
    if (!follows) {
      get(`/api/gateways/${id}/logs?limit=200`, ended.signal).then(
        ({ logs }) => setEntries(logs.map((/** @type {any} */ entry) => ({ ...entry, at: nextEntry++ }))),
        (fault) => !ended.signal.aborted && setError(fault),
      );
      return () => ended.abort();
    }
    setEntries([]);
    const source = new EventSource(`/api/gateways/${id}/logs?follow=true&limit=100`);
    source.addEventListener("log", (event) => add(JSON.parse(event.data).data));
    for (const [type, words] of Object.entries({
      reset: "Entries may be missing here",
      lagged: "Entries were left out: they came faster than this page reads",
      interrupted: "The gateway is away",
      resumed: "The gateway is back",
    })) {
      source.addEventListener(type, (event) => gap(`${words}. ${messageOf(event)}`));
    }
    source.addEventListener("end", (event) => {
      gap(`The end. ${messageOf(event)}`);
      source.close();
    });
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) return gap("The daemon is away; entries may be missing here");
      // A refusal says nothing to scripts: a request does.
      get(`/api/gateways/${id}/logs?limit=1`, ended.signal).catch((fault) => !ended.signal.aborted && setError(fault));
    };
    return () => {
      ended.abort();
      source.close();
    };
  }, [id, follows]);
  useEffect(() => {
    if (isAtEnd.current && place.current) place.current.scrollTop = place.current.scrollHeight;
  }, [entries]);
  const scrolled = (/** @type {any} */ { currentTarget: { scrollTop, scrollHeight, clientHeight } }) => {
    isAtEnd.current = scrollHeight - scrollTop - clientHeight < 24;
  };
  const wanted = filter.toLowerCase();
  const shown = entries?.filter(
    (entry) => entry.gap || !wanted || `${entry.level} ${entry.source} ${entry.message}`.toLowerCase().includes(wanted),
  );
  return [
    error ? h(Fault, { key: "f", error }) : null,
    h(
      "p",
      { key: "filter" },
      h("input", {
        type: "search",
        "aria-label": "Filter the log",
        placeholder: "Filter: hides entries, loses none",
        value: filter,
        onInput: (/** @type {any} */ event) => setFilter(event.currentTarget.value),
      }),
    ),
    h(
      "div",
      {
        key: "log",
        class: "log",
        ref: place,
        onScroll: scrolled,
        tabIndex: 0,
        role: "log",
        "aria-label": `Log of ${name}`,
        "aria-live": "off",
      },
      shown?.map((entry) =>
        entry.gap
          ? h("div", { key: entry.at, class: "gap" }, `── ${entry.message}`)
          : h(
              "div",
              { key: entry.at, class: entry.level ?? "" },
              entry.timestamp ? `${fullTime(entry.timestamp)} ` : "",
              `${entry.level ?? ""} ${entry.source ?? ""}: ${entry.message}`,
            ),
      ),
      shown?.length === 0 && (follows ? "Waiting for entries…" : "The log is empty."),
      !entries && !error && "Reading…",
    ),
  ];
}

let nextEntry = 1;

/** @param {Event} event */
function messageOf(event) {
  try {
    return JSON.parse(/** @type {MessageEvent} */ (event).data).message ?? "";
  } catch {
    return "";
  }
}
