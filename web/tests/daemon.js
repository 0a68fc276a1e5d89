// A real daemon with the embedded gateway, a browser, and what tests ask of both.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";
import { chromium } from "playwright-core";

export const binary = process.env.GATEWARDEN ?? "../target/debug/gatewarden";
export const browserPath = process.env.CHROMIUM ?? "/usr/lib/chromium/chromium";
/** Where pictures of pages are left, if anywhere. */
const pictures = process.env.PICTURES;
/** A token that must be nowhere but in the request that sets it. */
export const PLANTED = "planted-token-1f2e3d4c5b6a";
const PATIENCE_MS = 30_000;

/** Starts `gatewarden up` in a folder of its own. @param {Record<string, string>} [settings] @param {string[]} [within] What runs it, if anything. @param {string[]} [more] Arguments. */
export async function startDaemon(settings = {}, within = [], more = []) {
  const home = mkdtempSync(join(tmpdir(), "gatewarden-web-"));
  const run = async (/** @type {string} */ listen) => {
    const [program = binary, ...args] = [...within, binary];
    args.push("up", "--listen", listen, "--gateway-port", "0", "--state-dir", join(home, "up"), ...more);
    const child = spawn(program, args, {
      env: { PATH: process.env.PATH, HOME: home, GATEWARDEN_RATE_LIMIT__ENABLED: "false", ...settings },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let said = "";
    child.stdout.on("data", (bytes) => {
      said += bytes;
    });
    child.stderr.on("data", (bytes) => {
      said += bytes;
    });
    await until(
      () => said.includes("Ctrl-C ends everything"),
      () => `the daemon starts: ${said}`,
    );
    const url = /listening on (http:\S+)/.exec(said)?.[1] ?? "";
    return { child, url, said: () => said };
  };
  const state = { ...(await run("127.0.0.1:0")) };
  const key = readFileSync(join(home, "up/admin.key"), "utf8").trim();
  const end = async (/** @type {NodeJS.Signals} */ signal) => {
    const ended = new Promise((resolve) => state.child.once("exit", resolve));
    state.child.kill(signal);
    await ended;
  };
  return {
    get url() {
      return state.url;
    },
    get pid() {
      return state.child.pid ?? 0;
    },
    key,
    said: () => state.said(),
    /** Asks the API with the admin's key, or another. */
    async call(/** @type {string} */ method, /** @type {string} */ path, /** @type {unknown} */ body, as = key) {
      const response = await fetch(state.url + path, {
        method,
        headers: { "X-API-Key": as, "Content-Type": "application/json" },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
      const answer = await response.json();
      if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${JSON.stringify(answer)}`);
      return answer;
    },
    kill: () => end("SIGKILL"),
    /** The same again, at the same address. */
    async startAgain() {
      Object.assign(state, await run(new URL(state.url).host));
    },
    async stop() {
      await end("SIGINT");
      rmSync(home, { recursive: true, force: true });
    },
  };
}

/**
 * A daemon and a browser for all tests of a file.
 * @param {(daemon: Awaited<ReturnType<typeof startDaemon>>, browser: import("playwright-core").Browser) => void} take
 * @param {Record<string, string>} [settings]
 */
export function forAllTests(take, settings) {
  /** @type {Awaited<ReturnType<typeof startDaemon>>} */
  let daemon;
  /** @type {import("playwright-core").Browser} */
  let browser;
  before(async () => {
    daemon = await startDaemon(settings);
    browser = await startBrowser();
    take(daemon, browser);
  });
  after(async () => {
    await browser?.close();
    await daemon?.stop();
  });
}

/** Waits for what is so sooner or later. @param {() => any} is @param {() => string} what */
export async function until(is, what) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await is();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`not within ${PATIENCE_MS} ms: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** @param {string} [executablePath] */
export async function startBrowser(executablePath = browserPath) {
  return chromium.launch({ executablePath, args: ["--no-sandbox"] });
}

/**
 * A page of a fresh browser, with what goes wrong in it, and every answer that it got.
 * @param {import("playwright-core").Browser} browser
 * @param {{width?: number, dark?: boolean}} [more]
 */
export async function openPage(browser, { width = 1280, dark = false } = {}) {
  const context = await browser.newContext({
    viewport: { width, height: 800 },
    colorScheme: dark ? "dark" : "light",
    reducedMotion: "reduce",
  });
  const page = await context.newPage();
  /** @type {string[]} */
  const faults = [];
  /** @type {{url: string, size: number, body: string}[]} */
  const answers = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && faults.push(message.text()));
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("requestfinished", async (request) => {
    const { responseBodySize } = await request.sizes().catch(() => ({ responseBodySize: 0 }));
    const response = await request.response().catch(() => null);
    answers.push({ url: request.url(), size: responseBodySize, body: (await response?.text().catch(() => "")) ?? "" });
  });
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) =>
      console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`),
    );
  });
  return { context, page, faults, answers };
}

/** Logs in as a person does. @param {import("playwright-core").Page} page @param {{url: string, key: string}} daemon @param {string} [path] */
export async function logIn(page, { url, key }, path = "/") {
  await page.goto(`${url}/login?next=${encodeURIComponent(path)}`);
  await page.getByLabel("API key").fill(key);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByText("Connected", { exact: true }).waitFor();
}

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What axe finds wrong. @param {import("playwright-core").Page} page @returns {Promise<string[]>} */
export async function violations(page) {
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(axeSource);
  return page.evaluate(async () => {
    const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
    const found = await /** @type {any} */ (window).axe.run(document, { runOnly: tags });
    return found.violations.map(
      (/** @type {any} */ one) =>
        `${one.id}: ${one.nodes.map((/** @type {any} */ node) => `${node.target} ${node.failureSummary}`).join("; ")}`,
    );
  });
}

/** Leaves a picture, where pictures are wanted. @param {import("playwright-core").Page} page @param {string} name */
export async function picture(page, name) {
  if (pictures) await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
}
