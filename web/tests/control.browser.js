// The embedded gateway's Control UI in a browser, on a real gateway with the sample agent.
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { call, enter, startGateway, startTelegram } from "./control.js";
import { openPage, picture, startBrowser, until, violations } from "./daemon.js";

/** @type {Awaited<ReturnType<typeof startGateway>>} */
let gateway;
/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  // Each test is a browser of its own, and so a device; one replaces another only after a minute.
  const deviceAuth = { maxDevicesPerUser: 100 };
  gateway = await startGateway({ historyMessages: 10_000 }, { auth: { deviceAuth } });
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await gateway?.stop();
});

/** @param {import("playwright-core").Page} page @param {string} text */
async function write(page, text) {
  await page.getByLabel("Message to Sample").fill(text);
  await page.keyboard.press("Enter");
}

/** A session of its own, so that tests don't meet. @param {import("playwright-core").Page} page */
async function newSession(page) {
  await page.getByRole("button", { name: "New session" }).first().click();
  await page.getByText("Nothing was said here yet").waitFor();
}

/** @param {import("playwright-core").Page} page */
const conversation = (page) => page.getByRole("region", { name: "Conversation" });

test("a wrong token is said, a right one leads to the chat, and the agent answers", async () => {
  const { page, context, faults } = await openPage(browser);
  await page.goto(`${gateway.url}/`);
  await picture(page, "control-login");
  assert.deepEqual(await violations(page), []);
  await page.getByLabel("Token or password").fill("wrong");
  await page.keyboard.press("Enter");
  await page.getByText("The token or password is wrong.").waitFor();
  await picture(page, "control-login-wrong");
  assert.deepEqual(await violations(page), []);
  await enter(page, gateway);
  await page.getByText("Nothing was said here yet").waitFor();
  await write(page, "   ");
  await write(page, "good day to you");
  await conversation(page).getByText("Working…").waitFor();
  await conversation(page).getByText("count_words").waitFor();
  await picture(page, "control-chat-working");
  await conversation(page).getByText("You said: good day to you").waitFor();
  await conversation(page).getByText("Working…").waitFor({ state: "detached" });
  assert.equal(
    await conversation(page).locator("li", { hasText: "good day to you" }).count(),
    2,
    "asked and answered once",
  );
  await conversation(page).getByText("count_words").click();
  await conversation(page).getByText('"words": 4').waitFor();
  await picture(page, "control-chat");
  // The same session goes on after a reload.
  await page.reload();
  await enter(page, gateway);
  await conversation(page).getByText("You said: good day to you").waitFor();
  assert.deepEqual(faults, []);
  await context.close();
});

test("what an agent does can be stopped", async () => {
  const { page, context } = await openPage(browser);
  await enter(page, gateway);
  await newSession(page);
  await write(page, "count to 100");
  await conversation(page).getByText("1 2").waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await conversation(page).getByText("Stopped.").waitFor();
  await page.getByRole("button", { name: "Stop" }).waitFor({ state: "detached" });
  await write(page, "fail because of rain");
  await conversation(page).getByText("Failed: because of rain").waitFor();
  await context.close();
});

test("a stop says which messages it kept from being answered, and they can be sent again; answers stand behind their questions", async () => {
  const { page, context, faults } = await openPage(browser);
  await enter(page, gateway);
  await newSession(page);
  await write(page, "count to 100");
  await conversation(page).getByText("1 2").waitFor();
  for (const text of ["one more", "another one"]) await write(page, text);
  const waits = conversation(page).getByText("Waits until the message before it is answered.");
  await waits.nth(1).waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await conversation(page).getByText("Stopped.").waitFor();
  const unbegun = conversation(page).getByText("Not answered: it was stopped before its turn.");
  await unbegun.nth(1).waitFor();
  assert.equal(await conversation(page).getByText("Working…").count(), 0);
  await picture(page, "control-chat-stopped");
  assert.deepEqual(await violations(page), []);
  await conversation(page).getByRole("button", { name: "Send again" }).first().click();
  await conversation(page).getByText("You said: one more").waitFor();
  await conversation(page).getByText("Stopped before its turn, then sent again.").waitFor();
  assert.equal(await unbegun.count(), 1, "the other one isn't sent by itself");
  for (const text of ["count to 20", "quick one", "quick two"]) await write(page, text);
  await conversation(page).getByText("You said: quick two").waitFor();
  const said = await conversation(page)
    .locator(".said")
    .filter({ hasText: /quick|count to 20|20$/ })
    .allInnerTexts();
  const order = said.map((text) => /You said: quick \w+|quick \w+|count to 20|20$/.exec(text.trim())?.[0]);
  const wanted = ["count to 20", "20", "quick one", "You said: quick one", "quick two", "You said: quick two"];
  assert.deepEqual(order.filter(Boolean), wanted);
  assert.deepEqual(faults, []);
  await context.close();
});

