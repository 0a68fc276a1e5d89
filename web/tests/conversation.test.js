// The conversation of a session, as it is put together of what is read and what is heard.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  askedOf,
  emptyTalk,
  isUnderWay,
  itemsOf,
  withAgent,
  withChat,
  withDenied,
  withMessage,
  withNewest,
  withOlder,
  withOutgoing,
  withoutRuns,
  withWaiting,
} from "../gateway/conversation.js";

const message = (/** @type {number} */ seq, /** @type {string} */ role, /** @type {string} */ text, runId = "") => ({
  role,
  content: role === "user" ? text : [{ type: "text", text }],
  timestamp: seq,
  runId,
  __openclaw: { id: `m${seq}`, seq },
});
const history = (/** @type {any[]} */ messages, more = {}) => ({ sessionId: "s1", messages, hasMore: false, ...more });
const keys = (/** @type {import("../gateway/conversation.js").Talk} */ talk) => itemsOf(talk).map(({ key }) => key);

test("what was typed is shown once, before and after the gateway keeps it", () => {
  let talk = withNewest(emptyTalk("k"), history([]));
  talk = withOutgoing(talk, "run", "hello", 1);
  assert.deepEqual(keys(talk), ["orun"]);
  talk = withMessage(talk, { sessionId: "s1", message: message(1, "user", "hello", "run") });
  assert.deepEqual(keys(talk), ["m1"]);
  // Told of once more, and read again.
  talk = withMessage(talk, { sessionId: "s1", message: message(1, "user", "hello", "run") });
  assert.deepEqual(keys(withNewest(talk, history([message(1, "user", "hello", "run")]))), ["m1"]);
});

test("a run stands below what it answers, and its answer is shown once", () => {
  let talk = withNewest(emptyTalk("k"), history([message(1, "user", "a", "A"), message(2, "user", "b", "B")]));
  talk = withChat(talk, { runId: "A", state: "delta", message: { content: [{ text: "so far" }] } });
  talk = withAgent(talk, { runId: "A", stream: "tool", data: { phase: "start", name: "look", toolCallId: "t" } });
  talk = withAgent(talk, { runId: "A", stream: "tool", data: { phase: "result", toolCallId: "t", result: 7 } });
  assert.deepEqual(keys(talk), ["m1", "rA", "m2"]);
  talk = withChat(talk, { runId: "A", state: "final", message: { content: [{ text: "whole" }] } });
  talk = withMessage(talk, { sessionId: "s1", message: message(3, "assistant", "whole", "A") });
  const run = itemsOf(talk).find(({ key }) => key === "rA")?.run;
  assert.equal(run?.text, "", "the answer is the message");
  assert.deepEqual(run?.tools, [{ id: "t", name: "look", args: undefined, result: 7, state: "done" }]);
  assert.deepEqual(keys(talk), ["m1", "rA", "m3", "m2"], "the answer stands behind its question");
  talk = withMessage(talk, { sessionId: "s1", message: message(4, "assistant", "to b", "B") });
  assert.deepEqual(keys(talk), ["m1", "rA", "m3", "m2", "m4"]);
});

test("a stop ends the calls of the run, and says of what waited that it wasn't begun", () => {
  let talk = withNewest(emptyTalk("k"), history([message(1, "user", "a", "A"), message(2, "user", "b", "B")]));
  for (const toolCallId of ["t", "u"])
    talk = withAgent(talk, { runId: "A", stream: "tool", data: { phase: "start", name: "look", toolCallId } });
  talk = withDenied(talk, { runId: "A", toolCallId: "t" });
  for (const [runId, startedAt] of [
    ["B", null],
    ["A", 7],
  ]) {
    talk = withAgent(talk, { runId, stream: "lifecycle", data: { phase: "end", aborted: true, startedAt } });
    talk = withChat(talk, { runId, state: "aborted" });
  }
  const of = (/** @type {string} */ id) => talk.runs.find((run) => run.id === id);
  assert.deepEqual([of("A")?.state, of("B")?.state], ["stopped", "unbegun"]);
  assert.deepEqual(
    of("A")?.tools.map(({ state }) => state),
    ["denied", "stopped"],
  );
  assert.deepEqual(keys(talk), ["m1", "rA", "m2", "rB"]);
});

