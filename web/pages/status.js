import { h } from "preact";

export function Page() {
  return h("h1", { tabIndex: -1 }, "Status");
}
