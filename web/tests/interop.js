// The main features of the dashboard on real releases of OpenClaw: .ci/run interop runs this. tests/peers/README.md describes the gateways.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createServer } from "node:http";
import { createServer as listenOn } from "node:net";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { logIn, openPage, startBrowser, startDaemon, until } from "./daemon.js";

const peers = process.env.PEERS ?? "../tests/peers/openclaw";
const run = promisify(execFile);
/** A busy machine has been seen to take so long for the first run of a fresh gateway. */
const RUN_MOVES_WITHIN = 90_000;
const SLOW_TASK = "count very slowly to a thousand";
const QUICK_ANSWER = "the mock model says hello";

/** @type {Awaited<ReturnType<typeof startDaemon>>} */
let daemon;
/** @type {import("playwright-core").Browser} */
let browser;
/** A model that answers at once, or word by word for as long as it is listened to. @type {import("node:http").Server} */
let model;

before(async () => {
  daemon = await startDaemon();
  browser = await startBrowser();
  model = createServer(async (request, response) => {
    let asked = "";
    for await (const bytes of request) asked += bytes;
    if (request.method !== "POST") return response.end(JSON.stringify({ object: "list", data: [{ id: "m1" }] }));
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    const say = (/** @type {object[]} */ choices, more = {}) =>
      response.write(
        `data: ${JSON.stringify({ id: "c1", object: "chat.completion.chunk", created: 1, model: "m1", choices, ...more })}\n\n`,
      );
    const word = (/** @type {string} */ content) =>
      say([{ index: 0, delta: { role: "assistant", content }, finish_reason: null }]);
    if (asked.includes(SLOW_TASK)) {
      const words = setInterval(() => word("word "), 100);
      response.on("close", () => clearInterval(words));
      return;
    }
    word(QUICK_ANSWER);
    say([{ index: 0, delta: {}, finish_reason: "stop" }]);
    say([], { usage: { prompt_tokens: 1_100, completion_tokens: 7, total_tokens: 1_107 } });
    response.end("data: [DONE]\n\n");
  });
  await new Promise((resolve) => model.listen(0, "127.0.0.1", () => resolve(undefined)));
});

after(async () => {
  await browser?.close();
  await daemon?.stop();
  model?.closeAllConnections();
  model?.close();
});

/** What a gateway's configuration needs so that its agents use the model. */
function modelConfig() {
  const { port } = /** @type {import("node:net").AddressInfo} */ (model.address());
  const cost = { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 };
  const one = {
    ...{ id: "m1", name: "Mock", reasoning: false, input: ["text"], cost },
    ...{ contextWindow: 128_000, maxTokens: 8_192 },
  };
  const mock = { baseUrl: `http://127.0.0.1:${port}/v1`, apiKey: "any", api: "openai-completions", models: [one] };
  return {
    models: { mode: "replace", providers: { mock } },
    agents: { defaults: { model: { primary: "mock/m1" } } },
  };
}

/** A port whose neighbours are free too, as older releases want it. */
async function freeBase() {
  const isFree = (/** @type {number} */ port) =>
    new Promise((resolve) => {
      const server = listenOn();
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
    });
  for (let base = 13_000 + (process.pid % 100) * 20; base < 20_000; base += 20) {
    const free = await Promise.all([0, 1, 2, 3].map((offset) => isFree(base + offset)));
    if (free.every(Boolean)) return base;
  }
  throw new Error("no free range of loopback ports");
}