test("what was missed while the connection was away is read: the newest joined to the older where nothing lies between", () => {
  const older = withNewest(
    emptyTalk("k"),
    history([message(3, "user", "c"), message(4, "user", "d")], { hasMore: true }),
  );
  const joined = withNewest(older, history([message(4, "user", "d"), message(5, "user", "e")], { hasMore: true }));
  assert.deepEqual(keys(joined), ["m3", "m4", "m5"]);
  const apart = withNewest(older, history([message(9, "user", "x")], { hasMore: true }));
  assert.deepEqual(keys(apart), ["m9"]);
  const all = withOlder(joined, { messages: [message(1, "user", "a"), message(2, "user", "b")], hasMore: false });
  assert.deepEqual(keys(all), ["m1", "m2", "m3", "m4", "m5"]);
  assert.equal(all.hasOlder, false);
  const reset = withMessage(all, { sessionId: "s2", message: message(6, "user", "new") });
  assert.deepEqual(keys(reset), ["m6"]);
});

test("a run that ended unheard is under way no more", () => {
  let talk = withNewest(
    emptyTalk("k"),
    history([message(1, "user", "a", "A")], { sessionInfo: { activeRunIds: ["A"] } }),
  );
  assert.ok(talk.runs.some(isUnderWay));
  assert.equal(withoutRuns(talk).runs[0]?.state, "failed");
  const sessionInfo = { activeRunIds: [], lastRunId: "A", lastRunError: "no", status: "failed" };
  talk = withNewest(talk, history([message(1, "user", "a", "A")], { sessionInfo }));
  assert.ok(!talk.runs.some(isUnderWay));
  assert.equal(itemsOf(talk).at(-1)?.run?.error, "no");
});

test("a run that waited when the connection broke is what the gateway says of it, once that is read", () => {
  const asked = ["A", "B", "C"].map((id, at) => message(at + 1, "user", id.toLowerCase(), id));
  let before = withNewest(emptyTalk("k"), history(asked, { sessionInfo: { activeRunIds: ["A"] } }));
  for (const id of ["B", "C"]) before = withWaiting(before, id);
  const after = (/** @type {any} */ sessionInfo, /** @type {any[]} */ more = []) =>
    withNewest(before, history([...asked, ...more], { sessionInfo })).runs.map(({ id, state }) => `${id} ${state}`);
  assert.deepEqual(after({ activeRunIds: ["A"] }), ["A running", "B waiting", "C waiting"]);
  assert.deepEqual(after({ activeRunIds: ["B"] }), ["A done", "B running", "C waiting"]);
  assert.deepEqual(after({ activeRunIds: ["C"], paused: true }), ["A done", "B done", "C paused"]);
  const answer = message(4, "assistant", "to c", "C");
  assert.deepEqual(after({ activeRunIds: [], lastRunId: "C" }, [answer]), ["A done", "B done", "C done"]);
  const failed = { activeRunIds: [], lastRunId: "C", lastRunError: "no", status: "failed" };
  assert.deepEqual(after(failed), ["A done", "B done", "C failed"]);
});

test("what was stopped before its turn can be sent again though its message isn't loaded any more", () => {
  let talk = withNewest(emptyTalk("k"), history([message(1, "user", "a", "A"), message(2, "user", "the text", "B")]));
  talk = withAgent(talk, { runId: "B", stream: "lifecycle", data: { phase: "end", aborted: true, startedAt: null } });
  // The newest messages are far behind it.
  talk = withNewest(talk, history([message(90, "user", "x")], { hasMore: true }));
  assert.equal(askedOf(talk, "B"), "the text");
  assert.equal(askedOf({ ...talk, messages: [] }, "B"), "the text");
  assert.equal(askedOf(talk, "unknown"), "");
});
