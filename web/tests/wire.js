// What is between browser and daemon: passes everything on, or is slow, lossy, frozen or gone; and can speak in the daemon's place.
import { createHash } from "node:crypto";
import { createServer, request } from "node:http";
import { connect } from "node:net";

/** A fleet as the daemon tells it. @param {number} count @param {(at: number) => object} [more] */
export function fleetOf(count, more = () => ({})) {
  const now = Math.floor(Date.now() / 1000);
  const gateways = Array.from({ length: count }, (_, at) => ({
    id: at + 2,
    name: `gateway-${at}`,
    host: `10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`,
    port: 18789,
    status: "online",
    since: now - at,
    phase: "ready",
    latency: (at * 7919) % 400,
    last_seen: now - (at % 30),
    as_of: now - (at % 30),
    version: "2026.9.6",
    protocol: 4,
    token_set: true,
    sessions_count: at % 5,
    agents_count: at % 9,
    ...more(at),
  }));
  return { last_event: 1, acting_primary: null, self_doubt: null, gateways };
}

/** A text message without a mask, as servers send it. @param {string} text */
function frame(text) {
  const body = Buffer.from(text);
  const head = Buffer.alloc(body.length < 126 ? 2 : body.length < 65_536 ? 4 : 10);
  head[0] = 0x81;
  if (head.length === 2) head[1] = body.length;
  else if (head.length === 4) {
    head[1] = 126;
    head.writeUInt16BE(body.length, 2);
  } else {
    head[1] = 127;
    head.writeBigUInt64BE(BigInt(body.length), 2);
  }
  return Buffer.concat([head, body]);
}

/**
 * Listens on loopback and passes on to the daemon.
 * @param {{url: string}} daemon
 */
export async function startWire(daemon) {
  /** @type {Set<import("node:net").Socket>} */
  const sockets = new Set();
  /** @type {import("node:net").Socket | null} */
  let spoken = null;
  let count = 0;
  const wire = {
    url: "",
    /** Answers in the daemon's place, by path. @type {Record<string, () => any>} */
    answers: {},
    /** Whether the WebSocket is ours, for `say`. */
    speaks: false,
    /** Nothing passes, and nothing is closed. */
    isFrozen: false,
    /** Nothing answers at this address. */
    isGone: false,
    /** Every request of this number is cut off within its answer; 0 for none. */
    losesEvery: 0,
    /** Each piece waits for so long. */
    delayMs: 0,
    /** Sends messages over the WebSocket; waits until they are on their way. @param {object[]} messages */
    async say(messages) {
      const socket = spoken;
      if (!socket) throw new Error("no WebSocket is open");
      const bytes = Buffer.concat(messages.map((message) => frame(JSON.stringify(message))));
      await new Promise((resolve) => socket.write(bytes, resolve));
    },
    get isHeard() {
      return spoken !== null;
    },
    /** Cuts every connection. */
    cut() {
      for (const socket of sockets) socket.destroy();
    },
    async stop() {
      wire.cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  /** Passes bytes on as the wire is at that moment. @param {import("node:stream").Readable} from @param {import("node:stream").Writable} to */
  const pass = (from, to) => {
    from.on("data", (/** @type {Buffer} */ bytes) => {
      if (wire.isFrozen) return;
      if (wire.delayMs > 0) setTimeout(() => to.write(bytes), wire.delayMs);
      else to.write(bytes);
    });
    from.on("end", () => wire.isFrozen || setTimeout(() => to.end(), wire.delayMs));
    from.on("error", () => to.destroy());
    to.on("error", () => from.destroy());
  };
  const server = createServer((asked, answer) => {
    if (wire.isGone) return asked.socket.destroy();
    const own = wire.answers[new URL(asked.url ?? "/", "http://wire").pathname];
    if (own) {
      answer.setHeader("Content-Type", "application/json");
      return answer.end(JSON.stringify(own()));
    }
    const { hostname, port } = new URL(daemon.url);
    const { method, url: path, headers } = asked;
    const isLost = wire.losesEvery > 0 && ++count % wire.losesEvery === 0;
    // A connection of its own: one that is kept may be closed by the daemon while this is under way.
    const passed = request({ hostname, port, method, path, headers, agent: false }, (told) => {
      if (isLost) return asked.socket.destroy();
      answer.writeHead(told.statusCode ?? 502, told.headers);
      pass(told, answer);
    });
    passed.on("error", () => asked.socket.destroy());
    answer.on("close", () => passed.destroy());
    pass(asked, passed);
  });
  server.on("connection", (socket) => {
    if (wire.isGone) return socket.destroy();
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => {
      sockets.delete(socket);
      if (spoken === socket) spoken = null;
    });
  });
  server.on("upgrade", (asked, socket, head) => {
    if (wire.speaks) {
      const proof = createHash("sha1")
        .update(`${asked.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
        .digest("base64");
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${proof}\r\n\r\n`,
      );
      // What the browser says is of no interest; that it leaves is.
      socket.resume();
      spoken = /** @type {any} */ (socket);
      return;
    }
    const { hostname, port } = new URL(daemon.url);
    const passed = connect(Number(port), hostname, () => {
      const lines = Object.entries(asked.headers).map(([name, value]) => `${name}: ${value}`);
      passed.write(`GET ${asked.url} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
      passed.write(head);
      pass(socket, passed);
      pass(passed, socket);
    });
    passed.on("error", () => socket.destroy());
    passed.on("close", () => wire.isFrozen || socket.destroy());
    socket.on("close", () => passed.destroy());
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const address = /** @type {import("node:net").AddressInfo} */ (server.address());
  wire.url = `http://127.0.0.1:${address.port}`;
  return wire;
}
