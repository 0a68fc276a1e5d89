// What the address of the page asks for, after its path.
import { signal } from "@preact/signals";

export const query = signal(location.search);

/** What the address asks for under this name. @param {string} name */
export function asked(name) {
  return new URLSearchParams(query.value).get(name) ?? "";
}

/** The query with these changes; an empty value is left out. @param {Record<string, string | number>} changes */
export function queryWith(changes) {
  const all = new URLSearchParams(query.value);
  for (const [name, value] of Object.entries(changes)) {
    if (value === "") all.delete(name);
    else all.set(name, String(value));
  }
  const text = all.toString();
  return text ? `?${text}` : location.pathname;
}

/** Asks for something else, without an entry in the history for each key stroke. @param {Record<string, string | number>} changes */
export function ask(changes) {
  history.replaceState(history.state, "", queryWith(changes));
  query.value = location.search;
}

/** Shows something else, so that going back leads here again. @param {Record<string, string | number>} changes */
export function visit(changes) {
  history.pushState(null, "", queryWith(changes));
  query.value = location.search;
  scrollTo(0, 0);
}
