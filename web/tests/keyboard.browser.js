// W10: each task of the pages, done by keyboard alone: Tab, Enter, Space, Escape, arrows and typing. The focus is never lost.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openPage, startBrowser, startDaemon, until } from "./daemon.js";

/** @typedef {import("playwright-core").Page} Page */
/** @typedef {import("playwright-core").Locator} Locator */

/** @type {Awaited<ReturnType<typeof startDaemon>>} */
let daemon;
/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  daemon = await startDaemon();
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await daemon?.stop();
});

/** A person without a mouse. @param {Page} page */
function personAt(page) {
  const { keyboard } = page;
  const hasFocus = (/** @type {Locator} */ wanted) =>
    wanted.evaluate((one) => one === document.activeElement).catch(() => false);
  const person = {
    button: (/** @type {string | RegExp} */ name) =>
      page.getByRole("button", { name, exact: typeof name === "string" }),
    field: (/** @type {string} */ name) => page.getByLabel(name, { exact: true }),
    link: (/** @type {string} */ name) => page.getByRole("link", { name, exact: true }),
    /** Goes on with Tab until this has the focus. @param {Locator} wanted */
    async to(wanted) {
      await wanted.first().waitFor();
      for (let presses = 0; presses < 150; presses++) {
        if (await hasFocus(wanted.first())) return;
        await keyboard.press("Tab");
      }
      throw new Error(`Tab leads not to ${wanted}`);
    },
    /** @param {Locator} wanted */
    async press(wanted) {
      await person.to(wanted);
      await keyboard.press("Enter");
      await person.keepsFocus();
    },
    /** @param {string} name @param {string} text */
    async type(name, text) {
      await person.to(person.field(name));
      await keyboard.press("Control+A");
      await keyboard.type(text);
    },
    /** Chooses an option by its first letters. @param {string} name @param {string} text */
    async choose(name, text) {
      await person.to(person.field(name));
      await keyboard.type(text);
    },
    async keepsFocus() {
      await until(
        () => page.evaluate(() => document.activeElement !== null && document.activeElement !== document.body),
        () => `the focus is somewhere on ${page.url()}`,
      );
    },
    /** @param {string} name @param {string} [title] */
    async visit(name, title = name) {
      await person.press(page.locator("nav").getByRole("link", { name, exact: true }));
      await page.getByRole("heading", { name: title, level: 1 }).waitFor();
      await person.keepsFocus();
    },
  };
  return person;
}

/** Logs in without a mouse. @param {string} path */
async function begin(path) {
  const { page, context } = await openPage(browser);
  const person = personAt(page);
  await page.goto(`${daemon.url}/login?next=${encodeURIComponent(path)}`);
  await person.type("API key", daemon.key);
  await page.keyboard.press("Enter");
  await page.getByText("Connected", { exact: true }).waitFor();
  return { page, context, person };
}

test("gateways are found, added, changed, probed, drained, made primary and deleted", async () => {
  const { page, context, person } = await begin("/");
  const dialog = page.getByRole("dialog");
  await person.press(person.button("+ Add gateway"));
  await person.type("Name", "edge");
  await person.type("Host", "127.0.0.1");
  await person.type("Port", "9");
  await page.keyboard.press("Enter");
  await dialog.waitFor({ state: "detached" });
  await person.keepsFocus();
  const actions = person.button(/^Actions for edge/);
  const act = async (/** @type {RegExp} */ name) => {
    await person.press(actions);
    await person.press(dialog.getByRole("button", { name }));
  };
  await act(/^Probe/);
  await page.getByText(/edge doesn't answer as it should/).waitFor();
  await act(/^Drain/);
  await page.getByText("DRAINED").waitFor();
  await person.keepsFocus();
  await act(/^Take back|^Undrain|^Give/);
  await page.getByText("DRAINED").waitFor({ state: "detached" });
  await act(/^Reconnect/);
  await act(/^Edit/);
  await person.type("Name", "edge-2");
  await page.keyboard.press("Enter");
  await person.link("edge-2").waitFor();
  await person.keepsFocus();
  await act(/^Set as primary/);
  await person.press(person.button("Set it as primary"));
  await dialog.waitFor({ state: "detached" });
  await person.keepsFocus();
  // The primary is not deleted: another one takes its place.
  await person.press(person.button("Actions for local"));
  await person.press(dialog.getByRole("button", { name: /^Set as primary/ }));
  await dialog.waitFor({ state: "detached" });
  // A dialog that is left by Escape gives the focus back.
  await person.press(actions);
  await dialog.waitFor();
  await page.keyboard.press("Escape");
  await until(
    () => actions.evaluate((one) => one === document.activeElement),
    () => "the focus is back where it was",
  );
  await act(/^Delete/);
  await person.type("Name of the gateway", "edge-2");
  await page.keyboard.press("Enter");
  await person.link("edge-2").waitFor({ state: "detached" });
  await person.keepsFocus();
  await person.press(person.button(/^Probe all/));
  await page.getByText(/Checked 1 gateway/).waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("nobody");
  await person.press(person.button("Show all"));
  await person.press(person.button(/Offline$/));
  assert.equal(new URL(page.url()).search, "?status=offline");
  await page.keyboard.press("Enter");
  await person.press(person.button("Name"));
  assert.equal(new URL(page.url()).search, "?sort=name");
  await person.press(person.link("local"));
  await page.getByRole("heading", { name: "local", level: 1 }).waitFor();
  await page.keyboard.press("?");
  await page.getByRole("heading", { name: "Help", level: 1 }).waitFor();
  await person.to(page.getByLabel("Use single keys"));
  await page.keyboard.press("Space");
  await page.locator("body").press("g");
  await page.getByRole("heading", { name: "Help", level: 1 }).waitFor();
  await person.press(page.locator("details.who summary"));
  await person.choose("Time zone", "UTC");
  await person.choose("Colors", "Dark");
  await page.waitForFunction(() => document.documentElement.dataset.theme === "dark");
  await person.to(person.button("Log out"));
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/login/);
  await context.close();
});

