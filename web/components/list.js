// What the lists of the daemon's pages have besides: gateways as filters and fields, and what needs a role.
import { h } from "preact";
import { useState } from "preact/hooks";
import { mistake } from "../api.js";
import { visible } from "../format.js";
import { fleet, may, session } from "../live.js";
import { Notice } from "./basics.js";
import { Field } from "./form.js";
import { Choice } from "./rows.js";

export { Choice, Empty, Json, List, LongText, Pager, ReadState, randomKey, State } from "./rows.js";

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
