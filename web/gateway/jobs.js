// Scheduled jobs: when each runs next, how it went last, and what can be done with it.
import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Age, Fault, Moment, Notice } from "../components/basics.js";
import { List, Pager, State } from "../components/rows.js";
import { duration, visible } from "../format.js";
import { Act } from "./acts.js";
import { openJobForm } from "./job_form.js";
import { useAnswers } from "./reading.js";
import { openTalk } from "./talk.js";

/** Jobs on a page. */
const JOBS_ON_A_PAGE = 50;

/** @param {{schedule: any}} props */
function Schedule({ schedule: { kind, at, everyMs, expr, tz } }) {
  if (kind === "at") {
    // The gateway reads more forms than a browser does.
    const ms = /^\d+$/.test(at) ? Number(at) : Date.parse(zoned(at));
    return ["once, ", Number.isNaN(ms) ? visible(at) : h(Moment, { key: "m", ms })];
  }
  if (kind === "every") return `every ${duration(everyMs / 1000)}`;
  return [h("code", { key: "e" }, visible(expr ?? kind)), tz && ` ${visible(tz)}`];
}

/** A time without an offset is in UTC. @param {string} text */
function zoned(text) {
  const at = text.trim().replace(/^(\d{4}-\d\d-\d\d) /, "$1T");
  return /T.*(Z|[+-]\d\d:?\d\d)$/i.test(at) || !at.includes("T") ? at : `${at}Z`;
}

/** @param {any} job */
function Next({ enabled, nextRunAtMs, state, schedule }) {
  if (state.runningAtMs) return h(State, { tone: "busy", word: "at work" });
  if (!enabled) return h(State, { tone: "quiet", word: "switched off" });
  if (nextRunAtMs) return h(Age, { at: nextRunAtMs / 1000, ahead: true });
  return schedule.kind === "at" ? "Never: its time is past" : "Not known";
}

/** @param {any} job */
function Last({ lastRunAtMs, lastRunStatus, lastRunError, state: { autoDisabled } }) {
  if (!lastRunAtMs) return "Never";
  const isGood = lastRunStatus === "ok";
  return [
    lastRunStatus && h(State, { key: "s", tone: isGood ? "good" : "bad", word: isGood ? "done" : "failed" }),
    " ",
    h(Age, { key: "a", at: lastRunAtMs / 1000 }),
    !isGood && lastRunError && h("div", { key: "e", class: "quiet" }, visible(lastRunError.slice(0, 300))),
    autoDisabled &&
      h("div", { key: "d", class: "problem" }, `Switched off after ${autoDisabled.consecutiveErrors} failures.`),
  ];
}

/** Where the answer goes, and how that went last. @param {{job: any, preview: any}} props */
function Told({ job: { delivery, state }, preview }) {
  if (!delivery || delivery.mode === "none") return "Its session";
  const status = state.lastDeliveryStatus;
  const why = state.lastDeliveryError ?? suppressed(state.lastDeliverySuppressionReason);
  return [
    h("div", { key: "t" }, visible(delivery.mode === "webhook" ? hostOf(delivery.to) : (preview?.label ?? "A chat"))),
    status === "delivered" && h(State, { key: "s", tone: "good", word: "delivered" }),
    status === "not-delivered" &&
      !why.startsWith("Nothing") &&
      h(State, { key: "s", tone: "bad", word: "not delivered" }),
    status === "unknown" && h(State, { key: "s", tone: "warn", word: "not known" }),
    status !== "delivered" && why && h("div", { key: "w", class: "quiet" }, visible(why.slice(0, 300))),
    !status && preview && !/^(explicit|webhook|resolved)/.test(preview.detail)
      ? h("div", { key: "p", class: "quiet" }, visible(preview.detail))
      : null,
  ];
}

/** @param {string} [reason] */
function suppressed(reason) {
  if (reason === "empty" || reason === "silent") return "Nothing was to be told";
  return reason ? `Nothing was sent: ${reason}` : "";
}

/** What comes after the host may be a secret. @param {string} url */
function hostOf(url) {
  try {
    return `Webhook at ${new URL(url).host}`;
  } catch {
    return "A webhook";
  }
}

/** Whether it runs in a session of its own, which is deleted with it. @param {any} job */
function hasOwnSession({ sessionTarget, payload }) {
  return (sessionTarget ?? (payload.kind === "systemEvent" ? "main" : "isolated")) === "isolated";
}

