// One gateway: why it isn't online and what to do, what is known of it, and what can be done.
import { h } from "preact";
import { actionsOf } from "../actions.js";
import { go } from "../app.js";
import { Age, Badge, Command, Facts, Fault, Moment, Notice, PlainTable, Status } from "../components/basics.js";
import {
  addressOf,
  capitalized,
  counted,
  duration,
  isBlocked,
  isConnected,
  isHeldDown,
  milliseconds,
  neverSeen,
  newWorkOf,
  plainWords,
  visible,
  withoutName,
} from "../format.js";
import { fleet, isStale, may } from "../live.js";
import { useRead } from "../read.js";
import { fullTime, now } from "../time.js";
import { LatencyPanel } from "./gateway_latency.js";
import { LogPanel } from "./gateway_log.js";
import { ProcessPanel } from "./gateway_process.js";
import { WaitingDevices } from "./waiting_devices.js";

/** Whether a message changes the record or the connection of a gateway. @param {number} id */
function concernsGateway(id) {
  return (/** @type {import("../types.js").Message} */ { type, data }) => {
    if (type === "gateway.primary") return true;
    if (type === "gateway.vitals") return (data.rows ?? []).some((/** @type {any} */ row) => row.id === id);
    return type.startsWith("gateway.") && data.gateway_id === id;
  };
}

/** @param {{groups: string[]}} props */
export function Page({ groups }) {
  const id = Number(groups[0]);
  const { answer, error } = useRead(`/api/gateways/${id}`, concernsGateway(id));
  const row = fleet.value.rows.get(id);
  if (fleet.value.loaded && !row && answer) {
    return [
      h("h1", { key: "h", tabIndex: -1 }, visible(answer.gateway.name)),
      h(Notice, {
        key: "n",
        kind: "warn",
        title: "This gateway was deleted.",
        action: h("a", { href: "/", class: "button" }, "To the gateways"),
      }),
    ];
  }
  if (!answer) {
    return [
      h("h1", { key: "h", tabIndex: -1 }, "Gateway"),
      error
        ? h(Fault, {
            key: "f",
            error,
            what: "The gateway could not be read",
            action: h("a", { href: "/", class: "button" }, "To the gateways"),
          })
        : h("p", { key: "l", class: "loading" }, "Reading the gateway…"),
    ];
  }
  // The list is newer: figures come with it every second.
  const gateway = {
    ...answer.gateway,
    ...(row ?? {}),
    breaker: answer.gateway.breaker,
    process: answer.gateway.process,
    pairing: answer.gateway.pairing,
  };
  return h(
    "div",
    null,
    h(Head, { gateway }),
    h(Why, { gateway }),
    h("div", { class: "panels" }, h(Connection, { gateway }), h(Work, { gateway })),
    h(LatencyPanel, { id, row, createdAt: gateway.created_at }),
    h("div", { class: "panels" }, h(Sessions, { id }), h(Agents, { id })),
    isConnected(gateway) && h(Devices, { id }),
    (gateway.unit || gateway.command) && h(ProcessPanel, { gateway }),
    h(History, { gateway }),
    h(LogPanel, { id, name: gateway.name }),
  );
}

/** @param {{gateway: any}} props */
function Head({ gateway }) {
  return [
    h("p", { key: "up" }, h("a", { href: "/" }, "← Gateways")),
    h(
      "div",
      { key: "head", class: "page-head" },
      h(
        "div",
        null,
        h("h1", { tabIndex: -1 }, h("bdi", null, visible(gateway.name))),
        h(
          "div",
          null,
          h(Status, { status: gateway.status }),
          " ",
          h("span", { class: "quiet" }, "for ", h(Since, { at: gateway.since })),
          gateway.is_primary && h(Badge, { kind: "primary" }, "PRIMARY"),
          gateway.acting_primary && !gateway.is_primary && h(Badge, { kind: "primary" }, "ACTING"),
          isConnected(gateway) && h(Badge, { kind: "connected" }, "CONNECTED"),
          gateway.drained && h(Badge, null, "DRAINED"),
          isHeldDown(gateway, now.value) && h(Badge, null, "HELD DOWN"),
        ),
      ),
      h(
        "div",
        { class: "buttons" },
        actionsOf(gateway, () => go("/")).map(({ name, run, danger }) =>
          h("button", { key: name, type: "button", class: danger ? "danger" : "", onClick: run }, name.split(":")[0]),
        ),
      ),
    ),
    !may("operator") &&
      h(
        "p",
        { key: "role", class: "quiet" },
        "Reconnecting needs a key with the role operator; changing and deleting needs admin.",
      ),
  ];
}

