// Agents: names to which work is addressed.
import { h } from "preact";
import { useState } from "preact/hooks";
import { post, put, Refusal, remove } from "../api.js";
import { Age, Badge, Notice, Status, say } from "../components/basics.js";
import { closeDialog, openDialog } from "../components/dialog.js";
import { Field, Form } from "../components/form.js";
import {
  Choice,
  Empty,
  GatewayChoice,
  GatewayField,
  GatewayLink,
  gatewayIdOf,
  List,
  Pager,
  ReadState,
  State,
} from "../components/list.js";
import { counted, visible } from "../format.js";
import { fleet, isStale, may } from "../live.js";
import { ask, asked } from "../place.js";
import { useRead } from "../read.js";

/** Those that gateways have, too, have the same sign. @type {[string, "good" | "bad" | "busy" | null, string?][]} */
const STATES = [
  ["online", null],
  ["idle", "good"],
  ["busy", "busy"],
  ["error", "bad", "▲"],
  ["offline", null],
];

/** @param {{status: string}} props */
function AgentState({ status }) {
  const [, tone, shape] = STATES.find(([name]) => name === status) ?? [status, null];
  return tone ? h(State, { tone, word: status, shape }) : h(Status, { status });
}

/** @type {Record<string, string>} */
const SOURCES = {
  manual: "By hand",
  gateway: "With its gateway",
  cli: "By a CLI tool",
  sync: "By its gateway's configuration",
};

/** @param {any} agent */
function preferredOf(agent) {
  return agent.config?.gateway_config?.preferred_gateway;
}

