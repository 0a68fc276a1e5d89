// The conversation that is open: which session it is of, reading it, and sending.
import { signal } from "@preact/signals";
import { wordsOf } from "../api.js";
import { say, sayFault } from "../components/basics.js";
import { randomKey } from "../components/rows.js";
import { remember, remembered, serverNow } from "../time.js";
import {
  AT_A_TIME,
  askedOf,
  emptyTalk,
  withAgent,
  withChat,
  withDenied,
  withMessage,
  withNewest,
  withOlder,
  withOutcome,
  withOutgoing,
  withoutOutgoing,
  withoutRuns,
  withResent,
  withWaiting,
} from "./conversation.js";
import { callGateway, gatewayLink, isOld, onArrival, onEvent, wasLost } from "./link.js";

/** @typedef {import("./conversation.js").Talk} Talk */

/** Conversations that are remembered besides the open one. */
const MOST_ASIDE = 20;

/** @type {import("@preact/signals").Signal<Talk>} */
export const talk = signal(emptyTalk(""));
/** Why it could not be read. @type {import("@preact/signals").Signal<unknown>} */
export const talkFault = signal(null);
export const isReadingOlder = signal(false);
/** What is being typed, by session. @type {Map<string, string>} */
export const drafts = new Map();

/** Conversations besides the open one of which more is known than the gateway keeps. @type {Map<string, Talk>} */
const asideTalks = new Map();
/** Which start of the gateway runs were heard of. */
let bootId = "";

/** @param {string} key */
export function agentOf(key) {
  return /^agent:([^:]*):/.exec(key)?.[1] ?? "";
}

/** A session that there will be once something is sent. @param {string} agent */
export function newSessionKey(agent) {
  return `agent:${agent}:webchat:${randomKey().slice(0, 12)}`;
}

/** Opens a session's conversation. @param {string} key */
export function openTalk(key) {
  const before = talk.peek();
  if (before.key === key) return;
  if (before.outgoing.length > 0 || before.runs.length > 0) asideTalks.set(before.key, { ...before, messages: [] });
  for (const [aside, { outgoing }] of asideTalks)
    if (asideTalks.size > MOST_ASIDE && outgoing.length === 0) asideTalks.delete(aside);
  if (before.key && !isOld.peek()) callGateway("sessions.messages.unsubscribe", { key: before.key }).catch(() => {});
  // Read anew: its events were not heard meanwhile.
  const aside = asideTalks.get(key);
  asideTalks.delete(key);
  talk.value = { ...(aside ?? emptyTalk(key)), isRead: false, messages: [], hasOlder: false };
  talkFault.value = null;
  remember("chat.session", key);
  if (!isOld.peek()) readTalk();
}

/** The session that was open when the page was left. */
export function rememberedKey() {
  const key = remembered("chat.session") ?? "";
  return agentOf(key) ? key : "";
}

/** @param {string} key @param {(known: Talk) => Talk} change */
function changeTalk(key, change) {
  const open = talk.peek();
  if (open.key === key) talk.value = change(open);
  else {
    const aside = asideTalks.get(key);
    if (aside) asideTalks.set(key, change(aside));
  }
}

/** @param {string} key */
function talkOf(key) {
  return talk.peek().key === key ? talk.peek() : asideTalks.get(key);
}

/** Reads the newest messages, then sends what has not arrived. @param {string} [key] */
async function readTalk(key = talk.peek().key) {
  if (!key) return;
  try {
    // First to be told of what is added, then to read: nothing falls between the two.
    if (talk.peek().key === key) await callGateway("sessions.messages.subscribe", { key });
    const payload = await callGateway("chat.history", { sessionKey: key, limit: AT_A_TIME });
    changeTalk(key, (known) => withNewest(known, payload));
    if (talk.peek().key === key) talkFault.value = null;
    for (const { id, text, state } of talkOf(key)?.outgoing ?? [])
      if (state === "kept" || state === "sending") deliver(key, id, text);
  } catch (error) {
    if (talk.peek().key === key && !wasLost(error)) talkFault.value = error;
  }
}

export function readTalkAgain() {
  talkFault.value = null;
  readTalk();
}

/** Reads what is older than the first message here. */
export async function readOlder() {
  const { key, messages, hasOlder, isRead } = talk.peek();
  const first = messages[0];
  if (isReadingOlder.peek() || !isRead || !hasOlder || !first || isOld.peek()) return;
  isReadingOlder.value = true;
  try {
    const payload = await callGateway("chat.history", { sessionKey: key, limit: AT_A_TIME, beforeSeq: first.seq });
    if (talk.peek().key === key && talk.peek().messages[0]?.seq === first.seq)
      talk.value = withOlder(talk.peek(), payload);
  } catch (error) {
    if (!wasLost(error)) sayFault("Older messages could not be read", error);
  }
  isReadingOlder.value = false;
}

