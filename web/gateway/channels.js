// The channels by which people reach agents: how each account is, who waits to be let in, and who was.
import { h } from "preact";
import { Age, Facts, Fault, Notice } from "../components/basics.js";
import { List, State } from "../components/rows.js";
import { capitalized, counted, duration, visible } from "../format.js";
import { now } from "../time.js";
import { Act } from "./acts.js";
import { useAnswers } from "./reading.js";

/** @type {Record<string, {tone: "good" | "warn" | "bad" | "quiet", word: string}>} */
const STATES = {
  healthy: { tone: "good", word: "connected" },
  disconnected: { tone: "warn", word: "not connected, tried again" },
  blocked: { tone: "bad", word: "refused, not tried again" },
  stopped: { tone: "quiet", word: "off" },
};

/** @type {Record<string, string>} */
const MAY_WRITE = {
  pairing: "People in allowFrom, and those who were approved",
  allowlist: "People in allowFrom",
  open: "Everybody",
  disabled: "Nobody",
};

/** @type {Record<string, string>} */
const TOKEN_FROM = { env: "the environment", none: "nowhere: write botToken or tokenFile" };

/** @param {any} row */
function stateOf({ enabled, healthState }) {
  const known = STATES[healthState] ?? { tone: /** @type {"quiet"} */ ("quiet"), word: healthState };
  return enabled ? known : { ...known, word: "off in the configuration" };
}

/** @param {{at?: number, none: string}} props */
function Since({ at, none }) {
  return at ? h(Age, { at: at / 1000 }) : none;
}

/** Every account of every channel. @param {any} status Of `channels.status`. @returns {{channel: string, label: string, row: any}[]} */
export function accountsOf({ channelOrder, channelLabels, channelAccounts }) {
  return channelOrder.flatMap((/** @type {string} */ channel) =>
    channelAccounts[channel].map((/** @type {any} */ row) => ({
      channel,
      label: channelLabels[channel] ?? channel,
      row,
    })),
  );
}

/** @param {{label: string, row: any}} account */
export function accountName({ label, row: { name, accountId } }) {
  return `${visible(label)}, account ${visible(name ?? accountId)}`;
}

/** The last error of an account, and what helps. @param {{row: any, of?: string}} props `of`: its name, where that isn't above. */
export function Trouble({ row: { healthState, lastError, lastErrorAt, fix }, of }) {
  const said = visible(of ? `${of}: ${lastError}` : capitalized(lastError));
  return h(
    Notice,
    { kind: healthState === "stopped" ? "warn" : "bad", title: `${said}.` },
    fix && `${visible(capitalized(fix))}. `,
    lastErrorAt && h(Age, { at: lastErrorAt / 1000 }),
  );
}

/** @param {{channel: string, label: string, row: any, done: () => void}} props */
function Account({ channel, label, row, done }) {
  const { accountId, bot } = row;
  const waits = row.waitingMessages + row.waitingAnswers;
  const isOff = row.healthState === "stopped";
  const account = { channel, accountId };
  return h(
    "section",
    { class: "panel" },
    h("h2", null, accountName({ label, row })),
    row.lastError && h(Trouble, { row }),
    h(Facts, {
      rows: [
        [
          "State",
          [
            h(State, { key: "s", ...stateOf(row) }),
            row.connected && ` for ${duration((now.value - row.connectedSince) / 1000)}`,
          ],
        ],
        ["Bot", bot ? h("bdi", null, visible(bot.username ? `@${bot.username}` : String(bot.id))) : "Not known yet"],
        ["Last message", h(Since, { at: row.lastInboundAt, none: "None since the gateway was started" })],
        ["Last answer", h(Since, { at: row.lastOutboundAt, none: "None since the gateway was started" })],
        ["At work on", counted(row.activeRuns, "message")],
        [
          "Waiting",
          waits > 0
            ? `${counted(row.waitingMessages, "message")}, ${counted(row.waitingAnswers, "answer")}`
            : "Nothing",
        ],
        ["May write to it directly", MAY_WRITE[row.dmPolicy] ?? visible(row.dmPolicy)],
        ["Token from", TOKEN_FROM[row.tokenSource] ?? "the configuration"],
      ],
    }),
    h(
      "div",
      { class: "buttons" },
      isOff
        ? row.enabled &&
            row.configured &&
            h(Act, { name: "Connect", call: ["channels.start", account], done, said: () => `${label} is connecting` })
        : h(Act, {
            name: "Disconnect",
            call: ["channels.stop", account],
            done,
            question: {
              title: "Disconnect this account?",
              of: `${label} ${accountId}`,
              effect: "Nobody is heard on it until it is connected again here, or the gateway is restarted.",
            },
          }),
    ),
  );
}

