// How gateways are added, changed and steered, one and many, in a browser, with a real daemon and its embedded gateway.
import assert from "node:assert/strict";
import { test } from "node:test";
import { forAllTests, logIn, openPage, PLANTED, picture, until, violations } from "./daemon.js";

/** @type {Awaited<ReturnType<typeof import("./daemon.js").startDaemon>>} */
let daemon;
/** @type {import("playwright-core").Browser} */
let browser;
forAllTests((theDaemon, theBrowser) => {
  daemon = theDaemon;
  browser = theBrowser;
});

const row = (/** @type {import("playwright-core").Page} */ page, /** @type {string} */ name) =>
  page.getByRole("row").filter({ has: page.getByRole("link", { name, exact: true }) });

/** Of the embedded gateway. */
async function local() {
  const { gateway } = await daemon.call("GET", "/api/gateways/1");
  const { token } = await daemon.call("POST", "/api/gateways/connect", { id: 1 });
  return { ...gateway, token };
}

test("the way to a gateway is checked step by step before it is saved, and a mistake is named", async () => {
  const { host, port, token } = await local();
  const { page, context, faults, answers } = await openPage(browser);
  await logIn(page, daemon);
  await page.getByRole("button", { name: "+ Add gateway" }).click();
  const dialog = page.getByRole("dialog");
  const check = dialog.getByRole("button", { name: "Check the connection" });
  await check.click();
  await page.locator("#field-host-problem").waitFor();
  await dialog.getByLabel("Host", { exact: true }).fill(host);
  if (!host.includes("://")) await dialog.getByLabel("Port", { exact: true }).fill(String(port));
  await dialog.getByText("local has this address already.").waitFor();
  await dialog.getByLabel("Token", { exact: true }).fill(PLANTED);
  await check.press("Enter");
  await dialog.getByText(/refused the token/).waitFor();
  const steps = dialog.locator(".steps li");
  assert.match(await steps.filter({ hasText: "Connection (TCP)" }).innerText(), /OK/);
  assert.match(await steps.filter({ hasText: "Login" }).innerText(), /Failed/);
  assert.deepEqual(await violations(page), []);
  await picture(page, "add-gateway-check-failed");
  await dialog.getByLabel("Token", { exact: true }).fill(token ?? "");
  await dialog.getByText("was changed since this check").waitFor();
  await check.click();
  await dialog.getByText("Everything is fine").waitFor();
  assert.equal(await steps.count(), 8);
  await picture(page, "add-gateway-check");
  assert.equal((await daemon.call("GET", "/api/gateways")).gateways.length, 1, "nothing was saved");
  const { audit } = await daemon.call("GET", "/api/audit?limit=50");
  assert.ok(audit.some((/** @type {any} */ one) => one.action === "gateway.check" && one.target.endsWith(`:${port}`)));
  assert.ok(!JSON.stringify(audit).includes(PLANTED) && answers.every(({ body }) => !body.includes(PLANTED)));
  assert.deepEqual(
    faults.filter((fault) => !fault.includes("status of 400")),
    [],
  );
  await context.close();
});

