// The configuration: what stands in its file and what counts, without secrets; and changes of what may be changed from here.
import { h } from "preact";
import { useState } from "preact/hooks";
import { Refusal } from "../api.js";
import { Facts, Fault, Notice } from "../components/basics.js";
import { Field } from "../components/form.js";
import { Choice, List, State } from "../components/rows.js";
import { counted, visible } from "../format.js";
import { keysOfSchema, leavesOf, schemaAt, takes, valueAt, withValue } from "./configuration_changes.js";
import {
  asWritten,
  draft,
  dropDraft,
  isSaving,
  lastSave,
  meanwhile,
  saveDraft,
  takeConfiguration,
  treeOf,
  unsaved,
  writeDraft,
} from "./configuration_draft.js";
import { gatewayLink, isOld, wasLost } from "./link.js";
import { useAnswers } from "./reading.js";

/** What stands in the place of a secret. */
const HIDDEN = "__OPENCLAW_REDACTED__";
/** Characters of a value that are shown. */
const VALUE_CHARS = 300;

/** @param {any} value */
function valueWords(value) {
  if (value === undefined) return h("span", { class: "quiet" }, "not set");
  const text = typeof value === "string" ? value : JSON.stringify(value);
  if (text.includes(HIDDEN)) return h("span", { class: "quiet" }, value === HIDDEN ? "hidden" : "hidden in parts");
  return h("code", null, visible(text.slice(0, VALUE_CHARS)), text.length > VALUE_CHARS && "…");
}

/** @param {{keys: string[]}} props */
function Keys({ keys }) {
  return keys.map((key, at) => [at > 0 && ", ", h("code", { key }, visible(key))]);
}

/** What the gateway says of the file. @param {{read: any}} props */
function FileNotices({ read: { issues, warnings, unapplied } }) {
  const { reload = [], restart = [] } = unapplied ?? {};
  return [
    issues.length > 0 &&
      h(
        Notice,
        { key: "i", kind: "bad", title: "The file can't be used; the gateway goes on with what it had." },
        "Put it right on the gateway's machine:",
        h(
          "ul",
          null,
          issues.map((/** @type {any} */ { path, message }) =>
            h(
              "li",
              { key: `${path} ${message}` },
              path && [h("code", { key: "p" }, visible(path)), ": "],
              visible(message),
            ),
          ),
        ),
      ),
    reload.length > 0 &&
      h(
        Notice,
        { key: "r", kind: "warn", title: "Changed in the file, and doesn't count until the gateway is told (SIGHUP):" },
        h(Keys, { keys: reload }),
      ),
    restart.length > 0 &&
      h(Notice, { key: "w", kind: "warn", title: "Waits for a restart:" }, h(Keys, { keys: restart })),
    warnings.map((/** @type {any} */ { message }) => h(Notice, { key: message, kind: "warn" }, visible(message))),
  ];
}

/** What became of a change. */
function SaveOutcome() {
  if (!lastSave.value) return null;
  const { answer, error } = lastSave.value;
  if (error) {
    const isChanged = error instanceof Refusal && error.code === "CONFIG_CHANGED";
    const issues = error instanceof Refusal && Array.isArray(error.details?.issues) ? error.details.issues : [];
    if (isChanged) return null;
    return [
      h(Fault, {
        key: "f",
        error,
        what: wasLost(error) ? "It is not known whether this was saved" : "Nothing was changed",
      }),
      issues.length > 1 &&
        h(
          "ul",
          { key: "i" },
          issues.map((/** @type {any} */ { path, message }) =>
            h("li", { key: `${path} ${message}` }, h("code", null, visible(path)), ": ", visible(message)),
          ),
        ),
    ];
  }
  const { changedPaths, applied, restartRequired, warnings, kept } = answer;
  return h(
    Notice,
    { title: "Saved." },
    h(
      "ul",
      null,
      h("li", null, "Changed: ", h(Keys, { keys: changedPaths })),
      h("li", null, "Counts at once: ", applied.length > 0 ? h(Keys, { keys: applied }) : "nothing"),
      h(
        "li",
        null,
        "Waits for a restart: ",
        restartRequired.length > 0 ? h(Keys, { keys: restartRequired }) : "nothing",
      ),
      kept && h("li", null, "The former file: ", h("code", null, visible(kept))),
      warnings.map((/** @type {string} */ said) => h("li", { key: said }, visible(said))),
    ),
  );
}