/** How long something has been so. @param {{at: number}} props */
function Since({ at }) {
  return h(
    "time",
    { dateTime: new Date(at * 1000).toISOString(), title: fullTime(at * 1000) },
    duration(now.value / 1000 - at),
  );
}

/** A sentence about a gateway, below its name. @param {any} gateway @param {string} sentence */
function ofIt(gateway, sentence) {
  const rest = withoutName(gateway, sentence);
  return rest === sentence ? sentence : `It ${rest}`;
}

/** @param {{gateway: any}} props */
function Why({ gateway }) {
  const { last_error: error, pairing, status, next_attempt: next, phase } = gateway;
  if (status === "online") return null;
  if (!error) return h(Notice, { title: `It is ${status}.` }, `The connection is ${phase}.`);
  const kind = status === "offline" || isBlocked(gateway) ? "bad" : "warn";
  return h(
    "section",
    { class: `notice why ${kind}`, "aria-label": "Why it is not online" },
    h(
      "div",
      null,
      h("h2", null, isBlocked(gateway) ? "Blocked until something is changed" : "Why it is not online"),
      h("p", null, ofIt(gateway, error.message)),
      error.help && h("p", null, h("strong", null, "What to do: "), plainWords(error.help)),
      pairing?.command && [
        h(
          "p",
          { key: "p" },
          "Only the gateway's owner can approve this daemon. Run this on the gateway's machine; the daemon connects soon after it:",
        ),
        h(Command, { key: "c", text: pairing.command }),
      ],
      h("p", null, "Test the connection step by step, from the daemon's machine:"),
      h(Command, { text: `gatewarden check ${addressOf(gateway)}${gateway.token_set ? " --token-file FILE" : ""}` }),
      gateway.token_set &&
        h(
          "p",
          { class: "quiet" },
          "FILE holds the gateway's token. Without --token-file the token of the daemon's database is tried.",
        ),
      h(
        "p",
        { class: "quiet" },
        `Code ${error.code}. `,
        next ? ["Next attempt ", h(Age, { key: "a", at: next, ahead: true }), "."] : "No attempt is planned.",
      ),
    ),
  );
}

/** @param {{gateway: any}} props */
function Connection({ gateway }) {
  const { breaker } = gateway;
  return h(
    "section",
    { class: "panel" },
    h("h2", null, "Connection"),
    h(Facts, {
      rows: [
        ["Address", h("span", { class: "mono" }, addressOf(gateway))],
        ["Token", gateway.token_set ? "Set" : "None"],
        ["Phase", capitalized(gateway.phase)],
        ["Latency", milliseconds(gateway.latency)],
        ["Last seen", gateway.last_seen ? h(Age, { at: gateway.last_seen }) : neverSeen(gateway)],
        ["Known as of", h(Age, { at: gateway.as_of })],
        ["Source", capitalized(gateway.source)],
        ["Connected since", gateway.healthy_since ? h(Age, { at: gateway.healthy_since }) : "–"],
        ["Last failure", gateway.last_failure ? h(Age, { at: gateway.last_failure }) : "None"],
        [
          "Circuit breaker",
          `${capitalized(breaker.state)}${breaker.failures ? `, ${counted(breaker.failures, "failure")}` : ""}`,
        ],
        ["Attempts in a row", gateway.reconnect_attempts],
        // A page can hear of the connection a moment before it reads that no attempt is planned any more.
        [
          "Next attempt",
          gateway.next_attempt && gateway.status !== "online" ? h(Age, { at: gateway.next_attempt, ahead: true }) : "–",
        ],
        ["Protocol", gateway.protocol ? `${gateway.protocol}${gateway.dialect ? ` (${gateway.dialect})` : ""}` : "–"],
        ["Version", gateway.version ?? "–"],
        ["TLS trust", capitalized(gateway.tls.trust)],
        .../** @type {[string, any][]} */ (gateway.node ? [["Node", gateway.node]] : []),
        .../** @type {[string, any][]} */ (gateway.held_by ? [["Held by", gateway.held_by]] : []),
        ["Scopes", gateway.scopes.join(", ") || "–"],
      ],
    }),
  );
}

