//! The files of an agent's workspace: a fixed list of names.

/// Largest content that is taken or shown, in bytes.
pub(crate) const FILE_BYTES: u64 = 1024 * 1024;

/// The names that protocol 3 knows.
pub(crate) const NAMES: &[&str] =
    &["AGENTS.md", "SOUL.md", "TOOLS.md", "IDENTITY.md", "USER.md", "HEARTBEAT.md", "BOOTSTRAP.md", "MEMORY.md"];

/// The name as on the list, where it is on it.
pub(crate) fn known(name: &str) -> Option<&'static str> {
    NAMES.iter().copied().find(|known| *known == name)
}
