// Figures of the dashboard (docs/dashboard.md has them): counts, memory and rightness fail, times are printed.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { logIn, openPage, startBrowser, startDaemon, until } from "./daemon.js";
import { fleetOf, startWire } from "./wire.js";

/** @type {Awaited<ReturnType<typeof startDaemon>>} */
let daemon;
/** @type {Awaited<ReturnType<typeof startWire>>} */
let wire;
/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  daemon = await startDaemon();
  wire = await startWire(daemon);
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await wire?.stop();
  await daemon?.stop();
});

const GATEWAYS = 10_000;

/** A page that shows 10,000 gateways, which this test speaks for. */
async function openMany() {
  const latencies = { from: 0, bucket: 900, gateways: [] };
  wire.answers = { "/api/fleet": () => fleetOf(GATEWAYS), "/api/gateways/latency": () => latencies };
  wire.speaks = true;
  const opened = await openPage(browser);
  await logIn(opened.page, { url: wire.url, key: daemon.key });
  await opened.page.getByText("10,000 gateways").waitFor();
  return opened;
}

/** Bytes in use after collection; the least of several, since what was drawn last may still be held. @param {import("playwright-core").BrowserContext} context @param {import("playwright-core").Page} page */
async function heapOf(context, page) {
  const cdp = await context.newCDPSession(page);
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 5; round++) {
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 100))));
    await cdp.send("HeapProfiler.collectGarbage");
    least = Math.min(least, (await cdp.send("Runtime.getHeapUsage")).usedSize);
  }
  await cdp.detach();
  return least;
}

/** The nth share of what was measured, in ms. @param {number[]} times @param {number} share */
function quantile(times, share) {
  const sorted = [...times].sort((a, b) => a - b);
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
}

test("W1: 10,000 gateways are painted and can be used soon", async () => {
  wire.answers = { "/api/fleet": () => fleetOf(GATEWAYS) };
  wire.speaks = true;
  /** @type {number[]} */
  const painted = [];
  /** @type {number[]} */
  const usable = [];
  for (let round = 0; round < 3; round++) {
    const { page, context } = await openPage(browser);
    await logIn(page, { url: wire.url, key: daemon.key }, "/help");
    await page.addInitScript(() => {
      addEventListener("DOMContentLoaded", () => {
        new MutationObserver((_, observer) => {
          const link = document.querySelector(".table-body .row a");
          if (!link) return;
          observer.disconnect();
          // The frame after this one shows it.
          requestAnimationFrame(() => setTimeout(() => Object.assign(window, { usableAt: performance.now() })));
        }).observe(document.body, { childList: true, subtree: true });
      });
    });
    await page.goto(`${wire.url}/`);
    await page.waitForFunction(() => "usableAt" in window);
    const [first, rows] = await page.evaluate(() => [
      performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0,
      /** @type {any} */ (window).usableAt,
    ]);
    painted.push(first);
    usable.push(rows);
    await context.close();
  }
  console.log(`W1: first paint ${quantile(painted, 0.5)} ms, rows usable ${quantile(usable, 0.5)} ms (medians of 3)`);
});

test("W4: 1.2 million heartbeats leave no more memory in use than before", async () => {
  const { page, context, faults } = await openMany();
  const latency = page.getByRole("cell", { name: /\d ms$/ });
  const heartbeats = async (/** @type {number} */ round) => {
    const now = Math.floor(Date.now() / 1000);
    // The daemon cuts them in parts of 500.
    const messages = Array.from({ length: GATEWAYS / 500 }, (_, part) => ({
      type: "gateway.vitals",
      ts: Date.now(),
      data: {
        figures: Array.from({ length: 500 }, (_, at) => ({
          id: part * 500 + at + 2,
          latency: 1_000 + round,
          last_seen: now,
          as_of: now,
          sessions_count: round % 5,
          agents_count: at % 9,
        })),
      },
    }));
    await wire.say(messages);
    await page
      .getByRole("cell", { name: `${1_000 + round} ms` })
      .first()
      .waitFor();
  };
  await latency.first().waitFor();
  // What is allocated once, at the first ones, is no growth.
  for (let round = 1; round <= 3; round++) await heartbeats(round);
  const before = await heapOf(context, page);
  const began = Date.now();
  for (let round = 4; round < 124; round++) await heartbeats(round);
  const after = await heapOf(context, page);
  console.log(
    `W4: ${(before / 1e6).toFixed(1)} MB, after 1.2 million heartbeats ${(after / 1e6).toFixed(1)} MB (${Date.now() - began} ms)`,
  );
  assert.ok(after <= 30e6 && after <= before * 1.1, `${before} bytes of memory before, ${after} after`);
  assert.deepEqual(faults, []);
  await context.close();
});