/** Sends what was typed; where there is no connection, as soon as there is one. @param {string} text */
export function sendText(text) {
  const { key } = talk.peek();
  if (!key || text.trim() === "") return;
  const id = randomKey();
  talk.value = withOutgoing(talk.peek(), id, text, serverNow());
  deliver(key, id, text);
}

/** @param {string} key @param {string} id @param {string} text */
async function deliver(key, id, text) {
  changeTalk(key, (known) => withOutcome(known, id, "sending"));
  try {
    const { status } = await callGateway("chat.send", { sessionKey: key, message: text, idempotencyKey: id });
    changeTalk(key, (known) => {
      const sent = withOutcome(known, id, "sent");
      return status === "queued" ? withWaiting(sent, id) : sent;
    });
  } catch (error) {
    const { message, help } = wordsOf(error);
    const words = [message, help].filter(Boolean).join(" ");
    changeTalk(key, (known) =>
      withOutcome(known, id, wasLost(error) ? "kept" : "refused", wasLost(error) ? "" : words),
    );
  }
}

/** Sends once more what was refused. @param {string} id */
export function sendOnceMore(id) {
  const { key, outgoing } = talk.peek();
  const one = outgoing.find((outgoing) => outgoing.id === id);
  if (one) deliver(key, id, one.text);
}

/** Messages that are looked through for one that isn't loaded. */
const LOOKED_THROUGH = 1_000;

/** Sends the text of a message anew that was stopped before its turn. @param {string} runId */
export async function sendAnew(runId) {
  const { key } = talk.peek();
  const text = askedOf(talk.peek(), runId) || (await askedBefore(key, runId));
  // Another conversation may have been opened, or the same button pressed again.
  const run = talk.peek().runs.find(({ id }) => id === runId);
  if (talk.peek().key !== key || run?.state === "resent" || text === null) return;
  if (text === "") return say("The message isn't kept any more: write it again.", "bad");
  talk.value = withResent(talk.peek(), runId);
  sendText(text);
}

/** What a run was to answer, of messages that aren't loaded; null where they couldn't be read. @param {string} key @param {string} runId @returns {Promise<string | null>} */
async function askedBefore(key, runId) {
  try {
    const payload = await callGateway("chat.history", { sessionKey: key, limit: LOOKED_THROUGH });
    return askedOf(withNewest(emptyTalk(key), payload), runId);
  } catch (error) {
    sayFault("The message could not be read, and wasn't sent", error);
    return null;
  }
}

/** @param {string} id */
export function discard(id) {
  talk.value = withoutOutgoing(talk.peek(), id);
}

/** Ends what the session is at, and what waits in it. */
export async function stopRuns() {
  const { key } = talk.peek();
  try {
    const { aborted } = await callGateway("chat.abort", { sessionKey: key });
    // What has ended meanwhile needs no stop; what is shown is put right.
    if (!aborted) readTalk();
  } catch (error) {
    sayFault(wasLost(error) ? "It is not known whether it was stopped" : "It could not be stopped", error);
  }
}

/** Follows the events for as long as the page is open. */
export function startTalk() {
  onArrival(() => {
    const boot = gatewayLink.peek().hello?.server?.bootId ?? "";
    if (bootId && boot !== bootId) {
      talk.value = withoutRuns(talk.peek());
      for (const [key, aside] of asideTalks) asideTalks.set(key, withoutRuns(aside));
    }
    bootId = boot;
    // Of each connection, once: what is added to lists is told from then on.
    callGateway("sessions.subscribe").catch(() => {});
    readTalk();
    for (const [key, { outgoing }] of asideTalks) if (outgoing.length > 0) readTalk(key);
  });
  onEvent((event, payload) => {
    if (event === "chat") changeTalk(payload.sessionKey, (known) => withChat(known, payload));
    else if (event === "agent") changeTalk(payload.sessionKey, (known) => withAgent(known, payload));
    else if (
      event === "exec.approval.resolved" &&
      payload.decision === "deny" &&
      payload.resolvedBy &&
      payload.request?.runId
    )
      changeTalk(payload.request.sessionKey, (known) => withDenied(known, payload.request));
    else if (event === "session.message" && payload.sessionKey === talk.peek().key) {
      talk.value = withMessage(talk.peek(), payload);
    } else if (event === "sessions.changed" && payload.sessionKey === talk.peek().key) {
      if (["reset", "new", "delete", "compact"].includes(payload.reason)) {
        talk.value = { ...emptyTalk(payload.sessionKey), outgoing: talk.peek().outgoing };
        readTalk();
      }
    }
  });
  // Whoever logs out leaves nothing of a conversation behind.
  gatewayLink.subscribe(({ hello }) => {
    if (hello || !talk.peek().key) return;
    talk.value = emptyTalk("");
    asideTalks.clear();
    drafts.clear();
  });
}
