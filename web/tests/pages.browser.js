// The pages of sessions, work, agents, tools, events, the audit log, devices, keys and the daemon, in a browser, with a real daemon
// and its embedded gateway.
import assert from "node:assert/strict";
import { test } from "node:test";
import { forAllTests, logIn, openPage, picture, until, violations } from "./daemon.js";

/** @type {Awaited<ReturnType<typeof import("./daemon.js").startDaemon>>} */
let daemon;
/** @type {import("playwright-core").Browser} */
let browser;
forAllTests((theDaemon, theBrowser) => {
  daemon = theDaemon;
  browser = theBrowser;
});

const PATHS = [
  ...["/sessions", "/spawns", "/agents", "/connections", "/events", "/audit", "/devices", "/keys", "/nodes"],
  "/status",
];
const MARKUP = "<img src=x onerror=alert(1)>";
const RTL = "بوابة الإنتاج";

/** A page of ours for an admin, or for another key. @param {string} path @param {string} [key] */
async function open(path, key = daemon.key) {
  const opened = await openPage(browser);
  await logIn(opened.page, { url: daemon.url, key }, path);
  return opened;
}

test("a session is found, paused, resumed, labelled, written to, ended and deleted", async () => {
  await daemon.call("POST", "/api/spawn", { task: "count to 500", agent: "sample", sessionKey: "agent:sample:work" });
  const { page, context, faults } = await open("/sessions");
  await page.getByRole("link", { name: "agent:sample:work", exact: true }).waitFor();
  await page.getByLabel("Show by status").selectOption("paused");
  await page.getByText("No session is like that").waitFor();
  assert.equal(new URL(page.url()).search, "?status=paused");
  await page.getByRole("button", { name: "Show all" }).click();
  await page.getByRole("link", { name: "agent:sample:work", exact: true }).click();
  await page.getByRole("heading", { name: "agent:sample:work", level: 1 }).waitFor();
  await page.getByText("count to 500").waitFor();
  await page.getByRole("button", { name: "Pause" }).click();
  await page.locator(".facts").getByText("Paused").waitFor();
  await page.getByRole("button", { name: "Resume" }).click();
  await page.locator(".facts").getByText("Active").waitFor();
  await page.getByRole("button", { name: "End the run" }).click();
  await page.locator(".facts").getByText("Completed").waitFor();
  await page.getByRole("button", { name: "Label…" }).click();
  await page.getByLabel("Label", { exact: true }).fill(`${MARKUP} ${RTL}`);
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("heading", { name: `${MARKUP} ${RTL}`, level: 1 }).waitFor();
  await page.getByLabel("Write to this session").fill("count to 2");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText("1 2", { exact: true }).waitFor();
  assert.equal(await page.getByLabel("Write to this session").inputValue(), "");
  assert.deepEqual(await violations(page), []);
  assert.equal(await page.locator("img").count(), 0);
  await page.getByRole("button", { name: "Delete…" }).click();
  await page.getByRole("button", { name: "Delete session" }).click();
  await page.getByRole("heading", { name: "Sessions", level: 1 }).waitFor();
  await page.getByRole("link", { name: "agent:sample:work", exact: true }).waitFor({ state: "detached" });
  assert.deepEqual(faults, []);
  await context.close();
});

test("a key that two gateways hold asks which one is meant", async () => {
  const { gateway } = await daemon.call("GET", "/api/gateways/1");
  const { token } = await daemon.call("POST", "/api/gateways/connect", { id: 1 });
  const body = { name: "twin", host: gateway.host, port: gateway.port, ...(token && { token }) };
  const twin = (await daemon.call("POST", "/api/gateways", body)).gateway.id;
  await daemon.call("POST", "/api/spawn", {
    task: "count to 1",
    agent: "sample",
    sessionKey: "agent:sample:both",
    gateway_id: 1,
  });
  await until(
    async () =>
      (await daemon.call("GET", "/api/sessions?limit=200")).sessions.filter(
        (/** @type {any} */ one) => one.key === "agent:sample:both",
      ).length === 2,
    () => "both gateways tell of the session",
  );
  const { page, context } = await open("/sessions");
  await page.getByLabel("Key of a session").fill("agent:sample:both");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Which gateway?" }).waitFor();
  assert.deepEqual(await violations(page), []);
  await page.getByRole("link", { name: "twin", exact: true }).click();
  await page.locator(".facts").getByRole("link", { name: "twin", exact: true }).waitFor();
  await page.goBack();
  await page.getByRole("heading", { name: "Which gateway?" }).waitFor();
  await daemon.call("DELETE", `/api/gateways/${twin}`);
  await context.close();
});

