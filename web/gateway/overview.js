// The gateway itself: its process, agents, what is at work, and the devices that wait for an approval.
import { h } from "preact";
import { Age, Facts, Fault, Notice } from "../components/basics.js";
import { List, State } from "../components/rows.js";
import { duration, visible } from "../format.js";
import { now } from "../time.js";
import { Act } from "./acts.js";
import { accountName, accountsOf, Trouble } from "./channels.js";
import { gatewayLink } from "./link.js";
import { useAnswers } from "./reading.js";

/** @param {number} bytes */
function megabytes(bytes) {
  return `${(bytes / 1_048_576).toFixed(bytes < 10_485_760 ? 1 : 0)} MiB`;
}

/** @param {number} count @param {number} most */
function ofAtMost(count, most) {
  return `${count.toLocaleString("en")} of at most ${most.toLocaleString("en")}`;
}

/** How accounts of channels are, the worst first. */
const WORST_FIRST = ["blocked", "disconnected", "stopped", "healthy"];

/** What goes wrong at the account that is worst off. @param {{accounts: ReturnType<typeof accountsOf>}} props */
function WorstTrouble({ accounts }) {
  const rank = (/** @type {any} */ { row }) => WORST_FIRST.indexOf(row.healthState);
  const [worst] = accounts.filter(({ row }) => row.lastError).sort((one, other) => rank(one) - rank(other));
  return worst && h(Trouble, { row: worst.row, of: accountName(worst) });
}

/** @param {{request: any, done: () => void}} props */
function Decision({ request: { requestId, displayName, clientId }, done }) {
  const decision = (/** @type {string} */ name, /** @type {string} */ decided) => ({
    name,
    call: /** @type {[string, any]} */ ([`device.pair.${name.toLowerCase()}`, { requestId }]),
    done,
    said: () => `${displayName ?? clientId} was ${decided}`,
  });
  return h(
    "div",
    { class: "buttons" },
    h(Act, { ...decision("Approve", "approved"), kind: "main" }),
    h(Act, decision("Reject", "rejected")),
  );
}

export function OverviewPage() {
  const { answers, error, again } = useAnswers(
    {
      info: ["gateway.info"],
      status: ["status"],
      agents: ["agents.list"],
      devices: ["device.pair.list"],
      channels: ["channels.status"],
    },
    (event) => /^(device\.pair\.|sessions\.|presence$|config\.changed$)/.test(event),
    15_000,
  );
  const title = h("h1", { key: "h", tabIndex: -1 }, "Gateway");
  const fault = error
    ? h(Fault, { key: "f", error, what: answers ? "What is below is old" : "The gateway could not be read" })
    : null;
  if (!answers) return [title, fault ?? h("p", { key: "l", class: "loading" }, "Reading…")];
  const { info, status, agents, devices } = answers;
  const { limits } = info;
  // One that is off in the configuration isn't meant to be connected.
  const accounts = accountsOf(answers.channels).filter(({ row }) => row.enabled);
  const connected = accounts.filter(({ row }) => row.connected);
  const policy = gatewayLink.value.hello?.policy ?? {};
  const { fault: wrong, waitsForRestart = [] } = status.configuration ?? {};
  return [
    title,
    fault,
    info.degraded.map((/** @type {string} */ reason) =>
      h(Notice, { key: reason, kind: "warn", title: "The gateway isn't well." }, visible(reason)),
    ),
    wrong &&
      h(
        Notice,
        { key: "w", kind: "bad", title: "The configuration was changed and can't be used." },
        visible(String(wrong)),
      ),
    waitsForRestart.length > 0 &&
      h(
        Notice,
        { key: "r", kind: "warn", title: "Waits for a restart:" },
        visible(waitsForRestart.map(String).join(", ")),
      ),
    status.orphans.length > 0 &&
      h(
        Notice,
        { key: "o", kind: "warn" },
        `${status.orphans.length} processes of a gateway that crashed still run: gatewarden gateway doctor names them.`,
      ),
    h(WorstTrouble, { key: "c", accounts }),
    h("h2", { key: "d" }, "Devices that wait for an approval"),
    devices.pending.length === 0
      ? h("p", { key: "dn", class: "quiet" }, "None.")
      : h(List, {
          key: "dl",
          label: "Devices that wait",
          rows: devices.pending,
          keyOf: (row) => row.requestId,
          columns: [
            { name: "Device", show: (row) => h("bdi", null, visible(row.displayName ?? row.clientId)) },
            { name: "Id", show: (row) => h("code", { title: row.deviceId }, visible(row.deviceId.slice(0, 12))) },
            { name: "From", show: (row) => visible(row.remoteIp ?? "unknown") },
            { name: "Client", show: (row) => visible(`${row.clientId}, ${row.platform ?? "unknown"}`) },
            { name: "Why", show: (row) => visible(String(row.reason).replaceAll("-", " ")) },
            { name: "Wants", kind: "wide", show: (row) => visible((row.scopes ?? []).join(", ")) },
            { name: "Asked", show: (row) => h(Age, { at: row.ts / 1000 }) },
            { name: "Decision", hideName: true, show: (row) => h(Decision, { request: row, done: again }) },
          ],
        }),
    h(
      "div",
      { key: "p", class: "panels single" },
      h(
        "section",
        { class: "panel" },
        h("h2", null, "Process"),
        h(Facts, {
          rows: [
            ["Version", info.version],
            ["Up", duration((now.value - info.startedAt) / 1000)],
            ["Process", String(info.pid)],
            ["Memory", status.processMemory ? megabytes(status.processMemory.rssBytes) : "Unknown"],
            ["Listens on", `${visible(String(info.bind))}, port ${info.port}${info.tls ? ", TLS" : ""}`],
            ["Connections", ofAtMost(info.connections, limits.connections)],
            [
              "Channels",
              h(
                "a",
                { href: "#channels" },
                accounts.length > 0 ? `${connected.length} of ${accounts.length} connected` : "None",
              ),
            ],
          ],
        }),
      ),
      h(
        "section",
        { class: "panel" },
        h("h2", null, "Work"),
        h(Facts, {
          rows: [
            ["Sessions", ofAtMost(info.sessions, limits.sessions)],
            ["Sessions at work", String(info.activeSessions)],
            ["Programs that run", ofAtMost(status.runs.processes, limits.processes)],
            ["Runs that wait", String(status.runs.queued)],
            ["Devices approved", String(devices.paired.length)],
            ["Longest message", policy.maxPayload ? megabytes(policy.maxPayload) : "Unknown"],
          ],
        }),
      ),
    ),
    h("h2", { key: "a" }, "Agents"),
    agents.agents.length === 0
      ? h("p", { key: "an", class: "quiet" }, "None: agents.entries of the configuration names them.")
      : h(List, {
          key: "al",
          label: "Agents",
          rows: agents.agents,
          keyOf: (row) => row.id,
          columns: [
            { name: "Agent", show: (row) => h("bdi", { class: "strong" }, visible(row.name || row.id)) },
            { name: "Id", show: (row) => h("code", null, visible(row.id)) },
            { name: "Model", show: (row) => visible(String(row.model?.primary ?? row.model ?? "–")) },
            {
              name: "Default",
              show: (row) => (row.id === agents.defaultId ? h(State, { tone: "good", word: "default" }) : "–"),
            },
          ],
        }),
  ];
}