/** @param {{job: any}} props Its name; a link to what was said, where it has a conversation of its own. */
function JobName({ job }) {
  const { id, name, description, effectiveAgentId, lastRunAtMs } = job;
  const words = h("bdi", null, visible(name));
  const open = () => openTalk(`agent:${effectiveAgentId}:cron:${id}`);
  return [
    lastRunAtMs && hasOwnSession(job)
      ? h("a", { key: "n", href: "#chat", onClick: open }, words)
      : h("span", { key: "n", class: "strong" }, words),
    description && h("div", { key: "d", class: "quiet" }, visible(description)),
  ];
}

/** @param {{job: any, done: () => void}} props */
function JobActions({ job, done }) {
  const { id, name, enabled, state } = job;
  const kept = hasOwnSession(job) ? "Its conversation is deleted with it" : "What was said stays in its session";
  return h(
    "div",
    { class: "buttons many" },
    !state.runningAtMs &&
      h(Act, {
        name: "Run now",
        call: ["cron.run", { id }],
        done,
        said: ({ ran }) => (ran === false ? `${name} is at work already` : `${name} was begun`),
      }),
    h(Act, {
      name: enabled ? "Switch off" : "Switch on",
      call: ["cron.update", { id, patch: { enabled: !enabled } }],
      done,
    }),
    h("button", { type: "button", onClick: () => openJobForm(job, done) }, "Change"),
    h(Act, {
      name: "Remove",
      call: ["cron.remove", { id }],
      done,
      question: {
        title: "Remove this job?",
        of: name,
        effect: `${kept}; a run that is under way goes on to its end. This can't be undone.`,
      },
    }),
  );
}

export function JobsPage() {
  const [offset, setOffset] = useState(0);
  const { answers, error, again } = useAnswers(
    { listed: ["cron.list", { includeDisabled: true, limit: JOBS_ON_A_PAGE, offset }], status: ["cron.status"] },
    (event) => event === "cron" || event === "config.changed",
  );
  const total = answers?.listed.total ?? 0;
  // The last job of a page may have ended.
  useEffect(() => {
    if (answers && offset > 0 && offset >= total) setOffset(Math.max(0, offset - JOBS_ON_A_PAGE));
  }, [answers, total, offset]);
  const title = h("h1", { key: "h", tabIndex: -1 }, "Jobs");
  const fault = error ? h(Fault, { key: "f", error, what: "The jobs could not be read" }) : null;
  if (!answers) return [title, fault ?? h("p", { key: "l", class: "loading" }, "Reading…")];
  const { jobs, deliveryPreviews = {} } = answers.listed;
  return [
    title,
    fault,
    h(
      "div",
      { key: "b", class: "buttons" },
      h("button", { type: "button", class: "main", onClick: () => openJobForm(null, again) }, "Add job"),
    ),
    !answers.status.enabled &&
      h(
        Notice,
        { key: "o", kind: "warn", title: "No job runs by itself:" },
        "cron.enabled is false in the configuration. Run now works.",
      ),
    total === 0
      ? h("p", { key: "n" }, "There are no scheduled jobs.")
      : h(List, {
          key: "j",
          label: "Jobs",
          rows: jobs,
          keyOf: (job) => job.id,
          columns: [
            { name: "Job", kind: "wide", show: (job) => h(JobName, { job }) },
            { name: "Agent", show: (job) => visible(job.effectiveAgentId ?? "") },
            { name: "Runs", show: (job) => h(Schedule, job) },
            { name: "Next", show: (job) => h(Next, job) },
            { name: "Answer", show: (job) => h(Told, { job, preview: deliveryPreviews[job.id] }) },
            { name: "Last", show: (job) => h(Last, job) },
            { name: "Actions", hideName: true, show: (job) => h(JobActions, { job, done: again }) },
          ],
        }),
    h(Pager, { key: "p", part: { total, limit: JOBS_ON_A_PAGE, offset }, move: setOffset }),
    h(
      "p",
      { key: "w", class: "quiet" },
      "Jobs are also made with ",
      h("code", null, "gatewarden gateway cron add"),
      " or ",
      h("code", null, "openclaw cron add"),
      ", and changed with ",
      h("code", null, "openclaw cron edit"),
      ".",
    ),
  ];
}