/** What others have changed while something was typed here. */
function Meanwhile() {
  if (!meanwhile.value) return null;
  const { theirs, both } = meanwhile.value;
  return h(
    Notice,
    {
      kind: "warn",
      title:
        theirs.length > 0
          ? "The file was changed meanwhile by somebody else."
          : "The gateway has read the file anew since this page did.",
    },
    theirs.length > 0 && ["Theirs: ", h(Keys, { key: "t", keys: theirs }), ". "],
    "Nothing was saved yet. Your changes are below, laid over the file as it is now: look at them, and save.",
    both.length > 0 && [" You both changed ", h(Keys, { key: "b", keys: both }), ": below is what you wrote. "],
  );
}

/** The words that may be changed over the protocol, as fields. @param {{tree: import("./configuration_changes.js").Tree, schema: any}} props */
function CommonFields({ tree, schema }) {
  const set = (/** @type {string[]} */ path) => (/** @type {any} */ value) =>
    writeDraft(asWritten(withValue(tree, path, value === "" ? undefined : value)));
  const level = valueAt(tree, ["logging", "level"]) ?? "";
  const levels = schemaAt(schema, "logging.level")?.enum ?? ["debug", "info", "warn", "error"];
  const entries = valueAt(tree, ["agents", "entries"]) ?? {};
  const ids = typeof entries === "object" ? Object.keys(entries) : [];
  const commands = Object.keys(valueAt(tree, ["gatewarden", "commands"]) ?? {});
  const byDefault = ids.find((id) => entries[id]?.default === true) ?? "";
  const chooseDefault = (/** @type {string} */ chosen) => {
    const marked = ids.reduce(
      (known, id) => withValue(known, ["agents", "entries", id, "default"], id === chosen ? true : undefined),
      tree,
    );
    writeDraft(asWritten(marked));
  };
  const choices = (/** @type {string[]} */ known, /** @type {string} */ now) =>
    [...new Set([...known, ...(now ? [now] : [])])].map((one) => /** @type {[string, string]} */ ([one, one]));
  return [
    h(Field, {
      key: "level",
      name: "logging.level",
      label: "Log level",
      value: level,
      options: [["", "Not set: info"], ...choices(levels, level)],
      onInput: set(["logging", "level"]),
    }),
    ids.length > 0 &&
      h(Field, {
        key: "default",
        name: "agents.default",
        label: "Default agent",
        help: "Who is meant where nobody is named.",
        value: byDefault,
        options: [["", "Not set"], ...choices(ids, byDefault)],
        onInput: chooseDefault,
      }),
    ids.map((id) => {
      const place = ["agents", "entries", id];
      const { name = "", model = "", command = "", acp } = entries[id] ?? {};
      return h(
        "fieldset",
        { key: id },
        h("legend", null, "Agent ", h("code", null, visible(id))),
        h(Field, {
          name: `${id}.name`,
          label: "Name",
          value: name,
          placeholder: id,
          onInput: set([...place, "name"]),
        }),
        typeof model === "string" &&
          h(Field, { name: `${id}.model`, label: "Model", value: model, onInput: set([...place, "model"]) }),
        !acp &&
          h(Field, {
            name: `${id}.command`,
            label: "Command",
            help: "One of gatewarden.commands.",
            value: command,
            options: [["", "None"], ...choices(commands, command)],
            onInput: set([...place, "command"]),
          }),
      );
    }),
    Array.isArray(valueAt(tree, ["agents", "list"])) &&
      h("p", { key: "list", class: "quiet" }, "Agents are written as a list: change them in the text."),
  ];
}

/** @param {{schema: any, again: () => void}} props */
function Editor({ schema, again }) {
  const [isText, setText] = useState(false);
  const known = draft.value;
  if (!known) return null;
  const { tree, problem } = treeOf(known.text);
  const changed = unsaved(known);
  const canSave = tree !== null && changed !== null && changed.length > 0 && !isOld.value && !isSaving.value;
  const way = (/** @type {boolean} */ wanted, /** @type {string} */ name) =>
    h("button", { type: "button", "aria-pressed": isText === wanted, onClick: () => setText(wanted) }, name);
  return h(
    "form",
    {
      class: "configuration",
      onSubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        if (canSave) saveDraft(again);
      },
    },
    h(
      "div",
      { class: "buttons", role: "group", "aria-label": "How it is changed" },
      way(false, "Form"),
      way(true, "Text"),
    ),
    isText
      ? h(Field, {
          name: "text",
          label: "The whole file, as JSON",
          type: "textarea",
          class: "mono",
          rows: 18,
          spellcheck: false,
          autocapitalize: "off",
          value: known.text,
          help: `${HIDDEN} stands for a secret, and stays one where it is left in its place.`,
          problem: tree ? "" : `can't be read: ${visible(problem)}`,
          onInput: writeDraft,
        })
      : tree
        ? h(CommonFields, { tree, schema })
        : h(
            Notice,
            { kind: "warn", title: "The text can't be read as JSON." },
            "Put it right first: Text shows where.",
          ),
    h(
      "p",
      { class: "quiet", role: "status" },
      changed === null
        ? "Not saved."
        : changed.length === 0
          ? "Nothing is changed."
          : ["Changed here, not saved: ", h(Keys, { key: "k", keys: changed })],
      isOld.value && changed?.length !== 0 && " It can be saved when the connection is back.",
    ),
    h(
      "div",
      { class: "buttons" },
      h(
        "button",
        { type: "submit", class: "main", "aria-disabled": canSave ? undefined : "true" },
        isSaving.value ? "Saving…" : "Save",
      ),
      changed?.length !== 0 && h("button", { type: "button", onClick: dropDraft }, "Undo all"),
    ),
  );
}

