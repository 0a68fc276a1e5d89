// What happens, as it happens. Filters only hide; what was missed is shown as a gap.
import { signal } from "@preact/signals";
import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Moment } from "../components/basics.js";
import { AuditTarget, Choice, GatewayChoice, GatewayLink, Json } from "../components/list.js";
import { counted, visible } from "../format.js";
import { fleet, isStale, link, listen, may, openStream } from "../live.js";
import { ask, asked } from "../place.js";

/** How many are kept, and how many of them are drawn. */
const MAX_KEPT = 1_000;
const MAX_DRAWN = 200;

/** @typedef {{number: number, id: number | undefined, type: string, ts: number, data: any}} Heard */

/** What the daemon still had when this page was first opened, and what was heard since, newest first. @type {import("@preact/signals").Signal<Heard[]>} */
const heard = signal([]);
let nextNumber = 1;
/** @type {Heard[]} */
let waiting = [];
let isListening = false;

/** Goes on while other pages are looked at: who returns wants to know what was meanwhile. */
function beginToListen() {
  if (isListening) return;
  isListening = true;
  listen((message) => {
    if (message.type === "gateway.vitals") return;
    waiting.push(heardOf(message));
    // Together, so that a thousand of them are drawn once.
    if (waiting.length > 1) return;
    setTimeout(() => {
      heard.value = [...waiting.reverse(), ...heard.peek()].slice(0, MAX_KEPT);
      waiting = [];
    }, 200);
  });
}

/** @param {import("../types.js").Message} message @returns {Heard} */
function heardOf(message) {
  const { id, type, ts = Date.now(), data = { dropped: message.dropped } } = message;
  return { number: nextNumber++, id, type, ts, data };
}

/** How many events back it is asked; fewer, where the daemon has not seen as many since its start. */
const BACK = [300, 100, 40, 20, 10, 5, 2];
/** How long the daemon may take to tell of them. */
const TOLD_WITHIN_MS = 5_000;

/** @type {"no" | "yes" | "done"} */
let hasAsked = "no";
const isAsking = signal(false);

/** Asks once for what was before, which the daemon keeps for those who come back. */
async function readEarlier() {
  if (hasAsked !== "no" || !fleet.peek().loaded || isStale.peek()) return;
  hasAsked = "yes";
  isAsking.value = true;
  const newest = fleet.peek().lastEvent;
  for (const back of BACK) {
    const events = await eventsAfter(Math.max(0, newest - back), newest);
    if (!events) continue;
    const known = new Set(heard.peek().map(({ id }) => id));
    const older = events.filter(({ id }) => !known.has(id)).map(heardOf);
    heard.value = [...heard.peek(), ...older.reverse()].sort((a, b) => b.ts - a.ts).slice(0, MAX_KEPT);
    break;
  }
  isAsking.value = false;
}

/** What was told after one event and until another; nothing where the daemon can't tell. @param {number} first @param {number} last @returns {Promise<import("../types.js").Message[] | null>} */
function eventsAfter(first, last) {
  return new Promise((resolve) => {
    const socket = openStream(first, false);
    /** @type {import("../types.js").Message[]} */
    const events = [];
    const end = (/** @type {import("../types.js").Message[] | null} */ found) => {
      clearTimeout(late);
      socket.onmessage = null;
      socket.onclose = null;
      socket.close();
      resolve(found);
    };
    const late = setTimeout(() => end(events), TOLD_WITHIN_MS);
    socket.onclose = () => end(null);
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "reset") return end(null);
      if (message.id !== undefined && message.id <= last) events.push(message);
      // What was missed comes before anything else.
      if (message.type === "keepalive" ? message.last_id >= last : message.id >= last) end(events);
    };
  });
}

/** @type {[string, string][]} */
const TYPES = [
  ["gateway.status", "Status of a gateway"],
  ["gateway.primary", "Acting primary"],
  ["gateway.blocked", "Gateway blocked"],
  ["gateway.process", "Process of a gateway"],
  ["session.update", "Session"],
  ["spawn_result", "Spawn"],
  ["agent.status", "Status of an agent"],
  ["connection.created", "CLI tool connected"],
  ["connection.disconnected", "CLI tool disconnected"],
];

/** A name of others, kept apart from the words around it. @param {unknown} name */
function named(name) {
  return h("bdi", { class: "strong" }, visible(String(name ?? "?")));
}

/** An event as a sentence. @param {Heard} event */
function sentenceOf({ type, data }) {
  switch (type) {
    case "gateway.status":
      return [
        h(GatewayLink, { id: data.gateway_id, name: data.gateway }),
        ` went from ${data.from} to ${data.to}`,
        data.error && data.to !== "online" ? `: ${data.error.message}` : "",
      ];
    case "gateway.primary":
      return data.to
        ? [named(data.to.name), ` acts as primary: ${data.reason}`]
        : `No gateway acts as primary: ${data.reason}`;
    case "gateway.blocked":
      return [
        h(GatewayLink, { id: data.gateway_id, name: data.gateway }),
        ` refuses until something is changed: ${data.error?.message ?? ""}`,
      ];
    case "gateway.process":
      return [
        h(GatewayLink, { id: data.gateway_id, name: data.gateway }),
        `: process ${String(data.change).replaceAll("_", " ")}${data.message ? `: ${data.message}` : ""}`,
      ];
    case "session.update":
      if (data.change === "more")
        return [
          `${counted(data.sessions, "more session")} changed on `,
          h(GatewayLink, { id: data.gateway_id, name: data.gateway }),
        ];
      return [
        "Session ",
        h(
          "a",
          { href: `/sessions?${new URLSearchParams({ session: data.key, of: data.gateway_id })}` },
          h("bdi", null, visible(data.label || data.key)),
        ),
        ` ${data.change}${data.status ? `, ${data.status}` : ""}, on `,
        h(GatewayLink, { id: data.gateway_id, name: data.gateway }),
      ];
    case "spawn_result":
      return [
        h("a", { href: `/spawns?${new URLSearchParams({ spawn: data.spawnId })}` }, "Spawn"),
        data.agent ? [" of ", named(data.agent)] : "",
        ` is ${data.status}`,
        data.gateway ? [" on ", named(data.gateway.name)] : "",
        data.error ? `: ${data.error}` : "",
      ];
    case "agent.status":
      return ["Agent ", named(data.agent), ` went from ${data.from} to ${data.to}`];
    case "connection.created":
      return [named(data.tool_name), ` ${data.revived ? "is back" : "connected"} as `, named(data.agent)];
    case "connection.disconnected":
      return [named(data.tool_name), " of ", named(data.agent), ` disconnected (${data.reason})`];
    case "audit":
      return [
        named(data.actor?.name),
        `: ${data.action}`,
        data.target ? [" of ", h(AuditTarget, { target: data.target })] : "",
        ` – ${data.result}`,
      ];
    default:
      return type;
  }
}

