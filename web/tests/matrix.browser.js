// Every page in every state, theme and width; every control in every role; every task by keyboard alone.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { logIn, openPage, PLANTED, startBrowser, startDaemon, until, violations } from "./daemon.js";
import { startWire } from "./wire.js";

/** @typedef {import("playwright-core").Page} Page */

/** @type {Awaited<ReturnType<typeof startDaemon>>} */
let daemon;
/** @type {Awaited<ReturnType<typeof startWire>>} */
let wire;
/** @type {import("playwright-core").Browser} */
let browser;
/** All pages, with what they show of something. @type {string[]} */
let paths;

before(async () => {
  daemon = await startDaemon();
  wire = await startWire(daemon);
  browser = await startBrowser();
  const work = { task: "count to 2", agent: "sample", sessionKey: "agent:sample:matrix" };
  const { spawnId } = await daemon.call("POST", "/api/spawn", work);
  await daemon.call("POST", "/api/gateways", {
    name: "away <b>",
    host: "127.0.0.1",
    port: 33,
    token: PLANTED,
    labels: { region: "eu" },
  });
  await daemon.call("POST", "/api/agents", { name: "writer", role: "writes" });
  await daemon.call("POST", "/api/connect", { agent_name: "codex-1", tool_name: "codex", tool_version: "2.1.0" });
  paths = [
    ...["/", "/gateways/1", "/gateways/2", "/sessions", "/sessions?session=agent:sample:matrix&of=1", "/spawns"],
    ...[`/spawns?spawn=${spawnId}`, "/agents", "/connections", "/events", "/audit", "/devices", "/keys", "/nodes"],
    "/status",
    "/help",
  ];
});

after(async () => {
  await browser?.close();
  await wire?.stop();
  await daemon?.stop();
});

/** Waits until the page shows what it has. @param {Page} page */
async function settled(page) {
  await page.locator("h1").first().waitFor();
  await until(
    () => page.evaluate(() => !document.querySelector(".loading") && !/Reading…/.test(document.body.innerText)),
    () => `${page.url()} is read`,
  );
}

/** What is wrong with the page in any theme and width. @param {Page} page @param {string} state */
async function faultsIn(page, state) {
  const found = [];
  for (const width of [1280, 640, 320]) {
    await page.setViewportSize({ width, height: 800 });
    // Rows become cards with the next frame.
    const fits = page.waitForFunction(() => document.documentElement.scrollWidth <= innerWidth, null, {
      timeout: 20_000,
    });
    await fits.catch(() => found.push(`${page.url()} ${state} does not fit ${width}`));
    // As wide as 1280 at 200 %: it fits, and looks as at 320.
    if (width === 640) continue;
    for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
      await page.emulateMedia({ colorScheme });
      for (const one of await violations(page)) found.push(`${page.url()} ${state} ${width} ${colorScheme}: ${one}`);
    }
  }
  await page.setViewportSize({ width: 1280, height: 800 });
  const moving = await page.evaluate(
    () => document.getAnimations().filter((one) => one.playState === "running").length,
  );
  if (moving > 0) found.push(`${page.url()} ${state} moves, though less motion is wanted`);
  return found;
}

test("W9, W11: every page passes axe and fits, live and stale, in light and dark, narrow and wide; a token is nowhere", async () => {
  const { page, context, faults, answers } = await openPage(browser);
  await logIn(page, { url: wire.url, key: daemon.key });
  for (const path of paths) {
    await page.goto(wire.url + path);
    await page.getByText("Connected", { exact: true }).waitFor();
    await settled(page);
    assert.deepEqual(await faultsIn(page, "live"), []);
    const held = await page.evaluate(() =>
      JSON.stringify([
        document.documentElement.outerHTML,
        { ...localStorage },
        { ...sessionStorage },
        document.cookie,
        location.href,
      ]),
    );
    assert.ok(!held.includes(PLANTED) && !held.includes(daemon.key), `${path} holds a secret`);
    assert.deepEqual(
      faults.splice(0).filter((fault) => !fault.includes("status of 404")),
      [],
      path,
    );
    wire.isGone = true;
    wire.cut();
    await page.getByText(/^As of \d\d:\d\d:\d\d\.$/).waitFor();
    assert.deepEqual(await faultsIn(page, "stale"), []);
    // What it says of its last attempt to connect is said before it is left.
    await page.goto("about:blank");
    wire.isGone = false;
    faults.splice(0);
  }
  assert.ok(answers.length > 50, `${answers.length} answers`);
  for (const { url, body } of answers) assert.ok(!url.includes(PLANTED) && !body.includes(PLANTED), url);
  await context.close();
});