/** Notes in the page when a status that came is in the picture, and how many frames that took. @param {import("playwright-core").Page} page */
async function noteStatuses(page) {
  await page.addInitScript(() => {
    const drawn = /** @type {{way: number, took: number, frames: number}[]} */ ([]);
    const seen = { drawn };
    Object.assign(window, { seen });
    /** The newest one: an earlier one that lasted no frame is never drawn. */
    let newest = { id: 0, to: "" };
    const Native = WebSocket;
    window.WebSocket = class extends Native {
      constructor(/** @type {string} */ url) {
        super(url);
        this.addEventListener("message", ({ data }) => {
          const message = JSON.parse(data);
          if (message.type !== "gateway.status") return;
          const { gateway_id: id, to } = message.data;
          const name = document.querySelector(`.table-body a[href="/gateways/${id}"]`);
          if (!name) return;
          const mine = { id, to };
          newest = mine;
          const came = performance.now();
          const way = Date.now() - message.ts;
          let frames = 0;
          const look = () => {
            const row = document.querySelector(`.table-body a[href="/gateways/${newest.id}"]`)?.closest(".row");
            const shown = row?.querySelector(".status")?.textContent?.toLowerCase() ?? "";
            if (!shown.includes(newest.to)) {
              frames += 1;
              return requestAnimationFrame(look);
            }
            if (newest !== mine) frames = 0;
            // After this frame.
            setTimeout(() => drawn.push({ way, took: performance.now() - came, frames }));
          };
          look();
        });
      }
    };
  });
}

/** @param {import("playwright-core").Page} page @returns {Promise<{way: number, took: number, frames: number}[]>} */
const drawnIn = (page) => page.evaluate(() => /** @type {any} */ (window).seen.drawn);

/** @param {string} what @param {{way: number, took: number, frames: number}[]} drawn */
function tellW5(what, drawn) {
  const [slowest] = [...drawn].sort((a, b) => b.way + b.took - (a.way + a.took));
  const times = drawn.map(({ way, took }) => way + took);
  console.log(
    `W5 (${what}): status p50 ${quantile(times, 0.5)} ms, p99 ${quantile(times, 0.99)} ms of ${times.length}; the slowest ${Math.round(slowest?.way ?? 0)} ms on its way, ${Math.round(slowest?.took ?? 0)} ms and ${slowest?.frames} frames in the page`,
  );
  // Drawn in the frame after it came, however long a frame takes on this machine: the next one sees it.
  for (const { frames } of drawn) assert.ok(frames <= 2, `a change waited for ${frames} frames`);
}

test("W5: a change of status in the daemon is soon in the picture", async () => {
  const { page, context } = await openPage(browser);
  await noteStatuses(page);
  await logIn(page, daemon);
  for (let round = 0; round < 40; round++) {
    await daemon.call("POST", "/api/gateways/1/reconnect");
    await until(
      async () => (await daemon.call("GET", "/api/gateways/1")).gateway.status === "online",
      () => "it is online again",
    );
  }
  const drawn = await until(
    () => drawnIn(page),
    () => "changes are seen",
  );
  /** @type {number[]} */
  const vitals = [];
  for (let round = 0; round < 10; round++) {
    const isDrained = round % 2 === 0;
    const shownAt = page.evaluate(
      (wanted) =>
        new Promise((resolve) => {
          const look = () =>
            document.querySelector(".table-body")?.textContent?.includes("DRAINED") === wanted
              ? setTimeout(() => resolve(Date.now()))
              : requestAnimationFrame(look);
          look();
        }),
      isDrained,
    );
    await daemon.call("POST", `/api/gateways/1/${isDrained ? "drain" : "undrain"}`);
    const began = Date.now();
    vitals.push((await shownAt) - began);
  }
  tellW5("1 gateway", drawn);
  console.log(`W5: vitals at most ${Math.max(...vitals)} ms`);
  assert.ok(drawn.length >= 40, `${drawn.length} changes were seen`);
  await context.close();
});

