// Types alone; nothing of this reaches the browser.

/**
 * A gateway in the list: what `GET /api/fleet` says of it, with what is left out there filled in.
 * @typedef {object} Row
 * @property {number} id
 * @property {string} name
 * @property {string} host
 * @property {number} port
 * @property {Record<string, string>} labels
 * @property {string} status
 * @property {number} since
 * @property {string} phase
 * @property {string} [breaker]
 * @property {Problem} [last_error]
 * @property {number} [next_attempt]
 * @property {number} reconnect_attempts
 * @property {boolean} is_primary
 * @property {boolean} acting_primary
 * @property {boolean} drained
 * @property {number} [held_down_until] Seconds.
 * @property {boolean} token_set
 * @property {boolean} awaits_pairing
 * @property {string} [version]
 * @property {number} [protocol]
 * @property {string} [process]
 * @property {number} [latency]
 * @property {number} [last_seen]
 * @property {number} as_of
 * @property {number} sessions_count
 * @property {number} agents_count
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