/** @param {{read: any, schema: any}} props All keys, with their values and what they take. */
function Settings({ read, schema }) {
  const [typed, setTyped] = useState("");
  const [which, setWhich] = useState("set");
  const counts = new Map(leavesOf(read.config));
  const written = new Map(leavesOf(read.parsed ?? {}));
  const set = [...new Set([...counts.keys(), ...written.keys()])];
  const rest = keysOfSchema(schema.schema).filter(
    (key) => !set.some((one) => one === key || one.startsWith(`${key}.`)),
  );
  const words = typed.trim().toLowerCase();
  const keys = (which === "all" ? [...set, ...rest] : set).sort().filter((key) => key.toLowerCase().includes(words));
  return [
    h("h2", { key: "h" }, "All settings"),
    h(
      "div",
      { key: "t", class: "tools" },
      h("input", {
        type: "search",
        "aria-label": "Show only keys with",
        placeholder: "Show only keys with",
        value: typed,
        onInput: (/** @type {any} */ event) => setTyped(event.currentTarget.value),
      }),
      h(Choice, {
        label: "Which keys",
        value: which,
        options: [
          ["set", "With a value"],
          ["all", "All that there are"],
        ],
        set: setWhich,
      }),
      h("span", { class: "quiet", role: "status" }, counted(keys.length, "key")),
    ),
    keys.length === 0
      ? h("p", { key: "n", class: "empty" }, "No key is like that.")
      : h(List, {
          key: "l",
          label: "Settings",
          rows: keys,
          keyOf: (key) => key,
          columns: [
            { name: "Key", kind: "wide", show: (key) => h("code", null, visible(key)) },
            { name: "In the file", show: (key) => valueWords(written.get(key)) },
            { name: "Counts", show: (key) => valueWords(counts.get(key)) },
            {
              name: "Takes",
              show: (key) => {
                const node = schemaAt(schema.schema, key);
                return [takes(node), node?.writeOnly && " (a secret)"];
              },
            },
          ],
        }),
  ];
}

export function ConfigurationPage() {
  const { answers, error, again } = useAnswers(
    { read: ["config.get"], schema: ["config.schema"] },
    (event) => event === "config.changed",
    60_000,
    ({ read }) => takeConfiguration(read),
  );
  const title = h("h1", { key: "h", tabIndex: -1 }, "Configuration");
  const fault = error
    ? h(Fault, { key: "f", error, what: answers ? "What is below is old" : "The configuration could not be read" })
    : null;
  if (!answers) return [title, fault ?? h("p", { key: "l", class: "loading" }, "Reading…")];
  const { read, schema } = answers;
  const isFree = valueAt(read.parsed, ["gatewarden", "remotePrograms"]) === true;
  const mayChange = (gatewayLink.value.hello?.auth?.scopes ?? []).includes("operator.admin");
  return [
    title,
    fault,
    h(FileNotices, { key: "n", read }),
    h(
      "section",
      { key: "p", class: "panel" },
      h("h2", null, "File"),
      h(Facts, {
        rows: [
          ["File", read.path ? h("code", null, visible(read.path)) : "Known on the gateway's machine"],
          [
            "State",
            h(State, {
              tone: read.valid ? "good" : "bad",
              word: !read.exists ? "not made yet" : read.valid ? "can be used" : "can't be used",
            }),
          ],
          [
            "Can be changed here",
            isFree
              ? "Everything: gatewarden.remotePrograms is true"
              : "The log's level, the default agent, and an agent's name, model and command; all else on the gateway's machine",
          ],
        ],
      }),
    ),
    h("h2", { key: "c" }, "Change it"),
    !mayChange
      ? h("p", { key: "m" }, "Whoever changes it needs the scope operator.admin, which this browser wasn't given.")
      : !read.valid
        ? h("p", { key: "m" }, "It can be changed here once the file can be used.")
        : [
            h(Meanwhile, { key: "w" }),
            h(SaveOutcome, { key: "o" }),
            h(Editor, { key: "e", schema: schema.schema, again }),
          ],
    h(Settings, { key: "s", read, schema }),
  ];
}
