// A list of which only what is in sight is in the page, of items as high as they come out. It stays at its end where somebody looks
// at the end, and keeps what is in sight in its place while items are added above.
import { h } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

/** Pixels beyond the edges, so that scrolling shows no gaps. */
const BEYOND_PX = 600;
/** What an item is taken for before it was seen. */
const GUESS_PX = 72;
/** So near to its end counts as at the end. */
const NEAR_PX = 32;

/**
 * @param {object} props
 * @param {string} props.label
 * @param {{key: string}[]} props.items
 * @param {(item: any) => any} props.show
 * @param {() => void} [props.onTop] Told when the beginning comes into sight.
 * @param {any} [props.before] Above the first item.
 */
export function Scroll({ label, items, show, onTop, before }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  const heights = useRef(/** @type {Map<string, number>} */ (new Map()));
  const isAtEnd = useRef(true);
  const anchor = useRef({ key: "", offset: 0 });
  /** Where it was last seen or put: elsewhere, somebody has scrolled, and the event is on its way. */
  const seenTop = useRef(0);
  /** As high as it was then. Where its window grows or it shrinks at the end, the browser moves it, and nobody has scrolled. */
  const seenHeight = useRef(0);
  const isStillAtEnd = (/** @type {HTMLElement} */ { scrollTop, clientHeight, scrollHeight }) =>
    isAtEnd.current && scrollTop + clientHeight >= Math.min(seenHeight.current, scrollHeight) - 1;
  const [{ top, height }, setView] = useState({ top: 0, height: 800 });
  const [, setMeasured] = useState(0);

  // Where each item begins.
  const tops = new Float64Array(items.length + 1);
  for (const [at, { key }] of items.entries()) tops[at + 1] = (tops[at] ?? 0) + (heights.current.get(key) ?? GUESS_PX);
  const whole = tops[items.length] ?? 0;
  const above = list.current ? list.current.offsetTop : 0;
  const from = isAtEnd.current ? whole - height : top - above;
  const first = itemAt(tops, from - BEYOND_PX);
  const last = Math.min(items.length, itemAt(tops, from + height + BEYOND_PX) + 1);
  const shown = items.slice(first, last);

  useLayoutEffect(() => {
    const element = box.current;
    if (!element || !list.current) return;
    let hasChanged = false;
    for (const child of list.current.children) {
      const key = /** @type {HTMLElement} */ (child).dataset.key ?? "";
      const measured = child.getBoundingClientRect().height;
      if (measured > 0 && Math.abs((heights.current.get(key) ?? 0) - measured) > 0.5) {
        heights.current.set(key, measured);
        hasChanged = true;
      }
    }
    if (hasChanged) setMeasured((count) => count + 1);
    if (Math.abs(element.scrollTop - seenTop.current) > 1 && !isStillAtEnd(element)) return;
    const place = isAtEnd.current ? -1 : items.findIndex(({ key }) => key === anchor.current.key);
    if (isAtEnd.current) element.scrollTop = element.scrollHeight;
    else if (place >= 0 && !hasChanged)
      element.scrollTop = list.current.offsetTop + (tops[place] ?? 0) + anchor.current.offset;
    seenTop.current = element.scrollTop;
    seenHeight.current = element.scrollHeight;
  });

  const look = () => {
    const element = box.current;
    if (!element || !list.current) return;
    const { scrollTop, clientHeight, scrollHeight } = element;
    seenTop.current = scrollTop;
    isAtEnd.current = scrollHeight - clientHeight - scrollTop < NEAR_PX || isStillAtEnd(element);
    const inList = scrollTop - list.current.offsetTop;
    const place = itemAt(tops, inList);
    anchor.current = { key: items[place]?.key ?? "", offset: inList - (tops[place] ?? 0) };
    setView((known) =>
      known.top === scrollTop && known.height === clientHeight ? known : { top: scrollTop, height: clientHeight },
    );
    if (scrollTop < BEYOND_PX) onTop?.();
  };
  const looked = useRef(look);
  looked.current = look;

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const listen = () => looked.current();
    element.addEventListener("scroll", listen, { passive: true });
    // The width changes heights, and so does what is folded out.
    const watch = new ResizeObserver(() => {
      setMeasured((count) => count + 1);
      setView((known) => ({ ...known, height: element.clientHeight }));
    });
    watch.observe(element);
    if (list.current) watch.observe(list.current);
    return () => {
      element.removeEventListener("scroll", listen);
      watch.disconnect();
    };
  }, []);

  return h(
    "div",
    { class: "scroller", ref: box, role: "region", "aria-label": label, tabIndex: 0 },
    before,
    h(
      "ol",
      {
        ref: list,
        style: { paddingTop: `${tops[first] ?? 0}px`, paddingBottom: `${whole - (tops[last] ?? whole)}px` },
      },
      shown.map((item, at) =>
        h(
          "li",
          { key: item.key, "data-key": item.key, "aria-setsize": items.length, "aria-posinset": first + at + 1 },
          show(item),
        ),
      ),
    ),
  );
}

/** The item at this height, by halving. @param {Float64Array} tops @param {number} height */
function itemAt(tops, height) {
  let low = 0;
  let high = Math.max(0, tops.length - 2);
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((tops[middle] ?? 0) <= height) low = middle;
    else high = middle - 1;
  }
  return low;
}
