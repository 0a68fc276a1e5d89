// What comes about in the course of a fleet's life, as the daemon itself tells it: a device that waits for its approval, a gateway
// that comes and goes, a time in which nobody observed.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { binary, forAllTests, logIn, openPage, picture, until, violations } from "./daemon.js";

/** @type {Awaited<ReturnType<typeof import("./daemon.js").startDaemon>>} */
let daemon;
/** @type {import("playwright-core").Browser} */
let browser;
forAllTests((theDaemon, theBrowser) => {
  daemon = theDaemon;
  browser = theBrowser;
});

const TOKEN = "token-of-another-gateway";
const home = mkdtempSync(join(tmpdir(), "gatewarden-course-"));
const config = join(home, "openclaw.json");
const tokenFile = join(home, "token");
writeFileSync(tokenFile, TOKEN, { mode: 0o600 });
const auth = { mode: "token", token: TOKEN, deviceAuth: { approveLoopback: false } };
writeFileSync(config, JSON.stringify({ gateway: { auth } }), { mode: 0o600 });
/** @type {Set<() => Promise<unknown>>} */
const ends = new Set();
after(async () => {
  for (const end of ends) await end();
  rmSync(home, { recursive: true, force: true });
});

/** A program of ours, with what it said. @param {string[]} args */
function begin(...args) {
  const child = spawn(binary, args, { env: { PATH: process.env.PATH, HOME: home }, stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise((resolve) => child.once("close", resolve));
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (bytes) => {
      said += bytes;
    });
  const end = async () => {
    child.kill("SIGKILL");
    await ended;
    ends.delete(end);
  };
  ends.add(end);
  return { said: () => said, ended, end };
}

/** An embedded gateway that approves no device by itself. @param {number} port 0 for any */
async function startGateway(port) {
  const gateway = begin(
    "gateway",
    "run",
    "--config",
    config,
    "--state-dir",
    join(home, "state"),
    "--port",
    String(port),
  );
  const found = await until(
    () => /listening on ws:\/\/127\.0\.0\.1:(\d+)/.exec(gateway.said()),
    () => `the gateway starts: ${gateway.said()}`,
  );
  return { ...gateway, port: Number(found[1]) };
}

const row = (/** @type {import("playwright-core").Page} */ page, /** @type {string} */ name) =>
  page.getByRole("row").filter({ has: page.getByRole("link", { name, exact: true }) });

/** @param {number} id @param {string} status */
const untilStatus = (id, status) =>
  until(
    async () => (await daemon.call("GET", `/api/gateways/${id}`)).gateway.status === status,
    () => `the gateway is ${status}`,
  );

test("a device that waits on a gateway is approved on its page, and a gateway that comes and goes is held down", async () => {
  let gateway = await startGateway(0);
  const { port } = gateway;
  const { page, context, faults } = await openPage(browser);
  const body = { name: "flaps", host: "127.0.0.1", port, token: TOKEN };
  const { id } = (await daemon.call("POST", "/api/gateways", body)).gateway;
  await logIn(page, daemon, `/gateways/${id}`);
  // Nobody but the gateway's own machine can let the first device in.
  await page
    .getByText(/waits for this device to be approved/)
    .first()
    .waitFor();
  const command = /gatewarden gateway devices approve (\S+)/.exec(await page.locator("main").innerText());
  const approve = ["gateway", "devices", "approve", command?.[1] ?? "", "--config", config];
  const approval = begin(...approve, "--state-dir", join(home, "state"));
  assert.equal(await approval.ended, 0, approval.said());
  await page.locator("main .page-head").first().getByText("Online").waitFor();

  const login = ["check", `ws://127.0.0.1:${port}`, "--token-file", tokenFile, "--state-dir", join(home, "other")];
  const refused = begin(...login);
  await refused.ended;
  assert.match(refused.said(), /pairing_required/);
  await page.getByRole("heading", { name: "Devices" }).waitFor();
  assert.deepEqual(await violations(page), []);
  await picture(page, "gateway-device-waits");
  await page.getByRole("button", { name: /^Approve/ }).click();
  await page.getByRole("heading", { name: "Devices" }).waitFor({ state: "detached" });
  const { devices, pending } = await daemon.call("GET", `/api/nodes?action=devices&gateway_id=${id}`);
  assert.deepEqual([devices.length, pending.length], [2, 0]);

  await page.goto(`${daemon.url}/`);
  const shown = row(page, "flaps");
  for (let time = 0; time < 3; time += 1) {
    await gateway.end();
    await untilStatus(id, "offline");
    if (time === 2) break;
    gateway = await startGateway(port);
    await daemon.call("POST", `/api/gateways/${id}/probe`).catch(() => {});
    await untilStatus(id, "online");
  }
  await shown.getByText("HELD DOWN").waitFor();
  const cut = await shown
    .locator("[role=cell] > *, [role=cell]")
    .evaluateAll((cells) =>
      cells
        .filter((cell) => cell.scrollWidth > cell.clientWidth + 1 || cell.scrollHeight > cell.clientHeight + 2)
        .map((cell) => cell.textContent),
    );
  // A version that names its build is cut; its page has it whole.
  const others = cut.filter((text) => !text?.includes("+gatewarden."));
  assert.deepEqual(others, [], "the problem is whole in its row");
  const heads = await page
    .getByRole("columnheader")
    .evaluateAll((cells) =>
      cells.filter((cell) => cell.scrollWidth > cell.clientWidth + 1).map((cell) => cell.textContent),
    );
  assert.deepEqual(
    heads,
    ["Actions"].filter((name) => heads.includes(name)),
  );
  await picture(page, "held-down");
  assert.deepEqual(faults, []);
  await context.close();
});

test("rows have a line of their latency, and a gateway's page says when nothing was observed", async () => {
  const { page, context } = await openPage(browser);
  await logIn(page, daemon);
  await row(page, "local").locator("svg.spark path").first().waitFor({ state: "attached" });
  await daemon.kill();
  await page.getByText("Connected", { exact: true }).waitFor({ state: "detached" });
  // A daemon that is back within five seconds left no gap.
  await new Promise((resolve) => setTimeout(resolve, 6_000));
  await daemon.startAgain();
  await page.getByText("Connected", { exact: true }).waitFor();
  await page.goto(`${daemon.url}/gateways/1`);
  await page.getByRole("img", { name: "Latency of the last hour; the same as a table below" }).waitFor();
  await page.getByText(/^Not observed 1 time, \d+ s in all\./).waitFor();
  await page.getByText(/^The daemon was not running, for \d+ s/).waitFor();
  await page.getByRole("button", { name: "As a table" }).click();
  const table = page.getByRole("region", { name: "Latency as a table" });
  await table.getByText("Not observed", { exact: true }).waitFor();
  assert.match(await table.innerText(), /\d ms/);
  assert.deepEqual(await violations(page), []);
  await picture(page, "gateway-not-observed");
  await page.getByLabel("Time of the latency").selectOption("168");
  await page.getByRole("img", { name: /Latency of the last 7 days/ }).waitFor();
  await context.close();
});
