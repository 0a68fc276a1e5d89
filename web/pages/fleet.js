// The fleet: every gateway in one table, the worst first.
import { computed, signal } from "@preact/signals";
import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import { addGateway, checks, loadBulk, openActions, probe, searchNetwork } from "../actions.js";
import { Age, Badge, Fault, Notice, Status } from "../components/basics.js";
import { Spark, watchLatency } from "../components/spark.js";
import { Table } from "../components/table.js";
import {
  addressOf,
  capitalized,
  counted,
  isBlocked,
  isConnected,
  isHeldDown,
  milliseconds,
  neverSeen,
  STATUSES,
  shapeOf,
  visible,
  withoutName,
} from "../format.js";
import { counts, fleet, may, readFault, readFleet } from "../live.js";
import { labelTexts, queryOf, selected, viewOf } from "../store.js";
import { fullTime, now, remember, remembered } from "../time.js";

/** @typedef {import("../types.js").Row} Row */
/** @typedef {import("../types.js").View} View */

/** All pairs of labels that gateways have; a choice of thousands is none. */
const labelChoices = computed(() => {
  const found = new Set();
  for (const row of fleet.value.rows.values()) for (const text of labelTexts(row)) found.add(text);
  return [...found].sort().slice(0, 200);
});

/** The gateways that are chosen, while some are to be; else null. @type {import("@preact/signals").Signal<Set<number> | null>} */
const chosen = signal(null);
/** Where a range begins. */
let lastChosen = 0;

/** @param {Row} row @param {boolean} isOn @param {boolean} isRange */
function choose(row, isOn, isRange) {
  const ids = isRange ? idsBetween(lastChosen, row.id) : [row.id];
  const next = new Set(chosen.peek());
  for (const id of ids) {
    if (isOn) next.add(id);
    else next.delete(id);
  }
  lastChosen = row.id;
  chosen.value = next;
}

/** The rows as they are shown, for ranges. @type {Row[]} */
let shownRows = [];

/** @param {number} from @param {number} to */
function idsBetween(from, to) {
  const ends = [from, to].map((id) => shownRows.findIndex((row) => row.id === id));
  if (ends.includes(-1)) return [to];
  return shownRows.slice(Math.min(...ends), Math.max(...ends) + 1).map((row) => row.id);
}

/** @param {{row: Row}} props */
function Choose({ row }) {
  return h("input", {
    type: "checkbox",
    "aria-label": `Choose ${row.name}`,
    checked: chosen.value?.has(row.id) ?? false,
    onClick: (/** @type {any} */ event) => choose(row, event.currentTarget.checked, event.shiftKey),
  });
}

/** @param {Row} row */
function badgesOf(row) {
  return [
    row.is_primary &&
      h(
        Badge,
        {
          key: "primary",
          kind: "primary",
          title: row.acting_primary
            ? "The configured primary; it acts"
            : "The configured primary; another one acts for it",
        },
        "PRIMARY",
      ),
    row.acting_primary &&
      !row.is_primary &&
      h(Badge, { key: "acting", kind: "primary", title: "It stands in for the primary" }, "ACTING"),
    isConnected(row) &&
      h(Badge, { key: "connected", kind: "connected", title: "Connected and authenticated" }, "CONNECTED"),
    row.drained && h(Badge, { key: "drained", title: "It gets no new work" }, "DRAINED"),
    isHeldDown(row, now.value) &&
      h(
        Badge,
        {
          key: "held",
          title: `It came and went too often: it can't act as primary until ${fullTime((row.held_down_until ?? 0) * 1000)}`,
        },
        "HELD DOWN",
      ),
  ];
}

/** @param {{row: Row}} props */
function Seen({ row }) {
  if (row.last_seen) return h(Age, { at: row.last_seen });
  return neverSeen(row);
}

/** Why it isn't online, in a line. @param {{row: Row}} props */
function Why({ row }) {
  const error = row.status === "online" ? undefined : row.last_error;
  if (error)
    return h(
      "span",
      { class: "two-lines", title: visible(`${error.message} ${error.help}`) },
      isBlocked(row) && h("strong", null, "Blocked: "),
      visible(capitalized(withoutName(row, error.message))),
    );
  const labels = labelTexts(row).join(", ");
  return h("span", { class: "quiet two-lines", title: labels }, visible(labels));
}

/** A version that names its build has it in a second line. @param {{row: Row}} props */
function Version({ row }) {
  const version = row.version ?? "–";
  const [number, ...build] = version.split("+");
  return h(
    "span",
    { title: version },
    number,
    build.length > 0 && h("span", { class: "quiet build" }, `+${build.join("+")}`),
  );
}

/** @param {{row: Row}} props */
function More({ row }) {
  return h(
    "button",
    {
      type: "button",
      class: "plain more",
      "aria-label": `Actions for ${row.name}`,
      onClick: () => openActions(row),
    },
    "⋯",
  );
}

/** @param {{row: Row}} props */
function Name({ row }) {
  return [
    h("a", { key: "a", href: `/gateways/${row.id}`, title: visible(row.name) }, h("bdi", null, visible(row.name))),
    h("span", { key: "b", class: "badges" }, badgesOf(row)),
  ];
}

