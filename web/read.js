// An answer of the daemon that is read anew when something that it depends on changed.
import { useEffect, useState } from "preact/hooks";
import { get, Refusal } from "./api.js";
import { isStale, listen } from "./live.js";

/** Changes within so long are read together. */
const TOGETHER_MS = 1_000;
/** Until a read that failed is tried again. */
const RETRY_MS = 3_000;

/**
 * The last answer stays while the next one is under way, and after a failure.
 * @param {string | null} path Null reads nothing.
 * @param {(message: import("./types.js").Message) => boolean} concerns Whether a message changes the answer.
 * @param {number} [everyMs] For what no event tells.
 * @returns {{answer: any, error: unknown, again: () => void}}
 */
export function useRead(path, concerns, everyMs = 0) {
  const [state, setState] = useState(/** @type {{answer: any, error: unknown}} */ ({ answer: null, error: null }));
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    if (path === null) return;
    const ended = new AbortController();
    let readAt = 0;
    let isReading = false;
    let mayRetry = false;
    let isOwed = false;
    const read = async () => {
      readAt = performance.now();
      isReading = true;
      // What comes from here on may not be in the answer.
      isOwed = false;
      try {
        const answer = await get(path, ended.signal);
        mayRetry = false;
        if (!ended.signal.aborted) setState({ answer, error: null });
      } catch (error) {
        mayRetry = !(error instanceof Refusal) || error.status >= 500 || error.status === 429;
        if (!ended.signal.aborted) setState((before) => ({ ...before, error }));
      }
      isReading = false;
    };
    read();
    const unlisten = listen((message) => {
      isOwed ||= message.type === "reset" || message.type === "lagged" || concerns(message);
    });
    const timer = setInterval(() => {
      if (isReading || isStale.peek()) return;
      const age = performance.now() - readAt;
      if (
        (isOwed && age > TOGETHER_MS) ||
        (mayRetry && age > RETRY_MS) ||
        (everyMs && !document.hidden && age > everyMs)
      )
        read();
    }, 200);
    return () => {
      ended.abort();
      clearInterval(timer);
      unlisten();
    };
  }, [path, turn]);
  return { ...state, again: () => setTurn((before) => before + 1) };
}