test("what a gateway can't do to a session is said once, in place of the button", async () => {
  await daemon.call("POST", "/api/spawn", {
    task: "count to 500",
    agent: "sample",
    sessionKey: "agent:sample:stubborn",
  });
  const { page, context } = await open("/sessions");
  await page.route("**/control", (route) =>
    route.fulfill({
      status: 501,
      contentType: "application/json",
      body: JSON.stringify({
        error: "Gateway local (2026.9.6) can't pause sessions",
        code: "not_supported_by_gateway",
      }),
    }),
  );
  await page.getByRole("link", { name: "agent:sample:stubborn", exact: true }).click();
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByText("Gateway local (2026.9.6) can't pause sessions").waitFor();
  assert.equal(await page.getByRole("button", { name: "Pause" }).count(), 0);
  await daemon.call("POST", "/api/sessions/agent:sample:stubborn/control", { action: "kill" });
  await context.close();
});

test("a task is given by a form, by keyboard alone, and followed until its result; a mistake keeps what was typed", async () => {
  const { page, context, faults } = await open("/spawns");
  await page.getByRole("button", { name: "+ New task" }).press("Enter");
  await page.getByLabel("Task", { exact: true }).fill(`count to 3`);
  await page.getByLabel("Agent", { exact: true }).fill("sample");
  await page.getByText("More", { exact: true }).press("Enter");
  await page.getByLabel("Label", { exact: true }).fill(MARKUP);
  await page.getByLabel("Give up after (seconds)").fill("soon");
  await page.getByLabel("Give up after (seconds)").press("Enter");
  await page.locator("#field-timeout-problem").waitFor();
  assert.equal(await page.getByLabel("Task", { exact: true }).inputValue(), "count to 3");
  assert.deepEqual(await violations(page), []);
  await picture(page, "new-task-mistake");
  await page.getByLabel("Give up after (seconds)").fill("60");
  await page.getByLabel("Give up after (seconds)").press("Enter");
  await page.getByRole("heading", { name: MARKUP, level: 1 }).waitFor();
  await page.getByText("It ended well.").waitFor();
  await page.getByText("1 2 3", { exact: true }).waitFor();
  assert.match(await page.locator(".facts").innerText(), /it is the primary/);
  assert.deepEqual(await violations(page), []);
  await page.getByRole("link", { name: "← Spawns" }).click();
  await page.getByRole("row").filter({ hasText: MARKUP }).getByText("Completed").waitFor();
  assert.deepEqual(
    faults.filter((fault) => !fault.includes("status of 400")),
    [],
  );
  await context.close();
});