test("markup of an agent stays text, and the token is nowhere", async () => {
  const { page, context, faults, answers } = await openPage(browser);
  await enter(page, gateway);
  await newSession(page);
  const markup = `<img src=x onerror=alert(1)> <b>bold</b> [a](javascript:alert(1)) <script>alert(2)</script>`;
  await write(page, markup);
  await conversation(page).getByText("You said: <img src=x").waitFor();
  assert.equal(await conversation(page).locator("img, b, script, a").count(), 0);
  const found = await page.evaluate(async () => {
    const names = (await indexedDB.databases()).map(({ name }) => name ?? "");
    const stored = [];
    for (const name of names) {
      const database = await new Promise((resolve) => {
        const opening = indexedDB.open(name);
        opening.onsuccess = () => resolve(opening.result);
      });
      for (const store of /** @type {IDBDatabase} */ (database).objectStoreNames) {
        const all = await new Promise((resolve) => {
          const reading = /** @type {IDBDatabase} */ (database).transaction(store).objectStore(store).getAll();
          reading.onsuccess = () => resolve(reading.result);
        });
        stored.push(JSON.stringify(all), String(all[0].key.extractable));
      }
      /** @type {IDBDatabase} */ (database).close();
    }
    const values = [...document.querySelectorAll("input, textarea")].map((one) => /** @type {any} */ (one).value);
    return {
      stored,
      all: [
        document.documentElement.outerHTML,
        location.href,
        document.cookie,
        JSON.stringify(localStorage),
        JSON.stringify(sessionStorage),
        ...values,
      ].join("\n"),
    };
  });
  assert.ok(!found.all.includes(gateway.token) && !found.stored.join().includes(gateway.token));
  assert.equal(found.stored.at(-1), "false", "no script can read the device's key");
  for (const { url, body } of answers) assert.ok(!url.includes(gateway.token) && !body.includes(gateway.token), url);
  assert.deepEqual(faults, []);
  await context.close();
});

test("a gateway that is killed turns the page gray; once it is back nothing is lost or doubled", async () => {
  const { page, context } = await openPage(browser);
  await enter(page, gateway);
  await newSession(page);
  await write(page, "before the end");
  await conversation(page).getByText("You said: before the end").waitFor();
  await write(page, "count to 100");
  await conversation(page).getByText("1 2").waitFor();
  await gateway.kill();
  await page.getByText(/^Disconnected|^Reconnecting/).waitFor();
  await page.getByText(/^As of /).waitFor();
  await page.locator("main.stale").waitFor();
  await write(page, "while away");
  await conversation(page).getByText("Is sent when the connection is back.").waitFor();
  await picture(page, "control-chat-gray");
  assert.deepEqual(await violations(page), []);
  await gateway.startAgain();
  await page.getByText("Connected", { exact: true }).waitFor();
  await conversation(page).getByText("You said: while away").waitFor();
  await conversation(page).getByText("The gateway ended while this run was under way").waitFor();
  for (const text of ["before the end", "while away"])
    assert.equal(
      await conversation(page).locator(".said", { hasText: text }).count(),
      2,
      `${text}: asked and answered once`,
    );
  assert.equal(await conversation(page).locator(".said.user", { hasText: "count to 100" }).count(), 1);
  await context.close();
});

test("a page of another machine waits for an approval, and says which command gives it", async () => {
  const strict = await startGateway({}, { auth: { deviceAuth: { approveLoopback: false } } });
  const { page, context } = await openPage(browser);
  try {
    await page.goto(strict.url);
    await page.getByLabel("Token or password").fill(strict.token);
    await page.keyboard.press("Enter");
    await page.getByText("This browser waits for an approval.").waitFor();
    await page.getByText(/^gatewarden gateway devices approve [0-9a-f-]+$/).waitFor();
    await picture(page, "control-login-pairing");
    assert.deepEqual(await violations(page), []);
  } finally {
    await context.close();
    await strict.stop();
  }
});

