// What the pages share: the fleet as it is now, whose browser this is, and whether what is shown is true at this moment.
import { computed, signal } from "@preact/signals";
import { get, request, sessionEnded } from "./api.js";
import { follow, whyLost } from "./socket.js";
import { after, countsOf, emptyFleet, ofSnapshot } from "./store.js";
import { hearServerTime, serverNow } from "./time.js";

/** @typedef {import("./types.js").Message} Message */

export const fleet = signal(emptyFleet());

export const counts = computed(() => countsOf(fleet.value.rows.values()));

/**
 * The link to the daemon. `asOf`: when it last spoke (ms of its clock).
 * @type {import("@preact/signals").Signal<{state: "connecting" | "live" | "lost", asOf: number | null, reconnects: number, roundTrip: number | null, nextTry: number | null, why: string}>}
 */
export const link = signal({ state: "connecting", asOf: null, reconnects: 0, roundTrip: null, nextTry: null, why: "" });

/** Tries to connect at once, where that may help. @type {import("@preact/signals").Signal<(() => void) | null>} */
export const hurry = signal(null);

/** Whether what is shown may be old. */
export const isStale = computed(() => link.value.state !== "live");

/** Whose session it is. @type {import("@preact/signals").Signal<{name: string, role: string, expires_at?: number, version?: string} | null>} */
export const session = signal(null);

/** Why the fleet could not be read, where it could not. @type {import("@preact/signals").Signal<unknown>} */
export const readFault = signal(null);

const ROLES = ["viewer", "operator", "admin"];

/** @param {"viewer" | "operator" | "admin"} role */
export function may(role) {
  return ROLES.indexOf(session.value?.role ?? "") >= ROLES.indexOf(role);
}

/** Events that the pages follow; log entries are asked for where they are shown. */
const TYPES = [
  "gateway.vitals",
  "gateway.status",
  "gateway.primary",
  "gateway.blocked",
  "gateway.process",
  "session.update",
  "agent.status",
  "spawn_result",
  "connection.created",
  "connection.disconnected",
];

/** @type {Set<(message: Message) => void>} */
const listeners = new Set();

/** Hears every message until the returned function is called. @param {(message: Message) => void} listener */
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Messages that wait for the next frame, so that a thousand of them are drawn once. @type {Message[]} */
let waiting = [];
/** What came while a snapshot is under way, which may not have it. @type {Message[]} */
let sinceAsked = [];
let isReading = false;
let mustReadAgain = false;
let etag = "";
let isDrawing = false;
/** When a message last came. */
let lastHeard = 0;

function draw() {
  isDrawing = false;
  if (!fleet.peek().loaded || waiting.length === 0) return;
  const messages = waiting;
  waiting = [];
  // A snapshot takes as long as the network does: what is known is shown meanwhile, and applied to the snapshot as well.
  if (isReading) sinceAsked.push(...messages);
  fleet.value = after(fleet.peek(), messages);
  if (fleet.peek().gap && !isReading) readFleet();
}

function drawSoon() {
  if (isDrawing) return;
  isDrawing = true;
  // A hidden tab draws no frames.
  if (document.hidden) setTimeout(draw, 250);
  else requestAnimationFrame(draw);
}

/** Reads the whole fleet anew. */
export async function readFleet() {
  if (isReading) {
    mustReadAgain = true;
    return;
  }
  isReading = true;
  mustReadAgain = false;
  sinceAsked = [];
  try {
    const began = performance.now();
    const { status, body, headers } = await request("GET", "/api/fleet", {
      headers: etag ? { "If-None-Match": etag } : {},
    });
    const roundTrip = Math.round(performance.now() - began);
    if (status !== 304) {
      etag = headers.get("ETag") ?? "";
      fleet.value = after(ofSnapshot(body), sinceAsked);
    } else if (fleet.peek().gap) {
      fleet.value = after({ ...fleet.peek(), gap: false }, sinceAsked);
    }
    // Something was missed meanwhile.
    mustReadAgain ||= fleet.peek().gap;
    readFault.value = null;
    link.value = { ...link.peek(), roundTrip };
  } catch (error) {
    readFault.value = error;
    // Tried again, unless somebody has to log in first.
    if (!sessionEnded.peek()) setTimeout(readFleet, 3_000);
  } finally {
    isReading = false;
    sinceAsked = [];
    if (mustReadAgain) readFleet();
    else drawSoon();
  }
}