test("an agent is made, changed and deleted, and those of a gateway are read", async () => {
  const { page, context, faults } = await open("/agents");
  await page.getByRole("button", { name: "+ New agent" }).click();
  await page.getByLabel("Name", { exact: true }).fill(RTL);
  await page.getByLabel("Configuration").fill("not json");
  await page.getByRole("button", { name: "Create agent" }).click();
  await page.locator("#field-config-problem").waitFor();
  assert.equal(await page.getByLabel("Name", { exact: true }).inputValue(), RTL);
  await page.getByLabel("Configuration").fill('{"gateway_config": {"preferred_gateway": "local"}}');
  await page.getByRole("button", { name: "Create agent" }).click();
  const row = page.getByRole("row").filter({ hasText: RTL });
  await row.getByText("prefers local").waitFor();
  await page.getByRole("button", { name: `Edit ${RTL}` }).click();
  await page.getByLabel("Role", { exact: true }).fill("y".repeat(100));
  await page.getByRole("button", { name: "Save" }).click();
  await row.getByText("y".repeat(100)).waitFor();
  await page.getByRole("button", { name: "Synchronise…" }).click();
  await page.getByRole("button", { name: "Read its agents" }).click();
  await page.getByText(/agents? read: \d+ new/).waitFor();
  await page.getByRole("dialog").getByRole("button", { name: "Close", exact: true }).last().click();
  await page.getByRole("row").filter({ hasText: "sample" }).first().waitFor();
  await page.getByRole("button", { name: `Delete ${RTL}` }).click();
  await page.getByRole("button", { name: "Delete agent" }).click();
  await row.waitFor({ state: "detached" });
  await page.getByLabel("Search agents").fill("no such");
  await page.getByText("No agent is like that.").waitFor();
  assert.deepEqual(await violations(page), []);
  assert.deepEqual(faults, []);
  await context.close();
});

