//! Work on the database as a whole: copies, restoring, changing the key, looking. Blocking, and without the store's threads:
//! for commands, and for blocking threads of the daemon.
//!
//! What changes files goes in steps ([`restore::Step`], [`rekey::Step`]), so that each place where a crash may fall is tested:
//! after any of them the state directory holds a database and a key that opens it.

pub mod backup;
pub mod rekey;
pub mod restore;

use std::time::Duration;

/// How long a lock of another process is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// The same where nobody else should be at work, and where somebody only looks.
const SHORT_LOCK_WAIT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
