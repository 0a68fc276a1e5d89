//! The bounds of what a gateway may make us hold. Sizes in bytes unless said otherwise.

/// Largest frame once the connect request is out; the reply to it may already be large. Real gateways announce
/// `policy.maxPayload` 25 MiB, so this never cuts what a gateway is allowed to send.
pub const MAX_FRAME: usize = 26 * 1024 * 1024;

/// What the values of one frame may take in memory. A small value takes many times its text (`{"":{"":0}}`), so a bound on the
/// text alone would not bound the memory; a text of [`MAX_FRAME`] that is one long string fits.
pub const MAX_DECODED_FRAME: usize = 28 * 1024 * 1024;

/// What one row of a list may take in memory while it is read. Real rows take some 5 KiB.
pub const MAX_DECODED_ROW: usize = 256 * 1024;

/// Longest text of a gateway's own that is kept to be shown, in characters.
pub const MAX_WORDS: usize = 500;

/// Longest session key, agent id, run id or other name that is taken from a gateway.
pub const MAX_NAME: usize = 512;

/// Names taken of one list of them (scopes, reasons).
pub const MAX_NAMES: usize = 1_000;

/// What the names of one list of them may take together.
pub const MAX_NAMES_BYTES: usize = 64 * 1024;

/// Sessions kept of one gateway; older ones than that are counted, not kept.
pub const MAX_SESSIONS: usize = 10_000;

/// What the sessions kept of one gateway may take in memory. Rows of real gateways take 600 to 700 bytes.
pub const MAX_SESSIONS_BYTES: usize = 8 * 1024 * 1024;

/// Agents kept of one gateway.
pub const MAX_AGENTS: usize = 1_000;

/// What the agents kept of one gateway may take in memory.
pub const MAX_AGENTS_BYTES: usize = 1024 * 1024;

/// Longest message of one log entry, in characters.
pub const MAX_LOG_MESSAGE: usize = 4_000;

/// Most that is kept of the values beside a log entry's message, as JSON.
pub const MAX_LOG_EXTRA: usize = 4_096;

/// The same as values in memory: real ones take 3 KiB.
pub const MAX_LOG_EXTRA_BYTES: usize = 32 * 1024;

/// What the values of one log line may take in memory while it is read.
pub const MAX_DECODED_LOG_LINE: usize = 64 * 1024;

/// Lines that a gateway gives out at once (`logs.tail`).
pub const MAX_LOG_LINES: usize = 5_000;

/// What the lines that a gateway gives out at once may take in memory; it is asked for a third of it.
pub const MAX_LOG_LINES_BYTES: usize = 1536 * 1024;
