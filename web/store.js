// The state of the fleet: made of a snapshot and what happened since. Pure: nothing here knows of time, network or page.
import { addressOf, isBlocked } from "./format.js";

/** @typedef {import("./types.js").Row} Row */
/** @typedef {import("./types.js").FleetState} FleetState */
/** @typedef {import("./types.js").Message} Message */
/** @typedef {import("./types.js").View} View */

/** @returns {FleetState} */
export function emptyFleet() {
  return { rows: new Map(), acting: null, doubt: null, lastEvent: 0, loaded: false, gap: false };
}

/** A row with what the snapshot leaves out. @param {any} sent @returns {Row} */
function rowOf(sent) {
  return {
    labels: {},
    reconnect_attempts: 0,
    is_primary: false,
    acting_primary: false,
    drained: false,
    token_set: false,
    awaits_pairing: false,
    sessions_count: 0,
    agents_count: 0,
    ...sent,
  };
}

/** @param {any} fleet The answer of `GET /api/fleet`. @returns {FleetState} */
export function ofSnapshot(fleet) {
  const rows = new Map();
  for (const sent of fleet.gateways) rows.set(sent.id, rowOf(sent));
  return {
    rows,
    acting: fleet.acting_primary ?? null,
    doubt: fleet.self_doubt ?? null,
    lastEvent: fleet.last_event,
    loaded: true,
    gap: false,
  };
}

/** The state after these messages, in their order. @param {FleetState} before @param {Message[]} messages @returns {FleetState} */
export function after(before, messages) {
  const state = { ...before, rows: new Map(before.rows) };
  for (const message of messages) take(state, message);
  return state;
}

/** @param {FleetState} state @param {Message} message */
function take(state, message) {
  if (message.type === "reset" || message.type === "lagged") {
    state.gap = true;
    return;
  }
  const { id, data } = message;
  if (id !== undefined) {
    // The snapshot includes it already. Vitals have the number of the event before them.
    if (id < state.lastEvent || (id === state.lastEvent && message.type !== "gateway.vitals")) return;
    state.lastEvent = id;
  }
  switch (message.type) {
    case "gateway.vitals":
      state.doubt = data.self_doubt ?? null;
      for (const row of data.rows ?? []) {
        state.rows.set(row.id, rowOf(row));
        if (state.acting && row.id === state.acting.id) state.acting = { ...state.acting, name: row.name };
      }
      for (const gone of data.removed ?? []) state.rows.delete(gone);
      for (const figures of data.figures ?? []) {
        const none = { latency: undefined, last_seen: undefined, sessions_count: 0, agents_count: 0 };
        change(state, figures.id, { ...none, ...figures });
      }
      break;
    case "gateway.status":
      change(state, data.gateway_id, {
        status: data.to,
        phase: data.phase,
        latency: data.latency ?? undefined,
        last_error: data.error ?? undefined,
        since: Math.floor((message.ts ?? 0) / 1000),
      });
      break;
    case "gateway.blocked":
      change(state, data.gateway_id, {
        status: data.status,
        phase: "blocked",
        last_error: data.error ?? undefined,
        awaits_pairing: Boolean(data.pairing),
      });
      break;
    case "gateway.primary":
      state.acting = data.to ? { ...data.to, reason: data.reason } : null;
      for (const row of state.rows.values()) {
        if (row.acting_primary !== (row.id === data.to?.id))
          change(state, row.id, { acting_primary: !row.acting_primary });
      }
      break;
    default:
  }
}

/** @param {FleetState} state @param {number} id @param {Partial<Row>} what */
function change(state, id, what) {
  const row = state.rows.get(id);
  if (row) state.rows.set(id, { ...row, ...what });
}

/** How many there are of each status, and how many are blocked. @param {Iterable<Row>} rows */
export function countsOf(rows) {
  /** @type {Record<string, number>} */
  const counts = { all: 0, blocked: 0, online: 0, degraded: 0, timeout: 0, offline: 0, unknown: 0 };
  for (const row of rows) {
    counts.all = (counts.all ?? 0) + 1;
    counts[row.status] = (counts[row.status] ?? 0) + 1;
    if (isBlocked(row)) counts.blocked = (counts.blocked ?? 0) + 1;
  }
  return counts;
}

