// Words and figures as people read them. Words of statuses are those of the API.

/** @typedef {import("./types.js").Row} Row */

export const STATUSES = ["online", "degraded", "timeout", "offline", "unknown"];

/** A shape beside each color. */
const SHAPES = { online: "●", degraded: "▲", timeout: "◆", offline: "■", unknown: "○", blocked: "⊘" };

/** @param {string} status */
export function shapeOf(status) {
  return /** @type {Record<string, string>} */ (SHAPES)[status] ?? "○";
}

/** @param {string} text */
export function capitalized(text) {
  const words = /^[a-z_]+$/.test(text) ? text.replaceAll("_", " ") : text;
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** The address as one text; a URL has its port already, and of those without TLS the scheme says nothing more. @param {{host: string, port: number}} gateway */
export function addressOf({ host, port }) {
  if (host.includes("://")) return host.replace(/^(ws|http):\/\/([^/]*:\d+)\/?$/, "$2");
  return host.includes(":") && !host.startsWith("[") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** @param {number | null | undefined} ms */
export function milliseconds(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms >= 10_000) return `${Math.round(ms / 1000)} s`;
  return `${ms < 10 && !Number.isInteger(ms) ? ms.toFixed(1) : Math.round(ms)} ms`;
}

/** A span of time in the two largest units. @param {number} seconds */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return whole % 60 && minutes < 10 ? `${minutes} min ${whole % 60} s` : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return hours % 24 && days < 10 ? `${days} d ${hours % 24} h` : `${days} d`;
}

/** @param {number} count @param {string} one @param {string} [many] */
export function counted(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

/** @param {Uint8Array} bytes */
export function hex(bytes) {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A session's key without what says whose it is. @param {string} key */
export function shortKey(key) {
  return key.replace(/^agent:[^:]*:/, "");
}

/** `telegram:work:direct:7`, `telegram:default:user7`, `telegram:group:-1:topic:2`, `direct:7` and their like. */
const CHANNEL_KEY =
  /^(?:((?!main:|webchat:|subagent:)[a-z]+):(?:([^:]+):)?)?(direct:|group:|channel:|user(?=\d))([^:]+)(?::(?:topic|thread):([^:]+))?$/;

/** The job or the channel with the person or group that made a session, where its key says so. @param {string} key @param {(job: string) => string | undefined} [nameOf] */
export function makerOf(key, nameOf) {
  const short = shortKey(key);
  const job = /^cron:([^:]+)/.exec(short)?.[1];
  if (job) return `Job ${nameOf?.(job) || job.slice(0, 8)}`;
  const [, channel, account, kind = "", id, topic] = CHANNEL_KEY.exec(short) ?? [];
  if (!id) return "";
  const who = `${/^[du]/.test(kind) ? "person" : kind.slice(0, -1)} ${id}${topic ? `, topic ${topic}` : ""}`;
  if (!channel) return capitalized(who);
  return `${capitalized(channel)}${account && account !== "default" ? ` (${account})` : ""}, ${who}`;
}

/** Whether a gateway refuses until somebody changes something. @param {Row} row */
export function isBlocked(row) {
  return row.phase === "blocked";
}

/** Whether requests reach it: a link whose gateway has stopped answering is none. @param {{phase: string, status: string}} row */
export function isConnected(row) {
  return row.phase === "ready" && row.status !== "timeout";
}

/** Whether new work may go to a gateway, and why not. @param {any} gateway As its page has it. */
export function newWorkOf(gateway) {
  if (gateway.drained) return "None: it is drained";
  if (isBlocked(gateway)) return "None: it is blocked";
  if (gateway.status === "timeout") return "None: it does not answer";
  if (gateway.phase !== "ready") return "None: it is not connected";
  if (gateway.breaker.state !== "closed") return "None: its circuit breaker is not closed";
  return "May be routed here";
}

/** Whether it can't act as primary because it came and went too often. @param {{held_down_until?: number | null}} row @param {number} nowMs */
export function isHeldDown({ held_down_until: until }, nowMs) {
  return until !== undefined && until !== null && until * 1000 > nowMs;
}

/** In place of when it was last seen. @param {Row} row */
export function neverSeen(row) {
  if (isBlocked(row)) return "Refused";
  return row.last_error || row.reconnect_attempts > 0 ? "Never answered" : "Never probed";
}

/**
 * What can't be seen: control characters, separators of lines, and all that Unicode lets programs leave out. Not what says how
 * an emoji looks, or which letters are joined in scripts that are written so.
 */
const UNSEEN =
  /(?!\ufe0e|\ufe0f|(?<=[\p{Extended_Pictographic}\p{Emoji_Modifier}]|\ufe0f)\u200d|(?<=[\p{Script=Arabic}\p{Script=Devanagari}\p{Script=Bengali}\p{Script=Malayalam}\p{Script=Sinhala}])(?:\u200c|\u200d))[\p{Cc}\p{Default_Ignorable_Code_Point}\u2028\u2029\ufff9-\ufffb]/gu;

/** Text of others with what can't be seen in it, or turns the words around it, made visible. @param {string} text */
export function visible(text) {
  return text.replace(UNSEEN, (one) => `⟨U+${(one.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

/** What the daemon says without the name and address that stand beside it. @param {{name: string}} gateway @param {string} sentence */
export function withoutName({ name }, sentence) {
  const begin = `Gateway "${name}" (`;
  if (!sentence.startsWith(begin)) return sentence;
  const end = sentence.indexOf(") ", begin.length);
  return end < 0 ? sentence : sentence.slice(end + 2);
}

/** The page that has what a request of these is about. @type {Record<string, string>} */
const PAGE_OF = {
  ...{ gateways: "Gateways", v1: "Gateways", agents: "Agents", spawn: "Spawns", sessions: "Sessions", keys: "Keys" },
  ...{ connect: "Direct connections", status: "Status", events: "Events", audit: "Audit log", nodes: "Devices" },
};

/** What the daemon tells those who send requests, in words for those who look at pages. @param {string} text */
export function plainWords(text) {
  return text
    .replace(/ \((?:GET|POST|PUT|DELETE) \/api[^)]*\)/g, " (Edit)")
    .replace(/POST \/api\/gateways\/(?:\d+|\{id\})\/process \{"action": "(\w+)"\}/g, (_, action) => capitalized(action))
    .replace(/\{"action": "(\w+)"\}/g, (_, action) => capitalized(action))
    .replace(/POST \/api\/gateways\/(?:\d+|\{id\})\/reconnect/g, "Reconnect")
    .replace(/POST \/api\/gateways\/(?:\d+|\{id\})\/undrain/g, "Undrain")
    .replace(/PUT \/api\/gateways \{[^}]*\}/g, "Set as primary on its page")
    .replace(/(?:GET|POST|PUT|DELETE) \/api\/(\w+)[\w/{}-]*(?:\?[\w=&]+)?(?: \{[^}]*\})?/g, (said, what) =>
      PAGE_OF[what] ? `the page ${PAGE_OF[what]}` : said,
    )
    .replace(/(^|[.:] )the page/g, "$1The page")
    .replace("The OpenAPI document at /api/openapi.json describes every field.", "")
    .replace(/Wait as long as the Retry-After header says(, then send the request again)?\. ?/g, "");
}
