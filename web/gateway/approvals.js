// What agents ask before they do it: shown with the conversation that it belongs to, and decided there.
import { signal } from "@preact/signals";
import { h } from "preact";
import { useState } from "preact/hooks";
import { sayFault } from "../components/basics.js";
import { counted, visible } from "../format.js";
import { callGateway, gatewayLink, onArrival, onEvent, wasLost } from "./link.js";
import { agentOf, openTalk } from "./talk.js";

/** Characters that are in sight at once on the narrowest screens. */
const LONG = 200;

/** @typedef {{id: string, request: {command: string, commandPreview?: unknown, cwd?: string, sessionKey: string}, expiresAtMs: number}} Approval */

/** @type {import("@preact/signals").Signal<Approval[]>} */
const approvals = signal([]);

/** @param {string} id */
function forgetApproval(id) {
  approvals.value = approvals.value.filter((one) => one.id !== id);
}

/** Follows what is asked for as long as the page is open. */
export function startApprovals() {
  onArrival(async () => {
    try {
      approvals.value = await callGateway("exec.approval.list");
    } catch {
      // Without the right to decide, or without a connection, there is nothing to show.
    }
  });
  onEvent((event, payload) => {
    if (event === "exec.approval.requested") {
      forgetApproval(payload.id);
      approvals.value = [...approvals.value, payload];
    } else if (event === "exec.approval.resolved") forgetApproval(payload.id);
  });
  gatewayLink.subscribe(({ hello }) => {
    if (!hello) approvals.value = [];
  });
}

/** @param {{approval: Approval}} props */
function Asked({ approval: { id, request } }) {
  const [isSending, setSending] = useState(false);
  const decide = async (/** @type {"allow-once" | "deny"} */ decision) => {
    if (isSending) return;
    setSending(true);
    try {
      await callGateway("exec.approval.resolve", { id, decision });
    } catch (error) {
      sayFault(wasLost(error) ? "It is not known whether this was decided" : "Nothing was decided", error);
    }
    setSending(false);
  };
  const preview = request.commandPreview;
  const text = typeof preview === "string" ? preview : preview ? JSON.stringify(preview, null, 2) : "";
  return h(
    "div",
    { class: "notice warn asked", role: "alert" },
    h(
      "div",
      null,
      h("strong", null, "The agent asks: "),
      h("bdi", null, visible(request.command)),
      text && h("pre", { class: "json", tabIndex: 0 }, text.split("\n").map(visible).join("\n")),
      text.length > LONG && h("p", { class: "quiet" }, `${counted(text.length, "character")}: scroll to read all.`),
      request.cwd && h("p", { class: "quiet" }, `In ${visible(request.cwd)}`),
    ),
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "button", class: "main", onClick: () => decide("allow-once") }, "Allow once"),
      h("button", { type: "button", onClick: () => decide("deny") }, "Deny"),
    ),
  );
}

/** What waits for a decision: here, and in other conversations. @param {{sessionKey: string}} props */
export function Approvals({ sessionKey }) {
  const here = approvals.value.filter(({ request }) => request.sessionKey === sessionKey);
  const elsewhere = approvals.value.find(({ request }) => request.sessionKey !== sessionKey);
  return [
    here.map((approval) => h(Asked, { key: approval.id, approval })),
    elsewhere &&
      h(
        "div",
        { key: "elsewhere", class: "notice warn", role: "status" },
        `Agent ${visible(agentOf(elsewhere.request.sessionKey))} asks for a decision in another session.`,
        h("button", { type: "button", onClick: () => openTalk(elsewhere.request.sessionKey) }, "Go there"),
      ),
  ];
}
