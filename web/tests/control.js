// A real embedded gateway of its own, and what tests of its pages ask of it.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { binary, until } from "./daemon.js";

/**
 * Starts `gatewarden gateway run` with the sample agent in a folder of its own.
 * @param {Record<string, any>} [limits]
 * @param {Record<string, any>} [gateway]
 * @param {Record<string, any>} [sections] Others of its configuration.
 */
export async function startGateway(limits = {}, gateway = {}, sections = {}) {
  const home = mkdtempSync(join(tmpdir(), "gatewarden-control-"));
  const config = join(home, "openclaw.json");
  const state = join(home, "state");
  const write = (/** @type {number} */ port) =>
    writeFileSync(
      config,
      JSON.stringify({
        gateway: { port, ...gateway },
        ...sections,
        agents: {
          entries: {
            sample: { name: "Sample", command: "sample", model: "sample/echo", default: true },
            other: { command: "sample" },
            asking: {
              name: "Asking",
              acp: { program: process.execPath, args: [resolve("tests/asking_agent.js")], permissions: "ask" },
            },
          },
        },
        gatewarden: {
          commands: { sample: { program: resolve(binary), args: ["gateway", "sample-agent"], jsonLines: true } },
          metrics: { enabled: false },
          limits,
        },
      }),
      { mode: 0o600 },
    );
  const run = async (/** @type {number} */ port) => {
    write(port);
    const child = spawn(binary, ["gateway", "run", "--config", config, "--state-dir", state], {
      env: { PATH: process.env.PATH, HOME: home },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let said = "";
    const hear = (/** @type {Buffer} */ bytes) => {
      said += bytes;
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    await until(
      () => /listening on ws:\S+/.test(said),
      () => `the gateway starts: ${said}`,
    );
    return { child, url: (/listening on (ws:\S+)/.exec(said)?.[1] ?? "").replace("ws:", "http:") };
  };
  const started = { ...(await run(0)) };
  const end = async (/** @type {NodeJS.Signals} */ signal) => {
    const { child } = started;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
  };
  return {
    get url() {
      return started.url;
    },
    state,
    config,
    token: readFileSync(join(state, "gateway-token"), "utf8").trim(),
    kill: () => end("SIGKILL"),
    stopHere: () => end("SIGINT"),
    /** The same again, at the same port. */
    async startAgain() {
      Object.assign(started, await run(Number(new URL(started.url).port)));
    },
    async stop() {
      await end("SIGINT");
      rmSync(home, { recursive: true, force: true });
    },
  };
}

/**
 * A server of Telegram's Bot API. It has one message of a stranger, and takes what is sent.
 * @returns {Promise<{root: string, sent: any[], refuse: () => void, stop: () => void}>}
 */
export async function startTelegram() {
  /** @type {any[]} */
  const sent = [];
  let refuses = false;
  const from = { id: 77, first_name: "Ada <b>L</b>" };
  const message = { message_id: 1, date: 1, chat: { id: 77, type: "private" }, from, text: "hello bot" };
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    const method = request.url?.split("/").at(-1);
    if (refuses)
      return response.writeHead(401).end(JSON.stringify({ ok: false, error_code: 401, description: "Unauthorized" }));
    const answer = (/** @type {any} */ result) => response.end(JSON.stringify({ ok: true, result }));
    if (method === "getMe") return answer({ id: 666, username: "TestBot" });
    if (method === "sendMessage") sent.push(JSON.parse(body));
    // What was acknowledged isn't sent again; else the request is kept open.
    if (method !== "getUpdates") answer({ message_id: 9 });
    else if (!(JSON.parse(body || "{}").offset > 5)) answer([{ update_id: 5, message }]);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(null)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return {
    root: `http://127.0.0.1:${port}`,
    sent,
    /** From now on it knows no token. */
    refuse() {
      refuses = true;
      server.closeAllConnections();
    },
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** Calls a method of the gateway from within its page. @param {import("playwright-core").Page} page @param {string} method @param {any} params */
export function call(page, method, params) {
  return page.evaluate(
    async ([method, params]) => {
      const { src } = /** @type {HTMLScriptElement} */ (document.querySelector("script[type=module]"));
      return (await import(src)).callGateway(method, params);
    },
    [method, params],
  );
}

/** Logs in as a person does. @param {import("playwright-core").Page} page @param {{url: string, token: string}} gateway @param {string} [hash] */
export async function enter(page, { url, token }, hash = "") {
  await page.goto(`${url}/${hash}`);
  await page.getByLabel("Token or password").fill(token);
  await page.getByRole("button", { name: "Log in" }).click();
  const connected = page.locator(".link").getByText("Connected", { exact: true });
  await connected.waitFor().catch(async (error) => {
    throw new Error(`The page isn't let in: ${await page.locator("body").innerText()}`, { cause: error });
  });
}
