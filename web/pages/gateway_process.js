// A gateway that is a process of the daemon's machine: how it runs, and its start, stop, restart and diagnosis.
import { h } from "preact";
import { useState } from "preact/hooks";
import { post } from "../api.js";
import { Age, Facts, Fault, Notice, PlainTable, say, sayFault } from "../components/basics.js";
import { capitalized, counted, plainWords, visible } from "../format.js";
import { may } from "../live.js";
import { fullTime } from "../time.js";

/** @param {any} process */
function lastStart({ verified, missing }) {
  if (verified === "yes") return "Verified: a new process, and connected";
  if (verified === "no") return `Not verified: ${missing.join(", ")}`;
  return verified === "pending" ? "Being verified" : "–";
}

/** What is wrong, its processes, and what it said last. @param {{diagnosis: any}} props */
function Diagnosis({ diagnosis: { findings, program, members, output, output_dropped: dropped } }) {
  return h(
    "section",
    { "aria-label": "Diagnosis" },
    h("h2", null, "Diagnosis"),
    findings.length === 0
      ? h("p", null, "Nothing wrong was found.")
      : h(
          "ul",
          null,
          findings.map((/** @type {string} */ finding) => h("li", { key: finding }, visible(plainWords(finding)))),
        ),
    program && h("p", { class: "quiet" }, "It runs ", h("code", null, visible(program))),
    members.length > 0 &&
      h(
        PlainTable,
        { names: ["Process id", "Parent", "State", "Program"] },
        members.map((/** @type {any} */ { pid, parent, state, name }) =>
          h(
            "tr",
            { key: pid },
            [pid, parent, state, visible(name)].map((value, at) => h("td", { key: at }, value)),
          ),
        ),
      ),
    output.length > 0 && [
      h(
        "p",
        { key: "p" },
        "It said last",
        dropped > 0 ? `, after ${counted(dropped, "line")} that ${dropped === 1 ? "is" : "are"} not kept:` : ":",
      ),
      h(
        "div",
        { key: "l", class: "log", tabIndex: 0, role: "log", "aria-label": "What it said last", "aria-live": "off" },
        output.map((/** @type {any} */ { timestamp, text }, /** @type {number} */ at) =>
          h("div", { key: at }, `${fullTime(timestamp)} ${visible(text)}`),
        ),
      ),
    ],
  );
}

/** @param {{gateway: any}} props */
export function ProcessPanel({ gateway }) {
  const { process } = gateway;
  const [running, setRunning] = useState("");
  const [diagnosis, setDiagnosis] = useState(/** @type {any} */ (null));
  const [fault, setFault] = useState(/** @type {unknown} */ (null));
  const path = `/api/gateways/${gateway.id}/process`;
  const order = async (/** @type {string} */ action) => {
    if (running) return;
    setRunning(action);
    try {
      await post(path, { action });
      say(`${capitalized(action)} of ${gateway.name} succeeded`);
    } catch (error) {
      sayFault(`${capitalized(action)} of ${gateway.name} failed`, error);
    }
    setRunning("");
  };
  const diagnose = async () => {
    if (running) return;
    setRunning("diagnose");
    try {
      setDiagnosis((await post(path, { action: "diagnose" })).process.diagnosis);
      setFault(null);
    } catch (error) {
      setFault(error);
    }
    setRunning("");
  };
  return h(
    "section",
    { class: "panel" },
    h("h2", null, "Process on the daemon's machine"),
    process &&
      h(Facts, {
        rows: [
          ["Run by", `${process.kind} ${process.name}`],
          ["State", capitalized(process.state)],
          ["Since", h(Age, { at: process.since })],
          ["Last start", lastStart(process)],
          ["Process id", process.pid ?? "–"],
          ["Restarts by itself", process.restarts],
          ["Memory", process.memory_bytes ? `${Math.round(process.memory_bytes / 1048576)} MiB` : "–"],
          ["Last end", process.last_end ? process.last_end.message : "–"],
          ["Next start", process.next_start ? h(Age, { at: process.next_start, ahead: true }) : "–"],
        ],
      }),
    process?.reason && h(Notice, { kind: "warn" }, visible(capitalized(plainWords(process.reason)))),
    may("admin")
      ? h(
          "p",
          { class: "buttons" },
          ["start", "stop", "restart", "diagnose"].map((action) =>
            h(
              "button",
              {
                key: action,
                type: "button",
                "aria-disabled": running ? "true" : undefined,
                onClick: () => (action === "diagnose" ? diagnose() : order(action)),
              },
              running === action ? "Waiting for the outcome…" : capitalized(action),
            ),
          ),
        )
      : h("p", { class: "quiet" }, "Starting, stopping and diagnosing needs a key with the role admin."),
    fault ? h(Fault, { error: fault, what: "It could not be diagnosed" }) : null,
    diagnosis && h(Diagnosis, { diagnosis }),
  );
}
