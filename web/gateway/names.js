// What sessions are called: by their label, or by the job or channel that made them.
import { signal } from "@preact/signals";
import { makerOf, shortKey } from "../format.js";
import { callGateway, gatewayLink, onEvent, wasLost } from "./link.js";

/** Names of jobs by their ids; empty where there is no such job any more. @type {import("@preact/signals").Signal<Map<string, string>>} */
const jobNames = signal(new Map());

/** Ids of jobs whose names are being read: several lists may show the same. @type {Set<string>} */
const askedNames = new Set();

/** @param {string} id @param {string} name */
function keepName(id, name) {
  jobNames.value = new Map([...jobNames.peek(), [id, name]]);
}

/** @param {{key: string, label?: string}} row */
export function sessionName({ key, label }) {
  return label || makerOf(key, (id) => jobNames.value.get(id)) || shortKey(key);
}

/** Reads the names of the jobs that made these sessions, each once. @param {{key: string}[]} rows */
export async function readJobNames(rows) {
  const ids = new Set(rows.map(({ key }) => /^agent:[^:]*:cron:([^:]+)/.exec(key)?.[1] ?? ""));
  for (const id of ids) {
    if (!id || jobNames.peek().has(id) || askedNames.has(id)) continue;
    askedNames.add(id);
    try {
      keepName(id, (await callGateway("cron.get", { id })).name);
    } catch (error) {
      if (wasLost(error)) return;
      keepName(id, "");
    } finally {
      askedNames.delete(id);
    }
  }
}

/** Hears of new names for as long as the page is open. */
export function startNames() {
  onEvent((event, payload) => {
    if (event === "cron" && payload.job?.name) keepName(payload.jobId, payload.job.name);
  });
  gatewayLink.subscribe(({ hello }) => {
    if (!hello && jobNames.peek().size > 0) jobNames.value = new Map();
  });
}