export function ChannelsPage() {
  const { answers, error, again } = useAnswers(
    { status: ["channels.status"], people: ["channels.pairing.list"] },
    (event) => event === "presence" || event === "config.changed",
    5_000,
  );
  const title = h("h1", { key: "h", tabIndex: -1 }, "Channels");
  const fault = error ? h(Fault, { key: "f", error, what: "The channels could not be read" }) : null;
  if (!answers) return [title, fault ?? h("p", { key: "l", class: "loading" }, "Reading…")];
  const { status, people } = answers;
  if (status.channelOrder.length === 0)
    return [
      title,
      fault,
      h(
        "p",
        { key: "n" },
        "No channel is configured. With a bot of Telegram or Discord, or a number of WhatsApp, people can write to the agents: name it in ",
        h("code", null, "channels.telegram"),
        ", ",
        h("code", null, "channels.discord"),
        " or ",
        h("code", null, "channels.whatsapp"),
        " of the gateway's configuration.",
      ),
    ];
  const personColumns = [
    {
      name: "Person",
      kind: "wide",
      show: (/** @type {any} */ row) => [
        row.metadata?.name && h("bdi", { key: "n", class: "strong" }, visible(row.metadata.name), " "),
        h("code", { key: "i" }, visible(row.senderId)),
      ],
    },
    {
      name: "Account",
      show: (/** @type {any} */ row) =>
        visible(`${status.channelLabels[row.channel] ?? row.channel}, ${row.accountId}`),
    },
  ];
  const request = (/** @type {any} */ { channel, accountId, requestId }) => ({ channel, accountId, requestId });
  return [
    title,
    fault,
    h("h2", { key: "w" }, "People who wait for an approval"),
    people.requests.length === 0
      ? h("p", { key: "wn", class: "quiet" }, "None.")
      : h(List, {
          key: "wl",
          label: "People who wait",
          rows: people.requests,
          keyOf: (row) => row.requestId,
          columns: [
            ...personColumns,
            { name: "Code", show: (row) => h("code", null, visible(row.code)) },
            { name: "Asked", show: (row) => h(Age, { at: Date.parse(row.createdAt) / 1000 }) },
            { name: "Ends", show: (row) => h(Age, { at: Date.parse(row.expiresAt) / 1000, ahead: true }) },
            {
              name: "Decision",
              hideName: true,
              show: (row) =>
                h(
                  "div",
                  { class: "buttons" },
                  h(Act, {
                    name: "Approve",
                    kind: "main",
                    call: ["channels.pairing.approve", { ...request(row), notify: true }],
                    done: again,
                    said: () => `${row.senderId} was approved, and is told so`,
                  }),
                  h(Act, {
                    name: "Dismiss",
                    call: ["channels.pairing.dismiss", request(row)],
                    done: again,
                    said: () => `${row.senderId} was dismissed, and isn't heard for an hour`,
                  }),
                ),
            },
          ],
        }),
    people.approved.length > 0 && [
      h("h2", { key: "a" }, "People who were approved"),
      h(List, {
        key: "al",
        label: "People who were approved",
        rows: people.approved,
        keyOf: (row) => `${row.channel} ${row.accountId} ${row.senderId}`,
        columns: [
          ...personColumns,
          {
            name: "Actions",
            hideName: true,
            show: ({ channel, accountId, senderId }) =>
              h(Act, {
                name: "Revoke",
                call: ["channels.pairing.revoke", { channel, accountId, senderId }],
                done: again,
                question: {
                  title: "Take this approval back?",
                  of: senderId,
                  effect: "The person is a stranger again. Messages that haven't begun are forgotten.",
                },
              }),
          },
        ],
      }),
    ],
    h(
      "div",
      { key: "p", class: "panels single" },
      accountsOf(status).map((one) => h(Account, { key: `${one.channel} ${one.row.accountId}`, ...one, done: again })),
    ),
  ];
}