const COLUMNS = [
  { key: "status", name: "Status", sorts: true, show: (/** @type {Row} */ row) => h(Status, { status: row.status }) },
  { key: "name", name: "Name", sorts: true, kind: "name", show: (/** @type {Row} */ row) => h(Name, { row }) },
  {
    key: "address",
    name: "Address",
    sorts: true,
    kind: "mono",
    show: (/** @type {Row} */ row) => h("span", { title: addressOf(row) }, addressOf(row)),
  },
  {
    key: "token",
    name: "Token",
    kind: "roomy",
    show: (/** @type {Row} */ row) => (row.token_set ? "Set" : "None"),
  },
  {
    key: "latency",
    name: "Latency",
    sorts: true,
    kind: "number latency",
    show: (/** @type {Row} */ row) => [milliseconds(row.latency), h(Spark, { key: "s", id: row.id })],
  },
  { key: "last_seen", name: "Last seen", sorts: true, show: (/** @type {Row} */ row) => h(Seen, { row }) },
  {
    key: "sessions",
    name: "Sessions",
    sorts: true,
    kind: "number roomy",
    show: (/** @type {Row} */ row) => row.sessions_count,
  },
  {
    key: "agents",
    name: "Agents",
    sorts: true,
    kind: "number roomy",
    show: (/** @type {Row} */ row) => row.agents_count,
  },
  {
    key: "version",
    name: "Version",
    sorts: true,
    kind: "roomy version",
    show: (/** @type {Row} */ row) => h(Version, { row }),
  },
  { key: "why", name: "Problem or labels", show: (/** @type {Row} */ row) => h(Why, { row }) },
  { key: "more", name: h("span", { class: "hidden" }, "Actions"), show: (/** @type {Row} */ row) => h(More, { row }) },
];

const CHOICE = {
  key: "choose",
  name: h("span", { class: "hidden" }, "Chosen"),
  show: (/** @type {Row} */ row) => h(Choose, { row }),
};

/** @param {Row} row */
function card(row) {
  return [
    h(
      "div",
      { key: "top", class: "card-top" },
      chosen.value && h(Choose, { row }),
      h(Status, { status: row.status }),
      h("span", { class: "name" }, h(Name, { row })),
      h(More, { row }),
    ),
    h("div", { key: "address", class: "mono clipped" }, addressOf(row)),
    h(
      "div",
      { key: "figures", class: "quiet clipped" },
      `Token: ${row.token_set ? "Set" : "None"} · ${milliseconds(row.latency)} · ${counted(row.sessions_count, "session")} · `,
      h(Seen, { row }),
    ),
    h("div", { key: "why", class: "clipped" }, h(Why, { row })),
  ];
}

/** @param {{view: View, set: (change: Partial<View>) => void}} props */
function Counts({ view, set }) {
  const known = counts.value;
  const all = view.status.length === 0;
  const toggle = (/** @type {string} */ status) =>
    set({
      status: view.status.includes(status) ? view.status.filter((one) => one !== status) : [...view.status, status],
    });
  return h(
    "div",
    { class: "counts", role: "group", "aria-label": "Show by status" },
    h(
      "button",
      { type: "button", "aria-pressed": all, onClick: () => set({ status: [] }) },
      h("b", null, (known.all ?? 0).toLocaleString("en")),
      " All",
    ),
    [...STATUSES, "blocked"].map((status) =>
      h(
        "button",
        {
          key: status,
          type: "button",
          "aria-pressed": view.status.includes(status),
          class: known[status] ? "" : "none",
          onClick: () => toggle(status),
        },
        h("span", { "aria-hidden": "true", class: `shape ${status}` }, shapeOf(status)),
        h("b", null, (known[status] ?? 0).toLocaleString("en")),
        ` ${capitalized(status)}`,
      ),
    ),
  );
}

function ProbeAll() {
  const { isRunning, nextAt } = checks.value;
  const wait = Math.ceil((nextAt - now.value) / 1000);
  const text = isRunning ? "Probing…" : wait > 0 ? `Probe all (in ${wait} s)` : "Probe all";
  return h(
    "button",
    {
      type: "button",
      "aria-disabled": isRunning || wait > 0 ? "true" : undefined,
      onClick: () => wait <= 0 && probe(),
    },
    text,
  );
}

