// The page of one gateway, and how the list and all times are shown, in a browser, with a real daemon, its embedded gateway, and another
// one that is a process of the daemon.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { binary, logIn, openPage, picture, startBrowser, startDaemon, until, violations } from "./daemon.js";

const TOKEN = "token-of-a-process-0123";

/** @type {Awaited<ReturnType<typeof startDaemon>>} */
let daemon;
/** @type {import("playwright-core").Browser} */
let browser;
const home = mkdtempSync(join(tmpdir(), "gatewarden-page-"));
let port = 0;

/** A port at which nothing listens, and which the system gives to nobody who asks for any. @returns {Promise<number>} */
function freePort() {
  const candidate = 20_000 + Math.floor(Math.random() * 10_000);
  return new Promise((found) => {
    const server = createServer();
    server.on("error", () => found(freePort()));
    server.listen(candidate, "127.0.0.1", () => server.close(() => found(candidate)));
  });
}

before(async () => {
  port = await freePort();
  const gateway = join(home, "openclaw.json");
  const auth = { mode: "token", token: TOKEN };
  const all = { gateway: { bind: "loopback", auth }, gatewarden: { metrics: { enabled: false } } };
  writeFileSync(gateway, JSON.stringify(all), { mode: 0o600 });
  const args = ["gateway", "run", "--port", `${port}`, "--config", gateway, "--state-dir", join(home, "gateway")];
  const config = join(home, "gatewarden.toml");
  const program = JSON.stringify(resolve(binary));
  writeFileSync(config, `[commands.worker]\nprogram = ${program}\nargs = ${JSON.stringify(args)}\n`, { mode: 0o600 });
  const settings = { GATEWARDEN_PROCESSES__STOP_GRACE: "5s", GATEWARDEN_PROCESSES__VERIFY_WITHIN: "60s" };
  daemon = await startDaemon(settings, [], ["--config", config]);
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await daemon?.stop();
  rmSync(home, { recursive: true, force: true });
});

test("a gateway that isn't online says why, what to do, which command to copy, and when it is tried again; one that is deleted says so", async () => {
  const away = await freePort();
  const { gateway } = await daemon.call("POST", "/api/gateways", { name: "away", host: "127.0.0.1", port: away });
  const { page, context, faults } = await openPage(browser);
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await logIn(page, daemon, `/gateways/${gateway.id}`);
  const why = page.getByRole("region", { name: "Why it is not online" });
  await why.getByText("Code connection_refused.").waitFor();
  await why.getByText(/^What to do: .{10}/).waitFor();
  // It counts down, and begins anew after each attempt.
  await why.getByText(/Next attempt (in \d+ s|now)\./).waitFor();
  const connection = page.getByRole("heading", { name: "Connection", exact: true }).locator("..");
  await until(
    async () =>
      /Circuit breaker\s+\w+, \d+ failures?[\s\S]*Attempts in a row\s+[1-9]/.test(await connection.innerText()),
    () => "breaker and attempts are counted",
  );
  const command = why.getByText(`gatewarden check 127.0.0.1:${away}`);
  await command.locator("..").getByRole("button", { name: "Copy" }).press("Enter");
  await page.getByText("Copied", { exact: true }).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `gatewarden check 127.0.0.1:${away}`);
  const history = page.getByRole("region", { name: "History" });
  await history.getByText("Offline").first().waitFor();
  assert.deepEqual(await violations(page), []);
  await picture(page, "gateway-away");
  await daemon.call("DELETE", `/api/gateways/${gateway.id}`);
  await page.getByText("This gateway was deleted.").waitFor();
  assert.equal(await page.getByRole("button", { name: "Reconnect" }).count(), 0);
  assert.deepEqual(
    faults.filter((fault) => !fault.includes("status of 404")),
    [],
  );
  await context.close();
});