test("a check of a black hole is shown as it goes, and can be stopped", async () => {
  const { page, context } = await openPage(browser);
  await logIn(page, daemon);
  await page.getByRole("button", { name: "+ Add gateway" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Host", { exact: true }).fill("127.0.0.1");
  await page.route("**/api/gateways/check", () => {});
  await dialog.getByRole("button", { name: "Check the connection" }).click();
  await dialog.getByText("Checking: Name (DNS)…").waitFor();
  await dialog.getByRole("button", { name: "Stop the check" }).click();
  await dialog.getByRole("button", { name: "Check the connection" }).waitFor();
  await page.unroute("**/api/gateways/check");
  await dialog.getByLabel("Port", { exact: true }).fill("9");
  await dialog.getByRole("button", { name: "Check the connection" }).click();
  await dialog.getByText("It would not be online").waitFor();
  await dialog
    .getByText(/nothing listens|refused/i)
    .first()
    .waitFor();
  await context.close();
});

test("all that can be set of a gateway is in its form, and only what was changed is sent", async () => {
  const { page, context, faults } = await openPage(browser);
  await logIn(page, daemon);
  await page.getByRole("button", { name: "+ Add gateway" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name", { exact: true }).fill("whole");
  await dialog.getByLabel("Host", { exact: true }).fill("127.0.0.1");
  await dialog.getByLabel("Port", { exact: true }).fill("41");
  await dialog.getByText("More: password").press("Enter");
  await dialog.getByLabel("Password", { exact: true }).fill(PLANTED);
  await dialog.getByLabel("TLS: whom to trust").selectOption("pins");
  await dialog.getByLabel("SHA-256 of the certificates").fill("nonsense");
  await dialog.getByLabel("Priority").fill("7");
  await dialog.getByLabel("Drained").check();
  await dialog.getByLabel("Node", { exact: true }).fill("warden-b");
  await dialog.getByLabel("How to speak to it").selectOption("ws");
  await dialog.getByRole("button", { name: "Add gateway" }).click();
  await page.locator("#field-pins-problem").waitFor();
  assert.deepEqual(await violations(page), []);
  await picture(page, "add-gateway-more");
  await dialog.getByLabel("SHA-256 of the certificates").fill("ab".repeat(32));
  await dialog.getByLabel("Run on the daemon's machine").selectOption("unit");
  await dialog.getByLabel("Name of the unit").fill("sshd.service");
  await dialog.getByRole("button", { name: "Add gateway" }).click();
  await page.locator("#field-process-problem").waitFor();
  await dialog.getByLabel("Run on the daemon's machine").selectOption("");
  await dialog.getByRole("button", { name: "Add gateway" }).click();
  await dialog.waitFor({ state: "detached" });
  const { gateways } = await daemon.call("GET", "/api/gateways");
  const made = gateways.find((/** @type {any} */ one) => one.name === "whole");
  assert.deepEqual(
    [made.priority, made.drained, made.transport, made.tls, made.password_set, made.node],
    [7, true, "ws", { trust: "pins", pins: ["ab".repeat(32)] }, true, "warden-b"],
  );
  const edit = async () => {
    await page.getByRole("button", { name: "Actions for whole" }).click();
    await dialog.getByRole("button", { name: "Edit…" }).click();
    await dialog.getByText("More: password").press("Enter");
  };
  await edit();
  assert.equal(await dialog.getByLabel("Password", { exact: true }).inputValue(), "");
  await dialog.getByLabel("Priority").fill("8");
  await dialog.getByLabel("Remove the password").check();
  await dialog.getByLabel("Node", { exact: true }).fill("");
  const sent = page.waitForRequest((request) => request.method() === "PUT");
  await dialog.getByRole("button", { name: "Save" }).click();
  assert.deepEqual((await sent).postDataJSON(), { priority: 8, node: null, password: null });
  await dialog.waitFor({ state: "detached" });
  await edit();
  await dialog.getByRole("button", { name: "Save" }).click();
  await page.getByText("Nothing was changed").waitFor();
  await daemon.call("DELETE", `/api/gateways/${made.id}`);
  assert.deepEqual(
    faults.filter((fault) => !fault.includes("status of 400")),
    [],
  );
  await context.close();
});

test("several gateways are chosen by keyboard, drained, probed and deleted, with what came of each", async () => {
  for (const at of [1, 2, 3])
    await daemon.call("POST", "/api/gateways", { name: `many-${at}`, host: "127.0.0.1", port: 50 + at });
  const { page, context, faults } = await openPage(browser);
  await logIn(page, daemon, "/?sort=name");
  await row(page, "many-3").getByText("Offline").waitFor();
  await page.getByRole("button", { name: "Choose several" }).press("Enter");
  await page.getByText("0 chosen").waitFor();
  await page.getByLabel("Choose many-1").press("Space");
  await page.getByLabel("Choose many-3").click({ modifiers: ["Shift"] });
  await page.getByText("3 chosen").waitFor();
  assert.deepEqual(await violations(page), []);
  await picture(page, "choose-several");
  const bulk = page.getByRole("group", { name: "Actions for the chosen gateways" });
  const dialog = page.getByRole("dialog");
  const close = async () => {
    await dialog.getByRole("button", { name: "Close", exact: true }).last().press("Enter");
    await dialog.waitFor({ state: "detached" });
  };
  await bulk.getByRole("button", { name: "Drain", exact: true }).press("Enter");
  await dialog.getByText("3 of 3 went well.").waitFor();
  await close();
  await row(page, "many-2").getByText("DRAINED").waitFor();
  await bulk.getByRole("button", { name: "Undrain" }).click();
  await dialog.getByText("3 of 3 went well.").waitFor();
  await close();
  await bulk.getByRole("button", { name: "Reconnect" }).click();
  await dialog.getByText("3 of 3 went well.").waitFor();
  await close();
  await page.getByLabel("Choose local").check();
  await bulk.getByRole("button", { name: "Probe", exact: true }).click();
  await dialog.getByText("1 of 4 went well, 3 did not.").waitFor();
  await dialog.getByText("Answers").waitFor();
  assert.deepEqual(await violations(page), []);
  await picture(page, "probe-several");
  await close();
  await bulk.getByRole("button", { name: "Drain", exact: true }).click();
  await dialog.getByText("local acts as primary.").waitFor();
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await bulk.getByRole("button", { name: "Delete…" }).click();
  await dialog.getByText("The primary is among them").waitFor();
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await page.getByLabel("Choose local").uncheck();
  await bulk.getByRole("button", { name: "Delete…" }).click();
  await dialog.getByLabel("Names of the gateways").fill("many-1\nmany-2");
  await dialog.getByRole("button", { name: "Delete them" }).click();
  await dialog.getByText("Names of the gateways lack many-3").waitFor();
  assert.deepEqual(await violations(page), []);
  await dialog.getByLabel("Names of the gateways").fill("many-1\nmany-2\nmany-3");
  await dialog.getByRole("button", { name: "Delete them" }).click();
  await dialog.getByText("3 of 3 went well.").waitFor();
  await close();
  await row(page, "many-1").waitFor({ state: "detached" });
  await page.getByText("0 chosen").waitFor();
  assert.deepEqual(faults, []);
  await context.close();
});

test("a refusal among several is shown at its gateway, and a limit is waited for", async () => {
  const { gateway } = await daemon.call("POST", "/api/gateways", { name: "other", host: "127.0.0.1", port: 61 });
  const { page, context } = await openPage(browser);
  await logIn(page, daemon, "/?sort=name");
  await row(page, "other").waitFor();
  let refusals = 0;
  await page.route(`**/api/gateways/${gateway.id}/reconnect`, (route) =>
    refusals++ === 0
      ? route.fulfill({
          status: 429,
          headers: { "Retry-After": "1" },
          json: { error: "Too many", code: "rate_limited" },
        })
      : route.continue(),
  );
  await page.route("**/api/gateways/1/reconnect", (route) =>
    route.fulfill({ status: 503, json: { error: "The registry is busy", code: "unavailable", help: "Try again." } }),
  );
  await page.getByRole("button", { name: "Choose several" }).click();
  await page.getByRole("button", { name: "Choose all 2 shown" }).click();
  await page
    .getByRole("group", { name: "Actions for the chosen gateways" })
    .getByRole("button", { name: "Reconnect" })
    .click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("1 of 2 went well, 1 did not.").waitFor();
  assert.match(await dialog.getByRole("listitem").first().innerText(), /Failed\s+local\s+The registry is busy/);
  assert.equal(refusals, 2);
  await daemon.call("DELETE", `/api/gateways/${gateway.id}`);
  await context.close();
});

test("rows in sight have a line of their latency, which is read for them alone", async () => {
  const { page, context, faults } = await openPage(browser);
  const now = Math.floor(Date.now() / 1000);
  /** @type {string[]} */
  const asked = [];
  await page.route("**/api/gateways/latency?*", (route) => {
    const ids = new URL(route.request().url()).searchParams.get("ids") ?? "";
    asked.push(ids);
    const from = now - 6 * 3600;
    const buckets = Array.from({ length: 24 }, (_, at) => ({ at: from + at * 900, count: 3, p50: 10 + at, p95: 40 }));
    const outages = [{ from: now - 3600, to: now - 1800, status: "offline" }];
    return route.fulfill({
      json: {
        from,
        to: now,
        bucket_s: 900,
        gateways: ids.split(",").map((id) => ({ gateway_id: Number(id), buckets, outages })),
      },
    });
  });
  const gateways = Array.from({ length: 500 }, (_, at) => ({
    id: at + 2,
    name: `gateway-${at}`,
    host: "192.0.2.7",
    port: 18789,
    status: "online",
    since: 1,
    phase: "ready",
    latency: 12,
    as_of: now,
  }));
  await page.route("**/api/fleet", (route) =>
    route.fulfill({ json: { last_event: 1, acting_primary: null, self_doubt: null, gateways } }),
  );
  await logIn(page, daemon);
  await row(page, "gateway-0").locator("svg.spark path").first().waitFor();
  assert.equal(asked.length, 1);
  assert.ok((asked[0] ?? "").split(",").length < 60, asked[0]);
  assert.match((await row(page, "gateway-0").locator("svg.spark path").first().getAttribute("d")) ?? "", /^M.*L/);
  await picture(page, "latency-lines");
  assert.deepEqual(await violations(page), []);
  await page.mouse.wheel(0, 10_000);
  await until(
    () => asked.length === 2,
    () => "the rows that came into sight are read",
  );
  assert.ok(!(asked[1] ?? "").split(",").includes("2"), asked[1]);
  assert.deepEqual(faults, []);
  await context.close();
});

test("how much a session thinks and tells is set, and where its gateway can't, that is said", async () => {
  await daemon.call("POST", "/api/spawn", { task: "count to 1", agent: "sample", sessionKey: "agent:sample:levels" });
  const { page, context } = await openPage(browser);
  await logIn(page, daemon, "/sessions?session=agent:sample:levels");
  await page.getByRole("button", { name: "Levels…" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Thinking", { exact: true }).selectOption("other");
  await dialog.getByLabel("Its name").fill("nonsense");
  await dialog.getByRole("button", { name: "Set" }).click();
  await dialog.getByText(/must be a thinking level: one of off, minimal/).waitFor();
  assert.deepEqual(await violations(page), []);
  await dialog.getByLabel("Thinking", { exact: true }).selectOption("high");
  await dialog.getByLabel("Verbose").selectOption("full");
  await dialog.getByRole("button", { name: "Set" }).click();
  await page.getByText("The levels are set").waitFor();
  await page.route("**/api/sessions?action=set-*", (route) =>
    route.fulfill({
      status: 501,
      json: { error: "Gateway local (2026.2.19) can't set a thinking level", code: "not_supported_by_gateway" },
    }),
  );
  await page.getByRole("button", { name: "Levels…" }).click();
  await dialog.getByLabel("Thinking", { exact: true }).selectOption("low");
  await dialog.getByRole("button", { name: "Set" }).click();
  await dialog.getByText("can't set a thinking level").waitFor();
  await context.close();
});

test("what can't be seen in a name is shown in messages, titles and choices, and the audit log has names", async () => {
  const { gateway } = await daemon.call("POST", "/api/gateways", { name: "a\u202eb", host: "127.0.0.1", port: 71 });
  const { page, context } = await openPage(browser);
  await logIn(page, daemon);
  await page.getByRole("button", { name: /^Actions for a.b$/ }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("heading", { name: "a⟨U+202E⟩b" }).waitFor();
  await dialog.getByRole("button", { name: /^Drain/ }).click();
  await page.getByText("a⟨U+202E⟩b gets no new work").waitFor();
  await page.locator('nav a[href="/sessions"]').click();
  await page.getByLabel("Show by gateway").getByText("a⟨U+202E⟩b").waitFor({ state: "attached" });
  await page.locator('nav a[href="/audit"]').click();
  const entry = page.getByRole("row").filter({ hasText: "gateway.drain" }).first();
  await entry.getByRole("link", { name: "a⟨U+202E⟩b" }).waitFor();
  assert.match(await entry.innerText(), new RegExp(`gateway ${gateway.id}`));
  await daemon.call("DELETE", `/api/gateways/${gateway.id}`);
  await context.close();
});