let isMeasuring = false;

/** Measures the way to the daemon and back. */
async function measure() {
  if (document.hidden || isMeasuring || link.peek().state !== "live") return;
  isMeasuring = true;
  const began = performance.now();
  try {
    await request("GET", "/api/health");
    link.value = { ...link.peek(), roundTrip: Math.round(performance.now() - began) };
  } catch {
    // The socket says so.
  }
  isMeasuring = false;
}

/** @param {Message} message */
function hear(message) {
  lastHeard = serverNow();
  // An event that is replayed is older than it looks.
  if (message.type === "keepalive" && message.ts) hearServerTime(message.ts);
  const known = link.peek();
  if (known.state !== "live" || lastHeard - (known.asOf ?? 0) > 900)
    link.value = { ...known, state: "live", asOf: lastHeard, why: "" };
  if (message.type === "keepalive") return;
  waiting.push(message);
  drawSoon();
  for (const listener of listeners) listener(message);
}

export async function readSession() {
  try {
    session.value = await get("/api/auth/session");
  } catch {
    // Whoever has none is asked to log in; where the daemon is away, the link says so.
  }
}

/** The address of the stream of events after one of them. @param {number | null} last @param {boolean} withVitals */
function streamUrl(last, withVitals) {
  const url = new URL("/api/ws", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const types = [...TYPES, ...(may("admin") ? ["audit"] : [])].filter(
    (type) => withVitals || type !== "gateway.vitals",
  );
  url.searchParams.set("types", types.join(","));
  if (last !== null) url.searchParams.set("last_event_id", String(last));
  return url.href;
}

/** Another stream than the one that all pages follow. @param {number} last @param {boolean} withVitals */
export function openStream(last, withVitals) {
  return new WebSocket(streamUrl(last, withVitals));
}

export async function start() {
  readFleet();
  // The role decides which events there are.
  await readSession();
  const followed = follow(
    {
      url: (last) => streamUrl(last, true),
      onMessage: hear,
      onState(state, more) {
        const known = link.peek();
        if (state === "open") {
          const wasLost = known.asOf !== null;
          link.value = {
            ...known,
            state: "live",
            asOf: serverNow(),
            nextTry: null,
            why: "",
            reconnects: known.reconnects + (wasLost ? 1 : 0),
          };
          // Figures are not repeated to whoever returns.
          readFleet();
          if (wasLost) readSession();
          return;
        }
        if (state === "lost") {
          link.value = { ...known, state: "lost", why: whyLost(more), nextTry: serverNow() + (more.waitMs ?? 0) };
          // A handshake that is refused says nothing to scripts: a request does.
          if (!known.asOf || more.code === 1008) readSession();
        }
      },
    },
    {
      open: (url) => new WebSocket(url),
      after: (what, ms) => setTimeout(what, ms),
      cancel: (timer) => clearTimeout(timer),
      now: () => performance.now(),
      random: Math.random,
    },
  );
  hurry.value = () => followed.hurry();
  // Nobody answers until somebody logs in, which loads the page anew.
  sessionEnded.subscribe((ended) => {
    if (!ended) return;
    followed.end();
    hurry.value = null;
    link.value = { ...link.peek(), state: "lost", nextTry: null, why: "The browser session has ended" };
  });
  setInterval(measure, 10_000);
  addEventListener("online", () => followed.hurry());
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) {
      followed.hurry();
      drawSoon();
    }
  });
  return followed;
}
