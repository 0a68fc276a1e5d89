// What signs mean, and which keys there are.
import { h } from "preact";
import { useState } from "preact/hooks";
import { Facts, Status } from "../components/basics.js";
import { remember, remembered } from "../time.js";

export function Page() {
  const [keys, setKeys] = useState(remembered("keys") !== "off");
  return [
    h("h1", { key: "h", tabIndex: -1 }, "Help"),
    h("h2", { key: "s" }, "Status of a gateway"),
    h(Facts, {
      key: "f",
      rows: [
        [h(Status, { status: "online" }), "Connected, authenticated, and answers heartbeats"],
        [h(Status, { status: "degraded" }), "Slow or late, starting, or it refuses until something is changed"],
        [h(Status, { status: "timeout" }), "It gives no answer in time"],
        [h(Status, { status: "offline" }), "It can't be reached, or isn't a gateway"],
        [h(Status, { status: "unknown" }), "Not tried yet, or too long ago"],
      ],
    }),
    h(
      "p",
      { key: "p" },
      "A gateway is blocked while it refuses for a reason that another attempt can't change: its page says what to do. Gray values are old: the page says since when.",
    ),
    h("h2", { key: "k" }, "Keys"),
    h(
      "label",
      { key: "o", class: "check" },
      h("input", {
        type: "checkbox",
        checked: keys,
        onChange: () => {
          remember("keys", keys ? "off" : "on");
          setKeys(!keys);
        },
      }),
      "Use single keys",
    ),
    h(Facts, {
      key: "l",
      rows: [
        ["/", "Search"],
        ["g", "To the gateways"],
        ["?", "This page"],
        ["Esc", "Close a dialog"],
      ],
    }),
    h("p", { key: "d" }, h("a", { href: "/docs/" }, "REST API")),
  ];
}
