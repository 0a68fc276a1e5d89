// Fields of forms. What was typed stays in them whatever the daemon answers.
import { h } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Refusal } from "../api.js";
import { visible } from "../format.js";
import { Fault, Notice } from "./basics.js";

/**
 * One field with its label, what it means and what is wrong with it.
 * @param {{name: string, label: string, help?: any, problem?: string, type?: string, value: any, onInput: (value: any) => void, [more: string]: any}} props
 */
export function Field({ name, label, help, problem, type = "text", value, onInput, options, ...more }) {
  const id = `field-${name}`;
  const described = [help && `${id}-help`, problem && `${id}-problem`].filter(Boolean).join(" ") || undefined;
  const common = { id, name, "aria-describedby": described, "aria-invalid": problem ? "true" : undefined, ...more };
  const below = [
    help && h("p", { id: `${id}-help`, class: "quiet" }, help),
    problem && h("p", { id: `${id}-problem`, class: "problem" }, `${label} ${withoutField(name, problem)}`),
  ];
  if (type === "checkbox") {
    return h(
      "div",
      { class: "field check" },
      h(
        "label",
        { for: id },
        h("input", {
          ...common,
          type,
          checked: value,
          onChange: (/** @type {any} */ event) => onInput(event.currentTarget.checked),
        }),
        label,
      ),
      below,
    );
  }
  const input = { ...common, value, onInput: (/** @type {any} */ event) => onInput(event.currentTarget.value) };
  const control = options
    ? h(
        "select",
        input,
        options.map((/** @type {[string, string]} */ [key, text]) => h("option", { key, value: key }, visible(text))),
      )
    : type === "textarea"
      ? h("textarea", { rows: 4, ...input })
      : h("input", { type, autocomplete: "off", spellcheck: false, ...input });
  return h("div", { class: "field" }, h("label", { for: id }, label), control, below);
}

/** Some sentences begin with the field's name, others go on after it. @param {string} name @param {string} problem */
function withoutField(name, problem) {
  return problem.startsWith(`${name} `) ? problem.slice(name.length + 1) : problem;
}

/**
 * A form that sends something: `send` gives the values away and throws a refusal. `also` stands before the buttons.
 * @param {{values: Record<string, any>, fields: (values: Record<string, any>, set: (name: string) => (value: any) => void, problems: Record<string, string>) => any, send: (values: Record<string, any>) => Promise<any>, also?: (values: Record<string, any>, fail: (fault: unknown) => void) => any, button: string, danger?: boolean, onCancel: () => void}} props
 */
export function Form({ values: initial, fields, send, also, button, danger = false, onCancel }) {
  const [values, setValues] = useState(initial);
  const [error, setError] = useState(/** @type {unknown} */ (null));
  const [isSending, setSending] = useState(false);
  const form = useRef(/** @type {HTMLFormElement | null} */ (null));
  useEffect(() => {
    // To the first field that is wrong.
    if (error) /** @type {HTMLElement | null | undefined} */ (form.current?.querySelector("[aria-invalid]"))?.focus();
  }, [error]);
  const problems = error instanceof Refusal ? error.fields : {};
  const wrong = Object.keys(problems);
  const areMarked = wrong.length > 0 && wrong.every((name) => name in initial);
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (isSending) return;
    setSending(true);
    setError(null);
    try {
      await send(values);
    } catch (fault) {
      setError(fault);
    } finally {
      setSending(false);
    }
  };
  const set = (/** @type {string} */ name) => (/** @type {any} */ value) =>
    setValues((before) => ({ ...before, [name]: value }));
  return h(
    "form",
    { ref: form, onSubmit: submit, noValidate: true, class: "form" },
    error
      ? areMarked
        ? h(Notice, { kind: "bad", title: "Nothing was changed." }, "Correct what is marked below.")
        : h(Fault, { error })
      : null,
    fields(values, set, problems),
    also?.(values, setError),
    h(
      "div",
      { class: "buttons" },
      h(
        "button",
        { type: "submit", class: danger ? "danger" : "main", "aria-disabled": isSending ? "true" : undefined },
        isSending ? "Sending…" : button,
      ),
      h("button", { type: "button", onClick: onCancel }, "Cancel"),
    ),
  );
}
