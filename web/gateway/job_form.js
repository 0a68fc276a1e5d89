// The form in which a job is made or changed: what an agent is told when, and where the ends of its runs are told.
import { h } from "preact";
import { say } from "../components/basics.js";
import { closeDialog, openDialog } from "../components/dialog.js";
import { Field, Form } from "../components/form.js";
import { callGateway } from "./link.js";

/** @typedef {Record<string, any>} Values What stands in the form. */

/** @type {[string, string][]} */
const TIMES = [
  ["cron", "At times (a cron expression)"],
  ["every", "In equal steps"],
  ["at", "Once"],
];

/** @type {[string, string][]} */
const PLACES = [
  ["none", "Nowhere else: it stays in its session"],
  ["chat", "A chat"],
  ["webhook", "A webhook"],
];

/** @type {[string, string][]} */
const CHANNELS = [
  ["last", "The one that was used last, or the only one"],
  ["telegram", "Telegram"],
  ["discord", "Discord"],
  ["whatsapp", "WhatsApp"],
];

const UNITS = /** @type {Record<string, number>} */ ({ s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 });

/** `10m` in milliseconds; what is no such text stays as it is, and the gateway says what is wrong with it. @param {string} text */
function step(text) {
  const [, number, unit] = /^\s*(\d+(?:\.\d+)?)\s*([smhd])\s*$/.exec(text) ?? [];
  return unit ? Math.round(Number(number) * UNITS[unit]) : text;
}

/** @param {number} ms */
function stepWords(ms) {
  const unit = ["d", "h", "m"].find((one) => ms % UNITS[one] === 0) ?? "s";
  return `${ms / UNITS[unit]}${unit}`;
}

/** @param {any} [job] @returns {Values} */
function valuesOf(job) {
  const { kind = "cron", expr = "", tz = "", everyMs, at = "" } = job?.schedule ?? {};
  const { mode = "none", channel = "last", to = "" } = job?.delivery ?? {};
  return {
    name: job?.name ?? "",
    message: job?.payload.message ?? job?.payload.text ?? "",
    kind,
    expr,
    tz,
    every: everyMs ? stepWords(everyMs) : "",
    at,
    place: mode === "announce" ? "chat" : mode,
    channel,
    to: mode === "announce" ? to : "",
    url: mode === "webhook" ? to : "",
  };
}

/** @param {Values} values @param {any} [old] The job's schedule until now: what the form doesn't show of it stays. */
function scheduleOf({ kind, expr, tz, every, at }, old) {
  const rest = old?.kind === kind ? old : {};
  if (kind === "every") return { ...rest, kind, everyMs: step(every) };
  if (kind === "at") return { ...rest, kind, at: at.trim() };
  return { ...rest, kind, expr: expr.trim(), tz: tz.trim() || undefined };
}

/** @param {Values} values */
function deliveryOf({ place, channel, to, url }) {
  if (place === "none") return { mode: "none" };
  if (place === "webhook") return { mode: "webhook", to: url.trim() };
  // A topic was of the chat that was named before.
  return { mode: "announce", channel, to: to.trim() || null, threadId: null };
}

/** Only what differs: a schedule has more to it than the form shows. @param {Values} before @param {Values} values @param {any} job */
function patchOf(before, values, job) {
  const differs = (/** @type {string[]} */ ...names) => names.some((name) => before[name] !== values[name]);
  /** @type {Record<string, unknown>} */
  const patch = {};
  if (differs("name")) patch.name = values.name;
  if (differs("message")) {
    const { kind } = job.payload;
    patch.payload = kind === "systemEvent" ? { kind, text: values.message } : { kind, message: values.message };
  }
  if (differs("kind", "expr", "tz", "every", "at")) patch.schedule = scheduleOf(values, job.schedule);
  if (differs("place", "channel", "to", "url"))
    // An account is one of the channel that was named before.
    patch.delivery = { ...deliveryOf(values), ...(differs("channel") && { accountId: null }) };
  return patch;
}

/** @param {Values} values @param {(name: string) => (value: any) => void} set */
function When({ kind, expr, tz, every, at }, set) {
  if (kind === "every")
    return h(Field, {
      name: "every",
      label: "Every",
      help: "Such as 30s, 10m, 2h or 1d",
      value: every,
      onInput: set("every"),
    });
  if (kind === "at")
    return h(Field, {
      name: "at",
      label: "At",
      help: "Such as 2027-02-01T16:00, in UTC unless it says Z or +02:00",
      value: at,
      onInput: set("at"),
    });
  return [
    h(Field, {
      key: "e",
      name: "expr",
      label: "Expression",
      help: "Minute, hour, day of the month, month, weekday: 0 7 * * 1-5",
      value: expr,
      onInput: set("expr"),
    }),
    h(Field, {
      key: "z",
      name: "tz",
      label: "Time zone",
      help: "Such as Europe/Berlin; empty: that of the gateway's machine",
      value: tz,
      onInput: set("tz"),
    }),
  ];
}

/** @param {Values} values @param {(name: string) => (value: any) => void} set */
function Where({ place, channel, to, url }, set) {
  if (place === "webhook")
    return h(Field, {
      name: "url",
      label: "Address of the webhook",
      help: "http or https. It gets a POST with the end of each run, also of one that failed.",
      value: url,
      onInput: set("url"),
    });
  if (place !== "chat") return null;
  return [
    h(Field, {
      key: "c",
      name: "channel",
      label: "Channel",
      value: channel,
      options: CHANNELS,
      onInput: set("channel"),
    }),
    h(Field, {
      key: "t",
      name: "to",
      label: "Person or group",
      help: "The id of who gets the answer, or a phone number; people and groups that are heard there.",
      value: to,
      onInput: set("to"),
    }),
  ];
}

/** @param {any} job None: a new one. @param {() => void} done */
export function openJobForm(job, done) {
  const before = valuesOf(job);
  openDialog(job ? `Change ${job.name}` : "Add job", () =>
    h(Form, {
      values: before,
      button: job ? "Save" : "Add job",
      onCancel: closeDialog,
      fields: (values, set) => [
        h(Field, { key: "n", name: "name", label: "Name", value: values.name, onInput: set("name") }),
        h(Field, {
          key: "m",
          name: "message",
          label: "Message to the agent",
          type: "textarea",
          value: values.message,
          onInput: set("message"),
        }),
        h(Field, { key: "k", name: "kind", label: "Runs", value: values.kind, options: TIMES, onInput: set("kind") }),
        h("div", { key: "w" }, When(values, set)),
        h(Field, {
          key: "p",
          name: "place",
          label: "The answer goes to",
          value: values.place,
          options: PLACES,
          onInput: set("place"),
        }),
        h("div", { key: "d" }, Where(values, set)),
      ],
      async send(values) {
        if (job) {
          const patch = patchOf(before, values, job);
          await callGateway("cron.update", { id: job.id, patch, expectedConfigRevision: job.configRevision });
        } else {
          const payload = { kind: "agentTurn", message: values.message };
          const [schedule, delivery] = [scheduleOf(values), deliveryOf(values)];
          await callGateway("cron.add", { name: values.name, schedule, payload, delivery });
        }
        closeDialog();
        say(`${values.name} is ${job ? "changed" : "added"}`);
        done();
      },
    }),
  );
}
