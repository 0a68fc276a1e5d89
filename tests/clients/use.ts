// A client that TypeScript checks against the document, used once on a running daemon: node use.js URL KEY PORT
// The daemon sends its notifications to PORT.
import createClient from "openapi-fetch";
import type { components, paths, webhooks } from "./api";

declare const process: { argv: string[]; exit(code: number): never };
declare function require(name: "node:http"): {
  createServer(take: (request: AsyncIterable<{ toString(): string }>, answer: { end(): void }) => void): {
    listen(port: string, host: string): void;
    close(): void;
  };
};

type Client = ReturnType<typeof createClient<paths>>;
type SpawnState = components["schemas"]["SpawnState"];
type Event = components["schemas"]["Event"];
type Notification = webhooks["notification"]["post"]["requestBody"]["content"]["application/json"];

// Typed by the document: a state that it doesn't list would not compile.
const ENDED: SpawnState[] = ["completed", "failed", "killed", "lost"];

function check(condition: unknown, what: string): asserts condition {
  if (!condition) {
    console.error(`FAILED: ${what}`);
    process.exit(1);
  }
}

// What is wrong with the daemon's answer ends the program, so does silence.
const silence = setTimeout(() => check(false, "everything comes within a minute"), 60_000);

// The events of an open stream.
async function* eventsOf(stream: Response): AsyncGenerator<Event> {
  check(stream.ok && stream.body, "the stream of events is open");
  const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let text = ""; ; ) {
      const { value, done } = await reader.read();
      check(!done, "the stream of events goes on");
      const blocks = (text + value).split("\n\n");
      text = blocks.pop() ?? "";
      for (const block of blocks) {
        const data = block.split("\n").find((line) => line.startsWith("data: "));
        if (data) yield JSON.parse(data.slice("data: ".length)) as Event;
      }
    }
  } finally {
    await reader.cancel();
  }
}

// Work is given to the sample agent, and its events tell how it ends.
async function spawn(client: Client, url: string, key: string): Promise<void> {
  const types: Event["type"][] = ["gateway.status", "spawn_result"];
  const stream = await fetch(`${url}/api/events?types=${types.join(",")}`, { headers: { "X-API-Key": key } });
  const spawned = await client.POST("/api/spawn", { body: { agent: "sample", task: "count to 2" } });
  check(spawned.data, "work is taken");
  for await (const event of eventsOf(stream)) {
    if (event.type === "gateway.status") {
      check(event.data.to === "online", `gateway ${event.data.gateway} stays online`);
    } else if (event.type === "spawn_result" && event.data.spawnId === spawned.data.spawnId) {
      if (!ENDED.includes(event.data.status)) continue;
      return check(event.data.status === "completed", `the spawn completes, and is ${event.data.status}`);
    }
  }
}

// A gateway that nobody runs is reported to the webhook, and withdrawn when it is deleted.
async function notified(client: Client, port: string): Promise<void> {
  const name = "nobody of TypeScript";
  const told: Notification[] = [];
  let isOver: () => void = () => {};
  const over = new Promise<void>((resolve) => (isOver = resolve));
  const receiver = require("node:http").createServer(async (request, answer) => {
    let text = "";
    for await (const part of request) text += part.toString();
    answer.end();
    const notification = JSON.parse(text) as Notification;
    if (notification.gateway?.name !== name) return;
    told.push(notification);
    if (notification.kind === "down") {
      await client.DELETE("/api/gateways/{id}", { params: { path: { id: notification.gateway.id } } });
    } else {
      isOver();
    }
  });
  receiver.listen(port, "127.0.0.1");
  const made = await client.POST("/api/gateways", { body: { name, host: "127.0.0.1", port: 1 } });
  check(made.data, "a gateway is registered");
  await over;
  receiver.close();
  const [down, end] = told;
  check(down?.kind === "down" && down.gateway?.status === "offline" && down.gateway.error?.code, "it is down");
  check(end?.kind === "recovered" && end.removed && end.episode === down.episode, "its end is told");
}

async function main(): Promise<void> {
  const [url, key, port] = process.argv.slice(2);
  check(url && key && port, "usage: node use.js URL KEY PORT");
  const client = createClient<paths>({ baseUrl: url, headers: { "X-API-Key": key } });

  const list = await client.GET("/api/gateways");
  check(list.data, "the list of gateways is read");
  const online = list.data.gateways.filter((gateway) => gateway.status === "online");
  check(online.length === 1, `one gateway is online, of ${list.data.gateways.length}`);
  check(list.response.headers.get("x-request-id"), "the answer has its id");

  const wrong = await client.POST("/api/gateways", { body: { name: "", host: "127.0.0.1", port: 0 } });
  check(wrong.error && wrong.error.code === "invalid_request", "what is wrong with a gateway is told by a listed code");

  await spawn(client, url, key);
  await notified(client, port);
  clearTimeout(silence);
}

void main();
