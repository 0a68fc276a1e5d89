//! Care of the database as a whole: copies, restoring, changing the key, looking. Blocking, and without the store's threads:
//! for commands, for the start, and for blocking threads of the daemon.
//!
//! | file | does |
//! | --- | --- |
//! | `backup` | one consistent, verified file, while the daemon runs or not |
//! | `restore` | puts such a file in the database's place, with its key |
//! | `rekey` | seals everything anew with another key |
//! | `inspection` | what `doctor` wants to know of a database |
//! | `sealed_columns` | where sealed values are |
//! | `space` | unused space of the file, given back |
//! | `error` | why something was not done, and what to do |
//! | `files` | whole files: private, owned by the right user, on disk |
//!
//! What changes files goes in steps ([`restore::Step`], [`rekey::Step`]), so that each place where a crash may fall is tested:
//! after any of them the state directory holds a database and a key that opens it.

pub mod backup;
pub mod error;
pub(super) mod files;
pub mod inspection;
pub mod rekey;
pub mod restore;
mod sealed_columns;
pub(super) mod space;

#[cfg(test)]
mod tests;
