// The frame of the Control UI: its pages, the link to the gateway, and the login while nobody is let in.
import { signal } from "@preact/signals";
import { h, render } from "preact";
import { useEffect } from "preact/hooks";
import { LinkState, Notice, Sayings } from "../components/basics.js";
import { DialogPlace } from "../components/dialog.js";
import { Switches } from "../components/switches.js";
import { duration } from "../format.js";
import { clockTime, now, remembered, startClock } from "../time.js";
import { startApprovals } from "./approvals.js";
import { ChannelsPage } from "./channels.js";
import { ChatPage } from "./chat.js";
import { ConfigurationPage } from "./configuration.js";
import { startConfiguration } from "./configuration_draft.js";
import { JobsPage } from "./jobs.js";
import { askedAt, disconnectGateway, gatewayLink, hurryLink, isOld, startLink } from "./link.js";
import { LoginPage } from "./login.js";
import { LogsPage } from "./logs.js";
import { startNames } from "./names.js";
import { OverviewPage } from "./overview.js";
import { SessionsPage } from "./sessions.js";
import { startTalk } from "./talk.js";

/** The pages, by what follows `#`. Nothing else is ever read from the address. */
const PAGES = [
  { to: "chat", name: "Chat", Page: ChatPage },
  { to: "gateway", name: "Gateway", Page: OverviewPage },
  { to: "sessions", name: "Sessions", Page: SessionsPage },
  { to: "channels", name: "Channels", Page: ChannelsPage },
  { to: "jobs", name: "Jobs", Page: JobsPage },
  { to: "config", name: "Configuration", Page: ConfigurationPage },
  { to: "logs", name: "Logs", Page: LogsPage },
];

const hash = signal(location.hash);

function GatewayLinkState() {
  // The clock ticks every second, and with it this.
  const silentFor =
    askedAt.value !== null && now.value > 0 ? Math.floor((performance.now() - askedAt.value) / 1000) : 0;
  return h(LinkState, { of: "gateway", link: gatewayLink.value, silentFor, hurry: hurryLink });
}

/** Whether somebody was let in, though the connection may be away. */
function isIn() {
  const { state, hello } = gatewayLink.value;
  return hello !== null && state !== "out";
}

function Staleness() {
  const { asOf } = gatewayLink.value;
  if (!isOld.value || asOf === null) return null;
  return h(
    Notice,
    { kind: "bad", title: `As of ${clockTime(asOf)}.` },
    `The gateway has been silent for ${duration((now.value - asOf) / 1000)}. What you write is sent when it is back.`,
  );
}

function Frame() {
  const known = PAGES.find(({ to }) => hash.value === `#${to}`) ?? PAGES[0];
  const isLoggedIn = isIn();
  useEffect(() => {
    document.title = `${isLoggedIn ? known?.name : "Log in"} – OpenClaw gateway`;
  }, [known, isLoggedIn]);
  useEffect(() => {
    const follow = () => {
      hash.value = location.hash;
      document.querySelector("details.who")?.removeAttribute("open");
      document.querySelector("h1")?.focus({ preventScroll: true });
    };
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  return [
    h(
      "header",
      { key: "header" },
      h("span", { class: "brand" }, "OpenClaw gateway"),
      isLoggedIn &&
        h(
          "nav",
          { "aria-label": "Pages" },
          PAGES.map(({ to, name }) =>
            h("a", { key: to, href: `#${to}`, "aria-current": to === known?.to ? "page" : undefined }, name),
          ),
        ),
      isLoggedIn && h(GatewayLinkState, null),
      h(
        "details",
        { class: "who" },
        h("summary", null, "View"),
        h(
          "div",
          null,
          h(Switches, null),
          isLoggedIn && h("button", { type: "button", onClick: disconnectGateway }, "Log out"),
        ),
      ),
    ),
    h(
      "main",
      {
        key: "main",
        id: "main",
        class: isLoggedIn
          ? `${["chat", "logs"].includes(known?.to ?? "") ? "chat-page" : ""} ${isOld.value ? "stale" : ""}`
          : "",
      },
      isLoggedIn ? [h(Staleness, { key: "s" }), known && h(known.Page, { key: known.to })] : h(LoginPage, null),
    ),
    h(Sayings, { key: "sayings" }),
    h(DialogPlace, { key: "dialog" }),
  ];
}

startClock();
document.documentElement.dataset.theme = remembered("theme") ?? "auto";
startTalk();
startApprovals();
startNames();
startConfiguration();
startLink();
const root = document.getElementById("app");
if (root) {
  root.replaceChildren();
  render(h(Frame, null), root);
}
