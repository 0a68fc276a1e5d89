//! `.gateway.lock` in the state directory: one gateway at a time, and who it is.
//!
//! The kernel's lock on the file is the truth, so a file that a crash left behind is known to be stale and taken over. Where
//! the file system has no such locks (some network mounts), the recorded process decides; what it can't decide needs
//! `--force`. The file stays when the gateway ends: deleting it would let two gateways lock two files of one name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gatewarden_processes::Process;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::private_files::make_private;

/// Its name.
pub const LOCK_FILE: &str = ".gateway.lock";
/// A record is never longer, in bytes.
const LONGEST: u64 = 16 * 1024;
/// Somebody who only looks (`gateway status`) holds the lock for a moment; that must not refuse a start.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// What a running gateway says about itself in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// When that process began, in the kernel's ticks since boot: a later process of the same number began at another time.
    pub start_ticks: u64,
    /// When the gateway started, in ms since the Unix epoch.
    pub started_at: i64,
    /// Where it listens; none while it starts.
    #[serde(default)]
    pub address: Option<String>,
    /// `ws` or `wss`.
    #[serde(default)]
    pub scheme: String,
    /// `gateway.bind`, for people.
    #[serde(default)]
    pub bind: String,
    /// Its configuration file.
    #[serde(default)]
    pub config: Option<PathBuf>,
    /// The arguments that `gateway restart` starts it with again. No secrets: no option takes one.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// A program watches over it and starts it again when it ends.
    #[serde(default)]
    pub supervised: bool,
}

impl Holder {
    /// This process.
    pub fn this(started_at: i64) -> Self {
        let pid = std::process::id();
        Self {
            pid,
            start_ticks: start_ticks(pid).unwrap_or_default(),
            started_at,
            address: None,
            scheme: "ws".to_owned(),
            bind: String::new(),
            config: None,
            arguments: Vec::new(),
            supervised: false,
        }
    }

    /// Whether the recorded process still runs: same number, same beginning.
    pub fn is_alive(&self) -> bool {
        start_ticks(self.pid) == Some(self.start_ticks)
    }
}

/// The lock can't be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another gateway has it. Nothing but its end helps.
    #[error(
        "Another gateway (process {}) uses the state directory {}. Stop it with `gatewarden gateway stop`, or give this one \
         a directory of its own with --state-dir.",
        pid_words(*.holder), .state_dir.display()
    )]
    Held {
        /// Its process, as far as the file says.
        holder: Option<u32>,
        /// The directory.
        state_dir: PathBuf,
    },
    /// The file system has no locks and the file names a process that can't be judged.
    #[error(
        "The lock file {} says that another gateway (process {}) uses this state directory, and this file system has no locks \
         that could tell whether it still does. If you know that it doesn't, start with --force.",
        .path.display(), pid_words(*.holder)
    )]
    Unsure {
        /// Its process, as far as the file says.
        holder: Option<u32>,
        /// The file.
        path: PathBuf,
    },
    /// The operating system says no.
    #[error("The lock file {} cannot be used: {source}. Check that the directory belongs to you, or choose another with --state-dir.", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

fn pid_words(holder: Option<u32>) -> String {
    holder.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string())
}

/// The lock, until this value is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct LockFile {
    file: File,
    path: PathBuf,
    /// Who had it before and didn't give it back: it crashed.
    pub crashed: Option<Holder>,
}

