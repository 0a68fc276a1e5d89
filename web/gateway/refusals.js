// Why the gateway let nobody in, or no longer, and what to do about it.

/**
 * @typedef {object} Ending
 * @property {string} title What happened.
 * @property {string} said The gateway's own words.
 * @property {string} cure What to do.
 * @property {string} command A command that does it, where there is one.
 * @property {boolean} asksAgain Whether another credential must be typed.
 * @property {number} [until] Until when nobody is let in from here, ms of the gateway's clock.
 */

/** Codes after which the same credential is no good. */
const WRONG = ["AUTH_TOKEN_MISMATCH", "AUTH_PASSWORD_MISMATCH", "AUTH_TOKEN_MISSING", "AUTH_PASSWORD_MISSING"];

/**
 * @param {{code?: string, message?: string, retryAfterMs?: number, details?: any}} error The gateway's answer to `connect`.
 * @param {{isSecure: boolean, origin: string, port: string, hasDevice: boolean, now: number}} page Where this page is, and the time.
 * @returns {Ending}
 */
export function endingOf(error, { isSecure, origin, port, hasDevice, now }) {
  const { code = error.code ?? "", requestId, reason } = error.details ?? {};
  const ending = { title: "The gateway refused.", said: error.message ?? "", cure: "", command: "", asksAgain: false };
  if (WRONG.includes(code))
    return {
      ...ending,
      title: /MISSING$/.test(code) ? "The gateway wants a token or password." : "The token or password is wrong.",
      cure: "On the gateway's machine, this says where its token is kept:",
      command: "gatewarden gateway status",
      asksAgain: true,
    };
  if (code === "PAIRING_REQUIRED")
    return {
      ...ending,
      title:
        reason === "scope-upgrade"
          ? "This browser asks for more than it was approved for."
          : "This browser waits for an approval.",
      cure: `Approve request ${requestId} on the gateway's machine, or on a page that is connected already. Then connect again.`,
      command: `gatewarden gateway devices approve ${requestId}`,
    };
  if (code === "AUTH_RATE_LIMITED")
    return {
      ...ending,
      title: "Too many wrong attempts from this address.",
      until: now + (error.retryAfterMs ?? 60_000),
      asksAgain: true,
    };
  if (code === "CONTROL_UI_DEVICE_IDENTITY_REQUIRED" || code === "DEVICE_IDENTITY_REQUIRED")
    return {
      ...ending,
      title: isSecure
        ? "This browser can't make a key to identify itself with."
        : "This page came without encryption from another machine, where browsers can't identify themselves.",
      cure: isSecure
        ? "Use a newer browser: it needs Ed25519 in WebCrypto, and storage for this page."
        : "Give the gateway a certificate (gateway.tls), or forward its port to this machine and open it there:",
      command: isSecure ? "" : `ssh -L ${port}:127.0.0.1:${port} THE-GATEWAYS-MACHINE`,
    };
  if (code === "CONTROL_UI_ORIGIN_NOT_ALLOWED")
    return {
      ...ending,
      title: "The gateway doesn't know this page's address.",
      cure: `Add ${origin} to gateway.controlUi.allowedOrigins, or let the proxy pass on the Host header.`,
    };
  if (code === "DEVICE_LIMIT_REACHED")
    return {
      ...ending,
      title: "Too many devices are approved.",
      cure: "Remove one that is not used any more (gatewarden gateway devices list).",
    };
  if (code.startsWith("DEVICE_AUTH") && hasDevice)
    return {
      ...ending,
      title: "The gateway doesn't accept this browser's key.",
      cure: "Reload the page and try again.",
    };
  return ending;
}

/** The gateway ended a connection that was let in. @param {number | undefined} code @param {string} reason @returns {Ending | null} Null where another attempt may help. */
export function endingOfClose(code, reason) {
  if (code !== 4001) return null;
  return {
    title: "This browser isn't approved any more.",
    said: reason,
    cure: "Somebody removed it, or withdrew its token. Connect again to ask for an approval.",
    command: "",
    asksAgain: false,
  };
}
