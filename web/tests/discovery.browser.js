// Gateways that announce themselves in the daemon's network, found and registered in a browser. Daemon, gateway and browser are in a
// network of their own, so that what is sent to all reaches nobody else.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  binary,
  browserPath,
  logIn,
  openPage,
  picture,
  startBrowser,
  startDaemon,
  until,
  violations,
} from "./daemon.js";

const TOKEN = "a-token-of-a-test-0123456789";
const ADDRESS = "10.9.8.7";
/** Markup, and a character that turns what stands behind it. */
const STRANGER = `<img src=x onerror=alert(1)>\u202e${"x".repeat(27)}`;
const network = `ip link set lo up && ip link add net type bridge && ip addr add ${ADDRESS}/24 dev net && ip link set net up \\
  && ip route add default dev net && echo ready && exec sleep infinity`;

const isRoot = process.getuid?.() === 0;
const unshare = ["--net", ...(isRoot ? [] : ["--map-root-user"])];
const isPossible = spawnSync("unshare", [...unshare, "ip", "link", "add", "net", "type", "bridge"]).status === 0;
const skip = isPossible ? false : "no network namespaces here (unshare, ip)";
if (skip && process.env.NEEDS_NETWORKS) throw new Error(skip);

/** @type {Awaited<ReturnType<typeof startDaemon>>} */
let daemon;
/** @type {import("playwright-core").Browser} */
let browser;
/** What to end, the last first. @type {import("node:child_process").ChildProcess[]} */
const started = [];
/** What runs a program in there. @type {string[]} */
let within = [];
let home = "";

/** @param {string} program @param {string[]} args */
function start(program, args) {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
  started.push(child);
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (bytes) => {
      said += bytes;
    });
  }
  return { child, said: () => said };
}

/** @param {import("node:child_process").ChildProcess} child */
async function end(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  await ended;
}

before(async () => {
  if (skip) return;
  home = mkdtempSync(join(tmpdir(), "gatewarden-network-"));
  const { child, said } = start("unshare", [...unshare, "sh", "-c", network]);
  await until(
    () => said().includes("ready"),
    () => `the network is there: ${said()}`,
  );
  within = ["nsenter", ...(isRoot ? [] : ["-U", "--preserve-credentials"]), "--net", "--target", `${child.pid}`, "--"];
  daemon = await startDaemon({}, within);
  const inside = join(home, "chromium");
  writeFileSync(inside, `#!/bin/sh\nexec ${within.join(" ")} "${browserPath}" "$@"\n`);
  chmodSync(inside, 0o700);
  browser = await startBrowser(inside);
});

after(async () => {
  await browser?.close();
  await daemon?.stop();
  for (const child of started.reverse()) await end(child);
  if (home) rmSync(home, { recursive: true, force: true });
});

/** A gateway that announces itself. */
function startGateway() {
  const config = join(home, "gateway.json");
  const tls = { enabled: true, autoGenerate: true };
  const gateway = { port: 18_789, bind: "lan", auth: { mode: "token", token: TOKEN }, tls };
  const mdns = { mode: "minimal" };
  const all = { gateway, discovery: { mdns }, gatewarden: { metrics: { enabled: false } } };
  writeFileSync(config, JSON.stringify(all), { mode: 0o600 });
  const [program = "", ...args] = [
    ...within,
    binary,
    "gateway",
    "run",
    "--config",
    config,
    "--state-dir",
    join(home, "g"),
  ];
  return start(program, args).child;
}

/** What the API of the daemon in there says to the browser's session. @param {import("playwright-core").Page} page */
function gateways(page) {
  return page.evaluate(async () => (await (await fetch("/api/gateways")).json()).gateways);
}