for (const state of ["empty", "error"]) {
  test(`W9: every page passes axe and fits where there is ${state === "empty" ? "nothing" : "an error"}`, async () => {
    const { page, context } = await openPage(browser);
    await logIn(page, daemon);
    await context.route(/\/api\/(?!auth|health|ws)/, async (route) => {
      if (state === "error")
        return route.fulfill({
          status: 503,
          json: { error: "The database can't be read", code: "store_unavailable", help: "Free some space." },
        });
      const response = await route.fetch();
      const body = await response.json().catch(() => ({}));
      for (const [name, value] of Object.entries(body)) if (Array.isArray(value)) body[name] = [];
      if ("total" in body) body.total = 0;
      await route.fulfill({ response, json: body });
    });
    for (const path of paths) {
      await page.goto(daemon.url + path);
      await settled(page);
      assert.deepEqual(await faultsIn(page, state), []);
    }
    await context.close();
  });
}

test("W12: each control works for each role, or is not offered: no request is refused for the role", async () => {
  for (const role of ["viewer", "operator", "admin"]) {
    const { api_key: key } = await daemon.call("POST", "/api/keys", { name: `matrix ${role}`, role });
    const { page, context } = await openPage(browser);
    /** @type {string[]} */
    const refused = [];
    let now = "";
    page.on("response", (response) => {
      if (response.status() === 403) refused.push(`${role}, ${now}: ${response.request().method()} ${response.url()}`);
    });
    // A search is heard by all of the network: discovery.browser.js does it in one of its own.
    await page.route("**/api/gateways/discover", (route) => route.fulfill({ json: { gateways: [], total: 0 } }));
    await logIn(page, { url: daemon.url, key });
    let count = 0;
    for (const path of paths) {
      const open = async () => {
        await page.goto(daemon.url + path);
        await page.getByText("Connected", { exact: true }).waitFor();
        await settled(page);
      };
      await open();
      const names = await page
        .locator("main button:visible")
        .evaluateAll((all) => all.map((one) => one.getAttribute("aria-label") ?? one.textContent ?? ""));
      for (const name of new Set(names)) {
        // Its own key, with which it goes on.
        if (name === `Revoke matrix ${role}`) continue;
        now = `${path} "${name}"`;
        const button = page.locator("main button:visible").filter({ hasText: name }).first();
        const labelled = page.locator("main").getByRole("button", { name, exact: true }).first();
        const control = (await labelled.count()) > 0 ? labelled : button;
        // What another control took away is not there any more.
        if ((await control.count()) === 0) continue;
        // What is switched off at the moment says so, and does nothing.
        try {
          await control.click({ force: true, timeout: 5_000 });
        } catch (error) {
          // A session that just ended takes its controls away, also while one is being pressed.
          if ((await control.count()) === 0) continue;
          throw error;
        }
        count++;
        const dialog = page.getByRole("dialog");
        if ((await dialog.count()) > 0) {
          const inner = dialog.locator("button").filter({ hasNotText: /✕|Cancel|Close/ });
          for (let at = 0; at < (await inner.count()); at++) {
            now = `${path} "${name}" ${at}`;
            await inner
              .nth(at)
              .click({ timeout: 1_000 })
              .catch(() => {});
            count++;
            if ((await dialog.count()) === 0) break;
          }
        }
        await page.keyboard.press("Escape");
        if (page.url() !== daemon.url + path || (await dialog.count()) > 0) await open();
      }
    }
    console.log(`W12: ${count} controls as ${role}`);
    assert.deepEqual(refused, []);
    await context.close();
  }
});