export function FleetPage() {
  const [view, setView] = useState(() => viewOf(location.search));
  const [bulk, setBulk] = useState(/** @type {{Bulk: any} | null} */ (null));
  const [isRoomy, setRoomy] = useState(remembered("rows") === "roomy");
  useEffect(() => () => watchLatency([]), []);
  useEffect(() => {
    const back = () => setView(viewOf(location.search));
    addEventListener("popstate", back);
    return () => removeEventListener("popstate", back);
  }, []);
  const set = (/** @type {Partial<View>} */ change) => {
    const next = { ...view, ...change };
    setView(next);
    // In the address, so that it can be passed on; not in the history, which would hold every key stroke.
    history.replaceState(history.state, "", `/${queryOf(next)}`);
  };
  const state = fleet.value;
  if (!state.loaded) {
    return [
      h("h1", { key: "h", tabIndex: -1 }, "Gateways"),
      readFault.value
        ? h(Fault, {
            key: "f",
            error: readFault.value,
            what: "The gateways could not be read",
            action: h("button", { type: "button", onClick: readFleet }, "Try again"),
          })
        : h("p", { key: "l", class: "loading" }, "Reading the gateways…"),
    ];
  }
  const rows = selected(state.rows.values(), view);
  const sortBy = (/** @type {string} */ key) =>
    set(view.sort === key ? { down: !view.down } : { sort: key, down: false });
  shownRows = rows;
  const isChoosing = chosen.value !== null;
  const chosenRows = isChoosing ? rows.filter((row) => chosen.value?.has(row.id)) : [];
  const toggleChoosing = () => {
    chosen.value = isChoosing ? null : new Set();
    if (!isChoosing && !bulk) loadBulk(setBulk);
  };
  const isFiltered = view.q !== "" || view.status.length > 0 || view.label !== "";
  return [
    h(
      "div",
      { key: "head", class: "page-head" },
      h("h1", { tabIndex: -1 }, "Gateways"),
      h(
        "div",
        { class: "buttons" },
        h(ProbeAll, null),
        may("admin") && h("button", { type: "button", onClick: searchNetwork }, "Search the network…"),
        may("admin") && h("button", { type: "button", class: "main", onClick: addGateway }, "+ Add gateway"),
      ),
    ),
    state.doubt && h(Notice, { key: "doubt", kind: "warn", title: "Our network may be at fault." }, state.doubt),
    h(Counts, { key: "counts", view, set }),
    h(
      "div",
      { key: "tools", class: "tools", role: "search" },
      h("input", {
        type: "search",
        id: "search",
        "aria-label": "Search gateways",
        placeholder: "Search name, address, label, problem  ( / )",
        value: view.q,
        onInput: (/** @type {any} */ event) => set({ q: event.currentTarget.value }),
      }),
      labelChoices.value.length > 0 &&
        h(
          "select",
          {
            "aria-label": "Show by label",
            value: view.label,
            onChange: (/** @type {any} */ event) => set({ label: event.currentTarget.value }),
          },
          h("option", { value: "" }, "Any label"),
          labelChoices.value.map((text) => h("option", { key: text, value: text }, visible(text))),
        ),
      h(
        "select",
        {
          "aria-label": "Order",
          class: "narrow",
          value: view.sort,
          onChange: (/** @type {any} */ event) => set({ sort: event.currentTarget.value, down: false }),
        },
        [
          ["status", "Worst first"],
          ["name", "By name"],
          ["latency", "By latency"],
          ["last_seen", "By last seen"],
          ["sessions", "By sessions"],
        ].map(([key, text]) => h("option", { key, value: key }, text)),
      ),
      h(
        "button",
        {
          type: "button",
          class: "wide",
          "aria-pressed": isRoomy,
          onClick: () => {
            remember("rows", isRoomy ? "dense" : "roomy");
            setRoomy(!isRoomy);
          },
        },
        "Roomy",
      ),
      rows.length > 0 &&
        h("button", { type: "button", "aria-pressed": isChoosing, onClick: toggleChoosing }, "Choose several"),
      h(
        "span",
        { class: "quiet", role: "status" },
        isFiltered
          ? `${rows.length.toLocaleString("en")} of ${counted(state.rows.size, "gateway")}`
          : counted(state.rows.size, "gateway"),
      ),
    ),
    isChoosing &&
      bulk &&
      h(bulk.Bulk, {
        key: "bulk",
        rows: chosenRows,
        all: rows.length,
        chooseAll: () => {
          chosen.value = new Set(rows.map((row) => row.id));
        },
        clear: () => {
          chosen.value = new Set();
        },
      }),
    rows.length > 0
      ? h(
          "div",
          { key: "rows" },
          h(Table, {
            label: "Gateways",
            kind: isChoosing ? "fleet choosing" : "fleet",
            onSight: (inSight) => watchLatency(inSight.map((row) => row.id)),
            columns: isChoosing ? [CHOICE, ...COLUMNS] : COLUMNS,
            rows,
            keyOf: (row) => row.id,
            card,
            rowHeight: isRoomy ? 52 : 36,
            sort: view.sort,
            down: view.down,
            onSort: sortBy,
          }),
        )
      : h(
          "div",
          { key: "none", class: "empty" },
          state.rows.size === 0
            ? [
                h("p", { key: "1" }, "No gateway is registered."),
                may("admin")
                  ? h(
                      "p",
                      { key: "2" },
                      "Add the first one, search the network, or import them: ",
                      h("code", null, "gatewarden import openclaw.json"),
                    )
                  : h("p", { key: "3" }, "An admin adds them."),
              ]
            : [
                h("p", { key: "1" }, "No gateway is like that."),
                h(
                  "button",
                  { key: "2", type: "button", onClick: () => set({ q: "", status: [], label: "" }) },
                  "Show all",
                ),
              ],
        ),
  ];
}
