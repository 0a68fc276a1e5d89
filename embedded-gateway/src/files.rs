//! The files of the gateway: one thread carries out all changes and questions, in the order in which the machine wanted them.
//!
//! A change that fails (a full disk) stops nothing: the core actor is told, says it in the log and in `health`, and the machine
//! writes the file anew later. Until that has worked, nothing is added to a file that lacks a line, so that a transcript never
//! has a hole.

mod health;
mod tail;
#[cfg(test)]
mod tests;
mod workspace;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::thread;

use serde_json::Value;

use crate::call::{CallError, ReplyTo};
use crate::config::{ConfigFile, Edited};
use crate::effect::{AwaitedBy, ConfigWish, DiskQuery, FileChange};
use crate::private_files::{make_folder, replace};

pub(crate) use health::FilesHealth;
pub(crate) use tail::{DEFAULT_BYTES, MOST_BYTES, MOST_LINES};

/// What may wait for a slow disk, in bytes of text; further changes count as failed.
const WAITING_BYTES: usize = 64 * 1024 * 1024;

/// What the thread is to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// After everything else that was wanted before.
    Change(FileChange),
    Query {
        to: ReplyTo,
        query: DiskQuery,
    },
    Config(ConfigWish),
    /// Whether a file is as it should be once all changes so far are carried out.
    Confirm {
        file: PathBuf,
        awaited_by: AwaitedBy,
    },
    Stop,
}

impl Order {
    /// What to tell the machine of an order that isn't carried out.
    pub(crate) fn failed(self, error: CallError) -> Option<FilesNews> {
        Some(match self {
            Self::Change(change) => FilesNews::Failed { file: change.file().to_owned(), error: error.message },
            Self::Query { to, .. } => FilesNews::Answered { to, outcome: Err(error) },
            Self::Config(wish) => FilesNews::Config { wish, outcome: Err(error) },
            Self::Confirm { file, awaited_by } => FilesNews::Confirmed { file, awaited_by, written: false },
            Self::Stop => return None,
        })
    }

