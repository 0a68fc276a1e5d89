// A button that has the gateway do something, after a question where it can't be undone.
import { h } from "preact";
import { useState } from "preact/hooks";
import { say, sayFault } from "../components/basics.js";
import { closeDialog, openDialog } from "../components/dialog.js";
import { visible } from "../format.js";
import { callGateway, wasLost } from "./link.js";

/** @param {{what: string, of: string, effect: string, act: () => void}} props */
function Question({ what, of, effect, act }) {
  const sure = () => {
    closeDialog();
    act();
  };
  return h(
    "div",
    { class: "form" },
    h("p", null, h("code", null, visible(of))),
    h("p", null, effect),
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "button", class: "danger", onClick: sure }, what),
      h("button", { type: "button", onClick: closeDialog }, "Cancel"),
    ),
  );
}

/**
 * @param {object} props
 * @param {string} props.name
 * @param {[string, Record<string, unknown>]} props.call Method and parameters.
 * @param {() => void} props.done Told afterwards, however it went.
 * @param {(answer: any) => string} [props.said] What is said once it is done.
 * @param {{title: string, of: string, effect: string}} [props.question] Of what, and what comes of it.
 * @param {string} [props.kind] `main` or `danger`.
 * @param {string} [props.refusal] Why the gateway wouldn't do it.
 */
export function Act({ name, call: [method, params], done, said, question, kind, refusal }) {
  const [isSending, setSending] = useState(false);
  const act = async () => {
    if (isSending) return;
    setSending(true);
    try {
      const answer = await callGateway(method, params);
      if (said) say(said(answer));
    } catch (error) {
      sayFault(wasLost(error) ? `It is not known whether this was done: ${name}` : "Nothing was changed", error);
    }
    setSending(false);
    done();
  };
  const ask = () => question && openDialog(question.title, () => h(Question, { ...question, what: name, act }));
  return h(
    "button",
    {
      type: "button",
      class: kind,
      title: refusal,
      "aria-disabled": refusal ? "true" : undefined,
      onClick: refusal ? undefined : question ? ask : act,
    },
    name,
  );
}
