// The form of a new gateway, and of a change. A token is only ever written.
import { h } from "preact";
import { get, mistake, post, put, Refusal } from "../api.js";
import { Notice, say, sayFault } from "../components/basics.js";
import { closeDialog, openDialog } from "../components/dialog.js";
import { Field, Form } from "../components/form.js";
import { addressOf } from "../format.js";
import { fleet, readFleet } from "../live.js";

/** @typedef {import("../types.js").Row} Row */

/** Labels as they are typed: one in a line. @param {string} text @param {string} [field] Where they are typed. */
export function labelsOf(text, field = "labels") {
  /** @type {Record<string, string>} */
  const labels = {};
  for (const line of text
    .split("\n")
    .map((one) => one.trim())
    .filter(Boolean)) {
    if (!line.includes("=")) throw mistake(field, `need name=value in each line; "${line}" has no "="`);
    const [name = "", ...value] = line.split("=");
    labels[name.trim()] = value.join("=").trim();
  }
  return labels;
}

/** The port that a URL names itself. @param {string} host */
function portInUrl(host) {
  return /^\w+:\/\/[^/]*:(\d+)(?:\/|$)/.exec(host.trim())?.[1];
}

/** @param {Record<string, any>} values */
function bodyOf(values) {
  const port = String(values.port).trim();
  return {
    name: values.name,
    host: values.host,
    // What is no number is the daemon's to refuse, with its words.
    ...(port && portInUrl(values.host) === undefined ? { port: /^\d+$/.test(port) ? Number(port) : port } : {}),
    ...(values.is_primary === undefined ? {} : { is_primary: values.is_primary }),
    labels: labelsOf(values.labels),
  };
}

/** What the form changes, besides the token itself. */
const EDITED = ["name", "host", "port", "labels", "token_set"];

/** Other gateways at the same address. @param {Record<string, any>} values @param {number} [id] */
function sameAddress(values, id) {
  const address = addressOf({ host: values.host.trim(), port: Number(values.port) || 18_789 });
  return [...fleet.value.rows.values()].find((row) => row.id !== id && addressOf(row) === address);
}

/** @param {Record<string, any>} values @param {(name: string) => (value: any) => void} set @param {Record<string, string>} problems @param {Row} [row] @param {boolean} [tokenSet] */
function gatewayFields(values, set, problems, row, tokenSet) {
  const inUrl = portInUrl(values.host);
  const twin = values.host.trim() ? sameAddress(values, row?.id) : undefined;
  return [
    h(Field, {
      name: "name",
      label: "Name",
      value: values.name,
      onInput: set("name"),
      problem: problems.name,
      autofocus: true,
    }),
    h(
      "div",
      { class: "pair" },
      h(Field, {
        name: "host",
        label: "Host",
        value: values.host,
        onInput: set("host"),
        problem: problems.host,
        help: "Host name, IP address, or a ws, wss, http or https URL",
      }),
      h(Field, {
        name: "port",
        label: "Port",
        value: inUrl ?? values.port,
        disabled: inUrl !== undefined,
        help: inUrl && "The URL's counts",
        onInput: set("port"),
        problem: problems.port,
        inputMode: "numeric",
      }),
    ),
    twin && h(Notice, { kind: "warn" }, `${twin.name} has this address already.`),
    h(Field, {
      name: "token",
      label: "Token",
      type: "password",
      value: values.token,
      onInput: set("token"),
      problem: problems.token,
      autocomplete: "new-password",
      help: row
        ? tokenSet
          ? "One is set, and never shown. Leave this empty to keep it."
          : "None is set."
        : "The gateway's shared token, if it has one",
    }),
    row &&
      tokenSet &&
      h(Field, {
        name: "clear",
        label: "Remove the token",
        type: "checkbox",
        value: values.clear,
        onInput: set("clear"),
      }),
    h(Field, {
      name: "labels",
      label: "Labels",
      type: "textarea",
      value: values.labels,
      onInput: set("labels"),
      problem: problems.labels,
      help: "One name=value in a line, for instance environment=production",
      rows: 2,
    }),
    !row?.is_primary &&
      h(Field, {
        name: "is_primary",
        label: "Make it the primary gateway",
        type: "checkbox",
        value: values.is_primary ?? false,
        onInput: set("is_primary"),
      }),
  ];
}

export function addGateway() {
  openDialog("Add gateway", () =>
    h(Form, {
      values: { name: "", host: "", port: "18789", token: "", labels: "", is_primary: false },
      button: "Add gateway",
      onCancel: closeDialog,
      fields: (values, set, problems) => gatewayFields(values, set, problems),
      async send(values) {
        const { gateway, warning } = await post("/api/gateways", {
          ...bodyOf(values),
          ...(values.token ? { token: values.token } : {}),
        });
        closeDialog();
        say(`${gateway.name} is registered; the daemon connects to it`);
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
    sayFault(`${row.name} could not be read`, error);
    return;
  }
  let known = gateway;
  /** Whoever saves again knows what the other one changed. */
  const refuseIfChanged = async () => {
    const { gateway: present } = await get(`/api/gateways/${row.id}`);
    const changed = EDITED.filter((name) => JSON.stringify(present[name]) !== JSON.stringify(known[name]));
    if (changed.length === 0) return;
    const changes = changed.map((name) => `${name} is ${JSON.stringify(present[name])} now`).join(", ");
    known = present;
    const error = `Somebody else changed this gateway since the form was opened: ${changes}`;
    throw new Refusal(0, { error, help: "Nothing was saved. Save again to put what stands here in its place." }, null);
  };
  const labels = Object.entries(gateway.labels)
    .map(([name, value]) => `${name}=${value}`)
    .join("\n");
  closeDialog();
  openDialog(`Edit ${gateway.name}`, () =>
    h(Form, {
      values: { name: gateway.name, host: gateway.host, port: String(gateway.port), token: "", labels, clear: false },
      button: "Save",
      onCancel: closeDialog,
      fields: (values, set, problems) => gatewayFields(values, set, problems, gateway, gateway.token_set),
      async send(values) {
        const token = values.clear ? { token: null } : values.token ? { token: values.token } : {};
        await refuseIfChanged();
        const { warning } = await put(`/api/gateways/${row.id}`, { ...bodyOf(values), ...token });
        closeDialog();
        say(`${values.name} is changed`);
        if (warning) say(warning, "bad");
        readFleet();
      },
    }),
  );
}
