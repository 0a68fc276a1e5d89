// The form for the gateway's token or password, and why the gateway refused it.
import { h } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { Command, Notice } from "../components/basics.js";
import { duration, visible } from "../format.js";
import { now } from "../time.js";
import { connectGateway, disconnectGateway, gatewayLink } from "./link.js";

export function LoginPage() {
  const { state, ending, why, nextTry } = gatewayLink.value;
  const [typed, setTyped] = useState("");
  const field = useRef(/** @type {HTMLInputElement | null} */ (null));
  const isTrying = state === "connecting" || state === "lost";
  const wait = nextTry ? Math.max(0, Math.ceil((nextTry - now.value) / 1000)) : 0;
  const left = ending?.until ? Math.ceil((ending.until - now.value) / 1000) : 0;
  // With the form, not after it: there is no moment in which a keyboard writes nowhere.
  useLayoutEffect(() => {
    if (!ending || ending.asksAgain) field.current?.focus();
  }, [ending]);
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (isTrying) return;
    connectGateway(typed);
    setTyped("");
  };
  const mustType = !ending || ending.asksAgain;
  return h(
    "div",
    { class: "login-page" },
    h("h1", { tabIndex: -1 }, "Log in to this gateway"),
    ending &&
      h(
        "div",
        { class: "notice bad", role: "alert" },
        h(
          "div",
          null,
          h("strong", null, ending.title),
          // Not read out each second.
          ending.until &&
            h(
              "p",
              { "aria-live": "off" },
              `Try again ${left > 0 ? `in ${duration(left)}` : "now"}, with the right token or password.`,
            ),
          ending.cure && h("p", null, visible(ending.cure)),
          ending.command && h(Command, { text: ending.command }),
          ending.said && h("p", { class: "quiet" }, `The gateway says: ${visible(ending.said)}`),
        ),
      ),
    state === "lost" &&
      h(
        Notice,
        { kind: "bad", title: "The gateway can't be reached." },
        `${why ? `The connection was ${visible(why)}. ` : ""}Tried again${wait > 0 ? ` in ${wait} s` : " now"}.`,
      ),
    h(
      "form",
      { class: "panel form", onSubmit: submit, autocomplete: "off" },
      mustType &&
        h(
          "div",
          { class: "field" },
          h("label", { for: "credential" }, "Token or password"),
          h("input", {
            ref: field,
            id: "credential",
            type: "password",
            autocomplete: "off",
            spellcheck: false,
            value: typed,
            "aria-describedby": "credential-help",
            onInput: (/** @type {any} */ event) => setTyped(event.currentTarget.value),
          }),
          h(
            "p",
            { id: "credential-help", class: "quiet" },
            "Of the gateway (gateway.auth). It is kept only until this page is reloaded or closed. ",
            h("code", null, "gatewarden gateway status"),
            " says where the token is.",
          ),
        ),
      h(
        "div",
        { class: "buttons" },
        h(
          "button",
          mustType
            ? { type: "submit", class: "main", "aria-disabled": isTrying ? "true" : undefined }
            : {
                type: "button",
                class: "main",
                "aria-disabled": isTrying ? "true" : undefined,
                onClick: () => connectGateway(),
              },
          isTrying ? "Connecting…" : mustType ? "Log in" : "Connect again",
        ),
        isTrying && h("button", { type: "button", onClick: disconnectGateway }, "Cancel"),
      ),
    ),
    !isSecureContext &&
      h(
        Notice,
        { kind: "warn", title: "This page came without encryption." },
        "What you type can be read on the way. Give the gateway a certificate (gateway.tls), or open it on its own machine, or through ssh -L.",
      ),
  );
}
