// The frame of all pages: where one is, the link to the daemon, who is logged in, and the page itself.
import { signal } from "@preact/signals";
import { h, render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { post, sessionEnded, unansweredFor } from "./api.js";
import { LinkState, Notice, Sayings, sayFault } from "./components/basics.js";
import { DialogPlace } from "./components/dialog.js";
import { Switches } from "./components/switches.js";
import { duration } from "./format.js";
import { hurry, isStale, link, may, session, start } from "./live.js";
import { FleetPage } from "./pages/fleet.js";
import { query } from "./place.js";
import { clockDifference, clockTime, now, remembered, startClock } from "./time.js";

/**
 * The pages: path, name, where it is loaded from, and the role that its data need. `src/http/dashboard.rs` has the same paths.
 * A module exports `Page`, which gets what the path's groups hold.
 * @type {{path: RegExp, to?: string, name: string, load: () => Promise<{Page: any}>, role?: "operator" | "admin"}[]}
 */
const PAGES = [
  { path: /^\/$/, to: "/", name: "Gateways", load: async () => ({ Page: FleetPage }) },
  { path: /^\/gateways\/(\d+)$/, name: "Gateway", load: () => import("./pages/gateway.js") },
  { path: /^\/sessions$/, to: "/sessions", name: "Sessions", load: () => import("./pages/sessions.js") },
  { path: /^\/spawns$/, to: "/spawns", name: "Spawns", load: () => import("./pages/spawns.js") },
  { path: /^\/agents$/, to: "/agents", name: "Agents", load: () => import("./pages/agents.js") },
  {
    path: /^\/connections$/,
    to: "/connections",
    name: "Direct connections",
    load: () => import("./pages/connections.js"),
  },
  { path: /^\/events$/, to: "/events", name: "Events", load: () => import("./pages/events.js") },
  { path: /^\/devices$/, to: "/devices", name: "Devices", load: () => import("./pages/devices.js") },
  { path: /^\/audit$/, to: "/audit", name: "Audit log", load: () => import("./pages/audit.js"), role: "admin" },
  { path: /^\/keys$/, to: "/keys", name: "Keys", load: () => import("./pages/keys.js"), role: "admin" },
  { path: /^\/nodes$/, to: "/nodes", name: "Nodes", load: () => import("./pages/nodes.js") },
  { path: /^\/status$/, to: "/status", name: "Status", load: () => import("./pages/status.js") },
  { path: /^\/help$/, to: "/help", name: "Help", load: () => import("./pages/help.js") },
];

const path = signal(location.pathname);

/** Goes to a page of ours. @param {string} to */
export function go(to) {
  history.pushState(null, "", to);
  arrive();
  scrollTo(0, 0);
}

function arrive() {
  path.value = location.pathname;
  query.value = location.search;
}

/** Links of ours change the page without loading it anew. @param {MouseEvent} event */
function followLink(event) {
  const anchor = event.target instanceof Element ? event.target.closest("a") : null;
  if (
    !anchor ||
    event.defaultPrevented ||
    event.button !== 0 ||
    event.metaKey ||
    event.ctrlKey ||
    event.shiftKey ||
    event.altKey
  )
    return;
  // A place within this page.
  if (anchor.getAttribute("href")?.startsWith("#")) return;
  if (anchor.target || anchor.origin !== location.origin || !PAGES.some((page) => page.path.test(anchor.pathname)))
    return;
  event.preventDefault();
  go(anchor.pathname + anchor.search);
}

/** Single keys, unless they are switched off or something is being typed. @param {KeyboardEvent} event */
function followKey(event) {
  if (event.defaultPrevented || event.metaKey || event.ctrlKey || event.altKey || remembered("keys") === "off") return;
  const { target } = event;
  if (
    document.querySelector("dialog[open]") ||
    (target instanceof Element && target.closest("input, select, textarea"))
  )
    return;
  if (event.key === "/") {
    const search = document.getElementById("search");
    if (search) {
      event.preventDefault();
      search.focus();
    }
  } else if (event.key === "?") {
    event.preventDefault();
    go("/help");
  } else if (event.key === "g") {
    event.preventDefault();
    go("/");
  }
}

function DaemonLinkState() {
  // The clock ticks every second, and with it this.
  const silentFor = now.value > 0 ? unansweredFor() : 0;
  return h(LinkState, { of: "daemon", link: link.value, silentFor, hurry: hurry.value });
}

/** What stands above everything while what is shown is old. */
function Staleness() {
  const { asOf } = link.value;
  if (sessionEnded.value) {
    const to = `/login?ended=1&next=${encodeURIComponent(path.value)}`;
    return h(
      Notice,
      {
        kind: "bad",
        title: "The browser session has ended.",
        action: h("a", { href: to, class: "button" }, "Log in again"),
      },
      "What you typed stays here until you leave the page.",
    );
  }
  if (!isStale.value || asOf === null) return null;
  return h(
    Notice,
    { kind: "bad", title: `As of ${clockTime(asOf)}.` },
    `The daemon has been silent for ${duration((now.value - asOf) / 1000)}: nothing below is known to be true now.`,
  );
}

async function logOut() {
  try {
    await post("/api/auth/logout");
    location.assign("/login");
  } catch (error) {
    sayFault("You are still logged in", error);
  }
}

function Who() {
  if (!session.value) return null;
  const { name, role } = session.value;
  return h(
    "details",
    { class: "who" },
    h(
      "summary",
      { title: `Key ${name}, role ${role}` },
      h("bdi", null, name),
      name === role ? "" : h("span", { class: "quiet" }, ` ${role}`),
    ),
    h("div", null, h(Switches, null), h("button", { type: "button", onClick: logOut }, "Log out")),
  );
}

function Here() {
  const [page, setPage] = useState(
    /** @type {{Page: any, path: string, groups: string[], name: string} | null} */ (null),
  );
  const [fault, setFault] = useState(false);
  const at = path.value;
  useEffect(() => {
    let isCurrent = true;
    const found = PAGES.find((one) => one.path.test(at));
    if (!found) return setPage({ Page: Nowhere, path: at, groups: [], name: "Not found" });
    found.load().then(
      ({ Page }) => {
        if (!isCurrent) return;
        document.querySelector("details.who")?.removeAttribute("open");
        setFault(false);
        setPage({ Page, path: at, groups: (found.path.exec(at) ?? []).slice(1), name: found.name });
      },
      // Another release runs by now, or the daemon is away.
      () => isCurrent && setFault(true),
    );
    return () => {
      isCurrent = false;
    };
  }, [at]);
  useEffect(() => {
    if (!page) return;
    document.title = `${page.name} – gatewarden`;
    // On a narrow screen the names of the pages scroll sideways.
    document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
    // Not on the first page, where the browser decides.
    if (page.path !== firstPath) document.querySelector("h1")?.focus({ preventScroll: true });
    firstPath = "";
  }, [page]);
  if (fault)
    return h(
      Notice,
      {
        kind: "bad",
        title: "This page could not be loaded.",
        action: h("button", { type: "button", onClick: () => location.reload() }, "Reload"),
      },
      "The daemon is away, or another release of it runs by now.",
    );
  if (!page) return h("p", { class: "loading" }, "Loading…");
  return h(page.Page, { key: page.path, groups: page.groups });
}

let firstPath = location.pathname;

/** What last had the focus, and the buttons that it was among. @type {{element: Element, group: Element | null} | null} */
let focused = null;

/** Whoever works without a mouse goes on where what had the focus was, though it is no more: else at the title. */
function keepFocus() {
  if (!focused || focused.element.isConnected || document.activeElement !== document.body) return;
  const next = focused.group?.isConnected ? focused.group.querySelector("button, a") : null;
  const place = next ?? document.querySelector("dialog[open] h2, h1");
  if (place instanceof HTMLElement) place.focus({ preventScroll: true });
}

function Nowhere() {
  return [
    h("h1", { key: "h", tabIndex: -1 }, "There is no such page"),
    h("p", { key: "p" }, h("a", { href: "/" }, "To the gateways")),
  ];
}

function App() {
  const at = path.value;
  const difference = clockDifference();
  return [
    h("a", { key: "skip", class: "skip", href: "#main" }, "To the content"),
    h(
      "header",
      { key: "header" },
      h("a", { class: "brand", href: "/" }, "gatewarden"),
      h(
        "nav",
        { "aria-label": "Pages" },
        PAGES.filter((page) => page.to && (!page.role || may(page.role))).map((page) =>
          h(
            "a",
            {
              key: page.to,
              href: page.to,
              "aria-current":
                page.path.test(at) || (page.to === "/" && at.startsWith("/gateways/")) ? "page" : undefined,
            },
            page.name,
          ),
        ),
      ),
      h(DaemonLinkState, null),
      h(Who, null),
    ),
    h(
      "main",
      { key: "main", id: "main", class: isStale.value && link.value.asOf !== null ? "stale" : "" },
      h(Staleness, null),
      Math.abs(difference) > 60_000 &&
        h(
          Notice,
          { kind: "warn" },
          `This device's clock is ${duration(Math.abs(difference) / 1000)} ${difference > 0 ? "behind" : "ahead of"} the daemon's. Times are shown as the daemon has them.`,
        ),
      h(Here, null),
    ),
    h(Sayings, { key: "sayings" }),
    h(DialogPlace, { key: "dialog" }),
  ];
}

startClock();
document.documentElement.dataset.theme = remembered("theme") ?? "auto";
document.addEventListener("click", followLink);
document.addEventListener("keydown", followKey);
document.addEventListener("focusin", ({ target }) => {
  focused = target instanceof Element ? { element: target, group: target.closest(".buttons") } : null;
});
addEventListener("popstate", arrive);
sessionEnded.subscribe((ended) => {
  // Whoever has just come has nothing to lose.
  if (ended && !session.peek())
    location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
});
start();
const place = document.getElementById("app");
if (place) {
  place.replaceChildren();
  new MutationObserver(keepFocus).observe(place, { childList: true, subtree: true });
  render(h(App, null), place);
}
