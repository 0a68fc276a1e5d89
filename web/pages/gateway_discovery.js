// Gateways that announce themselves in the daemon's network. Anybody there can announce anything: nothing of it is trusted, and
// a gateway is registered in the form alone.
import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import { request, Unanswered } from "../api.js";
import { Fault, Status } from "../components/basics.js";
import { closeDialog, openDialog } from "../components/dialog.js";
import { counted, visible } from "../format.js";
import { fleet } from "../live.js";
import { addGateway } from "./gateway_form.js";

/** A gateway answers once a second at most. */
const LISTEN_S = 3;

/** @typedef {import("../types.js").Schemas["DiscoveredGateway"]} Found */

/** @param {{found: Found}} props */
function FoundGateway({ found }) {
  const { name, address, host, tls, tls_sha256: digest, gateway_id: id } = found;
  const row = id ? fleet.value.rows.get(id) : undefined;
  return h(
    "li",
    null,
    h(
      "div",
      null,
      h("strong", null, h("bdi", null, visible(name))),
      h("div", { class: "mono" }, visible(address)),
      h("div", { class: "quiet" }, tls ? "TLS" : "No TLS", ", machine ", h("bdi", null, visible(host))),
      digest && h("div", { class: "quiet" }, "Certificate: SHA-256 ", h("span", { class: "mono" }, digest)),
    ),
    found.already_registered
      ? h(
          "div",
          null,
          "Registered as ",
          h("a", { href: `/gateways/${id}`, onClick: closeDialog }, h("bdi", null, visible(row?.name ?? `${id}`))),
          row && h("div", null, h(Status, { status: row.status })),
          row?.version && h("div", { class: "quiet" }, `Version ${row.version}`),
        )
      : h(
          "button",
          { type: "button", "aria-label": `Add ${visible(name)}, ${address}`, onClick: () => add(found) },
          "Add…",
        ),
  );
}

/** @param {Found} [found] */
function add(found) {
  closeDialog();
  addGateway(found);
}

/** What it means that nothing was heard. */
function NothingFound() {
  return [
    h("p", { key: "p" }, "That doesn't mean that there is none. A gateway is heard only if"),
    h(
      "ul",
      { key: "u" },
      h(
        "li",
        null,
        "it announces itself: an embedded gateway with ",
        h("code", null, "discovery.mdns.mode"),
        ", OpenClaw with its bonjour plugin;",
      ),
      h("li", null, "it takes connections of other machines, not of its own alone;"),
      h(
        "li",
        null,
        "its machine and the daemon's are in one network: routers, containers and most VPNs don't pass announcements on (mDNS, UDP port 5353), and a firewall may drop them.",
      ),
    ),
    h("p", { key: "o" }, "Any other gateway is added by its address."),
  ];
}

function Search() {
  const [turn, setTurn] = useState(0);
  const [found, setFound] = useState(/** @type {Found[] | null} */ (null));
  const [error, setError] = useState(/** @type {unknown} */ (null));
  const [isRunning, setRunning] = useState(true);
  useEffect(() => {
    const ended = new AbortController();
    setRunning(true);
    setError(null);
    request("POST", "/api/gateways/discover", { body: { timeout_ms: LISTEN_S * 1_000 }, signal: ended.signal })
      .then(({ body }) => setFound(body.gateways))
      .catch((fault) => {
        // It changes nothing, whether it was answered or not.
        if (fault instanceof Unanswered) fault.isWrite = false;
        if (!ended.signal.aborted) setError(fault);
      })
      .finally(() => ended.signal.aborted || setRunning(false));
    return () => ended.abort();
  }, [turn]);
  const known = found?.filter((one) => one.already_registered).length ?? 0;
  return h(
    "div",
    { class: "form" },
    h(
      "p",
      { class: "quiet" },
      "The daemon listens in its own network, which need not be this browser's. Anybody there can announce anything: be sure that a gateway is yours before you give it a token.",
    ),
    h(
      "p",
      { role: "status" },
      isRunning
        ? `Listening for ${LISTEN_S} s…`
        : error
          ? ""
          : found?.length
            ? `${counted(found.length, "gateway")} found${known > 0 ? `, ${known} registered already` : ""}.`
            : `No gateway announced itself within ${LISTEN_S} s.`,
    ),
    error ? h(Fault, { error, what: "The network was not searched" }) : null,
    found !== null &&
      found.length > 0 && [
        h(
          "ul",
          { key: "l", class: `found ${isRunning || error ? "stale" : ""}`, "aria-label": "Gateways that were found" },
          found.map((one) => h(FoundGateway, { key: `${one.address} ${one.name}`, found: one })),
        ),
        h("p", { key: "v", class: "quiet" }, "Which version a gateway has is known once it is connected."),
      ],
    found?.length === 0 && !isRunning && !error && h(NothingFound, null),
    h(
      "div",
      { class: "buttons" },
      h(
        "button",
        {
          type: "button",
          class: "main",
          "aria-disabled": isRunning ? "true" : undefined,
          onClick: () => isRunning || setTurn(turn + 1),
        },
        isRunning ? "Searching…" : "Search again",
      ),
      h("button", { type: "button", onClick: () => add() }, "Add by address…"),
      h("button", { type: "button", onClick: closeDialog }, "Close"),
    ),
  );
}

export function searchNetwork() {
  openDialog("Gateways in the daemon's network", () => h(Search, null));
}