/** Worst first; before them come those that somebody has to see to, then the primary while it isn't online. */
const RANK = ["offline", "timeout", "degraded", "unknown", "online"];

/** @type {Record<string, (row: Row) => number | string>} */
const KEYS = {
  status: (row) => (isBlocked(row) ? -2 : row.is_primary && row.status !== "online" ? -1 : RANK.indexOf(row.status)),
  name: () => 0,
  address: (row) => addressOf(row).toLowerCase(),
  latency: (row) => row.latency ?? Number.POSITIVE_INFINITY,
  last_seen: (row) => -(row.last_seen ?? 0),
  sessions: (row) => -row.sessions_count,
  agents: (row) => -row.agents_count,
  version: (row) => row.version ?? "~",
};

export const SORTS = Object.keys(KEYS);

const collator = new Intl.Collator("en", { numeric: true });

/** The place of each name among all. To compare two as people read them takes long, and names seldom change. @type {Map<string, number>} */
let places = new Map();

/** @param {Row[]} rows */
function placeNames(rows) {
  if (rows.every(({ name }) => places.has(name))) return;
  const names = new Set(rows.map(({ name }) => name));
  // Those that have an order already come first, in it: then there is little to do.
  const ordered = [...new Set([...places.keys(), ...names])].filter((name) => names.has(name)).sort(collator.compare);
  places = new Map();
  let before = ordered[0] ?? "";
  let place = 0;
  for (const name of ordered) {
    if (collator.compare(before, name) !== 0) place += 1;
    places.set(name, place);
    before = name;
  }
}

/** The rows to be shown, in order. @param {Iterable<Row>} rows @param {View} view @returns {Row[]} */
export function selected(rows, view) {
  const words = view.q.toLowerCase().split(/\s+/).filter(Boolean);
  const [labelName, labelValue] = view.label.split("=", 2);
  const all = [...rows];
  placeNames(all);
  const picked = [];
  for (const row of all) {
    if (
      view.status.length > 0 &&
      !view.status.some((status) => status === row.status || (status === "blocked" && isBlocked(row)))
    )
      continue;
    if (labelName && row.labels[labelName] !== labelValue) continue;
    if (words.length > 0) {
      const text =
        `${row.name} ${addressOf(row)} ${row.version ?? ""} ${row.last_error?.message ?? ""} ${labelTexts(row).join(" ")}`.toLowerCase();
      if (!words.every((word) => text.includes(word))) continue;
    }
    picked.push(row);
  }
  const key = KEYS[view.sort] ?? (() => 0);
  const keyed = picked.map((row) => ({ row, key: key(row), place: places.get(row.name) ?? 0 }));
  const way = view.down ? -1 : 1;
  keyed.sort((a, b) => {
    if (a.key !== b.key) return way * (a.key < b.key ? -1 : 1);
    return (view.sort === "name" ? way : 1) * (a.place - b.place) || a.row.id - b.row.id;
  });
  return keyed.map(({ row }) => row);
}

/** @param {Row} row */
export function labelTexts(row) {
  return Object.entries(row.labels).map(([name, value]) => `${name}=${value}`);
}

/** What the query of a page says. @param {string} query @returns {View} */
export function viewOf(query) {
  const asked = new URLSearchParams(query);
  const sort = asked.get("sort") ?? "status";
  return {
    q: asked.get("q") ?? "",
    status: (asked.get("status") ?? "").split(",").filter(Boolean),
    label: asked.get("label") ?? "",
    sort: SORTS.includes(sort) ? sort : "status",
    down: asked.get("order") === "desc",
  };
}

/** The query that says it. @param {View} view */
export function queryOf(view) {
  const query = new URLSearchParams();
  if (view.q) query.set("q", view.q);
  if (view.status.length > 0) query.set("status", view.status.join(","));
  if (view.label) query.set("label", view.label);
  if (view.sort !== "status") query.set("sort", view.sort);
  if (view.down) query.set("order", "desc");
  const text = query.toString().replaceAll("%2C", ",").replaceAll("%3D", "=");
  return text ? `?${text}` : "";
}
