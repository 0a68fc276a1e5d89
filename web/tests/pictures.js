// Makes the pictures of the documentation from a fleet for show; docs/dashboard.md says how it is called.
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { enter, startGateway } from "./control.js";
import { logIn, openPage, startBrowser, startDaemon, until } from "./daemon.js";

const folder = process.env.PICTURES ?? "../docs/pictures";
const binary = process.env.GATEWARDEN ?? "../target/debug/gatewarden";
const PORT = 18_789;
const TOKEN = "a-token-for-show";

mkdirSync(folder, { recursive: true });
const home = mkdtempSync(join(tmpdir(), "gatewarden-show-"));
const daemon = await startDaemon();
const browser = await startBrowser();
/** @type {import("node:child_process").ChildProcess[]} */
const gateways = [];
const mute = createServer(() => {});
try {
  // Gateways at addresses of their own; the rest have faults.
  for (const at of [12, 13, 14, 15]) {
    const state = join(home, String(at));
    const bind = ["gateway", "run", "--port", String(PORT), "--bind", `127.0.0.${at}`, "--state-dir", state];
    const env = { PATH: process.env.PATH, HOME: home, OPENCLAW_GATEWAY_TOKEN: TOKEN };
    gateways.push(spawn(binary, bind, { env, stdio: "ignore" }));
  }
  await new Promise((resolve) => mute.listen(PORT, "127.0.0.16", () => resolve(undefined)));
  await daemon.call("PUT", "/api/gateways/1", { name: "Berlin", labels: { site: "berlin" } });
  for (const [name, at, site, token] of /** @type {const} */ ([
    ["Lisbon", 12, "lisbon", TOKEN],
    ["Nairobi", 13, "nairobi", TOKEN],
    ["Staging", 14, "berlin", TOKEN],
    ["Build farm", 15, "lisbon", "an-old-token"],
    ["Night shift", 16, "nairobi", TOKEN],
    ["Ada's laptop", 17, "berlin", TOKEN],
  ])) {
    await daemon.call("POST", "/api/gateways", {
      name,
      host: `127.0.0.${at}`,
      port: PORT,
      token,
      labels: { site },
    });
  }
  const named = async () =>
    Object.fromEntries(
      (await daemon.call("GET", "/api/gateways")).gateways.map((/** @type {any} */ one) => [one.name, one]),
    );
  const known = await until(
    async () => {
      const all = await named();
      const isReady =
        ["Berlin", "Lisbon", "Nairobi", "Staging"].every((name) => all[name].status === "online") &&
        all["Build farm"].status === "degraded" &&
        all["Ada's laptop"].status === "offline" &&
        ["timeout", "offline"].includes(all["Night shift"].status);
      return isReady && all;
    },
    () => "the fleet is as it shall look",
  );
  await daemon.call("POST", `/api/gateways/${known.Staging.id}/drain`);
  for (const [task, key] of [
    ["count to 900", "release-notes"],
    ["count to 800", "weekly-report"],
    ["count to 3", "inbox"],
  ])
    await daemon.call("POST", "/api/spawn", { task, agent: "sample", sessionKey: `agent:sample:${key}` });
  for (const [name, path, width, height, dark] of /** @type {const} */ ([
    ["gateways", "/", 1280, 560, false],
    ["blocked", `/gateways/${known["Build farm"].id}`, 1280, 640, true],
    ["phone", "/", 360, 640, true],
  ])) {
    const { page, context } = await openPage(browser, { width, dark });
    await page.setViewportSize({ width, height });
    await logIn(page, daemon, path);
    await page.locator(".loading").first().waitFor({ state: "detached" });
    await page.waitForLoadState("networkidle").catch(() => {});
    await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 2_500)));
    await page.screenshot({ path: join(folder, `${name}.png`) });
    await context.close();
  }
  await talkTo(await startGateway());
} finally {
  await browser.close();
  for (const gateway of gateways) gateway.kill("SIGTERM");
  mute.close();
  await daemon.stop();
  rmSync(home, { recursive: true, force: true });
}

/** The picture of the Control UI. @param {Awaited<ReturnType<typeof startGateway>>} gateway */
async function talkTo(gateway) {
  const { page, context } = await openPage(browser);
  await page.setViewportSize({ width: 1280, height: 600 });
  await enter(page, gateway);
  const write = async (/** @type {string} */ text, /** @type {string} */ answer) => {
    await page.getByLabel("Message to Sample").fill(text);
    await page.keyboard.press("Enter");
    await page.getByRole("region", { name: "Conversation" }).getByText(answer).waitFor();
  };
  await write("Good morning. Is the release ready?", "You said: Good morning. Is the release ready?");
  await page.getByText("count_words").click();
  await page.getByRole("button", { name: "New session" }).first().click();
  await write("Read the weekly report", "You said: Read the weekly report");
  await page.getByRole("button", { name: /^main/ }).click();
  await write("count to 30", "1 2 3 4 5");
  await page.screenshot({ path: join(folder, "control-ui.png") });
  await context.close();
  await gateway.stop();
}
