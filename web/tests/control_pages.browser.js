// Pages of the embedded gateway's Control UI beside the chat, each on a real gateway of its own; and the address that `up` prints.
import assert from "node:assert/strict";
import { appendFileSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { call, enter, startGateway, startTelegram } from "./control.js";
import { openPage, picture, startBrowser, startDaemon, until, violations } from "./daemon.js";

/** @typedef {import("playwright-core").Page} Page */

/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
});

/** @param {Page} page */
const conversation = (page) => page.getByRole("region", { name: "Conversation" });

/** @param {Page} page @param {string} name */
const open = (page, name) => page.getByRole("link", { name, exact: true }).click();

test("the address that `up` prints leads to a chat with the sample agent", async () => {
  const daemon = await startDaemon();
  const { page, context, faults } = await openPage(browser);
  try {
    const [, address = "", token = ""] = /^chat +(http\S+)\n.*with the token in (.+)$/m.exec(daemon.said()) ?? [];
    await page.goto(address);
    await page.getByLabel("Token or password").fill(readFileSync(token, "utf8").trim());
    await page.keyboard.press("Enter");
    await page.getByLabel(/^Message to /).fill("hello");
    await page.keyboard.press("Enter");
    await conversation(page).getByText("You said: hello").waitFor();
    assert.deepEqual(faults, []);
  } finally {
    await context.close();
    await daemon.stop();
  }
});

test("a session's run is paused, goes on, and is killed after a question; the session is deleted after another", async () => {
  const served = await startGateway();
  const { page, context, faults } = await openPage(browser);
  try {
    await enter(page, served);
    // The main session of the default agent can't be deleted.
    await page.getByRole("button", { name: "New session" }).first().click();
    await page.getByLabel("Message to Sample").fill("count to 100");
    await page.keyboard.press("Enter");
    await conversation(page).getByText("1 2").waitFor();
    await open(page, "Sessions");
    const row = page.getByRole("table", { name: "Sessions" }).getByRole("row").nth(1);
    const button = (/** @type {string} */ name) => row.getByRole("button", { name, exact: true });
    const answer = (/** @type {string} */ name) =>
      page.getByRole("dialog").getByRole("button", { name, exact: true }).click();
    await row.locator(".state.busy", { hasText: "At work" }).waitFor();
    assert.equal(await button("Resume").count(), 0);
    await picture(page, "control-sessions-at-work");
    assert.deepEqual(await violations(page), []);
    await button("Pause").click();
    await row.locator(".state.warn", { hasText: "Paused" }).waitFor();
    assert.equal(await button("Pause").count(), 0);
    // It counts a number each 0.4 s, and none while it is paused.
    await open(page, "Chat");
    const counted = () => conversation(page).locator(".said").last().innerText();
    await conversation(page).getByText("1 2").waitFor();
    const before = await counted();
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    assert.equal(await counted(), before);
    await open(page, "Sessions");
    await button("Resume").click();
    await row.locator(".state.busy", { hasText: "At work" }).waitFor();
    await open(page, "Chat");
    await until(
      async () => (await counted()).length > before.length,
      () => `it counts on after ${before}`,
    );
    await open(page, "Sessions");
    await button("Kill").click();
    await page.getByRole("dialog").getByText("What it is at ends without an answer.").waitFor();
    assert.deepEqual(await violations(page), []);
    await answer("Cancel");
    assert.equal(await row.locator(".state.busy").count(), 1);
    await button("Kill").click();
    await answer("Kill");
    await row.locator(".state.quiet", { hasText: "Stopped" }).waitFor();
    assert.equal(await button("Kill").count(), 0);
    await button("Delete").click();
    await page.getByRole("dialog").getByText("This can't be undone.").waitFor();
    await answer("Delete");
    await page.getByText("There are no sessions yet.").waitFor();
    assert.deepEqual((await call(page, "sessions.list", {})).sessions, []);
    assert.deepEqual(faults, []);
  } finally {
    await context.close();
    await served.stop();
  }
});