test("a tool that connects is shown with the silence that it may keep, and is disconnected", async () => {
  const { page, context, faults } = await open("/connections");
  await page.getByText("No tool is connected.").waitFor();
  await daemon.call("POST", "/api/connect", {
    agent_name: "codex-1",
    tool_name: MARKUP,
    tool_version: "2.1.0",
    metadata: { workspace: RTL, heartbeat_interval_s: 400 },
  });
  const row = page.getByRole("row").filter({ hasText: "codex-1" });
  await row.getByText(/^ ?(10 min|9 min \d+ s) left$/).waitFor();
  assert.deepEqual(await violations(page), []);
  await page.getByRole("button", { name: `Disconnect ${MARKUP} of codex-1` }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Disconnect", exact: true }).click();
  await page.getByText("No tool is connected.").waitFor();
  await page.getByLabel("Also those that have ended").check();
  await row.getByText("It was closed").waitFor();
  assert.deepEqual(faults, []);
  await context.close();
});

test("events come in by themselves, filters hide, a pause holds them, and what was missed is a gap", async () => {
  const { page, context } = await open("/events");
  // What happened before this page was opened.
  await page.locator(".events li").first().waitFor();
  const { id: key } = (await daemon.call("POST", "/api/keys", { name: "one event", role: "viewer" })).key;
  await page.getByText(`key.create of key ${key}`).waitFor();
  await daemon.call("POST", "/api/gateways/1/drain");
  await page.getByText("admin.key: gateway.drain of local gateway 1").waitFor();
  await page.getByRole("button", { name: "Pause" }).click();
  await daemon.call("POST", "/api/gateways/1/undrain");
  await page.getByRole("button", { name: /^Go on \([1-9]/ }).waitFor();
  assert.equal(await page.getByText("gateway.undrain").count(), 0);
  await page.getByRole("button", { name: /^Go on/ }).click();
  await page.getByText("gateway.undrain", { exact: false }).first().waitFor();
  await page.getByLabel("Show by type").selectOption("gateway.process");
  await page.getByText("No event is like that").waitFor();
  assert.deepEqual(await violations(page), []);
  await page.getByLabel("Show by type").selectOption("");
  await daemon.kill();
  await daemon.startAgain();
  await page.getByText(/Events were missed here/).waitFor();
  await daemon.call("POST", "/api/gateways/1/drain");
  await until(
    async () => (await page.getByText("admin.key: gateway.drain of local gateway 1").count()) === 2,
    () => "events go on after the gap",
  );
  await daemon.call("POST", "/api/gateways/1/undrain");
  assert.deepEqual(await violations(page), []);
  await picture(page, "events-gap");
  await context.close();
});

test("the audit log is read in parts, filtered, and goes on by itself", async () => {
  for (let at = 0; at < 120; at++) await daemon.call("POST", `/api/gateways/1/${at % 2 ? "undrain" : "drain"}`);
  await daemon.call("DELETE", "/api/keys/999").catch(() => {});
  const { page, context, faults } = await open("/audit");
  await page.getByText(/100 entries, there are older ones/).waitFor();
  await page.getByRole("button", { name: "Older entries" }).click();
  await until(
    async () => (await page.getByRole("row").count()) > 121,
    () => "older entries are shown",
  );
  await page.getByLabel("Show by result").selectOption("refused");
  await page.getByRole("row").filter({ hasText: "key.revoke" }).getByText("Refused").waitFor();
  await page.keyboard.press("Tab");
  await page.getByLabel("Show by result").selectOption("");
  await page.getByLabel("Search what is shown").fill("agent.create");
  await daemon.call("POST", "/api/agents", { name: "made elsewhere" });
  await page.getByRole("row").filter({ hasText: "agent.create" }).first().waitFor();
  assert.deepEqual(await violations(page), []);
  assert.deepEqual(faults, []);
  await context.close();
});

test("a key is shown once, works, and is revoked", async () => {
  const { page, context, faults } = await open("/keys");
  await page.getByRole("button", { name: "+ New key" }).click();
  await page.getByRole("button", { name: "Make key" }).click();
  await page.locator("#field-name-problem").waitFor();
  await page.getByLabel("Name", { exact: true }).fill(RTL);
  await page.getByLabel("Role", { exact: true }).selectOption("operator");
  await page.getByLabel("Expires after").selectOption("30");
  await page.getByRole("button", { name: "Make key" }).click();
  const key = await page.getByRole("dialog").locator("code").innerText();
  assert.match(key, /^gw_[0-9a-f]{8}_/);
  assert.deepEqual(await violations(page), []);
  assert.equal((await daemon.call("GET", "/api/auth/session", undefined, key)).role, "operator");
  await page.getByRole("button", { name: "I have it" }).click();
  assert.ok(!(await page.content()).includes(key));
  await page.getByRole("button", { name: `Revoke ${RTL}` }).click();
  await page.getByRole("button", { name: "Revoke key" }).click();
  await page.getByRole("button", { name: `Revoke ${RTL}` }).waitFor({ state: "detached" });
  await assert.rejects(daemon.call("GET", "/api/auth/session", undefined, key), /401/);
  assert.deepEqual(
    faults.filter((fault) => !fault.includes("status of 400")),
    [],
  );
  await context.close();
});

test("devices that wait are approved or rejected, and the access of paired ones is removed", async () => {
  const { page, context, faults } = await openPage(browser);
  /** @type {any[]} */
  const asked = [];
  let pending = [MARKUP, RTL].map((displayName, at) => ({
    requestId: `r${at}`,
    deviceId: `${at}`.repeat(64),
    displayName,
    scopes: ["operator.read"],
    reason: "not-paired",
    remoteIp: "192.0.2.7",
    ts: Date.now() - 60_000,
  }));
  await page.route("**/api/nodes*", async (route) => {
    if (route.request().method() === "GET") {
      const devices = [
        {
          deviceId: "ab".repeat(32),
          displayName: "z".repeat(512),
          clientId: "cli",
          scopes: ["operator.admin"],
          approvedAtMs: Date.now() - 9e6,
        },
      ];
      return route.fulfill({ json: { available: true, gateway_id: 1, pending, devices } });
    }
    const body = route.request().postDataJSON();
    asked.push([body.action, body.requestId ?? body.deviceId, body.gateway_id]);
    pending = pending.filter(({ requestId }) => requestId !== body.requestId);
    return route.fulfill({ json: { success: true, action: body.action, gateway_id: 1, result: {} } });
  });
  await logIn(page, daemon, "/devices");
  await page.getByRole("button", { name: `Approve ${MARKUP}` }).click();
  await page.getByRole("button", { name: `Approve ${MARKUP}` }).waitFor({ state: "detached" });
  assert.deepEqual(await violations(page), []);
  await page.getByRole("button", { name: `Reject ${RTL}` }).click();
  await page.getByText("No device waits.").waitFor();
  await page.getByRole("button", { name: /^Remove access of z+/ }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Remove access" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  assert.deepEqual(asked, [
    ["approve", "r0", 1],
    ["reject", "r1", 1],
    ["revoke-token", "ab".repeat(32), 1],
  ]);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "512 characters fit");
  assert.deepEqual(faults, []);
  await context.close();
});

