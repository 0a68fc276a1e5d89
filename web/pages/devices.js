// Devices that gateways know: what waits for approval, and what is paired.
import { h } from "preact";
import { post } from "../api.js";
import { Facts, Notice, say } from "../components/basics.js";
import { closeDialog, openDialog } from "../components/dialog.js";
import { Form } from "../components/form.js";
import { GatewayChoice, GatewayLink, List, ReadState } from "../components/list.js";
import { fleet, isStale, may } from "../live.js";
import { ask, asked } from "../place.js";
import { useRead } from "../read.js";
import { Device, Id, nameOf, scopesOf, WaitingDevices, When } from "./waiting_devices.js";

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
      h(WaitingDevices, { key: "a", read }),
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
