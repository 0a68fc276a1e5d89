// What is being changed of the configuration, for as long as the page is open: it outlasts a lost connection, and what others
// change meanwhile.
import { signal } from "@preact/signals";
import { Refusal } from "../api.js";
import { changesOf, keysOfBoth, patched } from "./configuration_changes.js";
import { callGateway, gatewayLink } from "./link.js";

/** @typedef {import("./configuration_changes.js").Tree} Tree */

/** `base` is the file as it was read, with its hash; `text` what is to be in its place. @typedef {{base: Tree, hash: string, text: string}} Draft */

/** @type {import("@preact/signals").Signal<Draft | null>} */
export const draft = signal(null);
/** What others changed while something was typed here, and which of it is changed here, too. @type {import("@preact/signals").Signal<{theirs: string[], both: string[]} | null>} */
export const meanwhile = signal(null);
/** What became of the last change. @type {import("@preact/signals").Signal<{answer?: any, error?: unknown} | null>} */
export const lastSave = signal(null);
export const isSaving = signal(false);

/** @param {Tree} tree */
export function asWritten(tree) {
  return JSON.stringify(tree, null, 2);
}

/** @param {string} text @returns {{tree: Tree | null, problem: string}} */
export function treeOf(text) {
  try {
    const tree = JSON.parse(text);
    if (typeof tree === "object" && tree !== null && !Array.isArray(tree)) return { tree, problem: "" };
    return { tree: null, problem: "It has to be an object: {…}" };
  } catch (error) {
    return { tree: null, problem: error instanceof Error ? error.message : String(error) };
  }
}

/** Keys that are changed and not saved; of a text that can't be read nobody knows them. @param {Draft} known @returns {string[] | null} */
export function unsaved({ base, text }) {
  const { tree } = treeOf(text);
  return tree && changesOf(base, tree).keys;
}

/** The file was read: what is typed here is laid over what others made of it. @param {Draft | null} known @param {Tree} base @param {string} hash @returns {{draft: Draft, meanwhile: {theirs: string[], both: string[]} | null}} */
export function rebased(known, base, hash) {
  const fresh = { draft: { base, hash, text: asWritten(base) }, meanwhile: null };
  if (!known) return fresh;
  const theirs = changesOf(known.base, base).keys;
  const { tree } = treeOf(known.text);
  // It can't be laid over anything before it is put right: until then the gateway refuses it, if others have changed something.
  if (!tree) return { draft: theirs.length > 0 ? known : { ...known, hash }, meanwhile: null };
  const mine = changesOf(known.base, tree);
  if (mine.keys.length === 0) return fresh;
  if (theirs.length === 0) return { draft: { ...known, hash }, meanwhile: null };
  const text = asWritten(patched(base, mine.patch));
  const wasSaved = changesOf(base, patched(base, mine.patch)).keys.length === 0;
  return {
    draft: { base, hash, text },
    meanwhile: wasSaved ? null : { theirs, both: keysOfBoth(mine.keys, theirs) },
  };
}

/** @param {any} read Of `config.get`. */
export function takeConfiguration({ valid, parsed, hash }) {
  if (!valid) return;
  const next = rebased(draft.peek(), parsed ?? {}, hash);
  draft.value = next.draft;
  if (next.meanwhile) meanwhile.value = next.meanwhile;
  else if (unsaved(next.draft)?.length === 0) meanwhile.value = null;
}

/** @param {string} text */
export function writeDraft(text) {
  const known = draft.peek();
  if (known) draft.value = { ...known, text };
  lastSave.value = null;
}

/** As it is in the file. */
export function dropDraft() {
  const known = draft.peek();
  if (known) draft.value = { ...known, text: asWritten(known.base) };
  meanwhile.value = null;
  lastSave.value = null;
}

/** Saves what differs, if the file is still as it was read. @param {() => void} readAgain */
export async function saveDraft(readAgain) {
  const known = draft.peek();
  const { tree } = treeOf(known?.text ?? "");
  if (!known || !tree || isSaving.peek()) return;
  const { patch, lists } = changesOf(known.base, tree);
  const change = { raw: JSON.stringify(patch), baseHash: known.hash, replacePaths: lists };
  isSaving.value = true;
  try {
    const answer = await callGateway("config.patch", change);
    if (!isLoggedIn()) return;
    // What was typed while it was on its way stays.
    draft.value = { base: tree, hash: answer.hash, text: draft.peek()?.text ?? known.text };
    lastSave.value = { answer };
    meanwhile.value = null;
  } catch (error) {
    if (!isLoggedIn()) return;
    lastSave.value = { error };
    if (error instanceof Refusal && error.code === "CONFIG_CHANGED") meanwhile.value ??= { theirs: [], both: [] };
  } finally {
    isSaving.value = false;
  }
  readAgain();
}

const isLoggedIn = () => gatewayLink.peek().hello !== null;

/** Whoever logs out leaves nothing behind. */
export function startConfiguration() {
  gatewayLink.subscribe(({ hello }) => {
    if (hello || !draft.peek()) return;
    draft.value = null;
    meanwhile.value = null;
    lastSave.value = null;
  });
}