test("a process of the daemon's machine is restarted and verified, stopped and started, and its log is shown, filtered and followed over its end", async () => {
  const body = { name: "worker", host: "127.0.0.1", port, token: TOKEN, command: "worker" };
  const { gateway } = await daemon.call("POST", "/api/gateways", body);
  const process = async () => (await daemon.call("GET", `/api/gateways/${gateway.id}`)).gateway.process;
  const { page, context, faults } = await openPage(browser);
  page.setDefaultTimeout(60_000);
  await logIn(page, daemon, `/gateways/${gateway.id}`);
  const head = page.locator("main .page-head").first();
  await head.getByText("Online").waitFor();
  const panel = page.getByRole("heading", { name: "Process on the daemon's machine" }).locator("..");
  const first = await until(
    async () => (await process()).pid,
    () => "it runs",
  );
  await panel.getByRole("button", { name: "Restart" }).press("Enter");
  await page.getByText("Restart of worker succeeded", { exact: true }).waitFor();
  const { pid, verified } = await process();
  assert.notEqual(pid, first);
  assert.equal(verified, "yes", "a success is a new process, and a connection to it");
  await panel.getByText(String(pid), { exact: true }).waitFor();
  assert.deepEqual(await violations(page), []);
  await picture(page, "gateway-process");

  const log = page.getByRole("log", { name: "Log of worker" });
  await page.getByRole("button", { name: "Follow", exact: true }).press("Enter");
  await until(
    async () => (await log.locator("div").count()) > 0,
    () => "the log has entries",
  );
  const all = await log.locator("div").count();
  await page.getByLabel("Filter the log").fill("no entry has these words");
  await log.getByText("Waiting for entries…").waitFor();
  await page.getByLabel("Filter the log").fill("");
  assert.ok((await log.locator("div").count()) >= all, "a filter loses nothing");

  await panel.getByRole("button", { name: "Stop" }).press("Enter");
  await page.getByText("Stop of worker succeeded", { exact: true }).waitFor();
  await head.getByText("Offline").waitFor();
  await page.getByText("Code process_stopped.").waitFor();
  await log.getByText(/^── The gateway is away/).waitFor();
  // In the words of the page, not in those of requests.
  await page.getByText("Diagnose shows what it said last; Start starts it.").waitFor();
  await panel.getByText("It was stopped by an operator").waitFor();
  await panel.getByRole("button", { name: "Diagnose" }).press("Enter");
  const diagnosis = panel.getByRole("region", { name: "Diagnosis" });
  await diagnosis.getByText("It runs", { exact: false }).getByText(resolve(binary)).waitFor();
  await diagnosis.getByRole("log", { name: "What it said last" }).waitFor();
  assert.deepEqual(await violations(page), []);
  await picture(page, "gateway-process-stopped");
  await panel.getByRole("button", { name: "Start", exact: true }).press("Enter");
  await page.getByText("Start of worker succeeded", { exact: true }).waitFor();
  await head.getByText("Online").waitFor();
  await log.getByText(/^── The gateway is back/).waitFor();
  await daemon.call("DELETE", `/api/gateways/${gateway.id}`);
  assert.deepEqual(
    faults.filter((fault) => !fault.includes("status of 404")),
    [],
  );
  await context.close();
});

test("latency over a day has a picture and the same as a table, with medians, the slowest, and when it wasn't online", async () => {
  const { page, context, faults } = await openPage(browser);
  const to = Math.floor(Date.now() / 1000);
  const from = to - 86_400;
  await page.route("**/api/gateways/1/latency?*", (route) => {
    const buckets = Array.from({ length: 90 }, (_, at) => ({
      at: from + at * 900,
      count: 30,
      p50: 20 + at,
      p95: 700 + at,
    }));
    const outages = [{ from: from + 82_000, to: from + 83_000, status: "timeout" }];
    return route.fulfill({
      json: { from, to, bucket_s: 900, gateways: [{ gateway_id: 1, buckets, outages }], not_observed: [] },
    });
  });
  await logIn(page, daemon, "/gateways/1");
  await page.getByLabel("Time of the latency").selectOption("24");
  await page.getByRole("img", { name: "Latency of the last 24 hours; the same as a table below" }).waitFor();
  await page.getByText(/^Not online 1 time/).waitFor();
  await page.getByRole("button", { name: "As a table" }).press("Enter");
  const table = page.getByRole("region", { name: "Latency as a table" });
  const shown = await table.innerText();
  assert.match(shown, /20 ms\s+700 ms/);
  assert.match(shown, /Timeout/);
  assert.deepEqual(await violations(page), []);
  await picture(page, "gateway-latency");
  assert.deepEqual(faults, []);
  await context.close();
});

test("rows are dense or roomy as one likes, or cards, orders turn round, and all of it is kept", async () => {
  const { page, context } = await openPage(browser);
  await logIn(page, daemon, "/?sort=name");
  const row = page.locator(".table-body .row").filter({ hasText: "local" });
  const height = async () => (await row.boundingBox())?.height ?? 0;
  const dense = await height();
  await page.getByRole("button", { name: "Roomy" }).press("Enter");
  await until(
    async () => (await height()) > dense,
    () => "rows are higher",
  );
  await page.getByRole("columnheader", { name: "Name" }).getByRole("button").press("Enter");
  await page.waitForURL((url) => url.search === "?sort=name&order=desc");
  assert.equal(await page.getByRole("columnheader", { name: "Name" }).getAttribute("aria-sort"), "descending");
  await page.reload();
  await row.waitFor();
  assert.ok((await height()) > dense);
  assert.equal(await page.getByRole("columnheader", { name: "Name" }).getAttribute("aria-sort"), "descending");
  // A shape and a word besides the color.
  assert.match(await row.innerText(), /●\s*Online/);
  // Nothing of a version is cut, however long its build is.
  const version = row.locator(".version");
  await version
    .getByText(/\d+\.\d+/)
    .first()
    .waitFor();
  assert.ok(await version.evaluate((cell) => cell.scrollWidth <= cell.clientWidth + 1), await version.innerText());
  await page.setViewportSize({ width: 320, height: 800 });
  const card = page.getByRole("list", { name: "Gateways" }).getByRole("listitem").filter({ hasText: "local" });
  assert.match(
    (await card.innerText()).replace(/\s+/g, " "),
    /● ?Online local PRIMARY ⋯ 127\.0\.0\.1:\d+ Token: Set · \S+ ms · \d+ sessions? · (just now|\d+ s ago)/,
  );
  await context.close();
});