impl LockFile {
    /// Makes the state directory where there is none (0700) and takes the lock.
    ///
    /// # Errors
    /// Another gateway has it, nobody can tell, or the file can't be used.
    pub fn claim(state_dir: &Path, holder: &Holder, force: bool) -> Result<Self, LockError> {
        let path = state_dir.join(LOCK_FILE);
        let io = |source| LockError::Io { path: path.clone(), source };
        make_private(state_dir).map_err(io)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            // The record is written over what is there: not through a link.
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(io)?;
        let mut looks = 0;
        let locked = loop {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) if looks < LOOKS => {
                    looks += 1;
                    #[expect(clippy::disallowed_methods, reason = "before anything runs; there is no state to await")]
                    std::thread::sleep(BETWEEN_LOOKS);
                }
                other => break other,
            }
        };
        let before = read_holder(&mut file);
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held {
                    holder: before.map(|holder| holder.pid),
                    state_dir: state_dir.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) if has_no_locks(&source) => {
                judge_without_lock(before.as_ref(), &path, state_dir, force)?;
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let mut lock = Self { file, path: path.clone(), crashed: before };
        lock.record(holder).map_err(io)?;
        Ok(lock)
    }

    /// Says more about this gateway: where it listens, once it does.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn record(&mut self, holder: &Holder) -> std::io::Result<()> {
        let text = serde_json::to_string(holder)?;
        self.file.set_len(0)?;
        self.file.rewind()?;
        writeln!(self.file, "{text}")
    }

    /// Gives the lock back properly: the next gateway knows that this one didn't crash.
    pub fn release(self) {
        let _ = self.file.set_len(0);
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Who runs on a state directory now; none where nobody does. Looks only.
///
/// # Errors
/// The file is there and can't be read.
pub fn running(state_dir: &Path) -> std::io::Result<Option<Holder>> {
    let mut file = match File::open(state_dir.join(LOCK_FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let holder = read_holder(&mut file);
    match file.try_lock_shared() {
        Ok(()) => {
            // Nobody has it. Others who look hold it shared, too.
            let _ = file.unlock();
            Ok(None)
        }
        Err(TryLockError::WouldBlock) => Ok(holder),
        Err(TryLockError::Error(_)) => Ok(holder.filter(Holder::is_alive)),
    }
}

/// No lock to be had: the record decides. Alive: held. Gone, on this machine's kernel: stale. No record that can be read:
/// only a person knows.
fn judge_without_lock(before: Option<&Holder>, path: &Path, state_dir: &Path, force: bool) -> Result<(), LockError> {
    match before {
        Some(holder) if holder.is_alive() && holder.pid != std::process::id() => {
            Err(LockError::Held { holder: Some(holder.pid), state_dir: state_dir.to_owned() })
        }
        // The process may live on another machine that mounts the same directory.
        Some(holder) if !force => Err(LockError::Unsure { holder: Some(holder.pid), path: path.to_owned() }),
        _ => Ok(()),
    }
}

fn has_no_locks(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::Unsupported
        || [rustix::io::Errno::NOLCK, rustix::io::Errno::OPNOTSUPP, rustix::io::Errno::NOSYS]
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    serde_json::from_str(text.trim()).ok()
}

/// When a process began, in ticks since boot. None: there is no such process, or it has ended and only its parent hasn't noticed.
fn start_ticks(pid: u32) -> Option<u64> {
    let process = Process::read(i32::try_from(pid).ok()?).filter(|process| !process.is_dead())?;
    Some(process.start_ticks)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn holder() -> Holder {
        Holder { address: Some("127.0.0.1:1".to_owned()), ..Holder::this(5) }
    }

    #[test]
    fn the_second_gateway_of_a_state_is_refused_and_told_which_process_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        assert_eq!(running(&state).unwrap(), None);
        let first = LockFile::claim(&state, &holder(), false).unwrap();
        assert!(first.crashed.is_none());
        assert_eq!(running(&state).unwrap(), Some(holder()));
        for force in [false, true] {
            let said = LockFile::claim(&state, &holder(), force).unwrap_err().to_string();
            assert!(
                said.contains(&format!("process {}", std::process::id())) && said.contains("--state-dir"),
                "{said}"
            );
        }
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&state), mode(first.path())), (0o700, 0o600));
        first.release();
        assert_eq!(running(&state).unwrap(), None);
        assert!(LockFile::claim(&state, &holder(), false).unwrap().crashed.is_none());
    }

    #[test]
    fn what_a_crash_left_behind_is_taken_over_and_known() {
        let dir = tempfile::tempdir().unwrap();
        let gone = Holder { pid: 4_194_300, start_ticks: 1, ..holder() };
        std::fs::write(dir.path().join(LOCK_FILE), serde_json::to_string(&gone).unwrap()).unwrap();
        assert_eq!(running(dir.path()).unwrap(), None);
        let lock = LockFile::claim(dir.path(), &holder(), false).unwrap();
        assert_eq!(lock.crashed, Some(gone));
        drop(lock);
        std::fs::write(dir.path().join(LOCK_FILE), "not ours").unwrap();
        assert!(LockFile::claim(dir.path(), &holder(), false).unwrap().crashed.is_none());
    }

    #[test]
    fn a_link_in_the_place_of_the_lock_file_is_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let (state, victim) = (dir.path().join("state"), dir.path().join("victim"));
        std::fs::create_dir(&state).unwrap();
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, state.join(LOCK_FILE)).unwrap();
        assert!(LockFile::claim(&state, &holder(), true).is_err());
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn without_locks_the_record_decides_and_what_it_cannot_decide_needs_force() {
        let (path, state) = (Path::new("/s/.gateway.lock"), Path::new("/s"));
        let gone = Holder { pid: 4_194_300, start_ticks: 1, ..holder() };
        let other = Holder { pid: 1, start_ticks: start_ticks(1).unwrap(), ..holder() };
        assert!(matches!(judge_without_lock(Some(&other), path, state, true), Err(LockError::Held { .. })));
        let said = judge_without_lock(Some(&gone), path, state, false).unwrap_err().to_string();
        assert!(said.contains("--force") && said.contains("4194300"), "{said}");
        assert!(judge_without_lock(Some(&gone), path, state, true).is_ok());
        assert!(judge_without_lock(None, path, state, false).is_ok());
    }

    #[test]
    fn a_process_is_known_by_its_number_and_its_beginning() {
        let this = Holder::this(0);
        assert!(this.start_ticks > 0 && this.is_alive());
        assert!(!Holder { start_ticks: this.start_ticks + 1, ..this }.is_alive());
        assert_eq!(start_ticks(4_194_300), None);
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let said = LockFile::claim(&dir.path().join("file"), &holder(), false).unwrap_err().to_string();
        assert!(said.contains("file/.gateway.lock") && said.contains("--state-dir"), "{said}");
    }
}
