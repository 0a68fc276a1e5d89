import assert from "node:assert/strict";
import { test } from "node:test";
import { follow, SILENCE_MS } from "../socket.js";

/** Sockets and timers that a test moves. */
function world() {
  let now = 0;
  /** @type {{at: number, what: () => void}[]} */
  let timers = [];
  /** @type {any[]} */
  const sockets = [];
  /** @type {any[]} */
  const states = [];
  /** @type {any[]} */
  const messages = [];
  const tools = {
    open(/** @type {string} */ url) {
      const socket = {
        url,
        closed: false,
        close() {
          this.closed = true;
        },
      };
      sockets.push(socket);
      return socket;
    },
    after(/** @type {() => void} */ what, /** @type {number} */ ms) {
      const timer = { at: now + ms, what };
      timers.push(timer);
      return timer;
    },
    cancel(/** @type {any} */ timer) {
      timers = timers.filter((one) => one !== timer);
    },
    now: () => now,
    random: () => 0.5,
  };
  const pass = (/** @type {number} */ ms) => {
    now += ms;
    const due = timers.filter((timer) => timer.at <= now);
    timers = timers.filter((timer) => timer.at > now);
    for (const timer of due) timer.what();
  };
  const followed = follow(
    {
      url: (last) => `/ws?${last ?? ""}`,
      onMessage: (message) => messages.push(message),
      onState: (state, more) => states.push([state, more]),
    },
    tools,
  );
  const say = (/** @type {any} */ message) => sockets.at(-1).onmessage({ data: JSON.stringify(message) });
  return { sockets, states, messages, pass, say, followed, latest: () => states.at(-1)[0] };
}

test("messages arrive, and a connection that was lost goes on after the last one", () => {
  const it = world();
  it.sockets[0].onopen();
  it.say({ id: 7, type: "gateway.status" });
  it.sockets[0].onclose({ code: 1001, reason: "" });
  assert.equal(it.latest(), "lost");
  it.pass(500);
  assert.equal(it.sockets[1].url, "/ws?7");
  assert.equal(it.messages.length, 1);
});

test("a daemon that is silent for 35 s is taken for gone, one that keeps alive is not", () => {
  const it = world();
  it.sockets[0].onopen();
  for (let at = 0; at < 10; at++) {
    it.pass(SILENCE_MS - 1_000);
    it.say({ type: "keepalive", last_id: 9, ts: 1 });
  }
  assert.equal(it.latest(), "open");
  it.pass(SILENCE_MS);
  assert.equal(it.latest(), "lost");
  assert.equal(it.sockets[0].closed, true);
});

test("a handshake that is never answered is given up as well", () => {
  const it = world();
  it.pass(SILENCE_MS);
  assert.equal(it.latest(), "lost");
});

test("the waits between attempts grow to 15 s and shrink once something arrives", () => {
  const it = world();
  const waits = [];
  for (let at = 0; at < 8; at++) {
    it.sockets.at(-1).onclose({ code: 1006, reason: "" });
    waits.push(it.states.at(-1)[1].waitMs);
    it.pass(20_000);
  }
  assert.deepEqual(waits, [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
  it.sockets.at(-1).onopen();
  it.say({ type: "keepalive", ts: 1 });
  it.sockets.at(-1).onclose({ code: 1006, reason: "" });
  assert.equal(it.states.at(-1)[1].waitMs, 500);
});

test("what an abandoned socket still says is not heard", () => {
  const it = world();
  const [old] = it.sockets;
  old.onclose({ code: 1006, reason: "" });
  it.pass(500);
  old.onmessage({ data: '{"type":"gateway.status","id":1}' });
  old.onclose({ code: 1006, reason: "" });
  assert.equal(it.messages.length, 0);
  assert.equal(it.sockets.length, 2);
});

test("what is no JSON is left out, and an end is the end", () => {
  const it = world();
  it.sockets[0].onopen();
  it.sockets[0].onmessage({ data: "not json" });
  it.followed.end();
  it.pass(60_000);
  assert.equal(it.messages.length, 0);
  assert.equal(it.sockets.length, 1);
});

test("whoever doesn't want to wait connects at once", () => {
  const it = world();
  it.sockets[0].onclose({ code: 1006, reason: "" });
  it.followed.hurry();
  it.followed.hurry();
  assert.equal(it.sockets.length, 2);
});
