// Devices that gateways know: what waits for approval, and what is paired.
import { h } from "preact";
import { post } from "../api.js";
import { Age, Facts, Notice, say, sayFault } from "../components/basics.js";
import { closeDialog, openDialog } from "../components/dialog.js";
import { Form } from "../components/form.js";
import { GatewayChoice, GatewayLink, List, ReadState } from "../components/list.js";
import { fleet, isStale, may } from "../live.js";
import { ask, asked } from "../place.js";
import { useRead } from "../read.js";

/** Long ids, as far as people compare them. @param {{text: string | undefined}} props */
function Id({ text }) {
  return text ? h("span", { class: "mono", title: text }, text.length > 20 ? `${text.slice(0, 16)}…` : text) : "–";
}

/** @param {any} device */
function nameOf(device) {
  return device.displayName || device.clientId || device.deviceId || "a device";
}

/** @param {{device: any}} props */
function Device({ device }) {
  return [
    h("strong", { key: "n" }, h("bdi", null, nameOf(device))),
    h("div", { key: "p", class: "quiet" }, [device.clientId, device.platform].filter(Boolean).join(" · ")),
  ];
}

/** @param {any} device */
function scopesOf(device) {
  return (device.scopes ?? device.approvedScopes ?? []).join(", ") || "–";
}

/** Milliseconds of the gateway's clock. @param {{ms: unknown}} props */
function When({ ms }) {
  return typeof ms === "number" && ms > 0 ? h(Age, { at: ms / 1000 }) : "–";
}