test("the status names the primary and why it acts, and says when the daemon doubts its network or its database fails", async () => {
  const { page, context } = await open("/status");
  await page.getByText("the configured primary is usable").waitFor();
  const status = await daemon.call("GET", "/api/status");
  await page.route("**/api/status", (route) =>
    route.fulfill({
      json: {
        ...status,
        self_doubt: "6 of 8 gateways failed at once.",
        store: { ...status.store, ok: false, error: "disk full" },
      },
    }),
  );
  await page.getByText("Our network may be at fault.").waitFor();
  await page.getByText("The database can't be used at the moment.").waitFor();
  assert.deepEqual(await violations(page), []);
  await context.close();
});

test("the nodes that share a database are listed with who acts, and doubt about that is said", async () => {
  const { page, context } = await open("/nodes");
  await page.getByText("The database is a file: this daemon is alone.").waitFor();
  const at = Math.floor(Date.now() / 1000) - 90;
  const node = (/** @type {string} */ name, /** @type {string} */ role, /** @type {number} */ age) => ({
    ...{ name, role, url: `https://${name}.example:3000`, version: "0.1.0", this: name === "warden-a" },
    ...{ beat_age_ms: age, since: at },
  });
  let nodes = [node("warden-a", "acting", 400), node(MARKUP, "standby", 7_200)];
  let acting = true;
  await page.route("**/api/cluster", (route) =>
    route.fulfill({ json: { clustered: true, acting, epoch: 7, acting_since: at, nodes } }),
  );
  const row = (/** @type {string} */ name) => page.getByRole("row").filter({ hasText: name });
  await row("warden-a").locator(".state", { hasText: "Acts" }).waitFor();
  await row(MARKUP).getByText("Stands by").waitFor();
  await row(MARKUP).locator(".problem").getByText("7.2 s ago").waitFor();
  assert.deepEqual(await violations(page), []);
  await page.getByText("7 times").waitFor();
  const url = `https://${MARKUP}.example:3000`;
  assert.equal(await row(MARKUP).getByRole("link").textContent(), url);
  await picture(page, "page-nodes-several");
  // The node of this page has died.
  await page.unroute("**/api/cluster");
  await page.route("**/api/cluster", (route) => route.abort());
  await page.locator(".notice", { hasText: "Another one may act by now" }).getByRole("link").waitFor();
  assert.deepEqual(await violations(page), []);
  await page.unroute("**/api/cluster");
  await page.route("**/api/cluster", (route) =>
    route.fulfill({ json: { clustered: true, acting, epoch: 7, acting_since: at, nodes } }),
  );
  [acting, nodes] = [false, [node("warden-a", "unconfirmed", 5_000)]];
  await page.getByText("The database does not confirm that this node acts.").waitFor();
  await page.getByText("No other node stands by").waitFor();
  await row("warden-a").getByText("Not confirmed").waitFor();
  assert.deepEqual(await violations(page), []);
  await context.close();
});

