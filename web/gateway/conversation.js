// One session's conversation as it is known here: messages that the gateway keeps, runs as they go on, and what was typed and isn't
// known to have arrived. Each function returns the conversation after something happened.

/** A message that the gateway keeps. @typedef {{seq: number, role: string, text: string, at: number, runId: string, model: string}} Message */
/** @typedef {{id: string, name: string, args: unknown, result: unknown, state: "running" | "done" | "failed" | "denied" | "stopped"}} Tool */

/**
 * What is heard of a run while this page looks on; the gateway keeps its answer only.
 * @typedef {object} Run
 * @property {string} id
 * @property {"waiting" | "running" | "paused" | "done" | "failed" | "stopped" | "unbegun" | "resent"} state `unbegun`: stopped before its
 *   turn; `resent`: its text was sent anew.
 * @property {string} text
 * @property {string} thinking
 * @property {Tool[]} tools
 * @property {string} error
 * @property {string} asked What it was to answer; known of one that was stopped before its turn.
 */

/** What was typed here. Its id is the idempotency key, and the id of its run. @typedef {{id: string, text: string, at: number, state: "sending" | "kept" | "sent" | "refused", error: string}} Outgoing */

/**
 * @typedef {object} Talk
 * @property {string} key
 * @property {string} sessionId
 * @property {boolean} isRead
 * @property {Message[]} messages Oldest first.
 * @property {boolean} hasOlder
 * @property {Run[]} runs In the order in which they were heard of.
 * @property {Outgoing[]} outgoing
 */

/** Messages that are read at a time. */
export const AT_A_TIME = 50;
/** Runs and tool calls that are remembered. */
const MOST_RUNS = 100;
const MOST_TOOLS = 200;

/** @param {string} key @returns {Talk} */
export function emptyTalk(key) {
  return { key, sessionId: "", isRead: false, messages: [], hasOlder: false, runs: [], outgoing: [] };
}

/** @param {unknown} content A text, or parts of which some are texts. */
function textOf(content) {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content.map((part) => (typeof part?.text === "string" ? part.text : "")).join("");
}

/** @param {any} sent @returns {Message} */
function messageOf(sent) {
  return {
    seq: sent.__openclaw?.seq ?? 0,
    role: sent.role ?? "system",
    text: textOf(sent.content),
    at: sent.timestamp ?? 0,
    runId: sent.runId ?? "",
    model: sent.model ?? "",
  };
}

/** What was typed has arrived once the gateway keeps it. @param {Talk} talk @returns {Talk} */
function withoutArrived(talk) {
  if (talk.outgoing.length === 0) return talk;
  const arrived = new Set(talk.messages.filter(({ role }) => role === "user").map(({ runId }) => runId));
  return { ...talk, outgoing: talk.outgoing.filter(({ id }) => !arrived.has(id)) };
}

/** The newest messages were read. @param {Talk} talk @param {any} payload Of `chat.history`. @returns {Talk} */
export function withNewest(talk, payload) {
  const read = payload.messages.map(messageOf);
  const info = payload.sessionInfo ?? {};
  const isSame = talk.sessionId === (payload.sessionId ?? "");
  const last = talk.messages.at(-1)?.seq ?? 0;
  const first = read[0]?.seq ?? 0;
  // What was read before stays where nothing is missing in between.
  const joins = isSame && talk.messages.length > 0 && first <= last + 1;
  const older = joins ? talk.messages.filter(({ seq }) => seq < first) : [];
  const active = new Set(info.activeRunIds ?? []);
  // Of a session one run is under way at a time, in the order of their messages: what stands before it waits no more.
  const seqOf = (/** @type {string} */ id) =>
    read.find((/** @type {Message} */ { role, runId }) => role === "user" && runId === id)?.seq ?? 0;
  const atWork = Math.max(0, ...[...active].map(seqOf));
  const isAnswered = (/** @type {Run} */ { id }) =>
    read.some((/** @type {Message} */ { role, runId }) => role === "assistant" && runId === id);
  const runs = talk.runs.map((run) => {
    if (run.state === "waiting") {
      if (active.has(run.id))
        return { ...run, state: /** @type {Run["state"]} */ (info.paused ? "paused" : "running") };
      if (active.size > 0 && seqOf(run.id) >= atWork && info.lastRunId !== run.id && !isAnswered(run)) return run;
    } else if (active.has(run.id) || !["running", "paused"].includes(run.state)) return run;
    const failed = info.lastRunId === run.id && info.lastRunError;
    return endedRun(run, failed ? "failed" : "done", failed || run.error);
  });
  for (const id of active)
    if (!runs.some((run) => run.id === id)) runs.push(freshRun(id, info.paused ? "paused" : "running"));
  // How the last run ended is told by nothing else to whoever comes later.
  if (info.status === "failed" && info.lastRunId && info.lastRunError && !runs.some((run) => run.id === info.lastRunId))
    runs.push({ ...freshRun(info.lastRunId, "failed"), error: info.lastRunError });
  return withoutArrived({
    ...talk,
    sessionId: payload.sessionId ?? "",
    isRead: true,
    messages: [...older, ...read],
    hasOlder: joins && older.length > 0 ? talk.hasOlder : (payload.hasMore ?? false),
    runs: isSame || talk.sessionId === "" ? runs : runs.filter((run) => active.has(run.id)),
  });
}