test("work is given, and its session paused, resumed, ended, labelled, written to and deleted", async () => {
  const { page, context, person } = await begin("/spawns");
  await person.press(person.button("+ New task"));
  await person.type("Task", "count to 900");
  await person.type("Agent", "sample");
  await person.press(person.button("Give it to a gateway"));
  await page.getByRole("heading", { name: "count to 900", level: 1 }).or(page.locator(".facts")).first().waitFor();
  await person.keepsFocus();
  const { sessions } = await until(
    async () => {
      const answer = await daemon.call("GET", "/api/sessions?limit=20&gateways=false");
      return answer.sessions.some((/** @type {any} */ one) => one.status === "active") && answer;
    },
    () => "its session runs",
  );
  const { key, label } = sessions.find((/** @type {any} */ one) => one.status === "active");
  await person.visit("Sessions");
  await person.press(person.link(label ?? key));
  const facts = page.locator(".facts");
  await person.press(person.button("Pause"));
  await facts.getByText("Paused").waitFor();
  await person.press(person.button("Resume"));
  await facts.getByText("Active").waitFor();
  await person.press(person.button("End the run"));
  await facts.getByText("Completed").waitFor();
  await person.keepsFocus();
  await person.press(person.button("Label…"));
  await person.type("Label", "typed");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "typed", level: 1 }).waitFor();
  await person.keepsFocus();
  await person.type("Write to this session", "count to 2");
  await person.press(person.button("Send"));
  await page.getByText("1 2", { exact: true }).waitFor();
  await person.press(person.button("Delete…"));
  await person.press(person.button("Delete session"));
  await page.getByRole("heading", { name: "Sessions", level: 1 }).waitFor();
  await person.keepsFocus();
  await context.close();
});

test("agents, tools, keys, events, the audit log and the rest", async () => {
  const { page, context, person } = await begin("/agents");
  const dialog = page.getByRole("dialog");
  await person.press(person.button("+ New agent"));
  await person.type("Name", "writer");
  await page.keyboard.press("Enter");
  await person.press(person.button("Edit writer"));
  await person.type("Role", "writes");
  await page.keyboard.press("Enter");
  await dialog.waitFor({ state: "detached" });
  await person.keepsFocus();
  await person.press(person.button("Synchronise…"));
  await person.press(person.button("Read its agents"));
  await page.getByText(/agents? read: \d+ new/).waitFor();
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  await person.press(person.button("Delete writer"));
  await person.press(person.button("Delete agent"));
  await dialog.waitFor({ state: "detached" });
  await person.keepsFocus();
  await daemon.call("POST", "/api/connect", { agent_name: "codex-1", tool_name: "codex", tool_version: "2.1.0" });
  await person.visit("Direct connections", "Direct CLI connections");
  await person.press(person.button("Disconnect codex of codex-1"));
  await person.press(dialog.getByRole("button", { name: "Disconnect", exact: true }));
  await page.getByText("No tool is connected.").waitFor();
  await person.keepsFocus();
  await person.visit("Events");
  await person.press(person.button("Pause"));
  await person.press(person.button(/^Go on/));
  await person.choose("Show by type", "gateway.process");
  await person.visit("Devices");
  await person.visit("Audit log");
  await person.choose("Show by result", "Refused");
  assert.equal(new URL(page.url()).search, "?result=refused");
  await person.visit("Keys");
  await person.press(person.button("+ New key"));
  await person.type("Name", "by hand");
  await page.keyboard.press("Enter");
  await person.press(person.button("I have it"));
  await person.press(person.button("Revoke by hand"));
  await person.press(person.button("Revoke key"));
  await dialog.waitFor({ state: "detached" });
  await person.keepsFocus();
  await person.visit("Status");
  // The first press of Tab on a page leads past the names of the pages.
  await page.goto(`${daemon.url}/status`);
  await page.getByText("Connected", { exact: true }).waitFor();
  // A browser drops keys until a page's first frame: those led nowhere.
  const skip = person.link("To the content");
  await until(
    async () => {
      await page.keyboard.press("Tab");
      return page.evaluate(() => document.activeElement !== document.body);
    },
    () => "Tab leads somewhere",
  );
  assert.ok(await skip.evaluate((link) => link === document.activeElement));
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => location.hash === "#main");
  await page.keyboard.press("Tab");
  assert.ok(await page.evaluate(() => document.activeElement?.closest("header") === null));
  await context.close();
});