for (const [version, name, protocol] of [
  ["2026.9.6", "four", 4],
  ["2026.3.24", "three", 3],
]) {
  test(`OpenClaw ${version}: refused with a cure, then online; sessions, work, its end, the log, its death`, async () => {
    const port = await freeBase();
    const token = `interop-token-${port}`;
    await run(peers, ["reset", String(port)]);
    await run(peers, ["start", String(version), String(port), token, JSON.stringify(modelConfig())]);
    try {
      const { page, context, faults } = await openPage(browser);
      page.setDefaultTimeout(RUN_MOVES_WITHIN);
      await logIn(page, daemon);
      const dialog = page.getByRole("dialog");
      await page.getByRole("button", { name: "+ Add gateway" }).click();
      await dialog.getByLabel("Name", { exact: true }).fill(String(name));
      await dialog.getByLabel("Host", { exact: true }).fill("127.0.0.1");
      await dialog.getByLabel("Port", { exact: true }).fill(String(port));
      await dialog.getByLabel("Token", { exact: true }).fill("not-the-token");
      await dialog.getByRole("button", { name: "Add gateway" }).click();
      await dialog.waitFor({ state: "detached" });
      await page.getByRole("link", { name: String(name), exact: true }).click();
      await page.getByRole("heading", { name: "Blocked until something is changed" }).waitFor();
      await page.getByText(/Code token_mismatch/).waitFor();
      await page.getByText(/^What to do:/).waitFor();
      await page.getByRole("button", { name: "Edit…" }).click();
      await dialog.getByLabel("Token", { exact: true }).fill(token);
      await dialog.getByRole("button", { name: "Save" }).click();
      await page.locator("main .page-head").first().getByText("Online").waitFor();
      const connection = page.getByRole("heading", { name: "Connection", exact: true }).locator("..");
      const known = new RegExp(`Protocol\\s+${protocol}[\\s\\S]*Version\\s+${version}`);
      await until(
        async () => known.test(await connection.innerText()),
        () => "protocol and version are shown",
      );
      await page.getByRole("button", { name: "Show", exact: true }).click();
      const log = page.getByRole("log", { name: `Log of ${name}` });
      await until(
        async () => (await log.innerText()).length > 200,
        () => "the log has entries",
      );
      assert.ok(!(await page.content()).includes(token));

      const give = async (/** @type {string} */ task) => {
        await page.locator("nav").getByRole("link", { name: "Spawns", exact: true }).click();
        await page.getByRole("button", { name: "+ New task" }).click();
        await dialog.getByLabel("Task", { exact: true }).fill(task);
        await dialog.getByLabel("Gateway", { exact: true }).selectOption({ label: String(name) });
        await dialog.getByRole("button", { name: "Give it to a gateway" }).click();
        await page.getByRole("heading", { name: task, level: 1 }).waitFor();
      };
      await give("say hello");
      await page.getByText("It ended well.").waitFor();
      await page.getByText(QUICK_ANSWER).first().waitFor();
      await give(SLOW_TASK);
      await page.getByText("It runs.").waitFor();
      await page
        .locator(".facts")
        .getByRole("link", { name: /^agent:main:/ })
        .first()
        .click();
      await page.locator(".facts").getByText("Active").waitFor();
      // No release can pause: that is said in the place of the button.
      await page.getByRole("button", { name: "Pause" }).click();
      await page
        .getByText(new RegExp(`${name}.*cannot pause`))
        .first()
        .waitFor();
      assert.equal(await page.getByRole("button", { name: "Pause" }).count(), 0);
      await page.getByRole("button", { name: "End the run" }).click();
      await page.getByText("The run was ended").waitFor();
      await page.locator("nav").getByRole("link", { name: "Spawns", exact: true }).click();
      await page.getByRole("row").filter({ hasText: SLOW_TASK }).first().getByText("Killed").waitFor();
      assert.deepEqual(
        faults.filter((fault) => !fault.includes("status of 501")),
        [],
      );

      await page.locator("nav").getByRole("link", { name: "Gateways", exact: true }).click();
      const row = page.getByRole("row").filter({ has: page.getByRole("link", { name: String(name), exact: true }) });
      await row.getByText("Online").waitFor();
      await run(peers, ["kill", String(port)]);
      await row.getByText("Offline").waitFor();
      await context.close();
    } finally {
      await run(peers, ["stop", String(port)]).catch(() => {});
      await run(peers, ["reset", String(port)]).catch(() => {});
    }
  });
}