test("what may be done with a gateway is what may be done by now, though it changes while that is shown", async () => {
  const { gateway } = await daemon.call("POST", "/api/gateways", { name: "next", host: "127.0.0.1", port: 9 });
  const { page, context, faults } = await openPage(browser);
  await logIn(page, daemon);
  await page.getByRole("button", { name: "Actions for local" }).press("Enter");
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: /^Drain/ }).waitFor();
  assert.equal(await dialog.getByRole("button", { name: "Set as primary" }).count(), 0);
  await daemon.call("PUT", `/api/gateways/${gateway.id}`, { is_primary: true });
  await dialog.getByRole("button", { name: "Set as primary" }).press("Enter");
  await page.getByText("local is the primary now").waitFor();
  await daemon.call("DELETE", `/api/gateways/${gateway.id}`);
  assert.deepEqual(faults, []);
  await context.close();
});

test("all times of a page are in UTC where that is wanted, also after a reload", async () => {
  const context = await browser.newContext({ timezoneId: "Asia/Tokyo", viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  await logIn(page, daemon, "/gateways/1");
  const registered = page.locator("dt", { hasText: "Registered" }).locator("..").locator("time");
  const { gateway } = await daemon.call("GET", "/api/gateways/1");
  const inUtc = new Date(gateway.created_at * 1000).toISOString().slice(0, 19).replace("T", " ");
  const inTokyo = new Date((gateway.created_at + 9 * 3600) * 1000).toISOString().slice(0, 19).replace("T", " ");
  assert.equal(await registered.innerText(), inTokyo);
  await page.locator("details.who summary").click();
  await page.getByLabel("Time zone").selectOption("utc");
  await page.getByText(`${inUtc} UTC`).first().waitFor();
  await page.reload();
  await page.getByText(`${inUtc} UTC`).first().waitFor();
  const titles = await page
    .locator("main time[title]")
    .evaluateAll((all) => all.map((one) => one.getAttribute("title") ?? ""));
  assert.ok(titles.length > 5 && titles.every((title) => title.endsWith(" UTC")), titles.join(", "));
  await context.close();
});

test("the same work with the same key is given once, and the page shows what became of it", async () => {
  const { page, context, faults } = await openPage(browser);
  await logIn(page, daemon, "/spawns");
  const addresses = [];
  for (const word of ["took the task", "This work had been given before"]) {
    await page.getByRole("button", { name: "+ New task" }).press("Enter");
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Task", { exact: true }).fill("count to 2");
    await dialog.getByLabel("Agent", { exact: true }).fill("sample");
    await dialog.getByText("More", { exact: true }).press("Enter");
    await dialog.getByLabel("Idempotency key").fill("once");
    await dialog.getByRole("button", { name: "Give it to a gateway" }).press("Enter");
    await page.getByText(word).waitFor();
    await page.getByText("It ended well.").waitFor();
    addresses.push(page.url());
    await page.getByRole("link", { name: "← Spawns" }).click();
  }
  assert.equal(addresses[0], addresses[1]);
  assert.equal((await daemon.call("GET", "/api/spawn?limit=10")).history.length, 1);
  assert.deepEqual(faults, []);
  await context.close();
});

test("the limit on checks counts down on the button, and what it would refuse is not sent", async () => {
  const limited = await startDaemon({
    GATEWARDEN_RATE_LIMIT__ENABLED: "true",
    GATEWARDEN_RATE_LIMIT__HEALTH_INTERVAL: "60s",
  });
  try {
    const { page, context } = await openPage(browser);
    await logIn(page, limited);
    const button = page.getByRole("button", { name: /^Prob/ });
    const isLimited = () => page.getByRole("button", { name: /^Probe all \(in \d+ s\)$/ }).isVisible();
    await until(
      async () => {
        if (await isLimited()) return true;
        await button.click();
        await page.getByRole("button", { name: /^Probe all/ }).waitFor();
        return isLimited();
      },
      () => "the limit is reached",
    );
    let sent = 0;
    page.on("request", (request) => {
      if (request.url().endsWith("/api/gateways/health")) sent += 1;
    });
    await button.press("Enter");
    await page.getByRole("button", { name: "Actions for local" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Probe now" }).click();
    await page.getByText(/^The next check may come in \d+ s$/).waitFor();
    assert.equal(sent, 0);
    assert.deepEqual(await violations(page), []);
    await context.close();
  } finally {
    await limited.stop();
  }
});
