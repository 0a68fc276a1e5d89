// What is done with several gateways at once: one after another, with what came of each.
import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import { checks } from "../actions.js";
import { mistake, post, Refusal, remove, request, wordsOf } from "../api.js";
import { closeDialog, openDialog } from "../components/dialog.js";
import { Field, Form } from "../components/form.js";
import { State } from "../components/list.js";
import { capitalized, counted, milliseconds, visible, withoutName } from "../format.js";
import { may, readFleet } from "../live.js";
import { serverNow } from "../time.js";

/** @typedef {import("../types.js").Row} Row */
/** @typedef {{tone: "good" | "warn" | "bad" | "quiet" | "busy", word: string, text?: string}} Outcome */

/** Requests under way at one time, and rows of results that are drawn. */
const AT_ONCE = 4;
const MAX_DRAWN = 100;

/** @param {number} ms @param {AbortSignal} ended */
function waitFor(ms, ended) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    ended.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve(null);
    });
  });
}

/** Does it to each, a few at a time; a limit is waited for. @param {Row[]} rows @param {(row: Row) => Promise<unknown>} run @param {string} done @param {(id: number, outcome: Outcome) => void} tell @param {AbortSignal} ended */
async function doToEach(rows, run, done, tell, ended) {
  const left = [...rows];
  const worker = async () => {
    for (let row = left.shift(); row && !ended.aborted; row = left.shift()) {
      tell(row.id, { tone: "busy", word: "Under way" });
      for (;;) {
        try {
          await run(row);
          tell(row.id, { tone: "good", word: done });
        } catch (error) {
          if (error instanceof Refusal && error.status === 429 && error.retryAfter && !ended.aborted) {
            tell(row.id, { tone: "warn", word: "Waits", text: `for the limit, ${error.retryAfter} s` });
            await waitFor(error.retryAfter * 1000, ended);
            if (!ended.aborted) continue;
          }
          const { message, help } = wordsOf(error);
          tell(row.id, {
            tone: "bad",
            word: "Failed",
            text: capitalized(withoutName(row, `${message}. ${help}`.replace("..", "."))),
          });
        }
        break;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** All are probed at once, as the daemon does it; told is what came of these. @param {Row[]} rows @param {(id: number, outcome: Outcome) => void} tell @param {AbortSignal} ended */
async function probeThem(rows, tell, ended) {
  const early = checks.peek().nextAt - serverNow();
  if (early > 0) {
    for (const row of rows)
      tell(row.id, { tone: "warn", word: "Waits", text: `for the limit, ${Math.ceil(early / 1000)} s` });
    await waitFor(early, ended);
  }
  if (ended.aborted) return;
  for (const row of rows) tell(row.id, { tone: "busy", word: "Under way" });
  checks.value = { ...checks.peek(), isRunning: true };
  let wait = 0;
  try {
    const { body, headers } = await request("POST", "/api/gateways/health", { body: {} });
    if (headers.get("RateLimit-Remaining") === "0") wait = Number(headers.get("RateLimit-Reset"));
    const found = new Map(body.results.map((/** @type {any} */ one) => [one.id, one]));
    for (const row of rows) {
      const one = found.get(row.id);
      if (!one) tell(row.id, { tone: "quiet", word: "Gone" });
      else if (one.status === "online")
        tell(row.id, { tone: "good", word: "Answers", text: milliseconds(one.latency) });
      else tell(row.id, { tone: "bad", word: one.status, text: capitalized(withoutName(row, one.error ?? "")) });
    }
  } catch (error) {
    if (error instanceof Refusal && error.retryAfter) wait = error.retryAfter;
    const { message, help } = wordsOf(error);
    for (const row of rows) tell(row.id, { tone: "bad", word: "Failed", text: `${message}. ${help}` });
  }
  checks.value = { isRunning: false, nextAt: serverNow() + wait * 1000 };
}

/** @param {{rows: Row[], begin: (tell: (id: number, outcome: Outcome) => void, ended: AbortSignal) => Promise<void>}} props */
function Results({ rows, begin }) {
  const [outcomes, setOutcomes] = useState(/** @type {Map<number, Outcome>} */ (new Map()));
  const [isRunning, setRunning] = useState(true);
  useEffect(() => {
    const ended = new AbortController();
    begin((id, outcome) => setOutcomes((before) => new Map(before).set(id, outcome)), ended.signal).then(() => {
      setRunning(false);
      readFleet();
    });
    return () => ended.abort();
  }, []);
  const tones = rows.map((row) => outcomes.get(row.id)?.tone);
  const good = tones.filter((tone) => tone === "good").length;
  const bad = tones.filter((tone) => tone === "bad").length;
  // What went wrong must not be below a hundred that went well.
  const drawn = [...rows]
    .sort((a, b) => Number(outcomes.get(b.id)?.tone === "bad") - Number(outcomes.get(a.id)?.tone === "bad"))
    .slice(0, MAX_DRAWN);
  return h(
    "div",
    { class: "form" },
    h(
      "p",
      { role: "status" },
      isRunning
        ? `${good + bad} of ${rows.length}…`
        : `${good} of ${rows.length} went well${bad ? `, ${bad} did not` : ""}.`,
    ),
    h(
      "ol",
      { class: "steps", "aria-label": "Results" },
      drawn.map((row) => {
        const { tone, word, text } = outcomes.get(row.id) ?? { tone: /** @type {const} */ ("quiet"), word: "Waiting" };
        return h(
          "li",
          { key: row.id },
          h(State, { tone, word }),
          h("strong", null, h("bdi", null, visible(row.name))),
          text && h("span", null, visible(text)),
        );
      }),
    ),
    rows.length > MAX_DRAWN && h("p", { class: "quiet" }, `and ${rows.length - MAX_DRAWN} more`),
    h(
      "div",
      { class: "buttons" },
      h(
        "button",
        { type: "button", class: isRunning ? "" : "main", onClick: closeDialog },
        isRunning ? "Stop and close" : "Close",
      ),
    ),
  );
}

/** @param {string} verb @param {Row[]} rows @param {(tell: (id: number, outcome: Outcome) => void, ended: AbortSignal) => Promise<void>} begin */
function show(verb, rows, begin) {
  closeDialog();
  openDialog(`${verb} ${counted(rows.length, "gateway")}`, () => h(Results, { rows, begin }));
}

/** @param {string} verb @param {string} done @param {Row[]} rows @param {(row: Row) => Promise<unknown>} run */
function showEach(verb, done, rows, run) {
  show(verb, rows, (tell, ended) => doToEach(rows, run, done, tell, ended));
}

/** @param {string} path */
function asking(path) {
  return (/** @type {Row} */ row) => post(`/api/gateways/${row.id}/${path}`);
}

/** @param {Row[]} rows */
function drainThem(rows) {
  const begin = () => showEach("Drain", "Drained", rows, asking("drain"));
  const acting = rows.find((row) => row.acting_primary && !row.drained);
  if (!acting) return begin();
  openDialog(`Drain ${counted(rows.length, "gateway")}?`, () =>
    h(Form, {
      values: {},
      button: "Drain them",
      danger: true,
      onCancel: closeDialog,
      fields: () =>
        h(
          "p",
          null,
          h("bdi", null, visible(acting.name)),
          " acts as primary. Another gateway that is not drained takes over, if one is able to; otherwise none acts as primary.",
        ),
      send: async () => begin(),
    }),
  );
}

/** @param {Row[]} rows @param {() => void} after */
function deleteThem(rows, after) {
  openDialog(`Delete ${counted(rows.length, "gateway")}?`, () =>
    h(Form, {
      values: { names: "" },
      button: "Delete them",
      danger: true,
      onCancel: closeDialog,
      fields: (values, set, problems) => [
        h(
          "p",
          null,
          "The daemon forgets these gateways with their tokens, history and spawns' routes. The gateways themselves run on. This can't be undone. Type their names to confirm, one in a line.",
        ),
        h(
          "ul",
          { class: "names" },
          rows.map((row) => h("li", { key: row.id }, h("bdi", null, visible(row.name)))),
        ),
        rows.some((row) => row.is_primary) &&
          h("p", { class: "problem" }, "The primary is among them: it can't be deleted, and stays."),
        h(Field, {
          name: "names",
          label: "Names of the gateways",
          type: "textarea",
          value: values.names,
          onInput: set("names"),
          problem: problems.names,
          spellcheck: false,
        }),
      ],
      async send({ names }) {
        const typed = new Set(names.split("\n").map((/** @type {string} */ name) => name.trim()));
        const missing = rows.filter((row) => !typed.has(row.name.trim()));
        if (missing.length > 0)
          throw mistake("names", `lack ${missing.length === 1 ? missing[0]?.name : counted(missing.length, "name")}`);
        after();
        showEach("Delete", "Deleted", rows, (row) => remove(`/api/gateways/${row.id}`));
      },
    }),
  );
}

/** More than these are not deleted at once: their names must be typed. */
const MAX_DELETED = 50;

/**
 * What may be done with the chosen gateways.
 * @param {{rows: Row[], all: number, chooseAll: () => void, clear: () => void}} props
 */
export function Bulk({ rows, all, chooseAll, clear }) {
  const none = rows.length === 0;
  const button = (/** @type {string} */ name, /** @type {() => void} */ run, isOff = none, danger = false) =>
    h(
      "button",
      {
        key: name,
        type: "button",
        class: danger ? "danger" : "",
        "aria-disabled": isOff ? "true" : undefined,
        onClick: () => isOff || run(),
      },
      name,
    );
  return h(
    "div",
    { class: "tools bulk", role: "group", "aria-label": "Actions for the chosen gateways" },
    h("strong", { role: "status" }, `${rows.length.toLocaleString("en")} chosen`),
    button(`Choose all ${all.toLocaleString("en")} shown`, chooseAll, rows.length === all),
    button("Choose none", clear),
    button("Probe", () => show("Probe", rows, (tell, ended) => probeThem(rows, tell, ended))),
    may("operator") && button("Reconnect", () => showEach("Reconnect", "Connects anew", rows, asking("reconnect"))),
    may("admin") && [
      button("Drain", () => drainThem(rows)),
      button("Undrain", () => showEach("Undrain", "Takes work", rows, asking("undrain"))),
      button("Delete…", () => deleteThem(rows, clear), none || rows.length > MAX_DELETED, true),
    ],
    rows.length > MAX_DELETED &&
      may("admin") &&
      h("span", { class: "quiet" }, `At most ${MAX_DELETED} are deleted at once.`),
  );
}
