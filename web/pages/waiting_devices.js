// Devices that wait for approval on a gateway, and the decision on them.
import { h } from "preact";
import { post } from "../api.js";
import { Age, say, sayFault } from "../components/basics.js";
import { List } from "../components/list.js";
import { visible } from "../format.js";
import { isStale, may } from "../live.js";

/** Long ids, as far as people compare them. @param {{text: string | undefined}} props */
export function Id({ text }) {
  return text ? h("span", { class: "mono", title: text }, text.length > 20 ? `${text.slice(0, 16)}…` : text) : "–";
}

/** @param {any} device */
export function nameOf(device) {
  return device.displayName || device.clientId || device.deviceId || "a device";
}

/** @param {{device: any}} props */
export function Device({ device }) {
  return [
    h("strong", { key: "n" }, h("bdi", null, visible(nameOf(device)))),
    h("div", { key: "p", class: "quiet" }, visible([device.clientId, device.platform].filter(Boolean).join(" · "))),
  ];
}

/** What it may do: as a node, as an operator with these scopes, or both. @param {any} device */
export function scopesOf(device) {
  const isNode = (device.roles ?? [device.role]).includes("node");
  const scopes = device.scopes ?? device.approvedScopes ?? [];
  return visible([...(isNode ? ["as a node"] : []), ...scopes].join(", ")) || "–";
}

/** Milliseconds of the gateway's clock. @param {{ms: unknown}} props */
export function When({ ms }) {
  return typeof ms === "number" && ms > 0 ? h(Age, { at: ms / 1000 }) : "–";
}

/** @param {{read: {answer: any, again: () => void}}} props What `GET /api/nodes?action=devices` answered. */
export function WaitingDevices({ read }) {
  const decide = async (/** @type {string} */ action, /** @type {any} */ request) => {
    try {
      await post("/api/nodes", { action, requestId: request.requestId, gateway_id: read.answer.gateway_id });
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
  const pending = read.answer.pending ?? [];
  return [
    h("h3", { key: "a" }, "Waiting for approval"),
    pending.length > 0
      ? h(
          "div",
          { key: "b", class: isStale.value ? "stale" : "" },
          h(List, {
            label: "Waiting for approval",
            columns: asking,
            rows: pending,
            keyOf: (request) => request.requestId,
          }),
        )
      : h("p", { key: "b", class: "quiet" }, "No device waits."),
  ];
}
