import assert from "node:assert/strict";
import { test } from "node:test";
import {
  addressOf,
  duration,
  isConnected,
  makerOf,
  milliseconds,
  neverSeen,
  newWorkOf,
  plainWords,
  visible,
  withoutName,
} from "../format.js";
import { after, countsOf, ofSnapshot, queryOf, selected, viewOf } from "../store.js";

const row = (/** @type {number} */ id, more = {}) => ({
  id,
  name: `gateway ${id}`,
  host: "192.0.2.7",
  port: 18789,
  status: "online",
  phase: "ready",
  since: 1,
  as_of: 1,
  ...more,
});

const fleet = (/** @type {any[]} */ ...gateways) =>
  ofSnapshot({ last_event: 100, acting_primary: { id: 1, name: "gateway 1", reason: "r" }, gateways });

const status = (/** @type {number} */ id, /** @type {number} */ gateway_id, /** @type {string} */ to) => ({
  id,
  type: "gateway.status",
  ts: 5_000,
  data: { gateway_id, to, phase: "backoff", latency: null, error: { code: "c", message: "m", help: "h" } },
});

test("an event changes its row and leaves the state before as it was", () => {
  const before = fleet(row(1), row(2));
  const now = after(before, [status(101, 2, "offline")]);
  assert.equal(now.rows.get(2)?.status, "offline");
  assert.equal(now.rows.get(2)?.since, 5);
  assert.equal(now.rows.get(2)?.last_error?.code, "c");
  assert.equal(before.rows.get(2)?.status, "online");
  assert.equal(now.lastEvent, 101);
});

test("an event that the snapshot includes already is left out", () => {
  const now = after(fleet(row(1)), [status(100, 1, "offline"), status(99, 1, "timeout")]);
  assert.equal(now.rows.get(1)?.status, "online");
});

test("figures replace all figures of a row, and whole rows the row", () => {
  const before = fleet(row(1, { latency: 9, sessions_count: 3 }), row(2));
  const vitals = {
    id: 100,
    type: "gateway.vitals",
    data: { figures: [{ id: 1, as_of: 7 }], rows: [row(3)], removed: [2], self_doubt: "more than half fail" },
  };
  const now = after(before, [vitals]);
  assert.deepEqual([...now.rows.keys()], [1, 3]);
  assert.equal(now.rows.get(1)?.latency, undefined);
  assert.equal(now.rows.get(1)?.sessions_count, 0);
  assert.equal(now.rows.get(1)?.name, "gateway 1");
  assert.equal(now.doubt, "more than half fail");
});

test("vitals from before the snapshot are left out", () => {
  const now = after(fleet(row(1, { latency: 9 })), [
    { id: 99, type: "gateway.vitals", data: { figures: [{ id: 1, as_of: 0, latency: 5 }] } },
  ]);
  assert.equal(now.rows.get(1)?.latency, 9);
});

test("events of gateways that are not there change nothing", () => {
  assert.equal(after(fleet(row(1)), [status(101, 9, "offline")]).rows.size, 1);
});

test("another primary moves the mark", () => {
  const before = fleet(row(1, { acting_primary: true }), row(2));
  const now = after(before, [
    {
      id: 101,
      type: "gateway.primary",
      data: { from: { id: 1, name: "gateway 1" }, to: { id: 2, name: "gateway 2" }, reason: "better" },
    },
  ]);
  assert.equal(now.rows.get(1)?.acting_primary, false);
  assert.equal(now.rows.get(2)?.acting_primary, true);
  assert.equal(now.acting?.reason, "better");
  assert.equal(
    after(now, [{ id: 102, type: "gateway.primary", data: { from: null, to: null, reason: "none" } }]).acting,
    null,
  );
});

test("a blocked gateway is counted as such and as what it is", () => {
  const now = after(fleet(row(1), row(2)), [
    {
      id: 101,
      type: "gateway.blocked",
      data: { gateway_id: 1, status: "degraded", error: null, pairing: { device_id: "d" } },
    },
  ]);
  assert.equal(now.rows.get(1)?.awaits_pairing, true);
  const counts = countsOf(now.rows.values());
  assert.deepEqual([counts.all, counts.blocked, counts.degraded, counts.online], [2, 1, 1, 1]);
});

