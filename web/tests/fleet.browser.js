// The page of the fleet and the login, in a browser, with a real daemon and its embedded gateway.
import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
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

test("a failed login says why, and a good one goes on to where one wanted to be", async () => {
  const { page, context } = await openPage(browser);
  await page.goto(`${daemon.url}/gateways/1`);
  await page.waitForURL(/\/login\?next=%2Fgateways%2F1/);
  await page.getByLabel("API key").fill("wrong");
  await page.getByRole("button", { name: "Log in" }).click();
  assert.match(await page.getByRole("alert").innerText(), /The API key is wrong, expired or revoked/);
  assert.deepEqual(await violations(page), []);
  await picture(page, "login-failed");
  await page.getByLabel("API key").fill(daemon.key);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "local", level: 1 }).waitFor();
  assert.equal(new URL(page.url()).pathname, "/gateways/1");
  await page.locator("details.who summary").click();
  await page.getByRole("button", { name: "Log out" }).click();
  await page.waitForURL(/\/login/);
  await context.close();
});

test("the login works without scripts", async () => {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(`${daemon.url}/login`);
  await page.getByLabel("API key").fill(daemon.key);
  await page.getByRole("button", { name: "Log in" }).click();
  assert.equal((await context.cookies()).length, 1);
  assert.match(
    (await page.goto(`${daemon.url}/`).then((answer) => answer?.text())) ?? "",
    /<noscript>.*The dashboard needs JavaScript/,
  );
  await page.goto(`${daemon.url}/api/auth/session`);
  assert.match(await page.content(), /"role":"admin"/);
  await context.close();
});

test("the link of `up` logs in once", async () => {
  const link = /(http:\/\/\S+\/login\?once=\S+)/.exec(daemon.said())?.[1];
  assert.ok(link, daemon.said());
  const { page, context } = await openPage(browser);
  await page.goto(link);
  await page.getByRole("button", { name: "Open the dashboard" }).click();
  await page.getByRole("link", { name: "local", exact: true }).waitFor();
  await page.goto(link);
  await page.getByRole("button", { name: "Open the dashboard" }).click();
  assert.match(await page.getByRole("alert").innerText(), /has logged somebody in already/);
  await context.close();
});

