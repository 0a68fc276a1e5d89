// The form of a new gateway, and of a change. A token or a password is only ever written.
import { h } from "preact";
import { get, mistake, post, put, Refusal } from "../api.js";
import { Notice, say, sayFault } from "../components/basics.js";
import { closeDialog, openDialog } from "../components/dialog.js";
import { Field, Form } from "../components/form.js";
import { addressOf, visible } from "../format.js";
import { fleet, readFleet } from "../live.js";
import { WayCheck } from "./gateway_check.js";

/** @typedef {import("../types.js").Row} Row */
/** @typedef {import("../types.js").Schemas["DiscoveredGateway"]} Found */

/** Labels as they are typed: one in a line. @param {string} text @param {string} [field] Where they are typed. */
export function labelsOf(text, field = "labels") {
  /** @type {Record<string, string>} */
  const labels = {};
  for (const line of linesOf(text)) {
    if (!line.includes("=")) throw mistake(field, `need name=value in each line; "${line}" has no "="`);
    const [name = "", ...value] = line.split("=");
    labels[name.trim()] = value.join("=").trim();
  }
  return labels;
}

/** @param {string} text */
function linesOf(text) {
  return text
    .split("\n")
    .map((one) => one.trim())
    .filter(Boolean);
}

/** The port that a URL names itself. @param {string} host */
function portInUrl(host) {
  return /^\w+:\/\/[^/]*:(\d+)(?:\/|$)/.exec(host.trim())?.[1];
}

/** What is no number is the daemon's to refuse, with its words. @param {string} text */
function numberOf(text) {
  const typed = String(text).trim();
  return /^-?\d+$/.test(typed) ? Number(typed) : typed;
}

/** @param {Record<string, any>} values */
function tlsOf({ trust, ca_pem: pem, pins }) {
  if (trust === "ca") return { trust, ca_pem: pem };
  return trust === "pins" ? { trust, pins: linesOf(pins) } : { trust };
}

/** What the form says besides secrets. @param {Record<string, any>} values @returns {Record<string, any>} */
function recordOf(values) {
  const port = String(values.port).trim();
  return {
    name: values.name,
    host: values.host,
    ...(port && portInUrl(values.host) === undefined ? { port: numberOf(port) } : {}),
    is_primary: values.is_primary,
    priority: numberOf(values.priority),
    labels: labelsOf(values.labels),
    transport: values.transport,
    tls: tlsOf(values),
    disable_device_pairing: values.disable_device_pairing,
    unit: values.runs === "unit" ? values.process : null,
    command: values.runs === "command" ? values.process : null,
    drained: values.drained,
    node: values.node.trim() || null,
  };
}

/** @param {Record<string, any>} values @param {string} name `token` or `password`. */
function secretOf(values, name) {
  if (values[`clear_${name}`]) return { [name]: null };
  return values[name] ? { [name]: values[name] } : {};
}

/** @param {Record<string, any>} values */
function newBody(values) {
  const { unit, command, ...rest } = recordOf(values);
  const process = unit !== null ? { unit } : command !== null ? { command } : {};
  return { ...rest, ...process, ...secretOf(values, "token"), ...secretOf(values, "password") };
}

/** Only what was changed: somebody else may have changed the rest. @param {Record<string, any>} values @param {any} known */
function changeOf(values, known) {
  const typed = recordOf(values);
  const changed = Object.fromEntries(
    Object.entries(typed).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(known[name])),
  );
  if (changed.host !== undefined && typed.port !== undefined) changed.port = typed.port;
  // One takes the place of the other.
  if (typed.unit !== null) delete changed.command;
  else if (typed.command !== null) delete changed.unit;
  return { ...changed, ...secretOf(values, "token"), ...secretOf(values, "password") };
}

/** What the form changes, besides the secrets themselves. */
const EDITED = [
  ...["name", "host", "port", "labels", "priority", "transport", "tls", "disable_device_pairing", "unit", "command"],
  ...["drained", "node", "token_set", "password_set"],
];

/** Other gateways at the same address. @param {Record<string, any>} values @param {number} [id] */
function sameAddress(values, id) {
  const address = addressOf({ host: values.host.trim(), port: Number(values.port) || 18_789 });
  return [...fleet.value.rows.values()].find((row) => row.id !== id && addressOf(row) === address);
}

/** @param {any} [gateway] As it is stored; none for a new one. */
function valuesOf(gateway) {
  return {
    name: gateway?.name ?? "",
    host: gateway?.host ?? "",
    port: String(gateway?.port ?? 18789),
    token: "",
    clear_token: false,
    password: "",
    clear_password: false,
    is_primary: gateway?.is_primary ?? false,
    priority: String(gateway?.priority ?? 0),
    labels: Object.entries(gateway?.labels ?? {})
      .map(([name, value]) => `${name}=${value}`)
      .join("\n"),
    transport: gateway?.transport ?? "auto",
    trust: gateway?.tls.trust ?? "system",
    ca_pem: gateway?.tls.ca_pem ?? "",
    pins: (gateway?.tls.pins ?? []).join("\n"),
    disable_device_pairing: gateway?.disable_device_pairing ?? false,
    runs: gateway?.unit ? "unit" : gateway?.command ? "command" : "",
    process: gateway?.unit ?? gateway?.command ?? "",
    drained: gateway?.drained ?? false,
    node: gateway?.node ?? "",
  };
}

