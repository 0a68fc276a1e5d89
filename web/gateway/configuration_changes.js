// What differs between two configurations, as a patch of `config.patch`; and a patch laid over another one, so that what two people
// changed is kept where they didn't change the same key.

/** @typedef {Record<string, any>} Tree */

/**
 * @typedef {object} Changes
 * @property {Tree} patch Objects key by key; null takes a key away.
 * @property {string[]} lists Paths of lists, which are replaced as a whole.
 * @property {string[]} keys Paths of what differs.
 */

/** @param {unknown} value @returns {value is Tree} */
function isTree(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whatever the order of their keys. @param {unknown} one @param {unknown} other @returns {boolean} */
function isSame(one, other) {
  if (isTree(one) && isTree(other)) {
    const names = Object.keys(one);
    return (
      names.length === Object.keys(other).length &&
      names.every((name) => Object.hasOwn(other, name) && isSame(one[name], other[name]))
    );
  }
  if (!Array.isArray(one) || !Array.isArray(other)) return one === other;
  return one.length === other.length && one.every((item, at) => isSame(item, other[at]));
}

/** @param {Tree} before @param {Tree} after @returns {Changes} */
export function changesOf(before, after) {
  /** @type {Changes} */
  const changes = { patch: {}, lists: [], keys: [] };
  compare(before, after, "", changes.patch, changes);
  return changes;
}

/** @param {Tree} before @param {Tree} after @param {string} path @param {Tree} patch @param {Changes} changes */
function compare(before, after, path, patch, changes) {
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const [old, wanted] = [
      Object.hasOwn(before, name) ? before[name] : null,
      Object.hasOwn(after, name) ? after[name] : null,
    ];
    const place = path ? `${path}.${name}` : name;
    if (isSame(old, wanted)) continue;
    if (isTree(old) && isTree(wanted)) {
      putKey(patch, name, {});
      compare(old, wanted, place, patch[name], changes);
      continue;
    }
    if (Array.isArray(old)) changes.lists.push(place);
    // Lists below what goes or comes as a whole.
    if (isTree(old)) changes.lists.push(...listsIn(old, place));
    changes.keys.push(place);
    putKey(patch, name, wanted);
  }
}

/** A key may be called `__proto__`. @param {Tree} tree @param {string} name @param {any} value */
function putKey(tree, name, value) {
  Object.defineProperty(tree, name, { value, enumerable: true, configurable: true, writable: true });
}

/** @param {Tree} tree @param {string} path @returns {string[]} */
function listsIn(tree, path) {
  return Object.entries(tree).flatMap(([name, value]) => {
    const place = `${path}.${name}`;
    if (Array.isArray(value)) return [place];
    return isTree(value) ? listsIn(value, place) : [];
  });
}

/** A configuration with a patch laid over it. @param {Tree} base @param {Tree} patch @returns {Tree} */
export function patched(base, patch) {
  const tree = { ...base };
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete tree[name];
    else
      putKey(
        tree,
        name,
        isTree(value) ? patched(Object.hasOwn(tree, name) && isTree(tree[name]) ? tree[name] : {}, value) : value,
      );
  }
  return tree;
}

/** A configuration with one value set; undefined takes the key away. @param {Tree} tree @param {string[]} path @param {any} value @returns {Tree} */
export function withValue(tree, path, value) {
  const [name = "", ...rest] = path;
  const changed = { ...tree };
  if (rest.length > 0) putKey(changed, name, withValue(isTree(tree[name]) ? tree[name] : {}, rest, value));
  else if (value === undefined) delete changed[name];
  else putKey(changed, name, value);
  return changed;
}

/** @param {unknown} tree @param {string[]} path @returns {any} */
export function valueAt(tree, path) {
  let value = tree;
  for (const name of path) value = isTree(value) && Object.hasOwn(value, name) ? value[name] : undefined;
  return value;
}

/** Keys that both have changed, or of which one has changed a part of what the other did. @param {string[]} mine @param {string[]} theirs */
export function keysOfBoth(mine, theirs) {
  const isWithin = (/** @type {string} */ one, /** @type {string} */ other) =>
    one === other || one.startsWith(`${other}.`);
  return mine.filter((key) => theirs.some((other) => isWithin(key, other) || isWithin(other, key)));
}

/** Each value with its path, in the order of the paths; lists and what is empty as one. @param {unknown} value @param {string} [path] @returns {[string, any][]} */
export function leavesOf(value, path = "") {
  if (!isTree(value) || Object.keys(value).length === 0) return path ? [[path, value]] : [];
  return Object.keys(value)
    .sort()
    .flatMap((name) => leavesOf(value[name], path ? `${path}.${name}` : name));
}

/** What the schema says of a key. @param {any} schema @param {string} path @returns {any} */
export function schemaAt(schema, path) {
  let node = schema;
  for (const name of path.split(".")) {
    const below = node?.properties;
    node =
      below && Object.hasOwn(below, name)
        ? below[name]
        : isTree(node?.additionalProperties)
          ? node.additionalProperties
          : null;
  }
  return node;
}

/** Keys that the schema names, but for those below names that somebody chooses. @param {any} node @param {string} [path] @returns {string[]} */
export function keysOfSchema(node, path = "") {
  const below = Object.keys(node?.properties ?? {}).sort();
  if (below.length === 0) return path ? [path] : [];
  return below.flatMap((name) => keysOfSchema(node.properties[name], path ? `${path}.${name}` : name));
}

/** What a key takes, in words. @param {any} node */
export function takes(node) {
  if (!node) return "";
  const kinds = [node.type ?? []].flat();
  const { minimum, maximum, description, enum: words } = node;
  if (words) return words.join(", ");
  if (description) return description;
  const names = /** @type {Record<string, string>} */ ({
    string: "a text",
    boolean: "true or false",
    integer: "a whole number",
    number: "a number",
    array: "a list",
    object: "a section",
  });
  const said = kinds.map((kind) => names[kind] ?? kind).join(" or ");
  return minimum === undefined || maximum === undefined ? said : `${said} from ${minimum} to ${maximum}`;
}