/** Older messages were read. @param {Talk} talk @param {any} payload @returns {Talk} */
export function withOlder(talk, payload) {
  const first = talk.messages[0]?.seq ?? Number.POSITIVE_INFINITY;
  const read = payload.messages.map(messageOf).filter((/** @type {Message} */ { seq }) => seq < first);
  return { ...talk, messages: [...read, ...talk.messages], hasOlder: payload.hasMore ?? false };
}

/** A message was added to the session. @param {Talk} talk @param {any} payload Of `session.message`. @returns {Talk} */
export function withMessage(talk, payload) {
  const added = messageOf(payload.message);
  if (!talk.isRead || added.seq <= (talk.messages.at(-1)?.seq ?? 0)) return talk;
  const sessionId = payload.sessionId ?? talk.sessionId;
  // Begun anew: what was there before is no more.
  const before = talk.sessionId === "" || talk.sessionId === sessionId ? talk.messages : [];
  return withoutArrived({ ...talk, sessionId, messages: [...before, added] });
}

/** @param {string} id @param {Run["state"]} state @returns {Run} */
function freshRun(id, state) {
  return { id, state, text: "", thinking: "", tools: [], error: "", asked: "" };
}

/** No call goes on in a run that has ended. @param {Run} run @param {Run["state"]} state @returns {Run} */
function endedRun(run, state, error = run.error) {
  const tools = run.tools.map((tool) =>
    tool.state === "running" ? { ...tool, state: /** @type {Tool["state"]} */ ("stopped") } : tool,
  );
  return { ...run, state, error, tools };
}

/** @param {Talk} talk @param {string} id @param {(run: Run) => Run} change @returns {Talk} */
function withRun(talk, id, change) {
  const at = talk.runs.findIndex((run) => run.id === id);
  if (at < 0) return { ...talk, runs: [...talk.runs.slice(1 - MOST_RUNS), change(freshRun(id, "running"))] };
  return { ...talk, runs: talk.runs.map((run, place) => (place === at ? change(run) : run)) };
}

/** @param {Talk} talk @param {any} payload Of `chat`: the whole text so far, or how it ended. @returns {Talk} */
export function withChat(talk, { runId, state, message, errorMessage }) {
  return withRun(talk, runId, (run) => {
    const heard = { ...run, text: message ? textOf(message.content) : run.text };
    if (state === "delta") return { ...heard, state: run.state === "paused" ? "paused" : "running" };
    if (state === "error") return endedRun(heard, "failed", errorMessage ?? "");
    if (state !== "aborted") return endedRun(heard, "done");
    return endedRun(heard, ["unbegun", "resent"].includes(run.state) ? run.state : "stopped");
  });
}

/** @param {Talk} talk @param {any} payload Of `agent`: what a run does. @returns {Talk} */
export function withAgent(talk, { runId, stream, data }) {
  if (stream === "thinking")
    return withRun(talk, runId, (run) => ({ ...run, thinking: (run.thinking + (data.delta ?? "")).slice(0, 20_000) }));
  if (stream === "tool") return withRun(talk, runId, (run) => ({ ...run, tools: withTool(run.tools, data) }));
  if (stream === "lifecycle" && data.aborted && !data.startedAt)
    return withRun(talk, runId, (run) => ({ ...run, state: "unbegun", asked: askedOf(talk, runId) }));
  const states = /** @type {Record<string, Run["state"]>} */ ({
    start: "running",
    resumed: "running",
    paused: "paused",
  });
  const state = stream === "lifecycle" ? states[data.phase] : undefined;
  return state ? withRun(talk, runId, (run) => ({ ...run, state })) : talk;
}

/** What a run was to answer, where it is known: its message may not be loaded any more. @param {Talk} talk @param {string} id */
export function askedOf({ messages, outgoing, runs }, id) {
  const message = messages.find(({ role, runId }) => role === "user" && runId === id);
  return (message ?? outgoing.find((one) => one.id === id))?.text ?? runs.find((run) => run.id === id)?.asked ?? "";
}

