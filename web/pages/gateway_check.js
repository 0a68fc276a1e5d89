// The way to a gateway step by step, before it is saved: the steps of `gatewarden check`, each as soon as it is done.
import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { postStream, Refusal } from "../api.js";
import { Fault, Notice } from "../components/basics.js";
import { State } from "../components/list.js";
import { milliseconds, plainWords, visible } from "../format.js";

/** @type {[string, string][]} */
const STEPS = [
  ["dns", "Name (DNS)"],
  ["tcp", "Connection (TCP)"],
  ["tls", "Encryption (TLS)"],
  ["http", "Health (HTTP)"],
  ["upgrade", "WebSocket"],
  ["handshake", "Login"],
  ["scopes", "Scopes"],
  ["clock", "Clock"],
];

/** @type {Record<string, ["good" | "warn" | "bad" | "quiet", string]>} */
const RESULTS = { ok: ["good", "OK"], odd: ["warn", "Odd"], failed: ["bad", "Failed"], skipped: ["quiet", "Skipped"] };

/** @typedef {{step: string, result: string, detail: string, took_ms: number | null}} Step */

/**
 * @param {object} props
 * @param {() => Record<string, any>} props.bodyOf What would be saved.
 * @param {(fault: unknown) => void} props.fail Marks what is wrong in the form.
 * @param {(problems: Record<string, string>) => Record<string, string>} props.placed
 */
export function WayCheck({ bodyOf, fail, placed }) {
  const [steps, setSteps] = useState(/** @type {Step[]} */ ([]));
  const [report, setReport] = useState(/** @type {any} */ (null));
  const [error, setError] = useState(/** @type {unknown} */ (null));
  const [checked, setChecked] = useState("");
  const [isRunning, setRunning] = useState(false);
  const ended = useRef(/** @type {AbortController | null} */ (null));
  useEffect(() => () => ended.current?.abort(), []);
  const textOf = () => {
    try {
      const { name, labels, priority, drained, is_primary, ...rest } = bodyOf();
      return JSON.stringify(rest);
    } catch {
      return "";
    }
  };
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    // The results are below what could be seen.
    if (report) place.current?.scrollIntoView({ block: "nearest" });
  }, [report]);
  const run = async () => {
    if (isRunning) return ended.current?.abort();
    const controller = new AbortController();
    ended.current = controller;
    setRunning(true);
    setSteps([]);
    setReport(null);
    setError(null);
    fail(null);
    let isWhole = false;
    try {
      setChecked(textOf());
      await postStream(
        "/api/gateways/check",
        bodyOf(),
        (line) => {
          if (line.steps) {
            isWhole = true;
            setReport(line);
            setSteps(line.steps);
          } else setSteps((before) => [...before, line]);
        },
        controller.signal,
      );
      if (!isWhole)
        setError(new Refusal(0, { error: "The check did not come to its end", help: "Check again." }, null));
    } catch (fault) {
      if (fault instanceof Refusal && Object.keys(fault.fields).length > 0) {
        fault.fields = placed(fault.fields);
        fail(fault);
      } else if (!controller.signal.aborted) setError(fault);
    }
    setRunning(false);
  };
  const isOld = checked !== "" && !isRunning && checked !== textOf();
  return h(
    "section",
    { class: "way", ref: place, "aria-label": "Check of the connection" },
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "button", onClick: run }, isRunning ? "Stop the check" : "Check the connection"),
      h(
        "span",
        { class: "quiet", role: "status" },
        isRunning
          ? `Checking: ${STEPS.find(([name]) => !steps.some(({ step }) => step === name))?.[1] ?? "the end"}…`
          : report
            ? isOld
              ? "The address or what goes with it was changed since this check"
              : report.ok
                ? "Everything is fine"
                : "It would not be online"
            : steps.length > 0
              ? "Stopped"
              : "Nothing is saved by it",
      ),
    ),
    error ? h(Fault, { error, what: "The connection was not checked" }) : null,
    steps.length > 0 &&
      h(
        "ol",
        { class: `steps ${isOld ? "stale" : ""}` },
        STEPS.map(([name, text]) => {
          const step = steps.find((one) => one.step === name);
          if (!step) return null;
          const [tone, word] = RESULTS[step.result] ?? ["quiet", step.result];
          return h(
            "li",
            { key: name },
            h(State, { tone, word }),
            h("strong", null, text),
            h(
              "span",
              null,
              step.result === "failed" ? "" : visible(step.detail),
              step.took_ms !== null && h("span", { class: "quiet" }, ` ${milliseconds(step.took_ms)}`),
            ),
          );
        }),
      ),
    report?.cause &&
      h(
        Notice,
        { kind: "bad", title: visible(report.cause.message) },
        plainWords(report.cause.help).replace(" (Edit)", ""),
      ),
  );
}
