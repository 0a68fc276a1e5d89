//! Care of the database while the daemon works: backups by itself, and no more space than it needs.

use std::path::PathBuf;

use diesel::connection::SimpleConnection;
use tokio::sync::oneshot;

use super::StoreHandle;
use crate::care::backup::{Backup, make_with};
use crate::care::error::CareError;
use crate::care::files::beside;
use crate::care::space;
use crate::error::StoreError;
use gatewarden_core::error::Failure;

/// Turns in one run: 200 MiB at most, so that the next run's work isn't kept waiting.
const MOST_TURNS: usize = 100;
/// A log that is longer than this is emptied, where no reader is in the way. A burst leaves 16 MiB.
const LONG_LOG: u64 = 64 * 1024 * 1024;

impl StoreHandle {
    /// Makes a verified backup without the key in a new file: see [`crate::care::backup`].
    ///
    /// It works on a thread and a connection of its own, since a large database takes longer than any job may. A daemon that
    /// stops meanwhile doesn't wait for it.
    ///
    /// # Errors
    /// As a backup by command.
    pub async fn back_up(&self, to: PathBuf) -> Result<Backup, CareError> {
        let (database, sealer) = (self.shared.path.clone(), self.shared.sealer.clone());
        let (reply, answer) = oneshot::channel();
        let place = to.clone();
        std::thread::Builder::new()
            .name("backup".to_owned())
            .spawn(move || {
                let _ = reply.send(make_with(&database, &to, &sealer));
            })
            .map_err(CareError::file(&place, "written"))?;
        answer.await.unwrap_or(Err(CareError::BrokenOff))
    }

    /// Gives unused space of the database back, in short transactions, and keeps its statistics and its log in order.
    pub async fn tidy(&self) -> Result<(), Failure> {
        const WHAT: &str = "tidy up the database";
        for _ in 0..MOST_TURNS {
            let given = self.shared.writer.run(WHAT, |connection| Ok(space::give_back(connection)?)).await?;
            if given == 0 {
                break;
            }
        }
        let log = std::fs::metadata(beside(&self.shared.path, "-wal")).map_or(0, |metadata| metadata.len());
        if log > LONG_LOG {
            self.checkpoint().await?;
        }
        self.shared
            .writer
            .run(WHAT, |connection| connection.batch_execute("PRAGMA optimize").map_err(StoreError::from))
            .await
    }
}
