// What can be done with a gateway, the same on all pages. Each says what came of it.

import { signal } from "@preact/signals";
import { h } from "preact";
import { post, put, Refusal, remove, request } from "./api.js";
import { say, sayFault } from "./components/basics.js";
import { closeDialog, openDialog } from "./components/dialog.js";
import { Field, Form } from "./components/form.js";
import { counted, milliseconds } from "./format.js";
import { fleet, may, readFleet } from "./live.js";
import { serverNow } from "./time.js";

/** @typedef {import("./types.js").Row} Row */

/** What is loaded when it is wanted. @template T @param {() => Promise<T>} load @param {(module: T) => void} use */
async function withModule(load, use) {
  let loaded;
  try {
    loaded = await load();
  } catch {
    return say("This could not be loaded: the daemon is away, or another release of it runs. Reload the page.", "bad");
  }
  use(loaded);
}

const loadForm = () => import("./pages/gateway_form.js");

export function addGateway() {
  withModule(loadForm, (form) => form.addGateway());
}

export function searchNetwork() {
  withModule(
    () => import("./pages/gateway_discovery.js"),
    (discovery) => discovery.searchNetwork(),
  );
}

/** Actions for several gateways. @param {(module: typeof import("./pages/gateway_bulk.js")) => void} use */
export function loadBulk(use) {
  withModule(() => import("./pages/gateway_bulk.js"), use);
}

/** When the next check may come (ms), and whether one is under way. */
export const checks = signal({ nextAt: 0, isRunning: false });

/** Checks one gateway, or all. @param {Row} [row] */
export async function probe(row) {
  if (checks.peek().isRunning) return;
  const early = Math.ceil((checks.peek().nextAt - serverNow()) / 1000);
  if (early > 0) return say(`The next check may come in ${early} s`);
  checks.value = { ...checks.peek(), isRunning: true };
  let wait = 0;
  try {
    const body = row ? { gateway_id: row.id } : {};
    const { body: answer, headers } = await request("POST", "/api/gateways/health", { body });
    if (headers.get("RateLimit-Remaining") === "0") wait = Number(headers.get("RateLimit-Reset"));
    if (row) {
      const { healthy, latency_ms: latency, details } = answer;
      if (healthy) say(`${row.name} answers (${milliseconds(latency)})`);
      else
        say(
          `${row.name} doesn't answer as it should: ${details.error ?? details.status}. ${details.help ?? ""}`,
          "bad",
        );
    } else {
      const all = answer.results.length;
      const online = answer.results.filter((/** @type {any} */ one) => one.status === "online").length;
      say(`Checked ${counted(all, "gateway")}: ${online} online, ${all - online} not`);
    }
  } catch (error) {
    if (error instanceof Refusal && error.retryAfter) wait = error.retryAfter;
    sayFault(row ? `${row.name} was not checked` : "The gateways were not checked", error);
  }
  checks.value = { isRunning: false, nextAt: wait > 0 ? serverNow() + wait * 1000 : 0 };
}

/** @param {Row} row @param {string} path @param {string} done @param {string} failed */
async function act(row, path, done, failed) {
  closeDialog();
  try {
    await post(`/api/gateways/${row.id}/${path}`);
    say(done);
  } catch (error) {
    sayFault(failed, error);
  }
}

/** @param {Row} row */
export function reconnect(row) {
  return act(row, "reconnect", `${row.name} is connected anew`, `${row.name} was not reconnected`);
}

/** Asks before it does something. @param {string} title @param {string} text @param {string} button @param {() => Promise<void>} run */
function askFirst(title, text, button, run) {
  openDialog(title, () =>
    h(Form, { values: {}, button, danger: true, onCancel: closeDialog, fields: () => h("p", null, text), send: run }),
  );
}

/** @param {Row} row */
export function drain(row) {
  if (row.acting_primary && !row.drained)
    return askFirst(
      `Drain ${row.name}?`,
      "It acts as primary. Another gateway takes over, if one is able to; otherwise none acts as primary.",
      "Drain it",
      () => drainNow(row),
    );
  return drainNow(row);
}

