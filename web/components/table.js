// A table of which only the visible rows are in the page. Narrow screens have cards in place of rows.
import { signal } from "@preact/signals";
import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

const narrow = matchMedia("(max-width: 759px)");
const isNarrow = signal(narrow.matches);
narrow.addEventListener("change", () => {
  isNarrow.value = narrow.matches;
});

/** Rows beyond the edges, so that scrolling shows no gaps. */
const BEYOND = 6;

/**
 * @typedef {object} Column
 * @property {string} key
 * @property {any} name
 * @property {(row: any) => any} show
 * @property {boolean} [sorts]
 * @property {string} [kind] Class of its cells.
 */

/**
 * @param {object} props
 * @param {string} props.label What the rows are.
 * @param {Column[]} props.columns
 * @param {any[]} props.rows
 * @param {(row: any) => any} props.keyOf
 * @param {string} props.kind Class of the table, which sets the widths of its columns.
 * @param {(row: any) => any} [props.card] A row on a narrow screen.
 * @param {number} [props.rowHeight]
 * @param {number} [props.cardHeight]
 * @param {string} [props.sort]
 * @param {boolean} [props.down]
 * @param {(key: string) => void} [props.onSort]
 * @param {(rows: any[]) => void} [props.onSight] Told which rows are in sight.
 */
export function Table({
  label,
  columns,
  rows,
  keyOf,
  kind,
  card,
  rowHeight = 36,
  cardHeight = 128,
  sort,
  down,
  onSort,
  onSight,
}) {
  const body = useRef(/** @type {HTMLElement | null} */ (null));
  const [[first, last], setRange] = useState([0, 40]);
  const isCards = isNarrow.value && card !== undefined;
  const height = isCards ? cardHeight : rowHeight;
  useEffect(() => {
    const look = () => {
      const top = body.current?.getBoundingClientRect().top ?? 0;
      const from = Math.max(0, Math.floor(-top / height) - BEYOND);
      const to = Math.ceil((innerHeight - top) / height) + BEYOND;
      setRange((before) => (before[0] === from && before[1] === to ? before : [from, to]));
    };
    look();
    addEventListener("scroll", look, { passive: true });
    addEventListener("resize", look);
    return () => {
      removeEventListener("scroll", look);
      removeEventListener("resize", look);
    };
  }, [height, rows.length]);
  const end = Math.min(last, rows.length);
  const begin = Math.min(first, end);
  const visible = rows.slice(begin, end);
  const inSight = visible.map(keyOf).join();
  useEffect(() => onSight?.(visible), [inSight]);
  const space = { height: `${rows.length * height}px` };
  const place = (/** @type {number} */ at) => ({
    transform: `translateY(${(begin + at) * height}px)`,
    height: `${height}px`,
  });
  if (isCards) {
    return h(
      "ul",
      { class: `cards ${kind}`, "aria-label": label, ref: body, style: space },
      visible.map((row, at) =>
        h(
          "li",
          {
            key: keyOf(row),
            class: "card",
            style: place(at),
            "aria-setsize": rows.length,
            "aria-posinset": begin + at + 1,
          },
          card(row),
        ),
      ),
    );
  }
  return h(
    "div",
    { class: `table ${kind}`, role: "table", "aria-label": label, "aria-rowcount": rows.length + 1 },
    h(
      "div",
      { role: "rowgroup", class: "table-head" },
      h(
        "div",
        { role: "row", class: "row", "aria-rowindex": 1 },
        columns.map((column) => {
          const isSorted = sort === column.key;
          return h(
            "div",
            {
              key: column.key,
              role: "columnheader",
              class: column.kind,
              "aria-sort": isSorted ? (down ? "descending" : "ascending") : undefined,
            },
            column.sorts && onSort
              ? h(
                  "button",
                  { type: "button", class: "plain", onClick: () => onSort(column.key) },
                  column.name,
                  h("span", { "aria-hidden": "true", class: "arrow" }, isSorted ? (down ? " ↓" : " ↑") : ""),
                )
              : column.name,
          );
        }),
      ),
    ),
    h(
      "div",
      { role: "rowgroup", class: "table-body", ref: body, style: space },
      visible.map((row, at) =>
        h(
          "div",
          { key: keyOf(row), role: "row", class: "row", "aria-rowindex": begin + at + 2, style: place(at) },
          columns.map((column) => h("div", { key: column.key, role: "cell", class: column.kind }, column.show(row))),
        ),
      ),
    ),
  );
}