test("W5: among 10,000 gateways as well, and while the fleet is being read anew", async () => {
  const statuses = ["online", "offline", "timeout", "degraded", "online", "unknown"];
  // As they are: in no order.
  const fleet = fleetOf(GATEWAYS, (at) => ({
    name: `host-${(at * 7919) % 10_007}.region-${at % 13}`,
    status: statuses[(at * 31) % 6],
  }));
  const latencies = { from: 0, bucket: 900, gateways: [] };
  let reads = 0;
  const read = () => {
    reads += 1;
    return fleet;
  };
  wire.answers = { "/api/fleet": read, "/api/gateways/latency": () => latencies };
  wire.speaks = true;
  const { page, context, faults } = await openPage(browser);
  await noteStatuses(page);
  // By name: what changes stays in sight.
  await logIn(page, { url: wire.url, key: daemon.key }, "/?sort=name");
  await page.getByText("10,000 gateways").waitFor();
  const id = Number(
    await page
      .locator(".table-body .row a")
      .first()
      .evaluate((one) => one.getAttribute("href")?.split("/").pop()),
  );
  // At once, and again once the stream of events is open.
  await until(
    () => reads === 2,
    () => "the page is read",
  );
  let number = 10;
  const change = async (/** @type {string} */ to) => {
    const seen = (await drawnIn(page)).length;
    number += 1;
    await wire.say([
      { type: "gateway.status", id: number, ts: Date.now(), data: { gateway_id: id, to, phase: "ready" } },
    ]);
    return until(
      async () => (await drawnIn(page)).length > seen,
      () => `it is shown as ${to}`,
    );
  };
  for (let round = 0; round < 40; round++) await change(statuses[round % 4] ?? "");
  tellW5("10,000 gateways", await drawnIn(page));
  // A snapshot that takes its time, and has nothing of what comes meanwhile.
  const before = fleet.gateways.find((row) => row.id === id)?.status;
  const to = before === "timeout" ? "offline" : "timeout";
  /** @type {() => void} */
  let answer = () => {};
  const held = new Promise((resolve) => {
    answer = () => resolve(undefined);
  });
  const snapshot = { ...fleet, last_event: number, gateways: fleet.gateways.slice(0, -1) };
  const asked = page.waitForRequest("**/api/fleet");
  await page.route("**/api/fleet", async (route) => {
    await held;
    await route.fulfill({ json: snapshot });
  });
  await wire.say([{ type: "lagged", dropped: 1 }]);
  await asked;
  await change(to);
  answer();
  await page.getByText("9,999 gateways").waitFor();
  assert.match(await page.locator(".table-body .row").first().innerText(), new RegExp(to, "i"));
  tellW5("while the fleet is read", (await drawnIn(page)).slice(-1));
  assert.deepEqual(faults, []);
  wire.answers = {};
  await context.close();
});

test("W8: with ten tabs every request is answered", async () => {
  const { page, context } = await openPage(browser);
  await logIn(page, daemon);
  const tabs = [page];
  for (let at = 1; at < 10; at++) tabs.push(await context.newPage());
  let answered = 0;
  /** @type {string[]} */
  const failed = [];
  for (const tab of tabs) {
    tab.on("requestfinished", () => answered++);
    tab.on("requestfailed", async (request) => {
      // What has not changed has no body, which browsers count as aborted.
      const status = (await request.response().catch(() => null))?.status();
      if (status === 304) answered++;
      else failed.push(`${request.url()}: ${request.failure()?.errorText}`);
    });
  }
  await Promise.all(tabs.map((tab) => tab.goto(`${daemon.url}/gateways/1`)));
  for (const tab of tabs) {
    await tab.getByText("Connected", { exact: true }).waitFor();
    await tab.getByRole("heading", { name: "local", level: 1 }).waitFor();
  }
  const statuses = await Promise.all(
    tabs.map((tab) =>
      tab.evaluate(async () => {
        const answers = await Promise.all(Array.from({ length: 20 }, () => fetch("/api/fleet")));
        return answers.map(({ status }) => status);
      }),
    ),
  );
  assert.deepEqual(statuses.flat(), Array(200).fill(200));
  await daemon.call("POST", "/api/gateways/1/drain");
  for (const tab of tabs) await tab.getByText("DRAINED").first().waitFor();
  await daemon.call("POST", "/api/gateways/1/undrain");
  assert.deepEqual(failed, []);
  console.log(`W8: ${answered} requests of ten tabs answered`);
  await context.close();
});

test("W6: when all 10,000 drop at once, all are shown as offline", async () => {
  const { page, context } = await openMany();
  for (const how of ["events", "lagged"]) {
    if (how === "lagged") {
      await page.goto(`${wire.url}/`);
      await page.getByRole("button", { name: /^10,000 Online/ }).waitFor();
      wire.answers = { "/api/fleet": () => fleetOf(GATEWAYS, () => ({ status: "offline", phase: "backoff" })) };
    }
    await page.evaluate(() => {
      const tasks = /** @type {number[]} */ ([]);
      Object.assign(window, { tasks });
      new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) tasks.push(entry.duration);
      }).observe({ type: "longtask" });
    });
    await until(
      () => wire.isHeard,
      () => "the page listens",
    );
    const began = Date.now();
    const dropped = Array.from({ length: GATEWAYS }, (_, at) => ({
      type: "gateway.status",
      id: at + 2,
      ts: began,
      data: {
        gateway_id: at + 2,
        from: "online",
        to: "offline",
        phase: "backoff",
        error: { code: "connection_refused", message: "Nothing listens there", help: "Start the gateway." },
      },
    }));
    // A reader that is too slow is told so, and reads the fleet again.
    const messages = how === "events" ? dropped : [{ type: "lagged", dropped: 9_000 }, ...dropped.slice(9_000)];
    await wire.say(messages);
    await page.getByRole("button", { name: /^10,000 Offline/ }).waitFor();
    const took = Date.now() - began;
    await page.getByRole("button", { name: /^0 Online/ }).waitFor();
    const tasks = await page.evaluate(() => /** @type {any} */ (window).tasks);
    console.log(
      `W6 (${how}): right after ${took} ms, longest task ${Math.max(0, ...tasks)} ms of ${tasks.length} long`,
    );
  }
  await context.close();
});