/** @param {{gateway: any}} props */
function Work({ gateway }) {
  const { acting } = fleet.value;
  return h(
    "section",
    { class: "panel" },
    h("h2", null, "Work"),
    h(Facts, {
      rows: [
        ["Configured primary", gateway.is_primary ? "Yes" : "No"],
        ["Acts as primary", gateway.acting_primary ? "Yes" : "No"],
        [
          "Acting primary",
          acting ? h("a", { href: `/gateways/${acting.id}` }, h("bdi", null, visible(acting.name))) : "None",
        ],
        ["Because", acting?.reason ?? "–"],
        ["Priority", gateway.priority],
        ["New work", newWorkOf(gateway)],
        [
          "Held down",
          isHeldDown(gateway, now.value)
            ? [
                "It came and went too often: it may act as primary ",
                h(Age, { key: "a", at: gateway.held_down_until, ahead: true }),
              ]
            : "No",
        ],
        ["Active sessions", gateway.sessions_count],
        ["Agents that it reports", gateway.agents_count],
        [
          "Labels",
          Object.entries(gateway.labels)
            .map(([name, value]) => `${name}=${value}`)
            .join(", ") || "–",
        ],
        ["Registered", h(Moment, { ms: gateway.created_at * 1000 })],
        ["Changed", h(Moment, { ms: gateway.updated_at * 1000 })],
      ],
    }),
  );
}

/** @param {{id: number}} props */
function Sessions({ id }) {
  const { answer, error } = useRead(
    `/api/sessions?gateway=${id}&limit=20&gateways=false`,
    ({ type, data }) => type === "session.update" && data.gateway_id === id,
  );
  return h(
    "section",
    { class: "panel scroll", tabIndex: 0, "aria-label": "Sessions" },
    h("h2", null, "Sessions", answer && h("span", { class: "quiet" }, ` ${answer.total}`)),
    error
      ? h(Fault, { error })
      : !answer
        ? h("p", { class: "quiet" }, "Reading…")
        : answer.sessions.length === 0
          ? h("p", { class: "quiet" }, "No session is known.")
          : h(
              PlainTable,
              { names: ["Session", "Agent", "Status", "Model", "Tokens", "Changed"] },
              answer.sessions.map((/** @type {any} */ session) =>
                h(
                  "tr",
                  { key: session.key },
                  h(
                    "td",
                    null,
                    h(
                      "a",
                      { href: `/sessions?${new URLSearchParams({ session: session.key, of: String(id) })}` },
                      h("bdi", null, visible(session.label ?? session.key)),
                    ),
                  ),
                  h("td", null, visible(session.agent ?? "–")),
                  h("td", null, session.status ? capitalized(session.status) : "Not told"),
                  h("td", null, session.model ?? "–"),
                  h("td", null, session.totalTokens?.toLocaleString("en") ?? "–"),
                  h("td", null, session.updatedAt ? h(Age, { at: session.updatedAt / 1000 }) : "–"),
                ),
              ),
            ),
  );
}

