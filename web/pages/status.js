// The daemon itself.
import { h } from "preact";
import { Command, Facts, Notice, Status } from "../components/basics.js";
import { GatewayLink, ReadState, State } from "../components/list.js";
import { capitalized, counted, duration, STATUSES, shapeOf, visible } from "../format.js";
import { fleet, isStale, link, session } from "../live.js";
import { useRead } from "../read.js";

export function Page() {
  const read = useRead("/api/status", ({ type }) => type === "gateway.primary" || type === "gateway.status", 5_000);
  const { answer } = read;
  return [
    h("h1", { key: "h", tabIndex: -1 }, "Status of the daemon"),
    h(ReadState, { key: "state", read, what: "The daemon's status" }),
    answer && h("div", { key: "all", class: isStale.value ? "stale" : "" }, h(Body, { status: answer })),
  ];
}

/** @param {{isWell: boolean, good: string, bad: string}} props */
function Well({ isWell, good, bad }) {
  return h(State, { tone: isWell ? "good" : "bad", word: isWell ? good : bad });
}

/** @param {{status: any}} props */
function Body({ status }) {
  const { store, registry, primary, acting_primary: acting, gateways } = status;
  const { roundTrip, reconnects } = link.value;
  return [
    status.self_doubt &&
      h(
        Notice,
        { key: "doubt", kind: "warn", title: "Our network may be at fault." },
        `${status.self_doubt} Until it is clear, the daemon restarts nothing and gives no work back.`,
      ),
    !store.ok &&
      h(
        Notice,
        { key: "store", kind: "bad", title: "The database can't be used at the moment." },
        store.error ?? "",
        " Changes are refused until it can; gateways are watched on.",
      ),
    h(
      "div",
      { key: "panels", class: "panels" },
      h(
        "section",
        { class: "panel" },
        h("h2", null, "Daemon"),
        h(Facts, {
          rows: [
            ["Ready", h(Well, { isWell: status.ready, good: "yes", bad: "not yet" })],
            ["Version", status.version],
            ["Runs for", duration(status.uptime)],
            ["Its own network", h(Well, { isWell: !status.self_doubt, good: "no doubt", bad: "in doubt" })],
            ["Sessions", status.sessions.toLocaleString("en")],
            ["Requests to gateways under way", registry.in_flight],
            ["Registry", h(Well, { isWell: registry.ok, good: "works", bad: "does not answer" })],
          ],
        }),
      ),
      h(
        "section",
        { class: "panel" },
        h("h2", null, "Primary"),
        h(Facts, {
          rows: [
            ["Configured", primary ? h(GatewayLink, { id: primary.id, name: primary.name }) : "None"],
            ["Its status", primary ? h(Status, { status: primary.status }) : "–"],
            ["Acting", acting ? h(GatewayLink, { id: acting.id, name: acting.name }) : "None"],
            ["Because", acting?.reason ?? "No gateway can take work"],
          ],
        }),
        !acting &&
          gateways.total > 0 &&
          h(Notice, { kind: "warn" }, "Work that names no gateway is refused until one can act."),
      ),
      h(
        "section",
        { class: "panel" },
        h("h2", null, "Gateways"),
        h(Facts, {
          rows: [
            ...STATUSES.map(
              (name) =>
                /** @type {[string, any]} */ ([
                  capitalized(name),
                  h(
                    "a",
                    { href: `/?status=${name}` },
                    h("span", { "aria-hidden": "true", class: `shape ${name}` }, shapeOf(name)),
                    ` ${gateways.by_status[name] ?? 0}`,
                  ),
                ]),
            ),
            ["All", h("a", { href: "/" }, gateways.total)],
          ],
        }),
      ),
      h(
        "section",
        { class: "panel" },
        h("h2", null, "Versions of the gateways"),
        h(Facts, { rows: versionsOf(fleet.value.rows.values()) }),
      ),
      h(
        "section",
        { class: "panel" },
        h("h2", null, "Database"),
        h(Facts, {
          rows: [
            ["State", h(Well, { isWell: store.ok, good: "works", bad: "fails" })],
            ["Error", store.error ?? "None"],
            ["Writes that wait", store.writer_queue],
            ["Reads that wait", store.reader_queue],
          ],
        }),
        h("p", { class: "quiet" }, "A verified copy, also while the daemon runs:"),
        h(Command, { text: "gatewarden backup" }),
      ),
      h(
        "section",
        { class: "panel" },
        h("h2", null, "This page"),
        h(Facts, {
          rows: [
            [
              "Logged in as",
              session.value ? h("bdi", null, visible(`${session.value.name} (${session.value.role})`)) : "–",
            ],
            ["Round trip to the daemon", roundTrip === null ? "–" : `${roundTrip} ms`],
            ["Had to reconnect", counted(reconnects, "time")],
          ],
        }),
      ),
    ),
    h(
      "p",
      { key: "more", class: "quiet" },
      "For every figure: ",
      h("a", { href: "/metrics" }, "/metrics"),
      " (where it is allowed), and ",
      h("code", null, "gatewarden doctor"),
      " on the daemon's machine.",
    ),
  ];
}

/** How many gateways there are of each version, the most first. @param {Iterable<import("../types.js").Row>} rows @returns {[string, number][]} */
function versionsOf(rows) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const { version } of rows) counts.set(version ?? "Not known", (counts.get(version ?? "Not known") ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]).slice(0, 20);
}
