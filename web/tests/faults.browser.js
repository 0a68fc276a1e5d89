// What goes wrong while a page is open: the network, the daemon, its release, the clock of the browser.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { logIn, openPage, startBrowser, startDaemon, until } from "./daemon.js";
import { startWire } from "./wire.js";

/** @type {Awaited<ReturnType<typeof startDaemon>>} */
let daemon;
/** @type {Awaited<ReturnType<typeof startWire>>} */
let wire;
/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  daemon = await startDaemon();
  wire = await startWire(daemon);
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await wire?.stop();
  await daemon?.stop();
});

test("W7: a daemon that is frozen leaves nothing that looks alive after 35 s, and is found again", async () => {
  const { page, context } = await openPage(browser);
  await page.clock.install();
  await logIn(page, { url: wire.url, key: daemon.key });
  await page.getByRole("cell", { name: "Online" }).waitFor();
  wire.isFrozen = true;
  await page.clock.runFor(30_000);
  assert.equal(await page.getByText(/^As of/).count(), 0, "30 s are no reason for doubt: the daemon speaks every 15 s");
  await page.clock.runFor(5_500);
  await page.getByText(/^As of \d\d:\d\d:\d\d\.$/).waitFor();
  wire.isFrozen = false;
  wire.cut();
  await until(
    async () => {
      await page.clock.runFor(1_000);
      return page.getByText("Connected", { exact: true }).isVisible();
    },
    () => "it is connected again",
  );
  await context.close();
});

test("over a slow network everything arrives, and a change as well", async () => {
  wire.delayMs = 400;
  const { page, context, faults } = await openPage(browser);
  await logIn(page, { url: wire.url, key: daemon.key });
  await page.getByRole("cell", { name: "Online" }).waitFor();
  await daemon.call("POST", "/api/gateways/1/drain");
  await page.getByText("DRAINED", { exact: true }).waitFor();
  await page.getByRole("link", { name: "local", exact: true }).click();
  await page.getByRole("heading", { name: "local", level: 1 }).waitFor();
  wire.delayMs = 0;
  await daemon.call("POST", "/api/gateways/1/undrain");
  await page.getByText("DRAINED", { exact: true }).waitFor({ state: "detached" });
  assert.deepEqual(faults, []);
  await context.close();
});

test("answers that are lost are read again, and the pages become right by themselves", async () => {
  const { page, context } = await openPage(browser);
  await logIn(page, { url: wire.url, key: daemon.key });
  await page.getByRole("cell", { name: "Online" }).waitFor();
  wire.losesEvery = 2;
  for (const [name, title] of [
    ["Sessions", "Sessions"],
    ["Status", "Status"],
    ["Keys", "Keys"],
    ["Gateways", "Gateways"],
  ]) {
    await page.locator("nav").getByRole("link", { name, exact: true }).click();
    const reload = page.getByRole("button", { name: "Reload" });
    const heading = page.getByRole("heading", { name: title, level: 1 });
    // A module that was lost is not asked for again by browsers, but by people.
    await until(
      async () => {
        if (await reload.isVisible()) await reload.click();
        return (
          (await heading.isVisible()) && !/could not be read|Reading…/.test(await page.locator("main").innerText())
        );
      },
      () => `${name} is right`,
    );
  }
  wire.losesEvery = 0;
  await context.close();
});