/** @param {Row} row */
function drainNow(row) {
  if (row.drained) return act(row, "undrain", `${row.name} takes work again`, `${row.name} still takes no work`);
  return act(row, "drain", `${row.name} gets no new work`, `${row.name} was not drained`);
}

/** @param {Row} row */
export function makePrimary(row) {
  if (row.status === "online") return makePrimaryNow(row);
  return askFirst(
    `Set ${row.name} as primary?`,
    `It is ${row.status}. Until it is online another gateway acts for it, if one is able to.`,
    "Set it as primary",
    () => makePrimaryNow(row),
  );
}

/** @param {Row} row */
async function makePrimaryNow(row) {
  closeDialog();
  try {
    await put(`/api/gateways/${row.id}`, { is_primary: true });
    say(`${row.name} is the primary now`);
    readFleet();
  } catch (error) {
    sayFault(`${row.name} was not made the primary`, error);
  }
}

/** Asks, then deletes. @param {Row} row @param {() => void} [then] */
export function askToDelete(row, then) {
  openDialog(`Delete ${row.name}?`, () =>
    h(Form, {
      values: { name: "" },
      button: "Delete gateway",
      danger: true,
      onCancel: closeDialog,
      fields: (values, set, problems) => [
        h(
          "p",
          null,
          "The daemon forgets this gateway with its token, history and spawns' routes. The gateway itself runs on. This can't be undone. Type its name to confirm.",
        ),
        row.is_primary && h("p", { class: "problem" }, "It is the primary: make another gateway the primary first."),
        h(Field, {
          name: "name",
          label: "Name of the gateway",
          value: values.name,
          onInput: set("name"),
          problem: problems.name,
        }),
      ],
      async send(values) {
        if (values.name.trim() !== row.name.trim()) {
          throw new Refusal(
            0,
            {
              error: "The name is not that of the gateway",
              help: "Nothing was deleted.",
              details: { fields: [{ field: "name", problem: `is not ${row.name}` }] },
            },
            null,
          );
        }
        await remove(`/api/gateways/${row.id}`);
        closeDialog();
        say(`${row.name} is deleted`);
        readFleet();
        then?.();
      },
    }),
  );
}

/**
 * What the session's role may do with a gateway: a name, what it does, and whether it is dangerous.
 * @param {Row} row
 * @param {() => void} [deleted] After it was deleted.
 * @returns {{name: string, run: () => void, danger?: boolean}[]}
 */
export function actionsOf(row, deleted) {
  /** @type {{name: string, run: () => void, danger?: boolean}[]} */
  const actions = [
    {
      name: "Probe now",
      run: () => {
        closeDialog();
        probe(row);
      },
    },
  ];
  if (may("operator")) actions.push({ name: "Reconnect", run: () => reconnect(row) });
  if (may("admin")) {
    if (!row.is_primary) actions.push({ name: "Set as primary", run: () => makePrimary(row) });
    actions.push({
      name: row.drained ? "Undrain: let it take work again" : "Drain: give it no new work",
      run: () => drain(row),
    });
    actions.push({ name: "Edit…", run: () => withModule(loadForm, (form) => form.editGateway(row)) });
    actions.push({ name: "Delete…", run: () => askToDelete(row, deleted), danger: true });
  }
  return actions;
}

/** The actions of a gateway in a dialog. @param {Row} row */
export function openActions(row) {
  openDialog(row.name, () =>
    h(
      "div",
      { class: "menu" },
      // As it is by now: it may change while this is open.
      actionsOf(fleet.value.rows.get(row.id) ?? row).map(({ name, run, danger }) =>
        h("button", { key: name, type: "button", class: danger ? "danger" : "", onClick: run }, name),
      ),
      !may("admin") && h("p", { class: "quiet" }, "Changing and deleting gateways needs a key with the role admin."),
    ),
  );
}
