// The one WebSocket to the gateway that served this page: logs in, asks, hears events, comes back by itself.
import { computed, signal } from "@preact/signals";
import { Refusal } from "../api.js";
import { follow, whyLost } from "../socket.js";
import { hearServerTime, serverNow } from "../time.js";
import { deviceOf } from "./identity.js";
import { endingOf, endingOfClose } from "./refusals.js";

/** How long an answer may take. */
const ANSWER_MS = 35_000;
/** The way to the gateway and back is measured so often; this also proves that it still answers. */
const PING_MS = 10_000;

const CLIENT = { id: "openclaw-control-ui", mode: "ui", version: "1", platform: "web", displayName: "Control UI" };
const ROLE = "operator";
const SCOPES = ["operator.admin", "operator.approvals", "operator.pairing", "operator.read", "operator.write"];

/**
 * @typedef {object} Link
 * @property {"out" | "connecting" | "live" | "lost"} state `out`: nobody is logged in.
 * @property {number | null} asOf When the gateway last spoke, ms of its clock; null before it let this page in.
 * @property {number | null} nextTry
 * @property {number | null} roundTrip
 * @property {number} reconnects
 * @property {string} why
 * @property {any} hello
 * @property {import("./refusals.js").Ending | null} ending Why nothing is tried any more.
 */

/** @type {Link} */
const NOBODY = {
  state: "out",
  asOf: null,
  nextTry: null,
  roundTrip: null,
  reconnects: 0,
  why: "",
  hello: null,
  ending: null,
};

export const gatewayLink = signal(NOBODY);
/** Whether what is shown may be old. */
export const isOld = computed(() => gatewayLink.value.state !== "live");
/** When a measurement was sent that has no answer yet, ms of `performance`. @type {import("@preact/signals").Signal<number | null>} */
export const askedAt = signal(null);

/** Nowhere but here: not in the page, not in storage, not in an address. */
let credential = "";
/** @type {WebSocket | null} */
let webSocket = null;
/** @type {ReturnType<typeof follow> | null} */
let followed = null;
let hasDevice = false;
let nextRequest = 1;

/** @type {Map<string, {resolve: (payload: any) => void, reject: (error: unknown) => void, timer: any}>} */
const unanswered = new Map();
/** @type {Set<(event: string, payload: any) => void>} */
const eventListeners = new Set();
/** @type {Set<() => void>} */
const arrivalListeners = new Set();

/** Hears every event until the returned function is called. @param {(event: string, payload: any) => void} listener */
export function onEvent(listener) {
  eventListeners.add(listener);
  return () => eventListeners.delete(listener);
}

/** Is called each time that the gateway has let this page in. @param {() => void} listener */
export function onArrival(listener) {
  arrivalListeners.add(listener);
  return () => arrivalListeners.delete(listener);
}

/** @param {Partial<Link>} changes */
function change(changes) {
  gatewayLink.value = { ...gatewayLink.peek(), ...changes };
}

/** Words of the gateway's errors, as those of the daemon's are kept. @param {any} error */
function refusalOfGateway(error) {
  const body = {
    error: error?.message ?? "The gateway refused",
    code: error?.details?.code ?? error?.code,
    details: error?.details ?? null,
  };
  return new Refusal(0, body, error?.retryAfterMs ? Math.ceil(error.retryAfterMs / 1000) : null);
}

const LOST = "CONNECTION_LOST";

/** Whether it is unknown what became of a request. @param {unknown} error */
export function wasLost(error) {
  return error instanceof Refusal && error.code === LOST;
}

/** @param {string} message */
function lost(message) {
  return new Refusal(0, { error: message, code: LOST, help: "It may have been done all the same." }, null);
}

/** Calls a method of the gateway. A refusal has the gateway's own words. @param {string} method @param {Record<string, unknown>} [params] @returns {Promise<any>} */
export async function callGateway(method, params = {}) {
  if (gatewayLink.peek().state !== "live" || !webSocket) throw lost("There is no connection to the gateway");
  try {
    return await requestOf(method, params);
  } catch (error) {
    throw error instanceof Refusal ? error : refusalOfGateway(error);
  }
}

/** @param {string} method @param {Record<string, unknown>} params @returns {Promise<any>} */
function requestOf(method, params) {
  const id = String(nextRequest++);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      unanswered.delete(id);
      reject(lost(`The gateway didn't answer within ${ANSWER_MS / 1000} s`));
    }, ANSWER_MS);
    unanswered.set(id, { resolve, reject, timer });
    webSocket?.send(JSON.stringify({ type: "req", id, method, params }));
  });
}