    fn weight(&self) -> usize {
        256 + match self {
            Self::Change(FileChange::Append { line, .. }) => line.len(),
            Self::Change(FileChange::Replace { text, .. }) => text.len(),
            Self::Query { query: DiskQuery::WorkspaceSet { content, .. }, .. } => content.len(),
            Self::Config(ConfigWish::Edit(_, edit)) => edit.raw.len(),
            Self::Change(FileChange::Remove { .. })
            | Self::Query { .. }
            | Self::Config(_)
            | Self::Confirm { .. }
            | Self::Stop => 0,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FilesNews {
    /// A change could not be carried out.
    Failed {
        /// Which file, relative to the state directory.
        file: PathBuf,
        error: String,
    },
    /// A file that had failed is as it should be again.
    Restored {
        file: PathBuf,
    },
    Answered {
        to: ReplyTo,
        outcome: Result<Value, CallError>,
    },
    /// All changes of a file that were wanted before this was asked for are carried out, or aren't.
    Confirmed {
        file: PathBuf,
        awaited_by: AwaitedBy,
        written: bool,
    },
    /// The configuration's file was read, and changed where that was wanted.
    Config {
        wish: ConfigWish,
        outcome: Result<Box<Edited>, CallError>,
    },
}

/// The way to the files' thread. Nothing of it ever waits, except its end: dropping it blocks until everything that waits is
/// carried out.
#[derive(Debug)]
pub(crate) struct Files {
    orders: Sender<Order>,
    waiting: Arc<AtomicUsize>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Files {
    /// Starts the thread for a state directory. `tell` is called on that thread.
    pub(crate) fn start(
        state_dir: PathBuf,
        config: Option<ConfigFile>,
        tell: impl Fn(FilesNews) + Send + 'static,
    ) -> io::Result<Self> {
        let (orders, receiver) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&waiting);
        let thread = thread::Builder::new()
            .name("gateway-files".to_owned())
            .spawn(move || Worker { state_dir, config, broken: BTreeSet::new(), tell }.work(&receiver, &counted))?;
        Ok(Self { orders, waiting, thread: Some(thread) })
    }

    /// Gives the thread an order; what comes of it comes as news. None: taken; else what to tell the machine at once.
    pub(crate) fn send(&self, order: Order) -> Option<FilesNews> {
        let weight = order.weight();
        let before = self.waiting.fetch_add(weight, Ordering::Relaxed);
        let (order, reason) = if before.saturating_add(weight) > WAITING_BYTES.max(weight) {
            (order, "the disk is too slow: too much waits to be written")
        } else if let Err(SendError(order)) = self.orders.send(order) {
            (order, "the thread that writes files has ended; restart the gateway")
        } else {
            return None;
        };
        self.waiting.fetch_sub(weight, Ordering::Relaxed);
        order.failed(CallError::unavailable(reason).retry_after(1_000))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker<Tell> {
    state_dir: PathBuf,
    /// None: the gateway wasn't made from a file, flags and environment.
    config: Option<ConfigFile>,
    /// Files that lack a change: nothing is added to them until they are put in place anew.
    broken: BTreeSet<PathBuf>,
    tell: Tell,
}

impl<Tell: Fn(FilesNews)> Worker<Tell> {
    fn work(mut self, orders: &Receiver<Order>, waiting: &AtomicUsize) {
        while let Ok(order) = orders.recv() {
            let weight = order.weight();
            match order {
                Order::Change(change) => self.change(&change),
                Order::Query { to, query } => {
                    let outcome = answer(query);
                    (self.tell)(FilesNews::Answered { to, outcome });
                }
                Order::Config(wish) => {
                    let outcome = self.configuration(&wish).map(Box::new);
                    (self.tell)(FilesNews::Config { wish, outcome });
                }
                Order::Confirm { file, awaited_by } => {
                    let written = !self.broken.contains(&file);
                    (self.tell)(FilesNews::Confirmed { file, awaited_by, written });
                }
                Order::Stop => return,
            }
            waiting.fetch_sub(weight, Ordering::Relaxed);
        }
    }

    fn configuration(&self, wish: &ConfigWish) -> Result<Edited, CallError> {
        let none = || CallError::unavailable("this gateway was started without a configuration that could be changed");
        let config = self.config.as_ref().ok_or_else(none)?;
        match wish {
            ConfigWish::Edit(_, edit) => config.edit(edit),
            ConfigWish::Show(_) => config.snapshot().map(Edited::unchanged),
            ConfigWish::Reload => config.reload().map(Edited::unchanged),
        }
    }

    fn change(&mut self, change: &FileChange) {
        let file = change.file();
        if self.broken.contains(file) && matches!(change, FileChange::Append { .. }) {
            // Said already; the machine will write the whole file.
            return;
        }
        match carry_out(&self.state_dir, change) {
            Ok(()) => {
                if self.broken.remove(file) {
                    (self.tell)(FilesNews::Restored { file: file.to_owned() });
                }
            }
            Err(error) => {
                self.broken.insert(file.to_owned());
                (self.tell)(FilesNews::Failed { file: file.to_owned(), error: error.to_string() });
            }
        }
    }
}

fn answer(query: DiskQuery) -> Result<Value, CallError> {
    match query {
        DiskQuery::LogTail { file, cursor, limit, bytes } => tail::tail(&file, cursor, limit, bytes)
            .map_err(|error| CallError::unavailable(format!("the log {} could not be read: {error}", file.display()))),
        DiskQuery::WorkspaceList(whose) => workspace::list(&whose),
        DiskQuery::WorkspaceGet { workspace, name } => workspace::get(&workspace, name),
        DiskQuery::WorkspaceSet { workspace, name, content, expected_hash } => {
            workspace::set(&workspace, name, &content, expected_hash.as_deref())
        }
    }
}

/// Carries out a change. An error leaves the file as it was, as far as the operating system lets it.
fn carry_out(state_dir: &Path, change: &FileChange) -> io::Result<()> {
    let path = inside(state_dir, change.file())?;
    match change {
        FileChange::Append { line, .. } => append(&path, line),
        FileChange::Replace { text, .. } => replace(&path, text.as_bytes()),
        FileChange::Remove { .. } => match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    }
}

/// The absolute path of a relative one that stays inside.
fn inside(state_dir: &Path, file: &Path) -> io::Result<PathBuf> {
    if file.as_os_str().is_empty() || !file.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} is not a path inside the state directory", file.display()),
        ));
    }
    Ok(state_dir.join(file))
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    make_folder(path)?;
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let before = file.metadata()?.len();
    let mut bytes = Vec::with_capacity(line.len() + 1);
    bytes.extend_from_slice(line.as_bytes());
    bytes.push(b'\n');
    file.write_all(&bytes).inspect_err(|_| {
        // A full disk may have taken the half of it.
        let _ = file.set_len(before);
    })
}
