// A client that TypeScript checks against the document, used once on a running daemon: node use.js URL KEY
import createClient from "openapi-fetch";
import type { components, paths } from "./api";

declare const process: { argv: string[]; exit(code: number): never };

type SpawnState = components["schemas"]["SpawnState"];

// Typed by the document: a state that it doesn't list would not compile.
const ENDED: SpawnState[] = ["completed", "failed", "killed", "lost"];

function check(condition: unknown, what: string): asserts condition {
  if (!condition) {
    console.error(`FAILED: ${what}`);
    process.exit(1);
  }
}

async function main(): Promise<void> {
  const [url, key] = process.argv.slice(2);
  check(url && key, "usage: node use.js URL KEY");
  const client = createClient<paths>({ baseUrl: url, headers: { "X-API-Key": key } });

  const list = await client.GET("/api/gateways");
  check(list.data, "the list of gateways is read");
  const online = list.data.gateways.filter((gateway) => gateway.status === "online");
  check(online.length === 1, `one gateway is online, of ${list.data.gateways.length}`);
  check(list.response.headers.get("x-request-id"), "the answer has its id");

  const wrong = await client.POST("/api/gateways", { body: { name: "", host: "127.0.0.1", port: 0 } });
  check(wrong.error && wrong.error.code === "invalid_request", "what is wrong with a gateway is told by a listed code");

  const spawned = await client.POST("/api/spawn", { body: { agent: "sample", task: "count to 2" } });
  check(spawned.data, "work is taken");
  let state: SpawnState = spawned.data.status;
  for (let waited = 0; waited < 300 && !ENDED.includes(state); waited += 1) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    const { data } = await client.GET("/api/spawn/{id}", { params: { path: { id: spawned.data.spawnId } } });
    check(data, "the spawn is found");
    state = data.status;
  }
  check(state === "completed", `the spawn completes, and is ${state}`);
}


void main();