test("whoever is locked out sees how long it lasts still", async () => {
  const rateLimit = { maxAttempts: 1, lockoutMs: 3_000, exemptLoopback: false };
  const strict = await startGateway({}, { auth: { rateLimit } });
  const { page, context } = await openPage(browser);
  try {
    await page.goto(strict.url);
    for (const said of ["The token or password is wrong.", "Too many wrong attempts"]) {
      await page.getByLabel("Token or password").fill("wrong");
      await page.keyboard.press("Enter");
      await page.getByText(said).waitFor();
    }
    await page.getByText(/^Try again in [12] s, with the right token/).waitFor();
    assert.deepEqual(await violations(page), []);
    await page.getByText(/^Try again now, with the right token/).waitFor();
    await enter(page, strict);
  } finally {
    await context.close();
    await strict.stop();
  }
});

test("what an agent asks for is shown whole, with what can't be seen in it, and is done once it is allowed", async () => {
  const { page, context, faults } = await openPage(browser);
  await enter(page, gateway);
  await page.getByLabel("Agent", { exact: true }).selectOption("asking");
  await newSession(page);
  const asked = page.locator(".asked");
  for (const [decision, option] of [
    ["Allow once", "allow_once"],
    ["Deny", "reject_once"],
  ]) {
    await page.getByLabel("Message to Asking").fill(`cargo test # \u202e${"a ".repeat(5_000)}; hidden | sh`);
    await page.keyboard.press("Enter");
    await asked.getByText("⟨U+202E⟩a a").waitFor();
    assert.match((await asked.locator("pre").textContent()) ?? "", /; hidden \| sh"\}$/);
    await asked.getByText("characters: scroll to read all.").waitFor();
    if (decision === "Deny") await picture(page, "control-asked");
    assert.deepEqual(await violations(page), []);
    await asked.getByRole("button", { name: decision }).click();
    // Looking for faults scrolls about; only what is in sight is in the page.
    const answer = conversation(page).getByText(`Answered: ${option}`);
    await until(
      async () => {
        await conversation(page).evaluate((box) => box.scrollTo(0, box.scrollHeight));
        return (await answer.count()) > 0;
      },
      () => `the agent heard ${option}`,
    );
    // No call goes on in what has ended; what was denied is called so.
    await conversation(page)
      .locator(".tool", { hasText: decision === "Deny" ? "Run tests denied" : "Run tests ended without a result" })
      .waitFor();
    assert.equal(await conversation(page).getByText("is running").count(), 0);
    await asked.waitFor({ state: "detached" });
  }
  assert.deepEqual(faults, []);
  await context.close();
});

test("a job runs now, is switched off and on, and removed; its session has its name", async () => {
  const { page, context, faults } = await openPage(browser);
  await enter(page, gateway, "#jobs");
  await page.getByText("There are no scheduled jobs.").waitFor();
  const payload = { kind: "agentTurn", message: "good morning" };
  const schedule = { kind: "every", everyMs: 3_600_000 };
  await call(page, "cron.add", { name: "Morning <b>brief</b>", schedule, sessionTarget: "isolated", payload });
  // Each form of a time that the gateway takes and a browser doesn't.
  for (const at of ["2051222400000", "2035-01-01 00:00", "20350101T000000Z"]) {
    const once = { kind: "at", at };
    await call(page, "cron.add", { name: `Once ${at}`, schedule: once, sessionTarget: "isolated", payload });
    const one = page.getByRole("row").filter({ hasText: `Once ${at}` });
    await one.getByText(/once, .*2035/).waitFor();
    await call(page, "cron.remove", {
      id: (await call(page, "cron.list", {})).jobs.find((/** @type {any} */ job) => job.name === `Once ${at}`).id,
    });
    await one.waitFor({ state: "detached" });
  }
  const row = page.getByRole("row").filter({ hasText: "Morning <b>brief</b>" });
  await row.getByText("every 1 h").waitFor();
  await row.getByText(/^in \d+ min|in 1 h/).waitFor();
  await row.getByText("Never").waitFor();
  await row.getByRole("button", { name: "Run now" }).click();
  await row.getByText("Done").waitFor();
  await picture(page, "control-jobs");
  assert.deepEqual(await violations(page), []);
  await row.getByRole("button", { name: "Switch off" }).click();
  await row.getByText("Switched off").waitFor();
  await row.getByRole("button", { name: "Switch on" }).click();
  await row.getByText(/^in \d+ min|in 1 h/).waitFor();
  await page.getByRole("link", { name: "Sessions", exact: true }).click();
  await page.getByRole("link", { name: "Job Morning <b>brief</b>" }).waitFor();
  await page.getByRole("link", { name: "Jobs", exact: true }).click();
  await row.getByRole("link").click();
  await page.getByRole("link", { name: "Chat", exact: true }).click();
  await conversation(page).getByText("You said: good morning").waitFor();
  await page.locator("aside .name", { hasText: "Job Morning <b>brief</b>" }).waitFor();
  await picture(page, "control-chat-job");
  await page.getByRole("link", { name: "Jobs", exact: true }).click();
  await row.getByRole("button", { name: "Remove" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
  await page.getByText("There are no scheduled jobs.").waitFor();
  assert.deepEqual(faults, []);
  await context.close();
});

test("a job is made and changed in a form, which says where its answer goes; how that went is in the list", async () => {
  const { page, context, faults } = await openPage(browser);
  await enter(page, gateway, "#jobs");
  await page.getByRole("button", { name: "Add job" }).click();
  const form = page.getByRole("dialog");
  await form.getByLabel("Name").fill("Night watch");
  await form.getByLabel("Message to the agent").fill("is all well?");
  await form.getByLabel("Runs").selectOption("every");
  await form.getByLabel("Every").fill("2h");
  await form.getByLabel("The answer goes to").selectOption("chat");
  await form.getByLabel("Channel").selectOption("discord");
  await form.getByLabel("Person or group").fill("5");
  assert.deepEqual(await violations(page), []);
  await form.getByRole("button", { name: "Add job" }).click();
  await form.getByText(/delivery: no (channel|account discord:default) is configured/).waitFor();
  await form.getByLabel("The answer goes to").selectOption("webhook");
  await form.getByLabel("Address of the webhook").fill("http://127.0.0.1:9/hook?key=geheim");
  await form.getByRole("button", { name: "Add job" }).click();
  await form.getByText("cron.webhookSsrfPolicy.allowedHostnames").waitFor();
  await form.getByLabel("Address of the webhook").fill("http://no-such-host.invalid/hook?key=geheim");
  await picture(page, "control-job-form");
  await form.getByRole("button", { name: "Add job" }).click();
  const row = page.getByRole("row").filter({ hasText: "Night watch" });
  await row.getByText("Webhook at no-such-host.invalid").waitFor();
  await row.getByText("every 2 h").waitFor();
  assert.equal(await page.getByText("geheim").count(), 0);
  const watch = async () =>
    (await call(page, "cron.list", {})).jobs.find((/** @type {any} */ { name }) => name === "Night watch");
  const { anchorMs } = (await watch()).schedule;
  await row.getByRole("button", { name: "Run now" }).click();
  await row.getByText("Not known").waitFor();
  await row.getByText("it waits to be sent").waitFor();
  await row.getByRole("button", { name: "Change" }).click();
  await form.getByLabel("Every").fill("3h");
  await form.getByLabel("The answer goes to").selectOption("none");
  await form.getByRole("button", { name: "Save" }).click();
  await row.getByText("every 3 h").waitFor();
  await row.getByText("Its session").waitFor();
  const changed = await watch();
  assert.deepEqual(
    [changed.delivery, changed.schedule, changed.payload.message],
    [{ mode: "none" }, { kind: "every", everyMs: 3 * 3_600_000, anchorMs }, "is all well?"],
  );
  await call(page, "cron.remove", { id: changed.id });
  assert.deepEqual(faults, []);
  await context.close();
});

test("a person who writes to the bot waits, is let in, answered, and shut out again; the account's state is said", async () => {
  const telegram = await startTelegram();
  const account = { botToken: "4711:a-token-that-nobody-may-see", apiRoot: telegram.root };
  const served = await startGateway(
    {},
    {},
    { channels: { telegram: { ...account, accounts: { off: { enabled: false } } } } },
  );
  const { page, context, faults } = await openPage(browser);
  try {
    await enter(page, served, "#channels");
    const person = page.getByRole("row").filter({ hasText: "Ada <b>L</b>" });
    await person.getByText("77", { exact: true }).waitFor();
    const panel = page.locator("section", { hasText: "account default" });
    await panel.getByText("@TestBot").waitFor();
    await panel.locator(".state.good", { hasText: "Connected" }).waitFor();
    await page.locator("section", { hasText: "account off" }).getByText("Off in the configuration").waitFor();
    await picture(page, "control-channels");
    assert.deepEqual(await violations(page), []);
    await person.getByRole("button", { name: "Approve" }).click();
    await page.getByText("77 was approved, and is told so").waitFor();
    await until(
      () => telegram.sent.some(({ text }) => text.startsWith("You were approved")),
      () => JSON.stringify(telegram.sent),
    );
    const approved = page.getByRole("table", { name: "People who were approved" });
    await approved.getByRole("button", { name: "Revoke" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
    await approved.waitFor({ state: "detached" });
    await panel.getByRole("button", { name: "Disconnect" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Disconnect" }).click();
    await panel.getByRole("button", { name: "Connect" }).click();
    await panel.locator(".state.good", { hasText: "Connected" }).waitFor();
    assert.ok(!(await page.content()).includes("a-token-that"));
    // The service is gone.
    telegram.stop();
    await panel.locator(".notice").waitFor();
    await picture(page, "control-channels-down");
    assert.deepEqual(await violations(page), []);
    assert.deepEqual(faults, []);
  } finally {
    await context.close();
    await served.stop();
    telegram.stop();
  }
});

test("two people change the configuration in two tabs, and nothing of either is lost", async () => {
  const served = await startGateway({}, { auth: { deviceAuth: { maxDevicesPerUser: 100 } } });
  const one = await openPage(browser);
  const other = await openPage(browser);
  const inFile = () => JSON.parse(readFileSync(served.config, "utf8"));
  const save = (/** @type {import("playwright-core").Page} */ page) =>
    page.getByRole("button", { name: "Save" }).click();
  try {
    for (const { page } of [one, other]) await enter(page, served, "#config");
    const [mine, theirs] = [one.page, other.page];
    const agent = (/** @type {import("playwright-core").Page} */ page) =>
      page.getByRole("group", { name: "Agent sample" });
    await agent(mine).getByLabel("Name").fill("Mine");
    await mine.getByText("Changed here, not saved: agents.entries.sample.name").waitFor();
    await theirs.getByLabel("Log level").selectOption("debug");
    await agent(theirs).getByLabel("Model").fill("their/model");
    await save(theirs);
    await theirs.getByText("Saved.").waitFor();
    await theirs.getByText("Counts at once: ", { exact: false }).getByText("logging.level").waitFor();
    // Told of it, what was typed here is laid over it.
    await mine.getByText("The file was changed meanwhile by somebody else.").waitFor();
    assert.equal(await mine.getByLabel("Log level").inputValue(), "debug");
    assert.equal(await agent(mine).getByLabel("Name").inputValue(), "Mine");
    assert.equal(inFile().agents.entries.sample.name, "Sample", "nothing is saved before it was looked at");
    await picture(mine, "control-config-meanwhile");
    assert.deepEqual(await violations(mine), []);
    await save(mine);
    await mine.getByText("Saved.").waitFor();
    const { logging, agents } = inFile();
    const { name, model } = agents.entries.sample;
    assert.deepEqual([logging.level, name, model], ["debug", "Mine", "their/model"]);
    await until(
      async () => (await agent(theirs).getByLabel("Name").inputValue()) === "Mine",
      () => "the other tab reads what was saved",
    );
    // Both change the same: who comes second sees both before anything is overwritten.
    await agent(mine).getByLabel("Model").fill("my/model");
    await agent(theirs).getByLabel("Model").fill("their/second");
    await save(theirs);
    await mine.getByText("You both changed agents.entries.sample.model").waitFor();
    assert.equal(inFile().agents.entries.sample.model, "their/second");
    await mine.getByRole("button", { name: "Undo all" }).click();
    assert.equal(await agent(mine).getByLabel("Model").inputValue(), "their/second");
    // What the gateway refuses is said with its cure, and stays typed.
    await mine.getByRole("button", { name: "Text" }).click();
    const text = mine.getByLabel("The whole file, as JSON");
    assert.ok((await text.inputValue()).includes("__OPENCLAW_REDACTED__"), "arguments are hidden");
    const whole = JSON.parse(await text.inputValue());
    await text.fill(JSON.stringify({ ...whole, gateway: { ...whole.gateway, bind: "lan" } }));
    await save(mine);
    await mine.getByText(/gateway\.bind: over the protocol only .*gatewarden\.remotePrograms: true there/).waitFor();
    assert.ok((await text.inputValue()).includes('"lan"'));
    await text.fill(JSON.stringify({ ...whole, logging: { level: "shout" } }));
    await save(mine);
    await mine
      .getByText(/logging\.level: must be/)
      .first()
      .waitFor();
    await text.fill('{"a": ');
    await mine.getByText(/can't be read: /).waitFor();
    assert.equal(await mine.getByRole("button", { name: "Save" }).getAttribute("aria-disabled"), "true");
    await picture(mine, "control-config-text");
    assert.deepEqual(await violations(mine), []);
    // Nothing typed is lost on a lost connection.
    await text.fill(JSON.stringify({ ...whole, logging: { level: "warn" } }));
    await served.kill();
    await mine.getByText(/^As of /).waitFor();
    await mine.getByText("It can be saved when the connection is back.").waitFor();
    await mine.getByRole("link", { name: "Logs", exact: true }).click();
    await mine.getByRole("link", { name: "Configuration", exact: true }).click();
    // `startAgain` writes the file of the first start, which has no section `logging`.
    await served.startAgain();
    await mine.getByText("Connected", { exact: true }).waitFor();
    await mine.getByText("Changed here, not saved: ").getByText("logging", { exact: true }).waitFor();
    await save(mine);
    await mine.getByText("Saved.").waitFor();
    assert.equal(inFile().logging.level, "warn");
    assert.equal(inFile().gatewarden.commands.sample.args[1], "sample-agent", "what was hidden is as it was");
    // What the browser itself says of a port at which nobody listens.
    const isOfEnd = (/** @type {string} */ fault) => /^WebSocket connection to .* failed/.test(fault);
    for (const { faults } of [one, other])
      assert.deepEqual(
        faults.filter((fault) => !isOfEnd(fault)),
        [],
      );
  } finally {
    await one.context.close();
    await other.context.close();
    await served.stop();
  }
});

test("where programs may be named over the protocol, what waits for a restart is said; a file that can't be used is explained", async () => {
  const served = await startGateway({}, {}, { logging: { level: "info" } });
  const { page, context, faults } = await openPage(browser);
  try {
    const file = JSON.parse(readFileSync(served.config, "utf8"));
    file.gatewarden.remotePrograms = true;
    writeFileSync(served.config, JSON.stringify(file));
    await enter(page, served, "#config");
    await page.getByText("doesn't count until the gateway is told (SIGHUP):").waitFor();
    await page.getByText("Everything: gatewarden.remotePrograms is true").waitFor();
    await page.getByRole("button", { name: "Text" }).click();
    const text = page.getByLabel("The whole file, as JSON");
    const whole = JSON.parse(await text.inputValue());
    await text.fill(JSON.stringify({ ...whole, gateway: { ...whole.gateway, bind: "lan" } }));
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByText("Waits for a restart: gateway.bind").first().waitFor();
    await page.getByLabel("Show only keys with").fill("controlui");
    await page.getByLabel("Which keys").selectOption("all");
    const row = page.getByRole("row").filter({ hasText: "gateway.controlUi.basePath" });
    await row.getByText("a text").waitFor();
    await picture(page, "control-config-restart");
    assert.deepEqual(await violations(page), []);
    writeFileSync(served.config, "{gateway: {port: 'no'}}");
    await page.reload();
    await enter(page, served, "#config");
    await page.getByText("The file can't be used").waitFor();
    await page.getByText(/must be a whole number from 0 to 65535/).waitFor();
    assert.deepEqual(await violations(page), []);
    assert.deepEqual(faults, []);
  } finally {
    await context.close();
    await served.stop();
  }
});

test("a job's name is asked for once, though two lists show its sessions at once", async () => {
  const { page, context } = await openPage(browser);
  /** @type {Map<string, number>} */
  const asked = new Map();
  page.on("websocket", (socket) =>
    socket.on("framesent", ({ payload }) => {
      const { method, params } = JSON.parse(String(payload));
      if (method === "cron.get") asked.set(params.id, (asked.get(params.id) ?? 0) + 1);
    }),
  );
  await enter(page, gateway, "#jobs");
  const payload = { kind: "agentTurn", message: "good morning" };
  const schedule = { kind: "every", everyMs: 3_600_000 };
  const { id } = await call(page, "cron.add", { name: "Asked once", schedule, sessionTarget: "isolated", payload });
  await call(page, "cron.run", { id });
  await page.getByRole("row").filter({ hasText: "Asked once" }).getByText("Done").waitFor();
  await page.reload();
  asked.clear();
  await enter(page, gateway, "#sessions");
  await page.getByRole("link", { name: "Chat", exact: true }).click();
  await page.locator("aside .name", { hasText: "Job Asked once" }).waitFor();
  assert.deepEqual([...asked], [[id, 1]]);
  await call(page, "cron.remove", { id });
  await context.close();
});

test("10,000 messages are read 50 at a time, few are in the page, and what is in sight stays in its place", async () => {
  const { page, context } = await openPage(browser);
  await enter(page, gateway);
  await newSession(page);
  await write(page, "first");
  await conversation(page).getByText("You said: first").waitFor();
  await context.close();
  await gateway.stopHere();
  const folder = join(gateway.state, "sessions");
  const file = readdirSync(folder)
    .map((name) => join(folder, name))
    .find((name) => readFileSync(name, "utf8").includes('"You said: first'));
  const lines = readFileSync(file ?? "", "utf8")
    .trim()
    .split("\n");
  const session = lines.findLast((line) => line.includes('"type":"session"')) ?? "";
  const message = JSON.parse(lines.findLast((line) => line.includes('"type":"message"')) ?? "{}");
  const all = Array.from({ length: 10_000 }, (_, at) =>
    JSON.stringify({
      ...message,
      id: `m${at}`,
      seq: at + 1,
      text: `message ${at + 1} ${"word ".repeat((at * 7) % 90)}`,
    }),
  );
  writeFileSync(file ?? "", `${[session, ...all].join("\n")}\n`);
  await gateway.startAgain();
  const large = await openPage(browser);
  const { page: later } = large;
  await enter(later, gateway);
  await later
    .locator("aside")
    .getByRole("button", { name: /webchat/ })
    .first()
    .waitFor();
  const key = JSON.parse(session).key;
  await later.getByTitle(key).first().click();
  await conversation(later)
    .getByText(/^message 10000 /)
    .waitFor();
  const scroller = conversation(later);
  // What is in sight stays there while older messages are put above it.
  const frames = () =>
    scroller.evaluate(async () => {
      for (let frame = 0; frame < 5; frame++)
        await new Promise((resolve) => requestAnimationFrame(() => resolve(null)));
    });
  await scroller.evaluate((one) => one.scrollTo(0, 700));
  await frames();
  await scroller.evaluate((one) => one.scrollTo(0, 590));
  await frames();
  const seen = await scroller.evaluate((one) => {
    const top = one.getBoundingClientRect().top;
    const first = [...one.querySelectorAll("li")].find((li) => li.getBoundingClientRect().bottom > top + 1);
    return { key: first?.getAttribute("data-key") ?? "", at: (first?.getBoundingClientRect().top ?? 0) - top };
  });
  await until(
    () => scroller.evaluate((one) => Number(one.querySelector("li")?.getAttribute("aria-setsize")) > 50),
    () => "older messages are read",
  );
  await frames();
  const still = await scroller.evaluate((one, key) => {
    const li = one.querySelector(`[data-key="${key}"]`);
    return (li?.getBoundingClientRect().top ?? -9_999) - one.getBoundingClientRect().top;
  }, seen.key);
  assert.ok(Math.abs(still - seen.at) < 3, `${still} and not ${seen.at}`);
  const deadline = Date.now() + 120_000;
  for (;;) {
    const known = await scroller.evaluate(async (one) => {
      one.scrollTo(0, 0);
      await new Promise((resolve) => requestAnimationFrame(() => resolve(null)));
      return {
        text: one.textContent?.includes("The beginning.") ?? false,
        nodes: document.querySelectorAll("*").length,
      };
    });
    assert.ok(known.nodes < 1_500, `${known.nodes} elements`);
    if (known.text) break;
    assert.ok(Date.now() < deadline, "the beginning is reached");
  }
  await conversation(later)
    .getByText(/^message 1 /)
    .waitFor();
  await browser.startTracing(later, { categories: ["toplevel", "devtools.timeline"] });
  await scroller.evaluate(async (one) => {
    for (let step = 0; step <= 200; step++) {
      one.scrollTo(0, (one.scrollHeight * step) / 200);
      await new Promise((resolve) => requestAnimationFrame(() => resolve(null)));
    }
  });
  const end = conversation(later).getByText(/^message 10000 /);
  await until(
    async () => {
      await scroller.evaluate((one) => one.scrollTo(0, one.scrollHeight));
      return end.isVisible();
    },
    () => "the end is reached",
  );
  const { traceEvents } = JSON.parse((await browser.stopTracing()).toString());
  // Of the page's thread, in time on the processor: other programs don't count.
  const names = traceEvents.filter((/** @type {any} */ one) => one.name === "thread_name");
  const threads = names.filter((/** @type {any} */ one) => one.args.name === "CrRendererMain");
  const isPage = (/** @type {any} */ one) =>
    threads.some((/** @type {any} */ { pid, tid }) => one.pid === pid && one.tid === tid);
  const tasks = traceEvents.filter((/** @type {any} */ one) => /RunTask$/.test(one.name) && isPage(one));
  assert.ok(tasks.length > 100, `${tasks.length} tasks were seen`);
  const longest = Math.max(...tasks.map((/** @type {any} */ one) => one.tdur ?? 0)) / 1000;
  console.log(`10,000 messages scroll: ${tasks.length} tasks, the longest ${longest.toFixed(1)} ms of processor time`);
  // The goal is 50 ms (benches/README.md). That it froze is certain only beyond what a busy machine adds.
  assert.ok(longest < 200, `a task of ${longest} ms`);
  await large.context.close();
});

test("every page is clean in light and dark, wide and narrow", async () => {
  for (const dark of [false, true]) {
    for (const width of [320, 1280]) {
      const { page, context, faults } = await openPage(browser, { dark, width });
      await enter(page, gateway, "#chat");
      await conversation(page)
        .getByText("You said: good day to you")
        .or(page.getByText("Nothing was said here yet"))
        .waitFor();
      for (const [name, seen] of Object.entries({
        Chat: "Send",
        Gateway: "Sessions at work",
        Sessions: "Delete",
        Channels: "No channel is configured.",
        Jobs: "There are no scheduled jobs.",
        Configuration: "gateway.port",
        Logs: "Hold",
      })) {
        await page.getByRole("link", { name, exact: true }).click();
        await page.getByText(seen).first().waitFor();
        await page.getByText("Reading…").waitFor({ state: "detached" });
        assert.deepEqual(await violations(page), [], `${name}, ${width} px, ${dark ? "dark" : "light"}`);
        const wide = await page.evaluate(
          () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
        );
        assert.equal(wide, 0, `${name} is no wider than ${width} px`);
        await picture(page, `control-${name.toLowerCase()}-${width}${dark ? "-dark" : ""}`);
      }
      assert.deepEqual(faults, []);
      await context.close();
    }
  }
});

test("a person without a mouse logs in, writes, stops, goes to another page and logs out", async () => {
  const { page, context } = await openPage(browser);
  const { keyboard } = page;
  const to = async (/** @type {import("playwright-core").Locator} */ wanted) => {
    await wanted.waitFor();
    for (let presses = 0; presses < 60; presses++) {
      if (await wanted.evaluate((one) => one === document.activeElement)) return;
      await keyboard.press("Tab");
    }
    throw new Error(`Tab leads not to ${wanted}`);
  };
  await page.goto(gateway.url);
  await to(page.getByLabel("Token or password"));
  await keyboard.type(gateway.token);
  await keyboard.press("Enter");
  await to(page.getByRole("button", { name: "New session" }).first());
  await keyboard.press("Enter");
  await to(page.getByLabel("Message to Sample"));
  await keyboard.type("count to 100");
  await keyboard.press("Enter");
  await to(page.getByRole("button", { name: "Stop" }));
  await keyboard.press("Enter");
  await conversation(page).getByText("Stopped.").waitFor();
  await to(page.getByRole("link", { name: "Sessions", exact: true }));
  await keyboard.press("Enter");
  await page.getByRole("heading", { name: "Sessions", exact: true }).waitFor();
  await to(page.getByRole("link", { name: "Configuration", exact: true }));
  await keyboard.press("Enter");
  const name = page.getByRole("group", { name: "Agent other" }).getByLabel("Name");
  await to(name);
  await keyboard.type("By keys");
  await keyboard.press("Enter");
  await page.getByText("Saved.").waitFor();
  assert.equal(JSON.parse(readFileSync(gateway.config, "utf8")).agents.entries.other.name, "By keys");
  await to(page.locator("summary", { hasText: "View" }));
  await keyboard.press("Enter");
  await to(page.getByRole("button", { name: "Log out" }));
  await keyboard.press("Enter");
  await page.getByRole("heading", { name: "Log in to this gateway" }).waitFor();
  assert.notEqual(await page.evaluate(() => document.activeElement?.tagName), "BODY");
  await context.close();
});