/** @param {Heard} event @param {string} gateway Id, or whole name. */
function isOf({ data }, gateway) {
  const id = data.gateway_id ?? data.gateway?.id ?? data.to?.id;
  return String(id) === gateway || data.gateway === gateway || data.gateway?.name === gateway;
}

export function Page() {
  const [frozen, setFrozen] = useState(/** @type {Heard[] | null} */ (null));
  useEffect(beginToListen, []);
  useEffect(() => {
    readEarlier();
  }, [fleet.value.loaded, isStale.value]);
  const type = asked("type");
  const gateway = asked("gateway");
  const all = frozen ?? heard.value;
  const isGap = (/** @type {Heard} */ event) => event.type === "reset" || event.type === "lagged";
  const chosen = all.filter(
    (event) => isGap(event) || ((!type || event.type === type) && (!gateway || isOf(event, gateway))),
  );
  const drawn = chosen.slice(0, MAX_DRAWN);
  const newer = frozen ? heard.value.findIndex((event) => event.number === frozen[0]?.number) : 0;
  const unseen = frozen ? (newer < 0 ? heard.value.length : newer) : 0;
  return [
    h(
      "div",
      { key: "head", class: "page-head" },
      h("h1", { tabIndex: -1 }, "Events"),
      h(
        "div",
        { class: "buttons" },
        h(
          "button",
          { type: "button", "aria-pressed": frozen !== null, onClick: () => setFrozen(frozen ? null : heard.value) },
          frozen ? `Go on (${unseen} new)` : "Pause",
        ),
        h(
          "button",
          {
            type: "button",
            onClick: () => {
              heard.value = [];
              setFrozen(null);
            },
          },
          "Clear",
        ),
      ),
    ),
    h(
      "div",
      { key: "tools", class: "tools", role: "search" },
      h(Choice, {
        label: "Show by type",
        value: type,
        set: (value) => ask({ type: value }),
        options: [
          ["", "All types"],
          ...TYPES,
          ...(may("admin") ? [/** @type {[string, string]} */ (["audit", "Audit log"])] : []),
        ],
      }),
      h(GatewayChoice, { value: gateway, set: (value) => ask({ gateway: value }) }),
      h(
        "span",
        { class: "quiet", role: "status" },
        type || gateway ? `${chosen.length} of ${counted(all.length, "event")}` : counted(all.length, "event"),
        frozen ? ", paused" : "",
      ),
    ),
    drawn.length > 0
      ? h(
          "ol",
          { key: "list", class: `events ${isStale.value ? "stale" : ""}`, "aria-label": "Events, the newest first" },
          drawn.map((event) =>
            h(
              "li",
              { key: event.number, class: isGap(event) ? "gap" : "" },
              isGap(event) ? h(Gap, { event }) : h(Row, { event }),
            ),
          ),
        )
      : h(
          "div",
          { key: "none", class: "empty" },
          h(
            "p",
            null,
            all.length > 0
              ? "No event is like that."
              : link.value.state === "live"
                ? isAsking.value
                  ? "Reading what happened before…"
                  : "Nothing has happened yet that the daemon keeps. It shows what happens from now on."
                : "The daemon is silent: nothing can be heard.",
          ),
        ),
    chosen.length > MAX_DRAWN &&
      h(
        "p",
        { key: "more", class: "quiet" },
        `${chosen.length - MAX_DRAWN} older ones are kept and not shown: filter to see them.`,
      ),
    all.length >= MAX_KEPT &&
      h("p", { key: "cut", class: "quiet" }, `Only the newest ${MAX_KEPT.toLocaleString("en")} events are kept here.`),
  ];
}

/** @param {{event: Heard}} props */
function Gap({ event }) {
  return h(
    "strong",
    null,
    event.type === "lagged"
      ? `${counted(event.data.dropped ?? 0, "event")} ${event.data.dropped === 1 ? "was" : "were"} missed here: this browser reads too slowly.`
      : "Events were missed here: the daemon has started anew, or the connection was lost for too long.",
  );
}

/** @param {{event: Heard}} props */
function Row({ event }) {
  return [
    h("span", { key: "t", class: "quiet mono" }, h(Moment, { ms: event.ts, day: false })),
    h("span", { key: "s", class: "sentence" }, sentenceOf(event)),
    h(
      "details",
      { key: "d" },
      h("summary", { class: "quiet" }, h("code", null, event.type)),
      h(Json, { value: event.data }),
    ),
  ];
}
