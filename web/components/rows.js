// Parts of pages that show a list: the list itself, its parts, what stands there before it is read, filters, text of others.
import { h } from "preact";
import { capitalized, hex, visible } from "../format.js";
import { Fault } from "./basics.js";

/** @typedef {{name: string, show: (row: any) => any, kind?: string, hideName?: boolean}} ListColumn */

/**
 * A table whose rows are cards where the page is narrow. For lists of one page; the roles stay when it is no table any more.
 * @param {{label: string, columns: ListColumn[], rows: any[], keyOf: (row: any) => any}} props
 */
export function List({ label, columns, rows, keyOf }) {
  return h(
    "table",
    { class: "list", role: "table", "aria-label": label },
    h(
      "thead",
      { role: "rowgroup" },
      h(
        "tr",
        { role: "row" },
        columns.map(({ name, kind, hideName }) =>
          h(
            "th",
            { key: name, role: "columnheader", scope: "col", class: kind },
            hideName ? h("span", { class: "hidden" }, name) : name,
          ),
        ),
      ),
    ),
    h(
      "tbody",
      { role: "rowgroup" },
      rows.map((row) =>
        h(
          "tr",
          { key: keyOf(row), role: "row" },
          columns.map(({ name, show, kind, hideName }) =>
            h(
              "td",
              { key: name, role: "cell", class: kind, "data-name": hideName ? undefined : name },
              h("div", null, show(row)),
            ),
          ),
        ),
      ),
    ),
  );
}

/** Which part of a list is shown, and the way to the others. @param {{part: {total: number, limit: number, offset: number}, move: (offset: number) => void}} props */
export function Pager({ part: { total, limit, offset }, move }) {
  if (total <= limit && offset === 0) return null;
  const isFirst = offset === 0;
  const isLast = offset + limit >= total;
  return h(
    "nav",
    { class: "pager", "aria-label": "Parts of the list" },
    h(
      "button",
      {
        type: "button",
        "aria-disabled": isFirst ? "true" : undefined,
        onClick: () => isFirst || move(Math.max(0, offset - limit)),
      },
      "← Previous",
    ),
    h(
      "span",
      { role: "status" },
      total === 0
        ? "Nothing"
        : `${(offset + 1).toLocaleString("en")} to ${Math.min(offset + limit, total).toLocaleString("en")} of ${total.toLocaleString("en")}`,
    ),
    h(
      "button",
      { type: "button", "aria-disabled": isLast ? "true" : undefined, onClick: () => isLast || move(offset + limit) },
      "Next →",
    ),
  );
}

/** In the place of a list without rows. @param {{isFiltered: boolean, what: string, showAll: () => void, children?: any}} props */
export function Empty({ isFiltered, what, showAll, children }) {
  return h(
    "div",
    { class: "empty" },
    isFiltered
      ? [
          h("p", { key: "none" }, `No ${what} is like that.`),
          h("button", { key: "all", type: "button", onClick: showAll }, "Show all"),
        ]
      : children,
  );
}

/** What stands above an answer, or in its place while there is none. @param {{read: {answer: any, error: unknown, again: () => void}, what: string}} props */
export function ReadState({ read: { answer, error, again }, what }) {
  if (error)
    return h(Fault, {
      error,
      what: answer ? `${what} could not be read again; what is below is old` : `${what} could not be read`,
      action: h("button", { type: "button", onClick: again }, "Try again"),
    });
  return answer ? null : h("p", { class: "loading", role: "status" }, "Reading…");
}

const TONES = { good: "●", warn: "▲", bad: "■", quiet: "○", busy: "◐" };

/** A state as shape, word and color. @param {{tone: "good" | "warn" | "bad" | "quiet" | "busy", word: string, shape?: string}} props */
export function State({ tone, word, shape = TONES[tone] }) {
  return h(
    "span",
    { class: `state ${tone}` },
    h("span", { "aria-hidden": "true", class: "shape" }, shape),
    capitalized(word),
  );
}

/** A choice that filters. @param {{label: string, value: string, options: [string, string][], set: (value: string) => void}} props */
export function Choice({ label, value, options, set }) {
  return h(
    "select",
    { "aria-label": label, value, onChange: (/** @type {any} */ event) => set(event.currentTarget.value) },
    options.map(([key, text]) => h("option", { key, value: key }, visible(text))),
  );
}

/** Text of others: never more than a few lines before somebody asks for the rest. @param {{text: string}} props */
export function LongText({ text }) {
  if (text.length <= 800) return h("div", { class: "words", dir: "auto" }, text);
  return h(
    "details",
    { class: "words", dir: "auto" },
    h(
      "summary",
      null,
      `${text.slice(0, 300)}… `,
      h("span", { class: "quiet" }, `(${text.length.toLocaleString("en")} characters)`),
    ),
    text,
  );
}

/** A value of JSON as text. @param {{value: unknown}} props */
export function Json({ value }) {
  return h("pre", { class: "json", tabIndex: 0, dir: "ltr" }, JSON.stringify(value, null, 2));
}

/** A random value for a key of a request. `crypto.randomUUID` is missing where the page came without TLS from another machine. */
export function randomKey() {
  return hex(crypto.getRandomValues(new Uint8Array(16)));
}
