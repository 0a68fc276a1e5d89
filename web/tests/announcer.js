// Announces over mDNS what a stranger may: run as `node announcer.js NAME` it says so every 300 ms, until it is ended.
import { createSocket } from "node:dgram";
import { fileURLToPath } from "node:url";

const TYPE = "_openclaw-gw._tcp.local";
const GROUP = "224.0.0.251";
const PORT = 5353;
const [PTR, TXT, SRV, A] = [12, 16, 33, 1];

/** A length in one byte, then the text. @param {string} text */
function label(text) {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}

/** @param {string} dotted */
function domain(dotted) {
  return Buffer.concat([...dotted.split(".").map(label), Buffer.from([0])]);
}

/** A record of DNS. @param {Buffer} name @param {number} kind @param {Buffer} data */
function record(name, kind, data) {
  const head = Buffer.alloc(10);
  head.writeUInt16BE(kind, 0);
  // Class IN; all but the pointer are unique.
  head.writeUInt16BE(kind === PTR ? 1 : 0x8001, 2);
  head.writeUInt32BE(120, 4);
  head.writeUInt16BE(data.length, 8);
  return Buffer.concat([name, head, data]);
}

/** All that is said of a gateway with this name. @param {string} name @param {[number, number, number, number]} address @param {number} port @param {string[]} texts */
function announcement(name, address, port, texts) {
  const instance = Buffer.concat([label(name), domain(TYPE)]);
  const host = domain("stranger.local");
  const service = Buffer.alloc(6);
  service.writeUInt16BE(port, 4);
  const answers = [
    record(domain(TYPE), PTR, instance),
    record(instance, SRV, Buffer.concat([service, host])),
    record(instance, TXT, Buffer.concat(texts.map(label))),
    record(host, A, Buffer.from(address)),
  ];
  const head = Buffer.alloc(12);
  // An answer that nobody asked for, with authority.
  head.writeUInt16BE(0x8400, 2);
  head.writeUInt16BE(answers.length, 6);
  return Buffer.concat([head, ...answers]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const socket = createSocket({ type: "udp4", reuseAddr: true });
  socket.bind(PORT, () => {
    socket.setMulticastInterface("10.9.8.7");
    socket.setMulticastLoopback(true);
    const said = announcement(process.argv[2] ?? "", [10, 9, 8, 66], 18_790, ["role=gateway", "lanHost=<b>"]);
    setInterval(() => socket.send(said, PORT, GROUP), 300);
  });
}
