// Parts of pages that show a list of the daemon: the list itself, its pages, what stands there before it is read, filters.
import { h } from "preact";
import { useState } from "preact/hooks";
import { mistake } from "../api.js";
import { capitalized, visible } from "../format.js";
import { fleet, may, session } from "../live.js";
import { Fault, Notice } from "./basics.js";
import { Field } from "./form.js";

/** @typedef {{name: string, show: (row: any) => any, kind?: string, hideName?: boolean}} ListColumn */

/**
 * A table whose rows are cards where the page is narrow. For lists of one page; the roles stay when it is no table any more.
 * @param {{label: string, columns: ListColumn[], rows: any[], keyOf: (row: any) => any}} props
 */
export function List({ label, columns, rows, keyOf }) {
  return h(
    "table",
    { class: "list", role: "table", "aria-label": label },
    h(
      "thead",
      { role: "rowgroup" },
      h(
        "tr",
        { role: "row" },
        columns.map(({ name, kind, hideName }) =>
          h(
            "th",
            { key: name, role: "columnheader", scope: "col", class: kind },
            hideName ? h("span", { class: "hidden" }, name) : name,
          ),
        ),
      ),
    ),
    h(
      "tbody",
      { role: "rowgroup" },
      rows.map((row) =>
        h(
          "tr",
          { key: keyOf(row), role: "row" },
          columns.map(({ name, show, kind, hideName }) =>
            h(
              "td",
              { key: name, role: "cell", class: kind, "data-name": hideName ? undefined : name },
              h("div", null, show(row)),
            ),
          ),
        ),
      ),
    ),
  );
}

/** Which part of a list is shown, and the way to the others. @param {{part: {total: number, limit: number, offset: number}, move: (offset: number) => void}} props */
export function Pager({ part: { total, limit, offset }, move }) {
  if (total <= limit && offset === 0) return null;
  const isFirst = offset === 0;
  const isLast = offset + limit >= total;
  return h(
    "nav",
    { class: "pager", "aria-label": "Parts of the list" },
    h(
      "button",
      {
        type: "button",
        "aria-disabled": isFirst ? "true" : undefined,
        onClick: () => isFirst || move(Math.max(0, offset - limit)),
      },
      "← Previous",
    ),
    h(
      "span",
      { role: "status" },
      total === 0
        ? "Nothing"
        : `${(offset + 1).toLocaleString("en")} to ${Math.min(offset + limit, total).toLocaleString("en")} of ${total.toLocaleString("en")}`,
    ),
    h(
      "button",
      { type: "button", "aria-disabled": isLast ? "true" : undefined, onClick: () => isLast || move(offset + limit) },
      "Next →",
    ),
  );
}

/** In the place of a list without rows. @param {{isFiltered: boolean, what: string, showAll: () => void, children?: any}} props */
export function Empty({ isFiltered, what, showAll, children }) {
  return h(
    "div",
    { class: "empty" },
    isFiltered
      ? [
          h("p", { key: "none" }, `No ${what} is like that.`),
          h("button", { key: "all", type: "button", onClick: showAll }, "Show all"),
        ]
      : children,
  );
}

/** What stands above an answer, or in its place while there is none. @param {{read: {answer: any, error: unknown, again: () => void}, what: string}} props */
export function ReadState({ read: { answer, error, again }, what }) {
  if (error)
    return h(Fault, {
      error,
      what: answer ? `${what} could not be read again; what is below is old` : `${what} could not be read`,
      action: h("button", { type: "button", onClick: again }, "Try again"),
    });
  return answer ? null : h("p", { class: "loading", role: "status" }, "Reading…");
}

/** In the place of what the daemon would refuse. @param {{role: "operator" | "admin", what: string}} props */
export function NeedsRole({ role, what }) {
  return h(
    Notice,
    null,
    `${what} needs a key with the role ${role}; yours is ${session.value?.role ?? "not known yet"}.`,
  );
}

/** A page that is only for a role: its title, then what it holds or why it doesn't. @param {{title: string, role: "operator" | "admin", children?: any}} props */
export function ForRole({ title, role, children }) {
  if (may(role)) return children;
  return [
    h("h1", { key: "h", tabIndex: -1 }, title),
    session.value
      ? h(NeedsRole, { key: "n", role, what: "This page" })
      : h("p", { key: "l", class: "loading" }, "Reading…"),
  ];
}

const TONES = { good: "●", warn: "▲", bad: "■", quiet: "○", busy: "◐" };

/** A state as shape, word and color. @param {{tone: "good" | "warn" | "bad" | "quiet" | "busy", word: string, shape?: string}} props */
export function State({ tone, word, shape = TONES[tone] }) {
  return h(
    "span",
    { class: `state ${tone}` },
    h("span", { "aria-hidden": "true", class: "shape" }, shape),
    capitalized(word),
  );
}

/** A choice that filters. @param {{label: string, value: string, options: [string, string][], set: (value: string) => void}} props */
export function Choice({ label, value, options, set }) {
  return h(
    "select",
    { "aria-label": label, value, onChange: (/** @type {any} */ event) => set(event.currentTarget.value) },
    options.map(([key, text]) => h("option", { key, value: key }, visible(text))),
  );
}

