// Types alone; nothing of this reaches the browser.

/** @typedef {import("./openapi.js").components["schemas"]} Schemas From the OpenAPI document; .ci/run dashboard makes it. */

/** A gateway in the list, as it is sent. @typedef {Schemas["FleetRow"]} SentRow */

/**
 * The same with what is left out there filled in.
 * @typedef {SentRow & Required<Pick<SentRow, "labels" | "reconnect_attempts" | "is_primary" | "acting_primary" | "drained"
 *   | "token_set" | "awaits_pairing" | "sessions_count" | "agents_count">>} Row
 */

/** @typedef {{code: string, message: string, help: string}} Problem */

/**
 * What is known of the fleet.
 * @typedef {object} FleetState
 * @property {Map<number, Row>} rows
 * @property {{id: number, name: string, reason: string} | null} acting
 * @property {string | null} doubt
 * @property {number} lastEvent
 * @property {boolean} loaded
 * @property {boolean} gap Whether something was missed, so that the fleet must be read anew.
 */

/** @typedef {{type: string, id?: number, ts?: number, data?: any, last_id?: number, dropped?: number}} Message */

/**
 * What of the fleet is looked at.
 * @typedef {object} View
 * @property {string} q
 * @property {string[]} status
 * @property {string} label
 * @property {string} sort
 * @property {boolean} down
 */

export {};
