// How times and colors are shown, which the browser remembers.
import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import { inUtc, remember, remembered, showUtc } from "../time.js";

export function Switches() {
  const [theme, setTheme] = useState(remembered("theme") ?? "auto");
  const change = (/** @type {any} */ event) => {
    remember("theme", event.currentTarget.value);
    setTheme(event.currentTarget.value);
  };
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
  }, [theme]);
  return h(
    "div",
    { class: "switches" },
    h(
      "select",
      {
        "aria-label": "Time zone",
        value: inUtc.value ? "utc" : "local",
        onChange: (/** @type {any} */ event) => showUtc(event.currentTarget.value === "utc"),
      },
      h("option", { value: "local" }, "Local time"),
      h("option", { value: "utc" }, "UTC"),
    ),
    h(
      "select",
      { "aria-label": "Colors", value: theme, onChange: change },
      h("option", { value: "auto" }, "As the system"),
      h("option", { value: "light" }, "Light"),
      h("option", { value: "dark" }, "Dark"),
    ),
  );
}