test("nothing that is found is explained, and an address can be typed instead", { skip }, async () => {
  const { page, context, faults } = await openPage(browser);
  await logIn(page, daemon);
  /** @type {() => void} */
  let goOn = () => {};
  const wasSeen = new Promise((resolve) => {
    goOn = () => resolve(undefined);
  });
  await page.route("**/api/gateways/discover", async (route) => {
    await wasSeen;
    await route.continue();
  });
  await page.getByRole("button", { name: "Search the network…" }).press("Enter");
  const dialog = page.getByRole("dialog", { name: "Gateways in the daemon's network" });
  await dialog.getByText("Listening for 3 s…").waitFor();
  goOn();
  await dialog.getByText("No gateway announced itself within 3 s.").waitFor();
  await dialog.getByText("That doesn't mean that there is none.").waitFor();
  assert.deepEqual(await violations(page), []);
  await picture(page, "discovery-none");
  await dialog.getByRole("button", { name: "Add by address…" }).press("Enter");
  const form = page.getByRole("dialog", { name: "Add gateway" });
  assert.equal(await form.getByLabel("Host", { exact: true }).inputValue(), "");
  await form.getByRole("button", { name: "Cancel" }).press("Enter");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  const focused = await page.evaluate(() => document.activeElement?.textContent);
  // Where the button was drawn anew meanwhile, the heading has it.
  assert.ok(["Search the network…", "Gateways"].includes(focused ?? ""), `the focus isn't lost: ${focused}`);
  assert.deepEqual(faults, []);
  await context.close();
});

test("a gateway that announces itself is found by keyboard, registered in the form, and known the next time", {
  skip,
}, async () => {
  const gateway = startGateway();
  const { page, context, faults } = await openPage(browser);
  await logIn(page, daemon);
  const dialog = page.getByRole("dialog");
  const entry = dialog.getByRole("listitem").filter({ hasText: `wss://${ADDRESS}:18789` });
  await page.getByRole("button", { name: "Search the network…" }).press("Enter");
  await until(
    async () => {
      await dialog.getByText(/^No gateway announced|gateways? found/).waitFor();
      if ((await entry.count()) === 1) return true;
      // What is just starting isn't heard yet.
      await dialog.getByRole("button", { name: "Search again" }).press("Enter");
      await dialog.getByText("Listening for 3 s…").waitFor();
      return false;
    },
    () => "the gateway is found",
  );
  const shown = await entry.innerText();
  assert.match(shown, /TLS, machine \S+\.local/);
  const digest = /SHA-256 ([0-9a-f]{64})/.exec(shown)?.[1] ?? "";
  assert.ok(digest, shown);
  assert.deepEqual(await violations(page), []);
  await picture(page, "discovery");
  for (const dark of [false, true]) {
    await page.setViewportSize({ width: 320, height: 800 });
    await page.emulateMedia({ colorScheme: dark ? "dark" : "light" });
    assert.deepEqual(await violations(page), []);
    const fits = () =>
      [...document.querySelectorAll("html, dialog")].every((one) => one.scrollWidth <= one.clientWidth);
    await page.waitForFunction(fits);
    await picture(page, `discovery-narrow-${dark ? "dark" : "light"}`);
  }
  await page.setViewportSize({ width: 1280, height: 800 });
  assert.equal((await gateways(page)).length, 1, "nothing is registered by a search");

  await entry.getByRole("button").press("Enter");
  const form = page.getByRole("dialog", { name: "Add gateway" });
  assert.equal(await form.getByLabel("Host", { exact: true }).inputValue(), `wss://${ADDRESS}:18789`);
  assert.notEqual(await form.getByLabel("Name", { exact: true }).inputValue(), "");
  assert.equal(await form.getByLabel("Token", { exact: true }).inputValue(), "");
  assert.equal(await form.getByLabel("TLS: whom to trust").inputValue(), "system", "nothing is trusted unasked");
  await form.getByLabel("Token", { exact: true }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.id), "field-token");
  await page.keyboard.type(TOKEN);
  await form.getByLabel("Name", { exact: true }).fill("found");
  assert.deepEqual(await violations(page), []);
  await form.getByRole("button", { name: "Trust this certificate alone" }).press("Enter");
  await form.getByText("This certificate alone is trusted.").waitFor();
  await picture(page, "discovery-form");
  await form.getByRole("button", { name: "Add gateway" }).press("Enter");
  await dialog.waitFor({ state: "detached" });
  const made = (await gateways(page)).find((/** @type {any} */ one) => one.name === "found");
  assert.deepEqual(
    [made.host, made.tls, made.token_set],
    [`wss://${ADDRESS}:18789`, { trust: "pins", pins: [digest] }, true],
  );
  // It answers: what it says needs the handshake, and with it the pinned certificate and the token.
  const answered = await until(
    async () => {
      const one = (await gateways(page)).find(({ id }) => id === made.id);
      return (one.status === "online" || one.last_error?.code === "pairing_required") && one;
    },
    () => "it is connected, or waits for an approval",
  );
  assert.ok(answered);

  await page.getByRole("button", { name: "Search the network…" }).press("Enter");
  await entry.getByText("Registered as found").waitFor();
  assert.equal(await entry.getByRole("button").count(), 0, "it can't be added twice");
  await picture(page, "discovery-registered");
  await entry.getByRole("link", { name: "found" }).press("Enter");
  await page.getByRole("heading", { name: "found", level: 1 }).waitFor();
  await dialog.waitFor({ state: "detached" });
  await end(gateway);
  assert.deepEqual(faults, []);
  await context.close();
});

