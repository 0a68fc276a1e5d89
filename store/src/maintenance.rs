//! Work on the database as a whole: copies, moving, restoring, changing the key, looking. Blocking, and without the store's threads:
//! for commands, and for blocking threads of the daemon.
//!
//! What changes files goes in steps ([`restore::Step`], [`rekey::Step`]), so that each place where a crash may fall is tested:
//! after any of them the state directory holds a database and a key that opens it.

pub mod backup;
pub mod copy;
pub mod rekey;
pub mod restore;

use std::time::Duration;

/// How long a lock of another process is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// The same where nobody else should be at work, and where somebody only looks.
const SHORT_LOCK_WAIT: Duration = Duration::from_secs(3);

/// `stamp`, or `stamp-2` to `stamp-99` where that is taken; `stamp` again where all are, which whoever writes then refuses.
pub fn unused(stamp: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2..100).map(|number| format!("{stamp}-{number}"));
    std::iter::once(stamp.to_owned()).chain(numbered).find(|stamp| !is_taken(stamp)).unwrap_or_else(|| stamp.to_owned())
}

#[cfg(test)]
mod tests;
