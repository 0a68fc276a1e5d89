// The time as the daemon has it: a browser's clock may be off by a day. Shown in local time or UTC, everywhere alike.
import { signal } from "@preact/signals";

/** What the daemon's clock is ahead of the browser's, milliseconds. */
const ahead = signal(0);

/** Ticks once a second: whoever shows an age reads it. Milliseconds of the daemon's clock. */
export const now = signal(Date.now());

/** Whether times are shown in UTC. */
export const inUtc = signal(false);

/** @param {number} serverMs The daemon's time in a message that has just arrived. */
export function hearServerTime(serverMs) {
  const difference = serverMs - Date.now();
  // Less is the way of the message.
  if (Math.abs(difference - ahead.peek()) > 1_500) ahead.value = difference;
  now.value = serverNow();
}

export function serverNow() {
  return Date.now() + ahead.peek();
}

export function startClock() {
  inUtc.value = remembered("time") === "utc";
  return setInterval(() => {
    now.value = serverNow();
  }, 1_000);
}

/** @param {boolean} utc */
export function showUtc(utc) {
  inUtc.value = utc;
  remember("time", utc ? "utc" : "local");
}

/** Hours, minutes and seconds. @param {number} ms */
export function clockTime(ms) {
  return new Date(ms).toLocaleTimeString("en-GB", { timeZone: inUtc.value ? "UTC" : undefined, hour12: false });
}

/** Date and time, with the zone. @param {number} ms */
export function fullTime(ms) {
  const text = new Date(ms).toLocaleString("sv-SE", { timeZone: inUtc.value ? "UTC" : undefined });
  return inUtc.value ? `${text} UTC` : text;
}

/** The daemon's time is not the browser's. */
export function clockDifference() {
  return ahead.value;
}

/** What this browser was told to keep. @param {string} name */
export function remembered(name) {
  try {
    return localStorage.getItem(`gatewarden.${name}`);
  } catch {
    return null;
  }
}

/** @param {string} name @param {string} value */
export function remember(name, value) {
  try {
    localStorage.setItem(`gatewarden.${name}`, value);
  } catch {
    // Without storage the choice lasts as long as the page.
  }
}