/** @param {Tool[]} tools @param {any} data @returns {Tool[]} */
function withTool(tools, { phase, name, toolCallId, args, result, isError }) {
  if (phase === "start") {
    const started = {
      id: toolCallId ?? "",
      name: name ?? "tool",
      args,
      result: undefined,
      state: /** @type {Tool["state"]} */ ("running"),
    };
    return [...tools.slice(1 - MOST_TOOLS), started];
  }
  // A result without an id is that of the newest call that has none.
  const at = tools.findLastIndex((tool) => (toolCallId ? tool.id === toolCallId : tool.state === "running"));
  const found = tools[at];
  const state = found?.state === "denied" ? "denied" : /** @type {Tool["state"]} */ (isError ? "failed" : "done");
  if (at < 0)
    return [
      ...tools.slice(1 - MOST_TOOLS),
      { id: toolCallId ?? "", name: name ?? "tool", args: undefined, result, state },
    ];
  return tools.map((tool, place) => (place === at ? { ...tool, result, state } : tool));
}

/** What an agent asked for was denied. @param {Talk} talk @param {any} request Of `exec.approval.resolved`. @returns {Talk} */
export function withDenied(talk, { runId, toolCallId }) {
  const deny = (/** @type {Tool} */ tool) =>
    tool.id === toolCallId ? { ...tool, state: /** @type {Tool["state"]} */ ("denied") } : tool;
  return withRun(talk, runId, (run) => ({ ...run, tools: run.tools.map(deny) }));
}

/** The text of a run that was stopped before its turn is sent anew. @param {Talk} talk @param {string} id @returns {Talk} */
export function withResent(talk, id) {
  return withRun(talk, id, (run) => ({ ...run, state: "resent" }));
}

/** Something was typed. @param {Talk} talk @param {string} id @param {string} text @param {number} at @returns {Talk} */
export function withOutgoing(talk, id, text, at) {
  return { ...talk, outgoing: [...talk.outgoing, { id, text, at, state: "sending", error: "" }] };
}

/** What became of it. @param {Talk} talk @param {string} id @param {Outgoing["state"]} state @param {string} [error] @returns {Talk} */
export function withOutcome(talk, id, state, error = "") {
  return { ...talk, outgoing: talk.outgoing.map((one) => (one.id === id ? { ...one, state, error } : one)) };
}

/** It is not to be sent. @param {Talk} talk @param {string} id @returns {Talk} */
export function withoutOutgoing(talk, id) {
  return { ...talk, outgoing: talk.outgoing.filter((one) => one.id !== id) };
}

/** It waits for the runs before it. @param {Talk} talk @param {string} id @returns {Talk} */
export function withWaiting(talk, id) {
  return talk.runs.some((run) => run.id === id) ? talk : { ...talk, runs: [...talk.runs, freshRun(id, "waiting")] };
}

/** The gateway was started anew: no run of before goes on. @param {Talk} talk @returns {Talk} */
export function withoutRuns(talk) {
  const error = "The gateway ended while this run was under way.";
  const ended = (/** @type {Run} */ run) => (isUnderWay(run) ? endedRun(run, "failed", error) : run);
  return { ...talk, runs: talk.runs.map(ended) };
}

/** @param {Run} run */
export function isUnderWay({ state }) {
  return state === "waiting" || state === "running" || state === "paused";
}

/** What is shown, oldest first: below each message its run, and its answer, though others were sent before that came. @typedef {{key: string, message?: Message, run?: Run, outgoing?: Outgoing}} Item */

/** @param {Talk} talk @returns {Item[]} */
export function itemsOf(talk) {
  const asked = new Set(talk.messages.map(({ role, runId }) => (role === "assistant" ? "" : runId)));
  /** @type {Map<string, Message[]>} */
  const answers = new Map();
  for (const message of talk.messages)
    if (message.role === "assistant" && message.runId)
      answers.set(message.runId, [...(answers.get(message.runId) ?? []), message]);
  const left = new Map();
  for (const run of talk.runs) {
    const hasAnswer = answers.has(run.id);
    const isSilent = !run.thinking && run.tools.length === 0 && !run.error;
    // What it said stands below, as the gateway keeps it.
    if (!hasAnswer || !isSilent || run.state === "stopped") left.set(run.id, hasAnswer ? { ...run, text: "" } : run);
  }
  /** @type {Item[]} */
  const items = [];
  const putRun = (/** @type {string} */ id) => {
    const run = left.get(id);
    if (run) items.push({ key: `r${id}`, run });
    left.delete(id);
  };
  const put = (/** @type {Message} */ message) => items.push({ key: `m${message.seq}`, message });
  for (const message of talk.messages) {
    const { role, runId } = message;
    if (role !== "assistant") {
      put(message);
      putRun(runId);
      for (const answer of answers.get(runId) ?? []) put(answer);
      answers.delete(runId);
    } else if (!runId || !asked.has(runId)) {
      // What it answers isn't read yet.
      putRun(runId);
      put(message);
    }
  }
  for (const outgoing of talk.outgoing) {
    items.push({ key: `o${outgoing.id}`, outgoing });
    putRun(outgoing.id);
  }
  for (const id of [...left.keys()]) if (talk.messages.length === 0 || isUnderWay(left.get(id))) putRun(id);
  return items;
}