test("what was missed is a gap, until the fleet is read anew", () => {
  for (const type of ["reset", "lagged"]) assert.equal(after(fleet(row(1)), [{ type }]).gap, true);
  assert.equal(fleet(row(1)).gap, false);
});

test("the worst comes first, and names in their order", () => {
  const rows = [
    row(1, { name: "b10" }),
    row(2, { name: "b9" }),
    row(3, { status: "degraded" }),
    row(4, { status: "offline" }),
    row(5, { status: "timeout", is_primary: true }),
    row(6, { status: "degraded", phase: "blocked" }),
  ];
  assert.deepEqual(
    selected(fleet(...rows).rows.values(), viewOf("")).map(({ id }) => id),
    [6, 5, 4, 3, 2, 1],
  );
});

test("rows are chosen by status, blocked, label and words", () => {
  const rows = fleet(
    row(1, { phase: "blocked", status: "degraded" }),
    row(2, { labels: { region: "eu" } }),
    row(3, { host: "edge.example.com" }),
  ).rows;
  const ids = (/** @type {string} */ query) => selected(rows.values(), viewOf(query)).map(({ id }) => id);
  assert.deepEqual(ids("?status=blocked"), [1]);
  assert.deepEqual(ids("?status=degraded,online").length, 3);
  assert.deepEqual(ids("?label=region=eu"), [2]);
  assert.deepEqual(ids("?q=EDGE%20gateway"), [3]);
  assert.deepEqual(ids("?q=region=eu"), [2]);
});

test("names are ordered as people read them, and go on to be when one changes, comes or goes", () => {
  const byName = (/** @type {any[]} */ ...rows) => selected(rows, viewOf("?sort=name")).map(({ id }) => id);
  assert.deepEqual(byName(row(1, { name: "b10" }), row(2, { name: "b9" }), row(3, { name: "a" })), [3, 2, 1]);
  assert.deepEqual(byName(row(1, { name: "b10" }), row(2, { name: "z" }), row(3, { name: "a" })), [3, 1, 2]);
  assert.deepEqual(byName(row(4, { name: "b2" }), row(1, { name: "b10" }), row(2, { name: "z" })), [4, 1, 2]);
  // The same number, written otherwise: the older one first.
  assert.deepEqual(byName(row(2, { name: "b02" }), row(1, { name: "b2" }), row(3, { name: "b1" })), [3, 1, 2]);
  assert.deepEqual(
    selected([row(1, { name: "x" }), row(2, { name: "b2" })], viewOf("?sort=name&order=desc")).map(({ id }) => id),
    [1, 2],
  );
});

test("gateways without a latency come last", () => {
  const rows = fleet(row(1), row(2, { latency: 5 }), row(3, { latency: 50 })).rows;
  assert.deepEqual(
    selected(rows.values(), viewOf("?sort=latency")).map(({ id }) => id),
    [2, 3, 1],
  );
});

test("a gateway gets new work, and counts as connected, only while it answers", () => {
  const ready = { ...row(1), breaker: { state: "closed" } };
  assert.equal(newWorkOf(ready), "May be routed here");
  for (const change of [
    { drained: true },
    { status: "timeout" },
    { phase: "blocked" },
    { phase: "backoff" },
    { breaker: { state: "open" } },
  ])
    assert.match(newWorkOf({ ...ready, ...change }), /^None: /);
  assert.equal(isConnected(ready), true);
  assert.equal(isConnected({ ...ready, status: "timeout" }), false);
  assert.equal(neverSeen(row(1, { phase: "blocked" })), "Refused");
});

test("what turns or hides the words around a name is visible", () => {
  assert.equal(visible("a\u202eb\u0007"), "a⟨U+202E⟩b⟨U+0007⟩");
  for (const hidden of ["061C", "180E", "00AD", "3164", "200B", "200C", "200D", "2028", "FEFF", "E0041", "E0100"])
    assert.equal(visible(`ad${String.fromCodePoint(Number.parseInt(hidden, 16))}min`), `ad⟨U+${hidden}⟩min`);
  for (const seen of ["بوابة", "می\u200cخواهم", "क्\u200dष", "❤\ufe0f", "👩\u200d💻", "👩🏽\u200d💻", "❤\ufe0f\u200d🔥"])
    assert.equal(visible(seen), seen);
});

