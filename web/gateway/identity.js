// The device that this browser is to the gateway: an Ed25519 key that no script can read.
import { hex } from "../format.js";

const DATABASE = "gatewarden";
const STORE = "device";

/** @typedef {{id: string, publicKey: string, key: CryptoKey}} Identity */

/** Where nothing can be stored, the key lasts as long as the page. @type {Identity | null} */
let inMemory = null;

/** @param {IDBRequest | IDBOpenDBRequest} asked @returns {Promise<any>} */
function answered(asked) {
  return new Promise((resolve, reject) => {
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
}

async function openDatabase() {
  const opening = indexedDB.open(DATABASE, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  return answered(opening);
}

/** @param {ArrayBuffer} bytes */
function base64Url(bytes) {
  const text = btoa(String.fromCharCode(...new Uint8Array(bytes)));
  return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** @returns {Promise<Identity>} */
async function freshIdentity() {
  const pair = /** @type {CryptoKeyPair} */ (
    await crypto.subtle.generateKey({ name: "Ed25519" }, false, ["sign", "verify"])
  );
  const raw = await crypto.subtle.exportKey("raw", pair.publicKey);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", raw));
  return { id: hex(hash), publicKey: base64Url(raw), key: pair.privateKey };
}

/** This browser's identity; null where it can have none (no secure context, or no Ed25519). @returns {Promise<Identity | null>} */
async function identityOfBrowser() {
  if (inMemory) return inMemory;
  if (!globalThis.crypto?.subtle) return null;
  try {
    const database = await openDatabase();
    const known = await answered(database.transaction(STORE).objectStore(STORE).get("own"));
    if (known) {
      inMemory = known;
    } else {
      const fresh = await freshIdentity();
      const store = database.transaction(STORE, "readwrite").objectStore(STORE);
      // Another tab may have been quicker.
      inMemory = (await answered(store.get("own"))) ?? fresh;
      if (inMemory === fresh) await answered(store.put(fresh, "own"));
    }
    database.close();
  } catch {
    inMemory ??= await freshIdentity().catch(() => null);
  }
  return inMemory;
}

/**
 * `device` of a `connect`: this browser's key, and its signature over what it asks for.
 * @param {{client: {id: string, mode: string, platform: string}, role: string, scopes: string[], token: string, nonce: string, signedAt: number}} asked
 */
export async function deviceOf({ client, role, scopes, token, nonce, signedAt }) {
  const own = await identityOfBrowser();
  if (!own) return null;
  const text = [
    "v3",
    own.id,
    client.id,
    client.mode,
    role,
    scopes.join(","),
    signedAt,
    token,
    nonce,
    client.platform,
    "",
  ];
  const signature = await crypto.subtle.sign("Ed25519", own.key, new TextEncoder().encode(text.join("|")));
  return { id: own.id, publicKey: own.publicKey, signature: base64Url(signature), signedAt, nonce };
}
