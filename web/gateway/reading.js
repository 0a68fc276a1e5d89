// Answers of the gateway that are read anew when something that they depend on changed, and after the connection was lost.
import { useEffect, useState } from "preact/hooks";
import { callGateway, isOld, onArrival, onEvent, wasLost } from "./link.js";

/** Changes within so long are read together. */
const READ_TOGETHER_MS = 700;

/**
 * Reads now, after each event that concerns it, and once the connection is back.
 * @param {(isGone: () => boolean) => Promise<void>} read
 * @param {(error: unknown) => void} failed Told why it could not be read.
 * @param {(event: string, payload: any) => boolean} concerns Whether an event changes an answer.
 * @param {unknown[]} inputs What is read depends on these.
 * @param {number} [everyMs] For what no event tells.
 */
export function useReads(read, failed, concerns, inputs, everyMs = 0) {
  useEffect(() => {
    let wasLeft = false;
    let timer = /** @type {any} */ (null);
    const readNow = async () => {
      timer = null;
      try {
        await read(() => wasLeft);
      } catch (error) {
        if (!wasLeft && !wasLost(error)) failed(error);
      }
    };
    if (!isOld.peek()) readNow();
    const leave = [
      onArrival(readNow),
      onEvent((event, payload) => {
        if (concerns(event, payload)) timer ??= setTimeout(readNow, READ_TOGETHER_MS);
      }),
    ];
    const clock = everyMs ? setInterval(() => !document.hidden && !isOld.peek() && readNow(), everyMs) : null;
    return () => {
      wasLeft = true;
      clearTimeout(timer);
      if (clock !== null) clearInterval(clock);
      for (const one of leave) one();
    };
  }, inputs);
}

/**
 * The last answers stay while the next ones are under way, and after a failure.
 * @param {Record<string, [string, Record<string, unknown>?]>} calls What is asked, by the name of its answer.
 * @param {(event: string, payload: any) => boolean} concerns
 * @param {number} [everyMs]
 * @param {(answers: any) => void} [take] Told of answers before they are shown.
 */
export function useAnswers(calls, concerns, everyMs = 0, take = () => {}) {
  const [state, setState] = useState(/** @type {{answers: any, error: unknown}} */ ({ answers: null, error: null }));
  const [turn, setTurn] = useState(0);
  useReads(
    async (isGone) => {
      const entries = Object.entries(calls);
      const read = await Promise.all(entries.map(([, [method, params]]) => callGateway(method, params)));
      const answers = Object.fromEntries(entries.map(([name], at) => [name, read[at]]));
      if (isGone()) return;
      take(answers);
      setState({ answers, error: null });
    },
    (error) => setState((before) => ({ ...before, error })),
    concerns,
    [JSON.stringify(calls), turn],
    everyMs,
  );
  return { ...state, again: () => setTurn((before) => before + 1) };
}