export function Page() {
  const filters = { search: asked("search"), status: asked("status"), gateway_id: asked("gateway_id") };
  const search = new URLSearchParams({ limit: "50", offset: asked("offset") || "0" });
  for (const [name, value] of Object.entries(filters)) if (value) search.set(name, value);
  // Who creates an agent elsewhere causes no event.
  const read = useRead(
    `/api/agents?${search}`,
    ({ type }) => type === "agent.status" || type.startsWith("connection."),
    15_000,
  );
  const { answer } = read;
  const set = (/** @type {string} */ name) => (/** @type {string} */ value) => ask({ [name]: value, offset: "" });
  const columns = [
    {
      name: "Status",
      show: (/** @type {any} */ agent) => h(AgentState, { status: agent.status }),
    },
    {
      name: "Name",
      kind: "wide",
      show: (/** @type {any} */ agent) => [
        h("strong", { key: "n" }, h("bdi", null, visible(agent.name))),
        agent.is_gateway_main && h(Badge, { key: "m", title: "The main agent of its gateway" }, "MAIN"),
      ],
    },
    { name: "Role", show: (/** @type {any} */ agent) => h("bdi", null, visible(agent.role)) },
    {
      name: "Gateway",
      show: (/** @type {any} */ agent) => [
        h(GatewayLink, { key: "g", id: agent.gateway_id }),
        preferredOf(agent) &&
          h("div", { key: "p", class: "quiet" }, "prefers ", h("bdi", null, visible(String(preferredOf(agent))))),
      ],
    },
    { name: "Registered", show: (/** @type {any} */ agent) => SOURCES[agent.source] ?? agent.source },
    {
      name: "Last seen",
      show: (/** @type {any} */ agent) => (agent.last_seen ? h(Age, { at: agent.last_seen }) : "Never"),
    },
    { name: "Last activity", show: (/** @type {any} */ agent) => h("bdi", null, visible(agent.last_activity ?? "–")) },
    ...(may("operator")
      ? [
          {
            name: "Actions",
            hideName: true,
            show: (/** @type {any} */ agent) =>
              h(
                "div",
                { class: "buttons" },
                h(
                  "button",
                  { type: "button", "aria-label": `Edit ${agent.name}`, onClick: () => askForAgent(agent, read.again) },
                  "Edit",
                ),
                may("admin") &&
                  h(
                    "button",
                    {
                      type: "button",
                      class: "danger",
                      "aria-label": `Delete ${agent.name}`,
                      onClick: () => askToDelete(agent, read.again),
                    },
                    "Delete",
                  ),
              ),
          },
        ]
      : []),
  ];
  return [
    h(
      "div",
      { key: "head", class: "page-head" },
      h("h1", { tabIndex: -1 }, "Agents"),
      h(
        "div",
        { class: "buttons" },
        may("admin") && h("button", { type: "button", onClick: () => askToSync(read.again) }, "Synchronise…"),
        may("operator") &&
          h("button", { type: "button", class: "main", onClick: () => askForAgent(null, read.again) }, "+ New agent"),
      ),
    ),
    !may("admin") &&
      h(
        "p",
        { key: "role", class: "quiet" },
        may("operator")
          ? "Deleting and synchronising agents needs a key with the role admin."
          : "Changing agents needs a key with the role operator.",
      ),
    h(
      "div",
      { key: "tools", class: "tools", role: "search" },
      h("input", {
        type: "search",
        id: "search",
        "aria-label": "Search agents",
        placeholder: "Search agents  ( / )",
        value: filters.search,
        onInput: (/** @type {any} */ event) => set("search")(event.currentTarget.value),
      }),
      h(GatewayChoice, { value: filters.gateway_id, set: set("gateway_id") }),
      h(Choice, {
        label: "Show by status",
        value: filters.status,
        set: set("status"),
        options: [
          ["", "Any status"],
          ...STATES.map(
            ([name]) => /** @type {[string, string]} */ ([name, name.charAt(0).toUpperCase() + name.slice(1)]),
          ),
        ],
      }),
      h("span", { class: "quiet", role: "status" }, answer ? counted(answer.total, "agent") : ""),
    ),
    h(ReadState, { key: "state", read, what: "The agents" }),
    answer &&
      (answer.agents.length > 0
        ? h(
            "div",
            { key: "list", class: isStale.value ? "stale" : "" },
            h(List, { label: "Agents", columns, rows: answer.agents, keyOf: (agent) => agent.id }),
            h(Pager, { part: answer, move: (offset) => ask({ offset: offset || "" }) }),
          )
        : h(
            Empty,
            {
              key: "none",
              isFiltered: Object.values(filters).some(Boolean),
              what: "agent",
              showAll: () => ask({ search: "", status: "", gateway_id: "", offset: "" }),
            },
            h("p", null, "No agent is registered. Gateways that are online tell of theirs by themselves."),
          )),
  ];
}

/** A JSON object out of a field. @param {string} text */
function objectOf(text) {
  try {
    const value = JSON.parse(text || "{}");
    if (value && typeof value === "object" && !Array.isArray(value)) return value;
  } catch {
    // Said below.
  }
  throw new Refusal(
    0,
    { error: "The agent was not sent", details: { fields: [{ field: "config", problem: "is not a JSON object" }] } },
    null,
  );
}

