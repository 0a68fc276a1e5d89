//! Why the last write failed, until one works again.
//!
//! Only a job that changed something proves that the database can be written: a transaction without changes commits on a full
//! disk, too. Damage is not over because another part of the file could be written: it stays until the daemon is stopped and
//! the database restored, as its help says.

use std::sync::{Mutex, PoisonError};

use diesel::SqliteConnection;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::error::{self, StoreError};
use gatewarden_core::error::{ErrorCode, Failure};

/// What is known of the writer.
#[derive(Debug, Default)]
pub(super) struct WriteFault(Mutex<Option<Failure>>);

impl WriteFault {
    /// Why the last write failed, where it did for want of a database that works.
    pub(super) fn get(&self) -> Option<Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a job's outcome, and whether it changed anything. Other failures than the database's say nothing of it.
    pub(super) fn note<T>(&self, outcome: &Result<T, Failure>, changed: bool) {
        let mut present = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Err(failure) if failure.code == ErrorCode::StoreUnavailable => {
                if !present.as_ref().is_some_and(error::is_damage) {
                    *present = Some(failure.clone());
                }
            }
            Ok(_) if changed && present.as_ref().is_some_and(|fault| !error::is_damage(fault)) => {
                *present = None;
                tracing::info!("the database can be written again");
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// Rows changed on this connection so far; `None` where that can't be asked.
pub(super) fn changes(connection: &mut SqliteConnection) -> Option<i64> {
    diesel::select(diesel::dsl::sql::<BigInt>("total_changes()")).get_result(connection).ok()
}

/// Writes some pages and takes them back, in the transaction that is open.
pub(super) fn trial(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    connection.batch_execute(
        "CREATE TABLE write_trial (pages BLOB NOT NULL);
         INSERT INTO write_trial VALUES (randomblob(20000));
         DROP TABLE write_trial;",
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable(words: &str) -> Result<(), Failure> {
        Err(error::unavailable(format!("Could not store it: {words}")))
    }

    #[test]
    fn a_fault_lasts_until_something_was_written() {
        let fault = WriteFault::default();
        fault.note(&unavailable("there is no space left for the database"), false);
        assert!(fault.get().is_some_and(|fault| fault.message.contains("no space left")));
        fault.note(&Ok(()), false);
        fault.note(&Err::<(), _>(Failure::new(ErrorCode::NameTaken, "taken")), true);
        assert!(fault.get().is_some(), "nothing was written");
        fault.note(&unavailable("the database is read-only"), false);
        assert!(fault.get().is_some_and(|fault| fault.message.contains("read-only")), "the last one counts");
        fault.note(&Ok(()), true);
        assert_eq!(fault.get(), None);
    }

    #[test]
    fn damage_is_not_over_because_something_else_could_be_written() {
        let fault = WriteFault::default();
        fault.note(&unavailable("the database file is damaged"), false);
        fault.note(&unavailable("the database is locked by another process"), false);
        fault.note(&Ok(()), true);
        assert!(fault.get().is_some_and(|fault| fault.message.contains("damaged")));
    }
}
