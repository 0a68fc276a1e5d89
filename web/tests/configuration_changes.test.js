// Two people change one configuration.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  changesOf,
  keysOfBoth,
  keysOfSchema,
  leavesOf,
  patched,
  schemaAt,
  takes,
  valueAt,
  withValue,
} from "../gateway/configuration_changes.js";
import { asWritten, rebased } from "../gateway/configuration_draft.js";

test("a patch says what differs and nothing else, and leads from one to the other", () => {
  const before = { a: { x: 1, y: [1, 2], z: "s" }, b: true, c: { d: { e: ["f"] } }, same: [{ id: "q", k: null }] };
  const after = { a: { x: 2, y: [2], z: "s" }, n: { m: 1 }, same: [{ k: null, id: "q" }] };
  const { patch, lists, keys } = changesOf(before, after);
  assert.deepEqual(patch, { a: { x: 2, y: [2] }, b: null, c: null, n: { m: 1 } });
  assert.deepEqual(lists, ["a.y", "c.d.e"], "lists lose entries only where it is said");
  assert.deepEqual(keys, ["a.x", "a.y", "b", "c", "n"]);
  assert.deepEqual(patched(before, patch), after);
  assert.deepEqual(changesOf(after, after), { patch: {}, lists: [], keys: [] });
});

test("what two changed in different places is kept of both", () => {
  const base = { logging: { level: "info" }, agents: { entries: { a: { name: "A", model: "m" } } } };
  const theirs = withValue(base, ["agents", "entries", "a", "model"], "n");
  const mine = withValue(base, ["agents", "entries", "a", "name"], "B");
  const { patch, keys } = changesOf(base, mine);
  const both = patched(theirs, patch);
  assert.deepEqual(both, { logging: { level: "info" }, agents: { entries: { a: { name: "B", model: "n" } } } });
  assert.deepEqual(keysOfBoth(keys, changesOf(base, theirs).keys), []);
  assert.equal(valueAt(base, ["agents", "entries", "a", "name"]), "A", "nothing is changed in place");
});

test("what both changed is named, also where one took away what the other changed a part of", () => {
  assert.deepEqual(keysOfBoth(["a.b", "c", "d.e"], ["a.b.c", "c", "d"]), ["a.b", "c", "d.e"]);
  assert.deepEqual(keysOfBoth(["a.bc"], ["a.b"]), []);
});

test("a key that is called as what every object has is a key", () => {
  const hostile = JSON.parse('{"__proto__": {"polluted": 1}, "constructor": 2}');
  const { patch } = changesOf({}, hostile);
  assert.equal(JSON.stringify(patched({}, patch)), JSON.stringify(hostile));
  assert.equal(valueAt({}, ["constructor"]), undefined);
  assert.equal(/** @type {any} */ ({}).polluted, undefined);
});

test("each value is listed with what its key takes", () => {
  const schema = {
    type: "object",
    properties: {
      port: { type: "integer", minimum: 0, maximum: 9 },
      entries: {
        type: "object",
        additionalProperties: { type: "object", properties: { model: { type: ["string", "object"] } } },
      },
      wait: { type: ["number", "string"], description: "a number of seconds" },
    },
  };
  assert.deepEqual(leavesOf({ port: 1, entries: { a: { model: "m" } }, none: {} }), [
    ["entries.a.model", "m"],
    ["none", {}],
    ["port", 1],
  ]);
  assert.equal(takes(schemaAt(schema, "port")), "a whole number from 0 to 9");
  assert.equal(takes(schemaAt(schema, "entries.a.model")), "a text or a section");
  assert.equal(takes(schemaAt(schema, "wait")), "a number of seconds");
  assert.equal(takes(schemaAt(schema, "nothing.like.it")), "");
  assert.deepEqual(keysOfSchema(schema), ["entries", "port", "wait"]);
});

test("what others save while something is typed is neither lost nor overwritten unseen", () => {
  const base = { logging: { level: "info" }, agents: { a: { name: "A" } } };
  const typed = { base, hash: "1", text: asWritten(withValue(base, ["agents", "a", "name"], "B")) };
  const theirs = withValue(base, ["logging", "level"], "debug");
  const both = rebased(typed, theirs, "2");
  assert.deepEqual(JSON.parse(both.draft.text), { logging: { level: "debug" }, agents: { a: { name: "B" } } });
  assert.deepEqual(both.meanwhile, { theirs: ["logging.level"], both: [] });
  const same = rebased(typed, withValue(base, ["agents", "a", "name"], "C"), "2");
  assert.deepEqual(same.meanwhile, { theirs: ["agents.a.name"], both: ["agents.a.name"] });
  // Nothing was typed, or it is what the file says now.
  assert.equal(rebased({ base, hash: "1", text: asWritten(base) }, theirs, "2").draft.text, asWritten(theirs));
  assert.equal(rebased(typed, JSON.parse(typed.text), "2").meanwhile, null);
  // After a restart of the gateway the same file has another hash.
  assert.deepEqual(rebased(typed, base, "2"), { draft: { ...typed, hash: "2" }, meanwhile: null });
  // What can't be read yet stays as it is typed, and can't be saved over what others did.
  const half = { base, hash: "1", text: '{"a": ' };
  assert.deepEqual(rebased(half, theirs, "2").draft, half);
});