export function Page() {
  const gateway = asked("gateway");
  const identity = useRead("/api/identity", () => false);
  // Gateways tell of requests to their own clients only.
  const read = useRead(
    `/api/nodes?action=devices${gateway ? `&gateway_id=${encodeURIComponent(gateway)}` : ""}`,
    ({ type }) => type === "gateway.status" || type === "gateway.primary",
    10_000,
  );
  const { answer } = read;
  const waiting = [...fleet.value.rows.values()].filter((row) => row.awaits_pairing);
  const { acting } = fleet.value;
  const decide = async (/** @type {string} */ action, /** @type {any} */ request) => {
    try {
      await post("/api/nodes", { action, requestId: request.requestId, gateway_id: answer.gateway_id });
      say(`${nameOf(request)} is ${action === "approve" ? "approved" : "rejected"}`);
    } catch (error) {
      sayFault(`${nameOf(request)} was not ${action === "approve" ? "approved" : "rejected"}`, error);
    }
    read.again();
  };
  const asking = [
    { name: "Device", kind: "wide", show: (/** @type {any} */ request) => h(Device, { device: request }) },
    { name: "Wants", show: (/** @type {any} */ request) => scopesOf(request) },
    {
      name: "Why",
      show: (/** @type {any} */ request) =>
        String(request.reason ?? (request.isRepair ? "repair" : "not-paired")).replaceAll("-", " "),
    },
    { name: "From", show: (/** @type {any} */ request) => h("span", { class: "mono" }, request.remoteIp ?? "–") },
    { name: "Asked", show: (/** @type {any} */ request) => h(When, { ms: request.ts }) },
    { name: "Id", show: (/** @type {any} */ request) => h(Id, { text: request.deviceId }) },
    ...(may("admin")
      ? [
          {
            name: "Actions",
            hideName: true,
            show: (/** @type {any} */ request) =>
              h(
                "div",
                { class: "buttons" },
                h(
                  "button",
                  {
                    type: "button",
                    class: "main",
                    "aria-label": `Approve ${nameOf(request)}`,
                    onClick: () => decide("approve", request),
                  },
                  "Approve",
                ),
                h(
                  "button",
                  {
                    type: "button",
                    class: "danger",
                    "aria-label": `Reject ${nameOf(request)}`,
                    onClick: () => decide("reject", request),
                  },
                  "Reject",
                ),
              ),
          },
        ]
      : []),
  ];
  const ours = identity.answer?.device_id;
  const paired = [
    {
      name: "Device",
      kind: "wide",
      show: (/** @type {any} */ device) => [
        h(Device, { key: "d", device }),
        device.deviceId === ours && h("div", { key: "o", class: "quiet" }, "This daemon"),
      ],
    },
    { name: "May", show: (/** @type {any} */ device) => scopesOf(device) },
    { name: "Paired", show: (/** @type {any} */ device) => h(When, { ms: device.approvedAtMs ?? device.createdAtMs }) },
    { name: "Last seen", show: (/** @type {any} */ device) => h(When, { ms: device.lastSeenAtMs }) },
    { name: "Id", show: (/** @type {any} */ device) => h(Id, { text: device.deviceId }) },
    ...(may("admin")
      ? [
          {
            name: "Actions",
            hideName: true,
            show: (/** @type {any} */ device) =>
              device.deviceId === ours
                ? null
                : h(
                    "button",
                    {
                      type: "button",
                      class: "danger",
                      "aria-label": `Remove access of ${nameOf(device)}`,
                      onClick: () => askToRemove(device, answer.gateway_id, read.again),
                    },
                    "Remove access",
                  ),
          },
        ]
      : []),
  ];
  return [
    h("h1", { key: "h", tabIndex: -1 }, "Devices"),
    waiting.length > 0 && h(Waiting, { key: "waiting", rows: waiting }),
    h("h2", { key: "of" }, "Devices of a gateway"),
    h(
      "div",
      { key: "tools", class: "tools" },
      h(GatewayChoice, {
        label: "Gateway",
        value: gateway,
        set: (value) => ask({ gateway: value }),
        none: acting ? `The acting primary (${acting.name})` : "The acting primary",
      }),
      !may("admin") && h("span", { class: "quiet" }, "Deciding on devices needs a key with the role admin."),
    ),
    h(ReadState, { key: "state", read, what: "The devices" }),
    answer &&
      !answer.available &&
      h(Notice, { key: "away", kind: "warn", title: "The gateway can't be asked now." }, answer.reason),
    answer?.available && [
      h("h3", { key: "a" }, "Waiting for approval"),
      answer.pending?.length > 0
        ? h(
            "div",
            { key: "b", class: isStale.value ? "stale" : "" },
            h(List, {
              label: "Waiting for approval",
              columns: asking,
              rows: answer.pending,
              keyOf: (request) => request.requestId,
            }),
          )
        : h("p", { key: "b", class: "quiet" }, "No device waits."),
      h("h3", { key: "c" }, "Paired"),
      answer.devices?.length > 0
        ? h(
            "div",
            { key: "d", class: isStale.value ? "stale" : "" },
            h(List, {
              label: "Paired devices",
              columns: paired,
              rows: answer.devices,
              keyOf: (device) => device.deviceId,
            }),
          )
        : h("p", { key: "d", class: "quiet" }, "No device is paired."),
    ],
    h("h2", { key: "we" }, "This daemon as a device"),
    identity.answer
      ? h(
          "section",
          { key: "id", class: "panel single" },
          h(Facts, {
            rows: [
              ["Device id", h("span", { class: "mono" }, ours)],
              ["Public key", h("span", { class: "mono" }, identity.answer.public_key)],
            ],
          }),
        )
      : h(ReadState, { key: "id", read: identity, what: "The daemon's identity" }),
  ];
}

/** Gateways on which this daemon itself waits. @param {{rows: import("../types.js").Row[]}} props */
function Waiting({ rows }) {
  return h(
    "section",
    { class: "panel" },
    h("h2", null, "This daemon waits for approval"),
    h("p", null, "These gateways don't know it yet. Their pages have the command that approves it."),
    h(
      "ul",
      { class: "choices" },
      rows.slice(0, 50).map((row) => h("li", { key: row.id }, h(GatewayLink, { id: row.id }))),
    ),
    rows.length > 50 && h("p", { class: "quiet" }, `and ${rows.length - 50} more`),
  );
}

/** @param {any} device @param {number} gateway @param {() => void} done */
function askToRemove(device, gateway, done) {
  openDialog(`Remove the access of ${nameOf(device)}?`, () =>
    h(Form, {
      values: {},
      button: "Remove access",
      danger: true,
      onCancel: closeDialog,
      fields: () => h("p", null, "Its token is revoked on the gateway: it must be paired anew."),
      async send() {
        await post("/api/nodes", {
          action: "revoke-token",
          deviceId: device.deviceId,
          gateway_id: gateway,
          ...(device.role && { role: device.role }),
        });
        closeDialog();
        say(`${nameOf(device)} has no access any more`);
        done();
      },
    }),
  );
}
