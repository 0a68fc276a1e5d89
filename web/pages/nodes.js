// The nodes that share the database, and which of them acts.
import { h } from "preact";
import { Age, Facts, Moment, Notice } from "../components/basics.js";
import { List, ReadState, State } from "../components/list.js";
import { counted, visible } from "../format.js";
import { isStale } from "../live.js";
import { useRead } from "../read.js";

/** @type {Record<string, {tone: "good" | "bad" | "quiet", word: string}>} */
const ROLES = {
  acting: { tone: "good", word: "Acts" },
  standby: { tone: "quiet", word: "Stands by" },
  unconfirmed: { tone: "bad", word: "Not confirmed" },
};
/** Without a sign of life for so long, another node may take over. */
const TTL_MS = 6_000;

export function Page() {
  const read = useRead("/api/cluster", () => false, 2_000);
  const { answer } = read;
  return [
    h("h1", { key: "h", tabIndex: -1 }, "Nodes"),
    h(ReadState, { key: "state", read, what: "The nodes" }),
    answer &&
      h(
        "div",
        { key: "all", class: isStale.value ? "stale" : "" },
        h(Body, { cluster: answer, isAway: isStale.value || read.error }),
      ),
  ];
}

/** @param {any} node */
function isLinked({ url, this: isThis }) {
  return !isThis && /^https?:\/\//.test(url);
}

/** To the pages of another node, which has a login of its own. @param {{node: any}} props */
function NodeLink({ node: { url } }) {
  return h("a", { href: `${url}/nodes` }, h("bdi", null, visible(url)));
}

/** @param {{cluster: any, isAway: any}} props */
function Body({ cluster, isAway }) {
  if (!cluster.clustered)
    return h(
      "p",
      null,
      "The database is a file: this daemon is alone. Several nodes share a PostgreSQL; ",
      h("code", null, "docs/cluster.md"),
      " says how.",
    );
  const columns = [
    {
      name: "Node",
      kind: "wide",
      show: (/** @type {any} */ node) => [
        h("strong", { key: "name" }, h("bdi", null, visible(node.name))),
        node.this && h("span", { key: "this", class: "quiet" }, " answers this page"),
      ],
    },
    {
      name: "Role",
      show: (/** @type {any} */ node) => h(State, ROLES[node.role] ?? { tone: "quiet", word: node.role }),
    },
    {
      name: "Sign of life",
      show: (/** @type {any} */ node) =>
        h(
          "span",
          { class: node.beat_age_ms > TTL_MS ? "problem" : undefined },
          `${(node.beat_age_ms / 1000).toFixed(1)} s ago`,
        ),
    },
    { name: "Release", show: (/** @type {any} */ node) => node.version },
    { name: "Since", show: (/** @type {any} */ node) => h(Age, { at: node.since }) },
    {
      name: "Address",
      kind: "wide",
      show: (/** @type {any} */ node) => (isLinked(node) ? h(NodeLink, { node }) : h("bdi", null, visible(node.url))),
    },
  ];
  const others = cluster.nodes.filter(isLinked);
  return [
    isAway &&
      others.length > 0 &&
      h(
        Notice,
        { key: "away", kind: "warn", title: "The node of this page could not be asked, or acts no more." },
        "Another one may act by now: ",
        others.map((/** @type {any} */ node, /** @type {number} */ at) => [at > 0 && ", ", h(NodeLink, { node })]),
      ),
    !cluster.acting &&
      h(
        Notice,
        { key: "doubt", kind: "bad", title: "The database does not confirm that this node acts." },
        "It changes nothing until it does, and another node may act.",
      ),
    cluster.nodes.length === 1 &&
      h(Notice, { key: "alone", kind: "warn" }, "No other node stands by: none takes over when this one ends."),
    h(List, { key: "list", label: "Nodes", columns, rows: cluster.nodes, keyOf: (node) => node.name }),
    h(Facts, {
      key: "facts",
      rows: [
        ["The acting node acts since", h(Moment, { ms: cluster.acting_since * 1000 })],
        ["A node began to act", counted(cluster.epoch, "time")],
      ],
    }),
  ];
}