test("what a stranger announces is text, whatever is in it, and leads nowhere", { skip }, async () => {
  const [program = "", ...args] = [...within, process.execPath];
  const stranger = start(program, [...args, fileURLToPath(new URL("announcer.js", import.meta.url)), STRANGER]);
  const { page, context, faults } = await openPage(browser, { width: 320 });
  page.on("dialog", () => faults.push("a script of the stranger ran"));
  await logIn(page, daemon);
  await page.getByRole("button", { name: "Search the network…" }).click();
  const entry = page.getByRole("dialog").getByRole("listitem").filter({ hasText: "ws://10.9.8.66:18790" });
  await until(
    async () => {
      await page.getByText(/^No gateway announced|gateways? found/).waitFor();
      if ((await entry.count()) === 1) return true;
      await page.getByRole("button", { name: "Search again" }).click();
      return false;
    },
    () => `the stranger is heard: ${stranger.said()}`,
  );
  const shown = await entry.innerText();
  assert.match(shown, /<img src=x onerror=alert\(1\)>/);
  assert.ok(!shown.includes("\u202e"), "nothing turns the words around it");
  assert.match(shown, /No TLS, machine stranger\.local/);
  assert.equal(await page.locator("dialog img").count(), 0);
  assert.deepEqual(await violations(page), []);
  const fits = () => [...document.querySelectorAll("html, dialog")].every((one) => one.scrollWidth <= one.clientWidth);
  await page.waitForFunction(fits);
  await picture(page, "discovery-stranger");
  await entry.getByRole("button").click();
  const form = page.getByRole("dialog", { name: "Add gateway" });
  await form.getByText("Be sure that it is your gateway before you give it a token.").waitFor();
  assert.ok(!(await form.getByLabel("Name", { exact: true }).inputValue()).includes("\u202e"));
  assert.equal(await form.getByRole("button", { name: "Trust this certificate alone" }).count(), 0);
  assert.deepEqual(await violations(page), []);
  await picture(page, "discovery-stranger-form");
  await end(stranger.child);
  assert.deepEqual(faults, []);
  await context.close();
});

test("whoever may not register isn't offered a search, and a search that fails says why and can be tried again", {
  skip,
}, async () => {
  const { page, context } = await openPage(browser);
  await logIn(page, daemon);
  await page.route("**/api/gateways/discover", (route) =>
    route.fulfill({
      status: 503,
      json: { error: "The search for gateways is busy", code: "unavailable", help: "Try again in a moment." },
    }),
  );
  await page.getByRole("button", { name: "Search the network…" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("The network was not searched: The search for gateways is busy").waitFor();
  assert.deepEqual(await violations(page), []);
  await page.unroute("**/api/gateways/discover");
  await dialog.getByRole("button", { name: "Search again" }).click();
  await dialog.getByText("No gateway announced itself within 3 s.").waitFor();
  assert.equal(await dialog.getByText("The network was not searched").count(), 0);
  const key = await page.evaluate(async () => {
    const headers = { "Content-Type": "application/json" };
    const body = JSON.stringify({ name: "operates", role: "operator" });
    return (await (await fetch("/api/keys", { method: "POST", headers, body })).json()).api_key;
  });
  await context.close();
  const other = await openPage(browser);
  await logIn(other.page, { url: daemon.url, key });
  await other.page.getByRole("button", { name: /^Probe all/ }).waitFor();
  assert.equal(await other.page.getByRole("button", { name: "Search the network…" }).count(), 0);
  await other.context.close();
});
