// Dialogs. The browser's own: it keeps the focus inside, closes at Escape and gives the focus back.
import { signal } from "@preact/signals";
import { h } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { visible } from "../format.js";

/** @type {import("@preact/signals").Signal<{title: string, body: () => any} | null>} */
const shown = signal(null);

/** Opens a dialog; one at a time. @param {string} title @param {() => any} body A component. */
export function openDialog(title, body) {
  shown.value = { title, body };
}

export function closeDialog() {
  shown.value = null;
}

export function DialogPlace() {
  const { value } = shown;
  return value && h(Dialog, { key: value.title, title: value.title, body: value.body });
}

/** @param {{title: string, body: () => any}} props */
function Dialog({ title, body }) {
  const element = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const before = document.activeElement;
    element.current?.showModal();
    return () => {
      // The element that opened it may be gone by now.
      if (before instanceof HTMLElement && before.isConnected) before.focus();
      else document.querySelector("h1")?.focus();
    };
  }, []);
  return h(
    "dialog",
    { ref: element, "aria-labelledby": "dialog-title", onClose: closeDialog },
    h(
      "div",
      { class: "dialog-head" },
      h("h2", { id: "dialog-title" }, visible(title)),
      h("button", { type: "button", class: "plain", "aria-label": "Close", onClick: closeDialog }, "✕"),
    ),
    h(body, null),
  );
}