/** What a problem of the daemon is said of, in this form. @type {Record<string, string>} */
const MEANT = { "tls.ca_pem": "ca_pem", "tls.pins": "pins", "tls.trust": "trust", unit: "process", command: "process" };

/** @param {Record<string, string>} problems */
function placed(problems) {
  return Object.fromEntries(
    Object.entries(problems).map(([name, problem]) => {
      const meant = MEANT[name.replace(/\[\d+\]$/, "")];
      return meant ? [meant, problem.replace(/^(tls\.\w+(\[\d+\])?|unit|command) /, "")] : [name, problem];
    }),
  );
}

/** Where the daemon names a field otherwise than this form, the form marks its own. @param {() => Promise<any>} send */
async function inPlace(send) {
  try {
    return await send();
  } catch (error) {
    if (error instanceof Refusal) error.fields = placed(error.fields);
    throw error;
  }
}

/** Where a gateway was found, and what of it is not to be believed. @param {{values: Record<string, any>, set: (name: string) => (value: any) => void, found: Found}} props */
function FoundNotice({ values, set, found: { name, tls_sha256: digest } }) {
  const isTrusted = values.trust === "pins" && values.pins.trim() === digest;
  const trust = () => {
    set("trust")("pins");
    set("pins")(digest);
  };
  return h(
    Notice,
    { kind: "warn" },
    "Something in the network announces itself as ",
    h("bdi", null, visible(name)),
    ". Be sure that it is your gateway before you give it a token.",
    digest && [
      h("p", { key: "p" }, "It says that its certificate has the SHA-256 ", h("span", { class: "mono" }, digest)),
      isTrusted
        ? h("p", { key: "t", role: "status" }, "This certificate alone is trusted.")
        : h("button", { key: "b", type: "button", onClick: trust }, "Trust this certificate alone"),
    ],
  );
}

/**
 * @param {Record<string, any>} values
 * @param {(name: string) => (value: any) => void} set
 * @param {Record<string, string>} problems
 * @param {any} [gateway]
 * @param {Found} [found]
 */
function gatewayFields(values, set, problems, gateway, found) {
  const inUrl = portInUrl(values.host);
  const twin = values.host.trim() ? sameAddress(values, gateway?.id) : undefined;
  const field = (/** @type {string} */ name, /** @type {string} */ label, /** @type {any} */ more = {}) =>
    h(Field, { name, label, value: values[name], onInput: set(name), problem: problems[name], ...more });
  const check = (/** @type {string} */ name, /** @type {string} */ label, /** @type {any} */ more = {}) =>
    field(name, label, { type: "checkbox", ...more });
  const secret = (/** @type {string} */ name, /** @type {string} */ label, /** @type {string} */ help) => [
    field(name, label, {
      key: name,
      type: "password",
      autocomplete: "new-password",
      autofocus: found !== undefined && name === "token",
      help: gateway
        ? gateway[`${name}_set`]
          ? "One is set, and never shown. Leave this empty to keep it."
          : "None is set."
        : help,
    }),
    gateway?.[`${name}_set`] && check(`clear_${name}`, `Remove the ${name}`, { key: `clear_${name}` }),
  ];
  const isWrong = ["password", "trust", "ca_pem", "pins", "transport", "process", "priority", "node"].some(
    (name) => problems[name],
  );
  return [
    found && h(FoundNotice, { values, set, found }),
    field("name", "Name", { autofocus: found === undefined }),
    h(
      "div",
      { class: "pair" },
      field("host", "Host", { help: "Host name, IP address, or a ws, wss, http or https URL" }),
      field("port", "Port", {
        value: inUrl ?? values.port,
        disabled: inUrl !== undefined,
        help: inUrl && "The URL's counts",
        inputMode: "numeric",
      }),
    ),
    twin && h(Notice, { kind: "warn" }, `${visible(twin.name)} has this address already.`),
    secret("token", "Token", "The gateway's shared token, if it has one"),
    field("labels", "Labels", {
      type: "textarea",
      help: "One name=value in a line, for instance environment=production",
      rows: 2,
    }),
    !gateway?.is_primary && check("is_primary", "Make it the primary gateway"),
    h(
      "details",
      { open: isWrong || undefined },
      h("summary", null, "More: password, TLS, priority, process, node"),
      h(
        "div",
        { class: "more-fields" },
        secret("password", "Password", "For a gateway whose auth mode is password"),
        field("trust", "TLS: whom to trust", {
          help: "For wss and https addresses",
          options: [
            ["system", "The authorities of the daemon's machine"],
            ["ca", "An authority of my own (PEM)"],
            ["pins", "These certificates alone (SHA-256)"],
            ["none", "Anybody: for development only"],
          ],
        }),
        values.trust === "ca" &&
          field("ca_pem", "Certificates of the authority", {
            type: "textarea",
            class: "mono",
            spellcheck: false,
            help: "One or more, from BEGIN CERTIFICATE to END CERTIFICATE",
          }),
        values.trust === "pins" &&
          field("pins", "SHA-256 of the certificates", {
            type: "textarea",
            class: "mono",
            spellcheck: false,
            rows: 2,
            help: "64 hex digits in a line each. A check shows that of the gateway",
          }),
        values.trust === "none" &&
          h(
            Notice,
            { kind: "warn" },
            "Whoever is on the way to this gateway can read its token and answer in its place.",
          ),
        field("transport", "How to speak to it", {
          options: [
            ["auto", "As it is able to"],
            ["ws", "WebSocket only"],
            ["http", "HTTP only"],
          ],
        }),
        check("disable_device_pairing", "Connect as a control UI, without a device of the daemon", {
          help: "Only for gateways that allow it",
        }),
        field("priority", "Priority", {
          inputMode: "numeric",
          help: "Where the primary is away, the highest number acts first",
        }),
        check("drained", "Drained: give it no new work"),
        field("runs", "Run on the daemon's machine", {
          help: "What the daemon may start, stop and restart",
          options: [
            ["", "No: it runs elsewhere, or by itself"],
            ["unit", "By a system unit"],
            ["command", "By a command of the daemon's configuration"],
          ],
        }),
        values.runs &&
          field("process", values.runs === "unit" ? "Name of the unit" : "Name of the command", {
            spellcheck: false,
            help:
              values.runs === "unit"
                ? "For instance gatewarden-gateway@main.service, or one that the configuration lists"
                : "As in [commands.NAME]. It is started at once",
          }),
        field("node", "Node", {
          spellcheck: false,
          help: "In a cluster: the name of the node that alone may connect to it. Empty for any",
        }),
      ),
    ),
  ];
}