test("a view and its query say the same", () => {
  for (const query of ["", "?q=a+b", "?status=offline,timeout", "?label=a=b&sort=name&order=desc"])
    assert.equal(queryOf(viewOf(query)), query);
  assert.equal(viewOf("?sort=nonsense").sort, "status");
});

test("ten thousand rows are chosen and ordered quickly", () => {
  const rows = fleet(
    ...Array.from({ length: 10_000 }, (_, at) => row(at + 1, { status: at % 7 === 0 ? "offline" : "online" })),
  ).rows;
  const began = performance.now();
  assert.equal(selected(rows.values(), viewOf("?q=gateway")).length, 10_000);
  console.log(`10,000 rows: ${Math.round(performance.now() - began)} ms`);
});

test("a session that a job or a channel made has their name", () => {
  for (const [key, name] of [
    ["agent:a:cron:0123456789", "Job 01234567"],
    ["agent:a:telegram:default:user77", "Telegram, person 77"],
    ["agent:a:telegram:work:direct:77", "Telegram (work), person 77"],
    ["agent:a:telegram:direct:77", "Telegram, person 77"],
    ["agent:a:telegram:group:-100:topic:42", "Telegram, group -100, topic 42"],
    ["agent:a:direct:77", "Person 77"],
    ["agent:a:webchat:0123", ""],
    ["agent:a:main", ""],
  ])
    assert.equal(makerOf(key ?? ""), name, key);
  assert.equal(
    makerOf("agent:a:cron:7", () => "Brief"),
    "Job Brief",
  );
});

test("addresses, times and spans read as people write them", () => {
  assert.equal(addressOf({ host: "192.0.2.7", port: 1 }), "192.0.2.7:1");
  assert.equal(addressOf({ host: "2001:db8::1", port: 1 }), "[2001:db8::1]:1");
  assert.equal(addressOf({ host: "ws://a:5", port: 5 }), "a:5");
  assert.equal(addressOf({ host: "wss://a.example", port: 443 }), "wss://a.example");
  assert.deepEqual([0, 59, 61, 3_600, 90_000].map(duration), ["0 s", "59 s", "1 min 1 s", "1 h", "1 d 1 h"]);
  assert.deepEqual([null, 0.4, 12, 12_345].map(milliseconds), ["–", "0.4 ms", "12 ms", "12 s"]);
});

test("what the daemon says to programs is said to people in their words", () => {
  assert.equal(withoutName({ name: 'a "b' }, 'Gateway "a "b" (h:1) refused the token.'), "refused the token.");
  assert.equal(withoutName({ name: "a" }, "Another sentence"), "Another sentence");
  assert.equal(plainWords("Set it here (PUT /api/gateways with id and token)."), "Set it here (Edit).");
  for (const [said, plain] of [
    [
      'POST /api/gateways/3/process {"action": "diagnose"} shows what it said last; {"action": "start"} starts it.',
      "Diagnose shows what it said last; Start starts it.",
    ],
    ["GET /api/gateways shows each gateway's state.", "The page Gateways shows each gateway's state."],
    ["It may be under way: GET /api/spawn/a1-b2 tells.", "It may be under way: The page Spawns tells."],
    [
      "Name one with gateway_id; GET /api/v1/gateways lists them.",
      "Name one with gateway_id; the page Gateways lists them.",
    ],
    ["POST /api/gateways/{id}/undrain gives work again.", "Undrain gives work again."],
    ["An admin creates keys with POST /api/keys.", "An admin creates keys with the page Keys."],
    ["Nothing of ours: GET /api/other.", "Nothing of ours: GET /api/other."],
  ])
    assert.equal(plainWords(String(said)), plain);
  assert.equal(plainWords("Wait as long as the Retry-After header says. More."), "More.");
});
