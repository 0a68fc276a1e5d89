// One WebSocket to the daemon: tells when it is silent, and comes back by itself. Timers and sockets are handed in, for tests.

/** The daemon speaks every 15 s: whoever is silent for so long is taken for gone. */
export const SILENCE_MS = 35_000;

/** Waits between attempts. */
const WAITS_MS = [500, 1_000, 2_000, 4_000, 8_000, 15_000];

/**
 * @typedef {object} Tools
 * @property {(url: string) => any} open Makes a WebSocket.
 * @property {(what: () => void, ms: number) => any} after
 * @property {(timer: any) => void} cancel
 * @property {() => number} now Milliseconds of a clock that never jumps.
 * @property {() => number} random From 0 to 1.
 */

/**
 * Follows until the returned function is called.
 * @param {object} wanted
 * @param {(lastEvent: number | null) => string} wanted.url
 * @param {(message: any) => void} wanted.onMessage
 * @param {(state: "connecting" | "open" | "lost", more: {code?: number, reason?: string, waitMs?: number}) => void} wanted.onState
 * @param {Tools} tools
 */
export function follow({ url, onMessage, onState }, tools) {
  /** @type {number | null} */
  let last = null;
  /** @type {any} */
  let socket = null;
  /** @type {any} */
  let silence = null;
  /** @type {any} */
  let retry = null;
  let failures = 0;
  let ended = false;

  let heardAt = 0;

  // One timer for thousands of messages.
  const heard = () => {
    heardAt = tools.now();
    silence ??= tools.after(watch, SILENCE_MS);
  };

  const watch = () => {
    const left = heardAt + SILENCE_MS - tools.now();
    silence = left > 0 ? tools.after(watch, left) : null;
    if (left <= 0) leave({ reason: "silent" });
  };

  /** @param {{code?: number, reason?: string}} why */
  const leave = (why) => {
    const old = socket;
    if (!old) return;
    socket = null;
    tools.cancel(silence);
    silence = null;
    old.close();
    if (ended) return;
    const wait = WAITS_MS[Math.min(failures, WAITS_MS.length - 1)] ?? 15_000;
    failures += 1;
    const waitMs = Math.round(wait * (0.8 + 0.4 * tools.random()));
    onState("lost", { ...why, waitMs });
    retry = tools.after(begin, waitMs);
  };

  const begin = () => {
    tools.cancel(retry);
    if (ended || socket) return;
    onState("connecting", {});
    const mine = tools.open(url(last));
    socket = mine;
    heard();
    mine.onopen = () => {
      if (mine !== socket) return;
      heard();
      onState("open", {});
    };
    mine.onmessage = (/** @type {{data: unknown}} */ event) => {
      if (mine !== socket) return;
      heard();
      const message = typeof event.data === "string" ? read(event.data) : null;
      if (!message) return;
      // What arrives proves more than an open socket, which a proxy may hold.
      failures = 0;
      if (typeof message.id === "number") last = message.id;
      if (typeof message.last_id === "number") last = message.last_id;
      onMessage(message);
    };
    mine.onclose = (/** @type {{code: number, reason: string}} */ event) => {
      if (mine === socket) leave({ code: event.code, reason: event.reason });
    };
  };

  begin();
  return {
    end() {
      ended = true;
      tools.cancel(retry);
      leave({});
    },
    /** Does not wait any longer. */
    hurry() {
      if (socket || ended) return;
      failures = 0;
      begin();
    },
  };
}

/** @param {string} text */
function read(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Why a connection was lost, as its close says it. @param {{code?: number, reason?: string}} close */
export function whyLost({ code, reason }) {
  return reason || (code ? `closed with code ${code}` : "");
}