/** @param {Found} [found] What is announced in the network; its token is still to be typed. */
export function addGateway(found) {
  openDialog("Add gateway", () =>
    h(Form, {
      values: found ? { ...valuesOf(), name: found.name, host: found.address } : valuesOf(),
      button: "Add gateway",
      onCancel: closeDialog,
      fields: (values, set, problems) => gatewayFields(values, set, problems, undefined, found),
      also: (values, fail) =>
        // The name may come last.
        h(WayCheck, { bodyOf: () => ({ ...newBody(values), name: values.name.trim() || "new" }), fail, placed }),
      async send(values) {
        const { gateway, warning } = await inPlace(() => post("/api/gateways", newBody(values)));
        closeDialog();
        say(`${visible(gateway.name)} is registered; the daemon connects to it`);
        if (warning) say(warning, "bad");
        readFleet();
      },
    }),
  );
}

/** @param {Row} row */
export async function editGateway(row) {
  let gateway;
  try {
    ({ gateway } = await get(`/api/gateways/${row.id}`));
  } catch (error) {
    sayFault(`${visible(row.name)} could not be read`, error);
    return;
  }
  let known = gateway;
  /** Whoever saves again knows what the other one changed. */
  const refuseIfChanged = async () => {
    const { gateway: present } = await get(`/api/gateways/${row.id}`);
    const changed = EDITED.filter((name) => JSON.stringify(present[name]) !== JSON.stringify(known[name]));
    if (changed.length === 0) return;
    const changes = changed.map((name) => `${name} is ${JSON.stringify(present[name]).slice(0, 200)} now`).join(", ");
    known = present;
    const error = `Somebody else changed this gateway since the form was opened: ${changes}`;
    throw new Refusal(0, { error, help: "Nothing was saved. Save again to put what stands here in its place." }, null);
  };
  closeDialog();
  openDialog(`Edit ${gateway.name}`, () =>
    h(Form, {
      values: valuesOf(gateway),
      button: "Save",
      onCancel: closeDialog,
      fields: (values, set, problems) => gatewayFields(values, set, problems, gateway),
      also: (values, fail) => h(WayCheck, { bodyOf: () => ({ ...changeOf(values, known), id: row.id }), fail, placed }),
      async send(values) {
        await refuseIfChanged();
        const change = changeOf(values, known);
        if (Object.keys(change).length === 0) {
          closeDialog();
          return say("Nothing was changed");
        }
        const { warning } = await inPlace(() => put(`/api/gateways/${row.id}`, change));
        closeDialog();
        say(`${visible(values.name)} is changed`);
        if (warning) say(warning, "bad");
        readFleet();
      },
    }),
  );
}