test("a page that can't be read says so, and recovers by itself", async () => {
  const { page, context } = await open("/status");
  const body = JSON.stringify({
    error: "The database can't be read",
    code: "store_unavailable",
    help: "Free some space.",
  });
  const isData = (/** @type {URL} */ url) =>
    /^\/api\/(sessions|spawn|agents|connect|audit|nodes|keys|cluster|status)$/.test(url.pathname);
  for (const path of PATHS.filter((one) => one !== "/events")) {
    await page.route(isData, (route) => route.fulfill({ status: 503, contentType: "application/json", body }));
    await page.locator(`nav a[href="${path}"]`).click();
    await page
      .getByText(/could not be read: The database can't be read/)
      .first()
      .waitFor();
    assert.deepEqual(await violations(page), [], path);
    await page.unroute(isData);
    await page.getByRole("button", { name: "Try again" }).first().click();
    await page
      .getByText(/could not be read/)
      .first()
      .waitFor({ state: "detached" });
  }
  await context.close();
});

test("a viewer is offered nothing that would be refused, and is told which role it needs", async () => {
  const { api_key: key } = await daemon.call("POST", "/api/keys", { name: "looks around", role: "viewer" });
  await daemon.call("POST", "/api/spawn", { task: "count to 1", agent: "sample", sessionKey: "agent:sample:seen" });
  const { page, context, faults } = await open("/audit", key);
  await page.getByText("This page needs a key with the role admin; yours is viewer.").waitFor();
  for (const [path, text] of [
    ["/sessions", "agent:sample:seen"],
    ["/spawns", "Giving work needs a key with the role operator"],
    ["/agents", "Changing agents needs a key with the role operator"],
    ["/connections", "Disconnecting one needs a key with the role operator"],
    ["/devices", "Deciding on devices needs a key with the role admin"],
    ["/nodes", "The database is a file: this daemon is alone."],
    ["/status", "the configured primary is usable"],
  ]) {
    await page.locator(`nav a[href="${path}"]`).click();
    await page
      .getByText(text ?? "")
      .first()
      .waitFor();
    assert.equal(await page.locator("main button.main, main button.danger").count(), 0, path);
  }
  assert.equal(await page.locator('nav a[href="/keys"]').count(), 0);
  await page.goto(`${daemon.url}/sessions?session=agent:sample:seen`);
  await page.getByText(/Pausing, ending and changing a session.* needs a key with the role operator/).waitFor();
  assert.deepEqual(faults, []);
  await context.close();
});

test("what a page shows is gray while the daemon is silent", async () => {
  const { page, context } = await open("/spawns");
  await page.getByText("Completed").first().waitFor();
  const color = () =>
    page.evaluate(() => getComputedStyle(/** @type {Element} */ (document.querySelector(".state"))).color);
  const alive = await color();
  await daemon.kill();
  await page.getByText(/^As of \d\d:\d\d:\d\d\.$/).waitFor();
  assert.notEqual(await color(), alive);
  await page.getByText("Completed").first().waitFor();
  await daemon.startAgain();
  await until(
    async () => (await color()) === alive,
    () => "it is alive again",
  );
  await context.close();
});

test("every one of these pages passes axe in light and dark, narrow and wide, and fits", async () => {
  await daemon.call("POST", "/api/agents", { name: "w".repeat(200), role: MARKUP });
  await daemon.call("POST", "/api/spawn", { task: "m".repeat(512), agent: "sample", label: RTL });
  await daemon.call("POST", "/api/connect", { agent_name: "codex-2", tool_name: "codex" });
  const { history } = await daemon.call("GET", "/api/spawn?limit=1");
  const paths = [
    ...PATHS,
    `/spawns?spawn=${history[0].spawnId}`,
    "/sessions?session=agent:sample:seen",
    "/sessions?session=none",
    "/spawns?spawn=none",
  ];
  for (const width of [320, 1280]) {
    for (const dark of [false, true]) {
      const { page, context, faults } = await openPage(browser, { width, dark });
      await logIn(page, daemon);
      for (const path of paths) {
        await page.goto(daemon.url + path);
        await page.locator(".link.live").waitFor();
        await page.locator(".loading").first().waitFor({ state: "detached" });
        assert.deepEqual(await violations(page), [], `${path} ${width} ${dark}`);
        assert.ok(
          await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth),
          `${path} fits ${width}`,
        );
        await picture(
          page,
          `page${path.replace(/[0-9a-f-]{36}/, "one").replaceAll(/[^a-z]+/g, "-")}-${width}-${dark ? "dark" : "light"}`,
        );
      }
      assert.deepEqual(
        faults.filter((fault) => !fault.includes("status of 404")),
        [],
      );
      await context.close();
    }
  }
});