/** @param {any} agent Null for a new one. @param {() => void} done */
function askForAgent(agent, done) {
  openDialog(agent ? `Edit ${agent.name}` : "New agent", () =>
    h(Form, {
      values: {
        name: agent?.name ?? "",
        role: agent?.role ?? "",
        status: agent?.status ?? "offline",
        gateway: String(agent?.gateway_id ?? ""),
        config: JSON.stringify(agent?.config ?? {}, null, 2),
      },
      button: agent ? "Save" : "Create agent",
      onCancel: closeDialog,
      fields: (values, set, problems) => [
        h(Field, {
          name: "name",
          label: "Name",
          value: values.name,
          onInput: set("name"),
          problem: problems.name,
          autofocus: true,
          help: "Work is addressed to it",
        }),
        h(Field, {
          name: "role",
          label: "Role",
          value: values.role,
          onInput: set("role"),
          problem: problems.role,
        }),
        h(Field, {
          name: "status",
          label: "Status",
          value: values.status,
          onInput: set("status"),
          problem: problems.status,
          options: STATES.map(([name]) => [name, name]),
        }),
        h(GatewayField, {
          value: values.gateway,
          onInput: set("gateway"),
          problem: problems.gateway ?? problems.gateway_id,
          none: "None",
        }),
        h(Field, {
          name: "config",
          label: "Configuration",
          type: "textarea",
          rows: 6,
          class: "mono",
          spellcheck: false,
          value: values.config,
          onInput: set("config"),
          problem: problems.config,
          help: "A JSON object that every key can read: no secrets. gateway_config.preferred_gateway names the gateway that gets its work first.",
        }),
      ],
      async send(values) {
        const changed = {
          name: values.name,
          status: values.status,
          config: objectOf(values.config),
          ...(values.role.trim() && { role: values.role.trim() }),
          ...(values.gateway
            ? { gateway_id: gatewayIdOf(values.gateway, "gateway") }
            : agent
              ? { gateway_id: null }
              : {}),
        };
        // Only what was changed: somebody else may have changed the rest meanwhile.
        const known = agent ?? {};
        const body = Object.fromEntries(
          Object.entries(changed).filter(
            ([name, value]) => JSON.stringify(value) !== JSON.stringify(known[name] ?? null),
          ),
        );
        if (agent && Object.keys(body).length === 0) return closeDialog();
        const { agent: stored, warning } = agent
          ? await put(`/api/agents/${agent.id}`, body)
          : await post("/api/agents", changed);
        closeDialog();
        say(`${stored.name} is ${agent ? "changed" : "registered"}${warning ? `. ${warning}` : ""}`);
        done();
      },
    }),
  );
}

/** @param {any} agent @param {() => void} done */
function askToDelete(agent, done) {
  openDialog(`Delete ${agent.name}?`, () =>
    h(Form, {
      values: {},
      button: "Delete agent",
      danger: true,
      onCancel: closeDialog,
      fields: () =>
        h(
          "p",
          null,
          "The record of this agent is deleted here; its gateway keeps it",
          agent.source === "sync" || agent.source === "gateway"
            ? ", and tells of it again at the next synchronisation."
            : ".",
        ),
      async send() {
        await remove(`/api/agents/${agent.id}`);
        closeDialog();
        say(`${agent.name} is deleted`);
        done();
      },
    }),
  );
}

/** @param {() => void} done */
function askToSync(done) {
  const { acting } = fleet.peek();
  openDialog("Synchronise with a gateway", () => h(Sync, { acting, done }));
}

/** @param {{acting: {name: string} | null, done: () => void}} props */
function Sync({ acting, done }) {
  const [counts, setCounts] = useState(/** @type {any} */ (null));
  if (counts) {
    return h(
      "div",
      { class: "form" },
      h(
        Notice,
        null,
        `${counted(counts.synced, "agent")} read: ${counts.created} new, ${counts.updated} changed, ${counts.skipped} left to whoever registered them first.`,
      ),
      h("div", { class: "buttons" }, h("button", { type: "button", class: "main", onClick: closeDialog }, "Close")),
    );
  }
  return h(Form, {
    values: { gateway: "" },
    button: "Read its agents",
    onCancel: closeDialog,
    fields: (values, set, problems) =>
      h(GatewayField, {
        value: values.gateway,
        onInput: set("gateway"),
        problem: problems.gateway ?? problems.gateway_id,
        none: acting ? `The acting primary (${acting.name})` : "The acting primary",
        help: "Its agents are registered here, and those that changed are brought up to date.",
      }),
    async send({ gateway }) {
      setCounts(await post("/api/agents/sync", gateway.trim() ? { gateway_id: gatewayIdOf(gateway, "gateway") } : {}));
      done();
    },
  });
}