test("a network that is gone takes nothing that was typed, and the same can be sent once it is back", async () => {
  const { page, context } = await openPage(browser);
  await logIn(page, { url: wire.url, key: daemon.key }, "/agents");
  await page.getByRole("button", { name: "+ New agent" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name", { exact: true }).fill("kept");
  wire.isGone = true;
  wire.cut();
  await page.getByText(/^As of \d\d:\d\d:\d\d\.$/).waitFor();
  await dialog.getByRole("button", { name: "Create agent" }).click();
  await dialog.getByText(/The daemon can't be reached/).waitFor();
  assert.equal(await dialog.getByLabel("Name", { exact: true }).inputValue(), "kept");
  wire.isGone = false;
  await until(
    async () => (await page.locator(".link").innerText()).includes("Connected"),
    () => "it is connected again",
  );
  await dialog.getByRole("button", { name: "Create agent" }).click();
  await page.getByRole("row").filter({ hasText: "kept" }).waitFor();
  await context.close();
});

test("another release of the daemon runs by now: what was not loaded before says so, and a reload mends it", async () => {
  const { page, context } = await openPage(browser);
  await logIn(page, daemon);
  // The modules of the release that the page came from are not there any more.
  await context.route(/\/assets\//, (route) => route.fulfill({ status: 404, body: "" }));
  await daemon.kill();
  await daemon.startAgain();
  await page.getByText("1 reconnect").waitFor();
  await page.getByRole("cell", { name: "Online" }).waitFor();
  await page.locator("nav").getByRole("link", { name: "Status", exact: true }).click();
  await page.getByText("The daemon is away, or another release of it runs by now.").waitFor();
  await context.unroute(/\/assets\//);
  await page.getByRole("button", { name: "Reload" }).click();
  await page.getByRole("heading", { name: "Status", level: 1 }).waitFor();
  await context.close();
});

test("a browser whose clock is a day off is told so, and ages are those of the daemon", async () => {
  for (const [off, word] of [
    [86_400_000, "ahead of"],
    [-86_400_000, "behind"],
  ]) {
    const { page, context, faults } = await openPage(browser);
    await page.addInitScript((ms) => {
      const { now } = Date;
      Date.now = () => now() + ms;
    }, Number(off));
    await logIn(page, daemon);
    await page.getByText(new RegExp(`clock is 1 d.* ${word} the daemon's`)).waitFor();
    await page
      .getByRole("row")
      .filter({ hasText: "local" })
      .getByText(/^(now|\d+ s ago)$/)
      .waitFor();
    await page.getByRole("link", { name: "local", exact: true }).click();
    await page.getByRole("heading", { name: "local", level: 1 }).waitFor();
    assert.doesNotMatch(await page.locator("main .page-head").first().innerText(), /\d d\b/);
    assert.deepEqual(faults, []);
    await context.close();
  }
});

test("two tabs that change the same record: the second hears of the first, and both show the same", async () => {
  const { page, context } = await openPage(browser);
  await logIn(page, daemon, "/gateways/1");
  const other = await context.newPage();
  await other.goto(`${daemon.url}/gateways/1`);
  for (const tab of [page, other]) {
    await tab.getByRole("button", { name: "Edit…" }).click();
    await tab
      .getByRole("dialog")
      .getByLabel("Labels")
      .fill(tab === page ? "team=one" : "team=two");
  }
  await page.getByRole("dialog").getByRole("button", { name: "Save" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await other.getByRole("dialog").getByRole("button", { name: "Save" }).click();
  await other.getByText(/Somebody else changed this gateway since the form was opened/).waitFor();
  assert.equal(await other.getByRole("dialog").getByLabel("Labels").inputValue(), "team=two");
  await other.getByRole("dialog").getByRole("button", { name: "Save" }).click();
  for (const tab of [page, other]) await tab.getByText("team=two", { exact: true }).first().waitFor();
  await context.close();
});

test("a primary that is renamed has its new name wherever it is named, at once and in what is read later", async () => {
  const { page, context } = await openPage(browser);
  await logIn(page, daemon, "/gateways/1");
  const acting = page.locator("main").getByText("Acting primary", { exact: true }).locator("..");
  await acting.getByText("local", { exact: true }).waitFor();
  await daemon.call("PUT", "/api/gateways/1", { name: "renamed" });
  await acting.getByText("renamed", { exact: true }).waitFor();
  assert.equal((await daemon.call("GET", "/api/status")).acting_primary.name, "renamed");
  await page.reload();
  await acting.getByText("renamed", { exact: true }).waitFor();
  await daemon.call("PUT", "/api/gateways/1", { name: "local" });
  await context.close();
});