/** @param {{id: number}} props */
function Agents({ id }) {
  const { answer, error } = useRead(`/api/agents?gateway_id=${id}&limit=50`, ({ type }) => type === "agent.status");
  return h(
    "section",
    { class: "panel scroll", tabIndex: 0, "aria-label": "Agents" },
    h("h2", null, "Agents", answer && h("span", { class: "quiet" }, ` ${answer.total}`)),
    error
      ? h(Fault, { error })
      : !answer
        ? h("p", { class: "quiet" }, "Reading…")
        : answer.agents.length === 0
          ? h("p", { class: "quiet" }, "No agent is registered.")
          : h(
              PlainTable,
              { names: ["Agent", "Role", "Status", "Known by"] },
              answer.agents.map((/** @type {any} */ agent) =>
                h(
                  "tr",
                  { key: agent.id },
                  h("td", null, h("bdi", null, visible(agent.name))),
                  h("td", null, h("bdi", null, visible(agent.role))),
                  h("td", null, capitalized(agent.status)),
                  h("td", null, capitalized(agent.source)),
                ),
              ),
            ),
  );
}

/** Devices that wait on this gateway, which the daemon may decide on. @param {{id: number}} props */
function Devices({ id }) {
  const read = useRead(`/api/nodes?action=devices&gateway_id=${id}`, () => false, 15_000);
  if (!(read.answer?.pending?.length > 0)) return null;
  return h(
    "section",
    { class: `panel scroll ${isStale.value ? "stale" : ""}`, tabIndex: 0, "aria-label": "Devices" },
    h("h2", null, "Devices"),
    h(WaitingDevices, { read }),
    !may("admin") && h("p", { class: "quiet" }, "Deciding on devices needs a key with the role admin."),
  );
}

/** @type {Record<string, string>} Why nothing was observed. */
const UNOBSERVED = {
  stopped: "The daemon was not running",
  frozen: "The daemon got no time: its machine was suspended, or it was stopped",
};

/** @param {{gateway: any}} props */
function History({ gateway }) {
  const { id } = gateway;
  const { answer, error } = useRead(
    `/api/gateways/health/history?gateway_id=${id}&limit=50`,
    ({ type, data }) => type === "gateway.status" && data.gateway_id === id,
  );
  const entries = answer?.history[0]?.entries ?? [];
  // Only where it changed: between, it was the same.
  const changes = entries.filter(
    (/** @type {any} */ entry, /** @type {number} */ at) =>
      entry.state !== entries[at + 1]?.state || entry.error !== entries[at + 1]?.error,
  );
  const gaps = (answer?.not_observed ?? []).map((/** @type {any} */ gap) => ({ ...gap, probed_at: gap.from }));
  const rows = [...changes, ...gaps].sort((a, b) => b.probed_at - a.probed_at).slice(0, 15);
  return h(
    "section",
    { class: "panel scroll", tabIndex: 0, "aria-label": "History" },
    h("h2", null, "History of the last day"),
    error
      ? h(Fault, { error })
      : !answer
        ? h("p", { class: "quiet" }, "Reading…")
        : rows.length === 0
          ? h("p", { class: "quiet" }, "Nothing is recorded yet.")
          : h(
              PlainTable,
              { names: ["Since", "Status", "What was wrong"] },
              rows.map((/** @type {any} */ entry) =>
                h(
                  "tr",
                  { key: `${entry.probed_at_ms ?? ""} ${entry.to ?? ""}` },
                  h("td", null, h(Moment, { ms: entry.probed_at * 1000 })),
                  entry.reason
                    ? [
                        h("td", { key: "s", class: "quiet" }, "Not observed"),
                        h(
                          "td",
                          { key: "w", class: "quiet" },
                          `${UNOBSERVED[entry.reason] ?? entry.reason}, for ${duration(entry.to - entry.from)}`,
                        ),
                      ]
                    : [
                        h("td", { key: "s" }, h(Status, { status: entry.state })),
                        h("td", { key: "w" }, entry.error ? capitalized(withoutName(gateway, entry.error)) : "–"),
                      ],
                ),
              ),
            ),
  );
}
