// The form of a new gateway, and of a change. A token is only ever written.
import { h } from "preact";
import { get, post, put } from "../api.js";
import { Notice, say, sayFault } from "../components/basics.js";
import { closeDialog, openDialog } from "../components/dialog.js";
import { Field, Form } from "../components/form.js";
import { addressOf } from "../format.js";
import { fleet, readFleet } from "../live.js";

/** @typedef {import("../types.js").Row} Row */

/** Labels as they are typed: one in a line. @param {string} text */
export function labelsOf(text) {
  /** @type {Record<string, string>} */
  const labels = {};
  for (const line of text
    .split("\n")
    .map((one) => one.trim())
    .filter(Boolean)) {
    const [name = "", ...value] = line.split("=");
    labels[name.trim()] = value.join("=").trim();
  }
  return labels;
}

/** @param {Record<string, any>} values */
function bodyOf(values) {
  const port = String(values.port).trim();
  return {
    name: values.name,
    host: values.host,
    // What is no number is the daemon's to refuse, with its words.
    ...(port ? { port: /^\d+$/.test(port) ? Number(port) : port } : {}),
    ...(values.is_primary === undefined ? {} : { is_primary: values.is_primary }),
    labels: labelsOf(values.labels),
  };
}

/** Other gateways at the same address. @param {Record<string, any>} values @param {number} [id] */
function sameAddress(values, id) {
  const address = addressOf({ host: values.host.trim(), port: Number(values.port) || 18_789 });
  return [...fleet.value.rows.values()].find((row) => row.id !== id && addressOf(row) === address);
}

/** @param {Record<string, any>} values @param {(name: string) => (value: any) => void} set @param {Record<string, string>} problems @param {Row} [row] @param {boolean} [tokenSet] */
function gatewayFields(values, set, problems, row, tokenSet) {
  const twin = values.host.trim() ? sameAddress(values, row?.id) : undefined;
  return [
    h(Field, {
      name: "name",
      label: "Name",
      value: values.name,
      onInput: set("name"),
      problem: problems.name,
      maxLength: 200,
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
        maxLength: 2048,
      }),
      h(Field, {
        name: "port",
        label: "Port",
        value: values.port,
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
        say(`${gateway.name} is registered; the daemon connects to it${warning ? `. ${warning}` : ""}`);
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
        const { warning } = await put(`/api/gateways/${row.id}`, { ...bodyOf(values), ...token });
        closeDialog();
        say(`${values.name} is changed${warning ? `. ${warning}` : ""}`);
        readFleet();
      },
    }),
  );
}