/** All gateways by id and name, in the order of their names. @returns {[string, string][]} */
export function gatewayOptions() {
  return [...fleet.value.rows.values()]
    .map((row) => /** @type {[string, string]} */ ([String(row.id), row.name]))
    .sort((a, b) => a[1].localeCompare(b[1], "en", { numeric: true }));
}

/** @param {string} name */
function idOfName(name) {
  for (const row of fleet.peek().rows.values()) if (row.name === name.trim()) return row.id;
}

/** The id of a gateway that was typed as its name, or as its id. @param {string} text @param {string} field */
export function gatewayIdOf(text, field) {
  const typed = text.trim();
  // A choice has the id, whatever names there are.
  if (fleet.peek().rows.size <= MAX_CHOICES) return Number(typed);
  const id = idOfName(typed);
  if (id !== undefined) return id;
  if (/^\d+$/.test(typed)) return Number(typed);
  throw mistake(field, `is the name of no gateway: ${typed}`);
}

/** The names that begin with what is typed, or hold it, as far as they can be looked through. @param {{id: string, typed: string}} props */
function GatewayNames({ id, typed }) {
  const wanted = typed.toLowerCase();
  const names = gatewayOptions().filter(([, name]) => name.toLowerCase().includes(wanted));
  return h(
    "datalist",
    { id },
    names.slice(0, 20).map(([key, name]) => h("option", { key, value: name })),
  );
}

/** A field for a gateway; its value is for `gatewayIdOf`. @param {{value: string, onInput: (value: any) => void, problem?: string, none: string, help?: string}} props */
export function GatewayField({ none, ...field }) {
  const common = { ...field, name: "gateway", label: "Gateway" };
  if (fleet.value.rows.size <= MAX_CHOICES) return h(Field, { ...common, options: [["", none], ...gatewayOptions()] });
  return [
    h(Field, { key: "f", ...common, list: "gateway-names", help: `Its name or id. Empty: ${none.toLowerCase()}` }),
    h(GatewayNames, { key: "l", id: "gateway-names", typed: field.value }),
  ];
}

/** More than these are typed by name, not chosen. */
const MAX_CHOICES = 200;

/** A gateway as a filter: its id; where there are too many to choose from, what was typed if it is no name. @param {{value: string, set: (value: string) => void, label?: string, none?: string}} props */
export function GatewayChoice({ value, set, label = "Show by gateway", none = "All gateways" }) {
  const [typed, setTyped] = useState("");
  if (fleet.value.rows.size > MAX_CHOICES) {
    return [
      h("input", {
        key: "i",
        type: "search",
        list: "gateway-choices",
        "aria-label": "Gateway, by id or whole name",
        placeholder: "Gateway: id or whole name",
        value: fleet.value.rows.get(Number(value))?.name ?? value,
        onInput: (/** @type {any} */ event) => setTyped(event.currentTarget.value),
        onChange: (/** @type {any} */ event) =>
          set(String(idOfName(event.currentTarget.value) ?? event.currentTarget.value.trim())),
      }),
      h(GatewayNames, { key: "l", id: "gateway-choices", typed }),
    ];
  }
  return h(Choice, { label, value, options: [["", none], ...gatewayOptions()], set });
}

/** A gateway by its id, as a link. @param {{id: number | null | undefined, name?: string | null}} props */
export function GatewayLink({ id, name }) {
  if (!id) return "–";
  const row = fleet.value.rows.get(id);
  const text = row?.name ?? name ?? `Gateway ${id}`;
  return row
    ? h("a", { href: `/gateways/${id}` }, h("bdi", null, visible(text)))
    : h("span", { class: "quiet", title: "It is not in the list of gateways" }, h("bdi", null, visible(text)));
}

/** The gateway that an entry of the audit log names by its id. @param {string | null | undefined} target */
function gatewayIn(target) {
  const id = /^gateway (\d+)$/.exec(target ?? "")?.[1];
  return id === undefined ? undefined : fleet.value.rows.get(Number(id));
}

/** @param {string | null | undefined} target */
export function gatewayNameIn(target) {
  return gatewayIn(target)?.name ?? "";
}

/** What an entry of the audit log is about. @param {{target: string | null | undefined}} props */
export function AuditTarget({ target }) {
  const row = gatewayIn(target);
  return row
    ? [h(GatewayLink, { key: "g", id: row.id }), h("span", { key: "t", class: "quiet" }, ` ${target}`)]
    : h("bdi", null, visible(target ?? "–"));
}

/** Text of others: never more than a few lines before somebody asks for the rest. @param {{text: string}} props */
export function LongText({ text }) {
  if (text.length <= 800) return h("div", { class: "words", dir: "auto" }, text);
  return h(
    "details",
    { class: "words", dir: "auto" },
    h(
      "summary",
      null,
      `${text.slice(0, 300)}… `,
      h("span", { class: "quiet" }, `(${text.length.toLocaleString("en")} characters)`),
    ),
    text,
  );
}

/** A value of JSON as text. @param {{value: unknown}} props */
export function Json({ value }) {
  return h("pre", { class: "json", tabIndex: 0, dir: "ltr" }, JSON.stringify(value, null, 2));
}

/** A random value for a key of a request. `crypto.randomUUID` is missing where the page came without TLS from another machine. */
export function randomKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