test("a gateway is added, shown, changed, probed, drained, made primary and deleted; a mistake keeps what was typed", async () => {
  const { page, context, faults } = await openPage(browser);
  await logIn(page, daemon);
  await page.getByRole("button", { name: "+ Add gateway" }).click();
  await page.getByLabel("Name", { exact: true }).fill("edge");
  await page.getByLabel("Host", { exact: true }).fill("user@127.0.0.1");
  await page.getByLabel("Port", { exact: true }).fill("9");
  await page.getByLabel("Token", { exact: true }).fill(PLANTED);
  await page.getByLabel("Labels").fill("environment=test");
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Add gateway" }).click();
  await page.locator("#field-host-problem").waitFor();
  assert.equal(await page.getByLabel("Name", { exact: true }).inputValue(), "edge");
  assert.equal(await page.getByLabel("Token", { exact: true }).inputValue(), PLANTED);
  await until(
    () => page.evaluate(() => document.activeElement?.id === "field-host"),
    () => "the focus is in the field that is wrong",
  );
  assert.deepEqual(await violations(page), []);
  await picture(page, "add-gateway-mistake");
  await page.getByLabel("Host", { exact: true }).fill("127.0.0.1");
  await dialog.getByRole("button", { name: "Add gateway" }).click();
  await dialog.waitFor({ state: "detached" });
  const edge = row(page, "edge");
  await edge.getByText("Offline").waitFor();
  assert.match(await edge.innerText(), /127\.0\.0\.1:9\s+Set/);
  assert.match(await row(page, "local").innerText(), /PRIMARY\s*CONNECTED/);

  const choose = async (/** @type {string} */ name, /** @type {RegExp} */ action) => {
    await page.getByRole("button", { name: `Actions for ${name}` }).click();
    await page.getByRole("dialog").getByRole("button", { name: action }).click();
  };
  await choose("edge", /^Drain/);
  await edge.getByText("DRAINED").waitFor();
  await choose("edge", /^Probe/);
  await page.getByText(/edge doesn't answer as it should/).waitFor();
  await choose("edge", /^Edit/);
  await page.getByLabel("Name", { exact: true }).fill("edge-2");
  assert.equal(await page.getByLabel("Token", { exact: true }).inputValue(), "");
  await page.getByRole("button", { name: "Save" }).click();
  await row(page, "edge-2").waitFor();
  await choose("edge-2", /^Set as primary/);
  await page.getByText(/It is offline. Until it is online another gateway acts for it/).waitFor();
  await page.getByRole("button", { name: "Set it as primary" }).click();
  await row(page, "edge-2").getByText("PRIMARY").waitFor();
  await choose("local", /^Set as primary/);
  await row(page, "local").getByText("PRIMARY").waitFor();
  await choose("edge-2", /^Delete/);
  await page.getByRole("button", { name: "Delete gateway" }).click();
  await page.getByText("Name of the gateway is not edge-2").waitFor();
  await page.getByLabel("Name of the gateway").fill("edge-2");
  await page.getByRole("button", { name: "Delete gateway" }).click();
  await row(page, "edge-2").waitFor({ state: "detached" });
  await page.getByRole("button", { name: "+ Add gateway" }).click();
  await page.getByRole("button", { name: "Cancel" }).click();
  await until(
    () => page.evaluate(() => document.activeElement?.textContent === "+ Add gateway"),
    () => "the focus comes back",
  );
  await page.getByRole("button", { name: "Probe all" }).click();
  await page.getByText(/Checked 1 gateway: 1 online/).waitFor();
  // The mistake above was answered with 400, which browsers note.
  assert.deepEqual(
    faults.filter((fault) => !fault.includes("status of 400")),
    [],
  );
  await context.close();
});

test("names are text, whatever is in them, and a token is nowhere", async () => {
  const names = ["<img src=x onerror=alert(1)>", "بوابة الإنتاج", "x".repeat(200)];
  const ids = [];
  for (const [at, name] of names.entries()) {
    ids.push(
      (await daemon.call("POST", "/api/gateways", { name, host: "127.0.0.1", port: 20 + at, token: PLANTED })).gateway
        .id,
    );
  }
  const { page, context, faults, answers } = await openPage(browser);
  await logIn(page, daemon);
  for (const name of names) await row(page, name).waitFor();
  assert.equal(await page.locator("img").count(), 0);
  assert.deepEqual(await violations(page), []);
  await page.getByRole("link", { name: names[0], exact: true }).click();
  await page.getByRole("heading", { name: names[0], level: 1 }).waitFor();
  await page.getByRole("button", { name: "Edit…" }).click();
  await page.getByText("One is set, and never shown").waitFor();
  const held = await page.evaluate(() =>
    JSON.stringify([
      document.documentElement.outerHTML,
      { ...localStorage },
      { ...sessionStorage },
      [...document.querySelectorAll("input")].map((input) => input.value),
      document.cookie,
      location.href,
    ]),
  );
  assert.ok(!held.includes(PLANTED) && !held.includes(daemon.key));
  assert.ok(answers.length > 5 && answers.every(({ url, body }) => !url.includes(PLANTED) && !body.includes(PLANTED)));
  assert.deepEqual(faults, []);
  for (const id of ids) await daemon.call("DELETE", `/api/gateways/${id}`);
  await context.close();
});

test("counts filter, words search, and the address says it without a history", async () => {
  await daemon.call("POST", "/api/gateways", { name: "away", host: "127.0.0.1", port: 31, labels: { region: "eu" } });
  const { page, context } = await openPage(browser);
  await logIn(page, daemon);
  const length = await page.evaluate(() => history.length);
  await page.getByRole("button", { name: /1 Offline/ }).click();
  await row(page, "local").waitFor({ state: "detached" });
  assert.equal(new URL(page.url()).search, "?status=offline");
  await page.keyboard.press("/");
  await page.keyboard.type("no such");
  await page.getByText("No gateway is like that").waitFor();
  assert.deepEqual(await violations(page), []);
  assert.equal(await page.evaluate(() => history.length), length);
  await page.getByRole("button", { name: "Show all" }).click();
  await row(page, "local").waitFor();
  await page.getByRole("button", { name: "Name" }).click();
  assert.equal(new URL(page.url()).search, "?sort=name");
  await page.goto(`${daemon.url}/?label=region=eu`);
  await row(page, "away").waitFor();
  assert.equal(await page.getByRole("row").count(), 2);
  await daemon.call(
    "DELETE",
    `/api/gateways/${(await daemon.call("GET", "/api/gateways")).gateways.find((/** @type {any} */ one) => one.name === "away").id}`,
  );
  await context.close();
});

test("a viewer sees everything and is offered nothing that would be refused", async () => {
  const { api_key: key } = await daemon.call("POST", "/api/keys", { name: "looks", role: "viewer" });
  const { page, context, faults } = await openPage(browser);
  await logIn(page, { url: daemon.url, key });
  await row(page, "local").waitFor();
  assert.equal(await page.getByRole("button", { name: "+ Add gateway" }).count(), 0);
  await page.getByRole("button", { name: "Actions for local" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Probe now" }).waitFor();
  assert.deepEqual(await page.getByRole("dialog").getByRole("button").allInnerTexts(), ["✕", "Probe now"]);
  await page.keyboard.press("Escape");
  await page.getByRole("link", { name: "local", exact: true }).click();
  await page.getByText("Reading the log needs a key with the role operator").waitFor();
  assert.deepEqual(faults, []);
  await context.close();
});

test("a daemon that dies leaves nothing that looks alive, and is found again without a reload", async () => {
  const { page, context } = await openPage(browser);
  await logIn(page, daemon);
  await row(page, "local").getByText("Online").waitFor();
  await page.evaluate(() => Object.assign(window, { isTheSame: true }));
  const killed = daemon.kill();
  await page.getByText(/^As of \d\d:\d\d:\d\d\.$/).waitFor({ timeout: 5_000 });
  await killed;
  const colors = await page.evaluate(() =>
    [".table .status", ".link .shape"].map(
      (one) => getComputedStyle(/** @type {Element} */ (document.querySelector(one))).color,
    ),
  );
  const good = await page.evaluate(() => {
    const probe = document.body.appendChild(document.createElement("span"));
    probe.className = "online";
    return getComputedStyle(probe).color;
  });
  assert.ok(!colors.includes(good), "no green");
  assert.deepEqual(await violations(page), []);
  await picture(page, "fleet-stale");
  await daemon.startAgain();
  await page.getByText("Connected", { exact: true }).waitFor();
  await row(page, "local").getByText("Online").waitFor();
  assert.ok(await page.evaluate(() => /** @type {any} */ (window).isTheSame));
  await page.getByText("1 reconnect").waitFor();
  await context.close();
});

test("a session that ends keeps the page and says so", async () => {
  const { api_key: key, key: made } = await daemon.call("POST", "/api/keys", { name: "gone soon", role: "admin" });
  const { page, context } = await openPage(browser);
  await logIn(page, { url: daemon.url, key });
  await page.getByRole("button", { name: "+ Add gateway" }).click();
  await page.getByLabel("Name", { exact: true }).fill("typed");
  await daemon.call("DELETE", `/api/keys/${made.id}`);
  await page.getByRole("dialog").getByRole("button", { name: "Add gateway" }).click();
  await page.getByText("The browser session has ended.").first().waitFor();
  // Not "next try in": nobody answers until somebody logs in.
  await page.locator(".link").getByText("Disconnected", { exact: true }).waitFor();
  assert.equal(await page.getByRole("button", { name: "Try now" }).count(), 0);
  assert.equal(await page.getByLabel("Name", { exact: true }).inputValue(), "typed");
  await context.close();
});

test("who changes a gateway hears that somebody else did, and what is wrong with a label or a port", async () => {
  const { gateway } = await daemon.call("POST", "/api/gateways", { name: "shared", host: "127.0.0.1", port: 41 });
  const { page, context } = await openPage(browser);
  await logIn(page, daemon, `/gateways/${gateway.id}`);
  await page.getByText("None: it is not connected").waitFor();
  await page.getByRole("button", { name: "Edit…" }).click();
  const dialog = page.getByRole("dialog");
  const save = dialog.getByRole("button", { name: "Save" });
  await dialog.getByLabel("Host", { exact: true }).fill("ws://127.0.0.1:42");
  assert.equal(await dialog.getByLabel("Port", { exact: true }).isDisabled(), true);
  assert.equal(await dialog.getByLabel("Port", { exact: true }).inputValue(), "42");
  await dialog.getByLabel("Host", { exact: true }).fill("127.0.0.1");
  await dialog.getByLabel("Name", { exact: true }).fill("x".repeat(201));
  await save.click();
  await page.locator("#field-name-problem").waitFor();
  await dialog.getByLabel("Name", { exact: true }).fill("shared");
  await dialog.getByLabel("Labels").fill("nonsense");
  await save.click();
  await page.getByText('"nonsense" has no "="').waitFor();
  await dialog.getByLabel("Labels").fill("region=eu");
  await daemon.call("PUT", `/api/gateways/${gateway.id}`, { labels: { region: "us" } });
  await save.click();
  await page
    .getByText(/Somebody else changed this gateway since the form was opened: labels is {"region":"us"} now/)
    .waitFor();
  assert.deepEqual((await daemon.call("GET", `/api/gateways/${gateway.id}`)).gateway.labels, { region: "us" });
  await save.click();
  await dialog.waitFor({ state: "detached" });
  assert.deepEqual((await daemon.call("GET", `/api/gateways/${gateway.id}`)).gateway.labels, { region: "eu" });
  await daemon.call("DELETE", `/api/gateways/${gateway.id}`);
  await context.close();
});

test("what was not answered is not known, and a daemon that does not answer is in doubt", async () => {
  const { page, context } = await openPage(browser);
  await logIn(page, daemon);
  await page.route("**/reconnect", (route) => route.abort());
  await page.getByRole("button", { name: "Actions for local" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Reconnect" }).click();
  await page.getByText(/it is not known whether this is so: "local was not reconnected"/).waitFor();
  await page.getByRole("button", { name: "Actions for local" }).click();
  await page
    .getByRole("dialog")
    .getByRole("button", { name: /^Drain/ })
    .click();
  await page.getByText("It acts as primary.").waitFor();
  await page.getByRole("button", { name: "Cancel" }).click();
  // Never answered.
  await page.route("**/api/gateways/1", () => {});
  await page.getByRole("link", { name: "local", exact: true }).click();
  await page.getByText(/^No answer for \d+ s$/).waitFor();
  assert.deepEqual(await violations(page), []);
  await context.close();
});

test("among hundreds of gateways one is chosen by its name", async () => {
  const { page, context } = await openPage(browser);
  const gateways = Array.from({ length: 300 }, (_, at) => ({
    id: at + 2,
    name: `gateway-${at}`,
    host: "192.0.2.7",
    port: 18789,
    status: "online",
    since: 1,
    phase: "ready",
    as_of: 1,
  }));
  await page.route("**/api/fleet", (route) =>
    route.fulfill({ json: { last_event: 1, acting_primary: null, self_doubt: null, gateways } }),
  );
  await logIn(page, daemon, "/spawns");
  await page.getByRole("button", { name: "+ New task" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Task", { exact: true }).fill("Look");
  const gateway = dialog.getByLabel("Gateway", { exact: true });
  await gateway.fill("nobody");
  await dialog.getByRole("button", { name: "Give it to a gateway" }).click();
  await page.getByText("Gateway is the name of no gateway: nobody").waitFor();
  await gateway.fill("gateway-250");
  const offered = dialog.locator("#gateway-names option");
  const names = () => offered.evaluateAll((all) => all.map((one) => one.getAttribute("value")).join());
  await until(
    async () => (await names()) === "gateway-250",
    () => "only the gateway of this name is offered",
  );
  const sent = page.waitForRequest("**/api/spawn");
  await page.route("**/api/spawn", (route) => route.abort());
  await dialog.getByRole("button", { name: "Give it to a gateway" }).click();
  assert.equal((await sent).postDataJSON().gateway_id, 252);
  await page.getByText(/It may have done this all the same/).waitFor();
  await context.close();
});

test("every page passes axe in light and dark, narrow and wide", async () => {
  for (const width of [320, 640, 1280]) {
    for (const dark of [false, true]) {
      const { page, context, faults } = await openPage(browser, { width, dark });
      await logIn(page, daemon);
      for (const path of ["/", "/gateways/1", "/help", "/gateways/999"]) {
        await page.goto(daemon.url + path);
        await page.getByText("Connected", { exact: true }).waitFor();
        await page.locator(".loading").first().waitFor({ state: "detached" });
        assert.deepEqual(await violations(page), [], `${path} ${width} ${dark}`);
        assert.ok(
          await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth),
          `${path} fits ${width}`,
        );
        await picture(page, `page${path.replaceAll("/", "-")}-${width}-${dark ? "dark" : "light"}`);
      }
      assert.deepEqual(
        faults.filter((fault) => !fault.includes("status of 404")),
        [],
      );
      await context.close();
    }
  }
});

test("bytes, requests, nodes and memory stay within their limits, however many gateways there are", async () => {
  const { page, context, answers } = await openPage(browser);
  await logIn(page, daemon);
  await row(page, "local").waitFor();
  await until(
    () => answers.some(({ url }) => url.endsWith("/api/fleet")),
    () => "the fleet is read",
  );
  const cold = answers.filter(({ url }) => !url.includes("/api/") && !url.includes("/login"));
  const bytes = cold.reduce((sum, { size }) => sum + size, 0);
  console.log(`without data: ${bytes} bytes in ${cold.length} requests`);
  assert.ok(
    bytes <= 60 * 1024 && cold.length <= 12,
    `${bytes} bytes in ${cold.length} requests: ${cold.map(({ url }) => url)}`,
  );
  await context.close();
  /** @type {number[]} */
  const nodesOf = [];
  for (const [gateways, mostBytes, mostHeap] of [
    [100, 70 * 1024, 8e6],
    [1_000, 120 * 1024, 8e6],
    [10_000, 300 * 1024, 30e6],
  ]) {
    const many = await openPage(browser);
    const now = Math.floor(Date.now() / 1000);
    // As many are offline whatever their number is: the rows that are in sight are alike.
    const rows = Array.from({ length: gateways }, (_, at) => ({
      id: at + 2,
      name: `gateway-${at}`,
      host: `10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`,
      port: 18789,
      status: at > 1 ? "online" : "offline",
      since: now - at,
      phase: at > 1 ? "ready" : "backoff",
      latency: (at * 7919) % 400,
      last_seen: now - (at % 30),
      as_of: now - (at % 30),
      version: "2026.9.6",
      protocol: 4,
      token_set: true,
      sessions_count: at % 5,
      agents_count: at % 9,
    }));
    const fleet = JSON.stringify({ last_event: 1, acting_primary: null, self_doubt: null, gateways: rows });
    // As the daemon compresses it.
    const compressed = gzipSync(fleet, { level: 4 });
    await many.page.route("**/api/fleet", (route) =>
      route.fulfill({ status: 200, contentType: "application/json", body: fleet }),
    );
    await logIn(many.page, daemon);
    await many.page.getByText(`${gateways.toLocaleString("en")} gateways`).waitFor();
    const nodes = await many.page.evaluate(() => document.querySelectorAll("*").length);
    const cdp = await many.context.newCDPSession(many.page);
    await cdp.send("HeapProfiler.collectGarbage");
    const { usedSize } = await cdp.send("Runtime.getHeapUsage");
    console.log(
      `${gateways} gateways: ${bytes + compressed.length} bytes, ${nodes} nodes, ${(usedSize / 1e6).toFixed(1)} MB`,
    );
    assert.ok(bytes + compressed.length <= mostBytes, `${bytes + compressed.length} bytes`);
    assert.ok(nodes <= 1_500, `${nodes} nodes`);
    nodesOf.push(nodes);
    assert.ok(usedSize <= mostHeap, `${usedSize} bytes of memory`);
    await many.page.mouse.wheel(0, 100_000);
    await many.page
      .getByRole("link", { name: /^gateway-\d{2,4}$/ })
      .first()
      .waitFor();
    assert.ok((await many.page.evaluate(() => document.querySelectorAll("*").length)) <= 1_500);
    await many.context.close();
  }
  const [few = 0, , many = 0] = nodesOf;
  assert.ok(Math.abs(many - few) <= few * 0.05, `${nodesOf} nodes`);
});
