//! The bounds of what a gateway may make us hold. Sizes in bytes unless said otherwise.

use std::time::Duration;

/// Largest frame before our connect (or `auth`) request is out: until then only a challenge may come. Real gateways use the
/// same bound for what they read before a connect.
pub const MAX_FRAME_BEFORE_CONNECT: usize = 64 * 1024;

/// Largest frame once the connect request is out; the reply to it may already be large. Real gateways announce
/// `policy.maxPayload` 25 MiB, so this never cuts what a gateway is allowed to send.
pub const MAX_FRAME: usize = 26 * 1024 * 1024;

/// A frame above this takes its size from the budget that all gateways share.
pub const LARGE_FRAME: usize = 1024 * 1024;

/// The budget for large frames of all gateways together.
pub const LARGE_FRAME_BUDGET: usize = 64 * 1024 * 1024;

/// Most JSON values in one frame. A small value costs many times its text once parsed (`[0,0,0,...]`), so a bound on the
/// text alone would not bound the memory. Real frames have one value in about 20 bytes of text.
pub const MAX_VALUES_PER_FRAME: usize = 2_000_000;

/// Requests that may wait for one gateway at the same time.
pub const MAX_PENDING_REQUESTS: usize = 256;

/// Longest text of a gateway's own that is kept to be shown, in characters.
pub const MAX_WORDS: usize = 500;

/// Longest session key, agent id, run id or other name that is taken from a gateway, in characters.
pub const MAX_NAME: usize = 512;

/// Sessions kept of one gateway; older ones than that are counted, not kept.
pub const MAX_SESSIONS: usize = 10_000;

/// Agents kept of one gateway.
pub const MAX_AGENTS: usize = 1_000;

/// Longest message of one log entry, in characters.
pub const MAX_LOG_MESSAGE: usize = 4_000;

/// Most that is kept of the values beside a log entry's message, as JSON.
pub const MAX_LOG_EXTRA: usize = 4_096;

/// Lines that a gateway gives out at once (`logs.tail`).
pub const MAX_LOG_LINES: usize = 5_000;

/// How long a challenge is waited for where the `openclaw` dialect has been seen before.
pub const CHALLENGE_WAIT: Duration = Duration::from_secs(10);

/// How long a challenge is waited for before the `rpc` dialect is tried, on a gateway never seen to send one.
pub const CHALLENGE_WAIT_UNSEEN: Duration = Duration::from_secs(5);