function forgetUnanswered() {
  askedAt.value = null;
  for (const { reject, timer } of unanswered.values()) {
    clearTimeout(timer);
    reject(lost("The connection was lost before the gateway answered"));
  }
  unanswered.clear();
}

/** @param {any} frame */
function hearFrame(frame) {
  const known = gatewayLink.peek();
  if (known.state === "live" && serverNow() - (known.asOf ?? 0) > 900) change({ asOf: serverNow() });
  if (frame.type === "res") {
    const waiting = unanswered.get(frame.id);
    if (!waiting) return;
    unanswered.delete(frame.id);
    clearTimeout(waiting.timer);
    if (frame.ok) waiting.resolve(frame.payload);
    else waiting.reject(frame.error);
  } else if (frame.type === "event" && frame.event === "connect.challenge") {
    introduce(frame.payload);
  } else if (frame.type === "event") {
    for (const listener of eventListeners) listener(frame.event, frame.payload ?? {});
  }
}

/** @param {{nonce: string, ts: number}} challenge */
async function introduce({ nonce, ts }) {
  const mine = webSocket;
  hearServerTime(ts);
  const device = await deviceOf({ client: CLIENT, role: ROLE, scopes: SCOPES, token: credential, nonce, signedAt: ts });
  hasDevice = device !== null;
  if (mine !== webSocket || !followed) return;
  try {
    const hello = await requestOf("connect", {
      minProtocol: 4,
      maxProtocol: 4,
      client: CLIENT,
      role: ROLE,
      scopes: SCOPES,
      ...(credential ? { auth: { token: credential } } : {}),
      ...(device ? { device } : {}),
    });
    const known = gatewayLink.peek();
    const reconnects = known.reconnects + (known.hello ? 1 : 0);
    change({ state: "live", asOf: serverNow(), nextTry: null, why: "", hello, ending: null, reconnects });
    for (const listener of arrivalListeners) listener();
    measureLink();
  } catch (error) {
    // A connection that was lost comes back by itself, and so does one to a gateway that stops or starts.
    if (error instanceof Refusal || /** @type {any} */ (error).code === "UNAVAILABLE") return;
    stopWith(endingOf(/** @type {any} */ (error), { ...pagePlace(), hasDevice, now: serverNow() }));
  }
}

function pagePlace() {
  const { origin, port, protocol } = location;
  return { isSecure: isSecureContext, origin, port: port || (protocol === "https:" ? "443" : "80") };
}

function hangUp() {
  const old = followed;
  followed = null;
  webSocket = null;
  old?.end();
  forgetUnanswered();
}

/** @param {import("./refusals.js").Ending} ending */
function stopWith(ending) {
  hangUp();
  if (ending.asksAgain) credential = "";
  change({ state: "out", nextTry: null, ending });
}

/** Logs in, with what was typed or what was typed before. @param {string} [typed] */
export function connectGateway(typed) {
  if (typed !== undefined) credential = typed;
  followed?.end();
  change({ state: "connecting", ending: null });
  followed = follow(
    {
      url: () => {
        const { protocol, host, pathname } = location;
        return `${protocol === "https:" ? "wss:" : "ws:"}//${host}${pathname}`;
      },
      onMessage: hearFrame,
      onState(state, { code, reason, waitMs }) {
        if (state === "open") return;
        if (state === "connecting") return change({ state: "connecting" });
        forgetUnanswered();
        const ending = endingOfClose(code, reason ?? "");
        if (ending) return stopWith(ending);
        change({ state: "lost", why: whyLost({ code, reason }), nextTry: serverNow() + (waitMs ?? 0) });
      },
    },
    {
      open: (url) => {
        webSocket = new WebSocket(url);
        return webSocket;
      },
      after: (what, ms) => setTimeout(what, ms),
      cancel: (timer) => clearTimeout(timer),
      now: () => performance.now(),
      random: Math.random,
    },
  );
}

/** Forgets the credential, and what was read. */
export function disconnectGateway() {
  hangUp();
  credential = "";
  gatewayLink.value = NOBODY;
}

/** Does not wait for the next attempt. */
export function hurryLink() {
  followed?.hurry();
}

async function measureLink() {
  if (gatewayLink.peek().state !== "live" || askedAt.peek() !== null) return;
  const began = performance.now();
  askedAt.value = began;
  try {
    const { ts } = await requestOf("ping", {});
    hearServerTime(ts);
    change({ roundTrip: Math.round(performance.now() - began) });
  } catch {
    // The socket says so.
  }
  if (askedAt.peek() === began) askedAt.value = null;
}

/** Watches over the link for as long as the page is open. */
export function startLink() {
  setInterval(measureLink, PING_MS);
  addEventListener("online", hurryLink);
  document.addEventListener("visibilitychange", () => document.hidden || hurryLink());
}