test("the main session of the default agent can't be deleted, and the page says so", async () => {
  const served = await startGateway();
  const { page, context, faults } = await openPage(browser);
  try {
    await enter(page, served, "#sessions");
    for (const key of ["agent:sample:main", "agent:sample:other"]) await call(page, "sessions.create", { key });
    const of = (/** @type {string} */ key) =>
      page
        .getByRole("table", { name: "Sessions" })
        .getByRole("row")
        .filter({ hasText: key })
        .getByRole("button", { name: "Delete" });
    const main = of("agent:sample:main");
    await main.waitFor();
    assert.equal(await main.getAttribute("aria-disabled"), "true");
    assert.match((await main.getAttribute("title")) ?? "", /main session of the default agent can't be deleted/);
    // Somebody clicks all the same.
    await main.click({ force: true });
    await of("agent:sample:other").click();
    await page.getByRole("dialog").getByText("agent:sample:other").waitFor();
    assert.deepEqual(await violations(page), []);
    await page.getByRole("dialog").getByRole("button", { name: "Delete", exact: true }).click();
    await of("agent:sample:other").waitFor({ state: "detached" });
    assert.equal(await main.count(), 1);
    assert.deepEqual(faults, []);
  } finally {
    await context.close();
    await served.stop();
  }
});

test("of 51 sessions 50 are on the first page and one on the next, and a search finds one by key or label", async () => {
  const served = await startGateway();
  const { page, context, faults } = await openPage(browser);
  try {
    await enter(page, served, "#sessions");
    await page.getByText("There are no sessions yet.").waitFor();
    for (let at = 1; at <= 51; at++)
      await call(page, "sessions.create", { key: `agent:sample:number-${at}`, label: `Label of ${at * 1_000}` });
    const rows = page.getByRole("table", { name: "Sessions" }).locator("tbody tr");
    const are = (/** @type {number} */ count) =>
      until(
        async () => (await rows.count()) === count,
        () => `${count} rows`,
      );
    await page.getByText("1 to 50 of 51", { exact: true }).waitFor();
    await are(50);
    assert.deepEqual(await violations(page), []);
    await page.getByRole("button", { name: "Next" }).click();
    await page.getByText("51 to 51 of 51", { exact: true }).waitFor();
    await are(1);
    // What was changed first is the last.
    await rows.getByText("agent:sample:number-1", { exact: true }).waitFor();
    // A search begins at its first page.
    const search = page.getByLabel("Search by key or label");
    await search.fill("NUMBER-33");
    await rows.getByText("agent:sample:number-33", { exact: true }).waitFor();
    await are(1);
    await search.fill("of 44000");
    await rows.getByText("agent:sample:number-44", { exact: true }).waitFor();
    await are(1);
    await search.fill("nobody");
    await page.getByText("No session is like that.").waitFor();
    await search.fill("");
    await page.getByText("1 to 50 of 51", { exact: true }).waitFor();
    await page.getByRole("button", { name: "Next" }).click();
    await page.getByText("51 to 51 of 51", { exact: true }).waitFor();
    await page.getByRole("button", { name: "Previous" }).click();
    await are(50);
    assert.deepEqual(faults, []);
  } finally {
    await context.close();
    await served.stop();
  }
});

test("of the log 5,000 lines are kept, filters only hide, Hold adds none, and what wasn't read is said", async () => {
  // The gateway itself writes no line.
  const served = await startGateway({}, {}, { logging: { level: "error" } });
  const { page, context, faults } = await openPage(browser);
  try {
    await enter(page, served);
    const { file } = await call(page, "logs.tail", {});
    let written = 0;
    const log = (/** @type {number} */ count) => {
      const lines = Array.from({ length: count }, () => `line ${String(++written).padStart(5, "0")};`);
      appendFileSync(file, `${lines.join("\n")}\n`);
    };
    const status = page.locator(".log-page").getByRole("status");
    const says = async (/** @type {string} */ text) => {
      await until(
        async () => (await status.innerText()) === text,
        () => text,
      ).catch(async (error) => {
        throw new Error(`${error.message}, but it says: ${await status.innerText()}`);
      });
    };
    const filter = page.getByLabel("Show only lines with");
    const missing = page.getByText("Lines are missing here");
    log(1_000);
    await open(page, "Logs");
    await says("1,000 lines");
    while (written < 5_000) {
      log(800);
      await says(`${written.toLocaleString("en")} lines`);
    }
    // Nothing of it is gone before there is one more.
    await filter.fill("line 00001;");
    await says("1 line of 5,000");
    log(1);
    await says("0 lines of 5,000");
    await page.getByText("No line is like that.").waitFor();
    assert.deepEqual(await violations(page), []);
    await filter.fill("line 05001;");
    await says("1 line of 5,000");
    await filter.fill("");
    await says("5,000 lines");
    await page.getByLabel("Least level").selectOption("error");
    await says("0 lines of 5,000");
    await page.getByLabel("Least level").selectOption("debug");
    await says("5,000 lines");
    assert.equal(await missing.count(), 0);
    const hold = page.getByRole("button", { name: "Hold" });
    await hold.click();
    log(10);
    await filter.fill(`line ${String(written).padStart(5, "0")};`);
    // The file is looked at each two seconds.
    await new Promise((resolve) => setTimeout(resolve, 4_500));
    await says("0 lines of 5,000");
    await hold.click();
    await says("1 line of 5,000");
    assert.equal(await missing.count(), 0);
    // More lines than it is given at a time.
    await filter.fill("Lines are missing");
    await says("0 lines of 5,000");
    log(1_200);
    await says("1 line of 5,000");
    // The file is set aside, and a new one begun.
    renameSync(file, `${file}.1`);
    writeFileSync(file, "the first line after it\n");
    await says("2 lines of 5,000");
    await filter.fill("");
    await page.getByText("the first line after it").waitFor();
    await missing.waitFor();
    await picture(page, "control-logs-missing");
    assert.deepEqual(await violations(page), []);
    assert.deepEqual(faults, []);
  } finally {
    await context.close();
    await served.stop();
  }
});

test("a device that waits is approved in the page of another one, and is let in; one that is rejected isn't", async () => {
  const deviceAuth = { approveLoopback: true };
  const served = await startGateway({}, { auth: { deviceAuth } });
  const approver = await openPage(browser);
  const waiting = await openPage(browser);
  try {
    await enter(approver.page, served, "#gateway");
    await approver.page.getByText("None.").waitFor();
    // From now on as from another machine.
    await served.stopHere();
    deviceAuth.approveLoopback = false;
    await served.startAgain();
    const ask = async () => {
      await waiting.page.goto(served.url);
      await waiting.page.getByLabel("Token or password").fill(served.token);
      await waiting.page.keyboard.press("Enter");
      await waiting.page.getByText("This browser waits for an approval.").waitFor();
    };
    const row = approver.page.getByRole("table", { name: "Devices that wait" }).locator("tbody tr");
    await ask();
    await row.getByText("openclaw-control-ui").first().waitFor();
    await picture(approver.page, "control-gateway-devices");
    assert.deepEqual(await violations(approver.page), []);
    await row.getByRole("button", { name: "Reject" }).click();
    await approver.page.getByText(/ was rejected$/).waitFor();
    await row.waitFor({ state: "detached" });
    await waiting.page.getByRole("button", { name: "Connect again" }).click();
    await row.getByRole("button", { name: "Approve" }).click();
    await approver.page.getByText(/ was approved$/).waitFor();
    await approver.page.getByText("None.").first().waitFor();
    await waiting.page.getByRole("button", { name: "Connect again" }).click();
    await waiting.page.locator(".link").getByText("Connected", { exact: true }).waitFor();
    const { paired } = await call(approver.page, "device.pair.list", {});
    assert.equal(paired.length, 2);
  } finally {
    await approver.context.close();
    await waiting.context.close();
    await served.stop();
  }
});

test("the gateway's page says how many channels are connected, what is worst with its cure, and what there may be at most", async () => {
  const telegram = await startTelegram();
  const accounts = {
    good: { botToken: "4711:good", apiRoot: telegram.root },
    away: { botToken: "4712:away", apiRoot: "http://127.0.0.1:9" },
    off: { enabled: false },
  };
  const served = await startGateway(
    { processes: 3, connections: 70, sessions: 1_200 },
    {},
    { channels: { telegram: { accounts } } },
  );
  const { page, context, faults } = await openPage(browser);
  try {
    await enter(page, served, "#gateway");
    const fact = (/** @type {string} */ name) =>
      page
        .locator(".facts > div")
        .filter({ has: page.getByText(name, { exact: true }) })
        .locator("dd");
    await fact("Channels").getByText("1 of 2 connected", { exact: true }).waitFor();
    const trouble = page.locator(".notice.bad", { hasText: "Telegram, account away: " });
    await trouble.waitFor();
    await call(page, "sessions.create", { key: "agent:sample:counting", message: "count to 100" });
    await fact("Programs that run").getByText("1 of at most 3", { exact: true }).waitFor();
    await fact("Sessions").getByText("1 of at most 1,200", { exact: true }).waitFor();
    await fact("Connections").getByText("1 of at most 70", { exact: true }).waitFor();
    await picture(page, "control-gateway-channels");
    assert.deepEqual(await violations(page), []);
    // The same cure as on the page of channels, to which it leads.
    const { channelAccounts } = await call(page, "channels.status", {});
    const { fix } = channelAccounts.telegram.find((/** @type {any} */ { accountId }) => accountId === "away");
    assert.ok(
      (await trouble.innerText()).toLowerCase().includes(fix.toLowerCase()),
      `${await trouble.innerText()}: ${fix}`,
    );
    // Refused is worse than away.
    telegram.refuse();
    await page.locator(".notice.bad", { hasText: "Telegram, account good: " }).waitFor();
    await fact("Channels").getByText("0 of 2 connected", { exact: true }).click();
    await page.getByRole("heading", { name: "Channels", exact: true }).waitFor();
    assert.deepEqual(faults, []);
  } finally {
    await context.close();
    await served.stop();
    telegram.stop();
  }
});
