// Requests to the daemon, with the cookie of the browser session. A refusal is an error with the daemon's own words.
import { signal } from "@preact/signals";
import { plainWords } from "./format.js";

/** Set once the daemon says that the session has ended; the page stays, so that nothing typed is lost. */
export const sessionEnded = signal(false);

/** How long an answer may take. */
const PATIENCE_MS = 35_000;

export class Refusal extends Error {
  /** @param {number} status @param {any} body @param {number | null} retryAfter Seconds. */
  constructor(status, body, retryAfter) {
    super(body?.error ?? `The daemon answered with status ${status}`);
    this.status = status;
    this.code = body?.code ?? "";
    this.help = body?.help ?? "";
    this.details = body?.details ?? null;
    this.retryAfter = retryAfter;
    /** What is wrong with which field. @type {Record<string, string>} */
    this.fields = {};
    for (const { field, problem } of body?.details?.fields ?? []) this.fields[field] ??= problem;
  }
}

/** What the page itself finds wrong with a field. @param {string} field @param {string} problem */
export function mistake(field, problem) {
  const details = { fields: [{ field, problem }] };
  return new Refusal(0, { error: "Something in the form is wrong", help: "Nothing was sent.", details }, null);
}

/** A request without an answer: whether the daemon did what it asks is not known, where it asks for more than to be told. */
export class Unanswered extends Error {
  /** @param {boolean} isWrite @param {boolean} isLate */
  constructor(isWrite, isLate) {
    super(isLate ? `The daemon didn't answer within ${PATIENCE_MS / 1000} s` : "The daemon can't be reached");
    this.isWrite = isWrite;
  }
}

/** When the reads that have no answer yet were sent (ms of `performance`). @type {Set<{sentAt: number}>} */
const pending = new Set();

/** For how many seconds the oldest of them has been without an answer. */
export function unansweredFor() {
  let oldest = performance.now();
  const at = oldest;
  for (const { sentAt } of pending) oldest = Math.min(oldest, sentAt);
  return Math.floor((at - oldest) / 1000);
}

/** What went wrong, as a sentence and what to do. @param {unknown} error @returns {{message: string, help: string}} */
export function wordsOf(error) {
  if (error instanceof Refusal) return { message: error.message, help: plainWords(error.help) };
  if (error instanceof Unanswered && error.isWrite)
    return { message: error.message, help: "It may have done this all the same: look before you try again." };
  const message = error instanceof Unanswered ? error.message : "The daemon can't be reached";
  return { message, help: "Nothing was lost here: try again once it answers." };
}

/**
 * @param {string} method
 * @param {string} path
 * @param {{body?: unknown, headers?: Record<string, string>, signal?: AbortSignal}} [more]
 * @returns {Promise<{status: number, body: any, headers: Headers}>}
 */
export async function request(method, path, { body, headers = {}, signal: ended } = {}) {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  const isWrite = method !== "GET";
  const sent = { sentAt: performance.now() };
  // What is to be done may take its time; what is known is told at once.
  if (!isWrite) pending.add(sent);
  const { response, text } = await fetch(path, {
    method,
    headers: {
      Accept: "application/json",
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      ...headers,
    },
    body: body === undefined ? undefined : JSON.stringify(body),
    credentials: "same-origin",
    cache: "no-store",
    signal: ended ? AbortSignal.any([ended, patience]) : patience,
  })
    .then(async (response) => ({ response, text: response.status === 304 ? "" : await response.text() }))
    .catch((error) => {
      throw ended?.aborted ? error : new Unanswered(isWrite, patience.aborted);
    })
    .finally(() => pending.delete(sent));
  if (response.ok || response.status === 304)
    return { status: response.status, body: bodyOf(response, text), headers: response.headers };
  throw refusalOf(response, text);
}

/** @param {Response} response @param {string} text */
function bodyOf(response, text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    throw new Refusal(response.status, { error: "The answer is not the daemon's: is a proxy in between?" }, null);
  }
}

/** @param {Response} response @param {string} text */
function refusalOf(response, text) {
  const body = bodyOf(response, text);
  if (response.status === 401) sessionEnded.value = true;
  const after = Number(response.headers.get("Retry-After"));
  return new Refusal(response.status, body, after > 0 ? after : null);
}

/** An answer that is a stream of events, the JSON of each taken when it comes. @param {string} path @param {unknown} body @param {(data: any) => void} take @param {AbortSignal} ended */
export async function postStream(path, body, take, ended) {
  try {
    const headers = { "Content-Type": "application/json" };
    const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal: ended });
    if (!response.ok || !response.body) throw refusalOf(response, await response.text());
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) if (line.startsWith("data: ")) take(JSON.parse(line.slice(6)));
    }
  } catch (error) {
    throw error instanceof Refusal || ended.aborted ? error : new Unanswered(false, false);
  }
}

/** @param {string} path @param {AbortSignal} [ended] */
export async function get(path, ended) {
  return (await request("GET", path, { signal: ended })).body;
}

/** @param {string} path @param {unknown} [body] @param {Record<string, string>} [headers] */
export async function post(path, body, headers) {
  return (await request("POST", path, { body, headers })).body;
}

/** @param {string} path @param {unknown} body */
export async function put(path, body) {
  return (await request("PUT", path, { body })).body;
}

/** @param {string} path @param {unknown} [body] */
export async function remove(path, body) {
  return (await request("DELETE", path, { body })).body;
}
