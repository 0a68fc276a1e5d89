//! The state directory: private, and used by one daemon at a time; and in it the admin key of a daemon that was given none.
//!
//! The file of that key is the truth: each start lets in whoever has its content. It is synced before the key counts, so that a crash
//! can't leave a daemon that nobody can enter. Taking the file away retires the key; a new one is made only while no other admin key
//! is stored. Where nodes share a database, each keeps the hash of its key beside the file: so the start of one whose file is gone, or has
//! another key, retires the former key for all.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind, Read as _, Seek as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatewarden_actors::clock::Clock;
use gatewarden_actors::error::Failure;
use gatewarden_actors::store::handle::StoreHandle;
use gatewarden_actors::store::records::{KnownAdminKey, Role, key_hash};
use gatewarden_embedded_gateway::private_files::replace;
use gatewarden_protocol::Secret;
use zeroize::Zeroizing;

use super::start_error::StartError;

/// Name of the file in the state directory.
const ADMIN_KEY_FILE: &str = "admin.key";

/// SHA-256 of the key that the file had at the last start, where nodes share the database.
const KEY_HASH_FILE: &str = "admin.key.sha256";

/// The key file is one line; nothing longer is read.
const MAX_KEY: u64 = 1024;

/// How often the words of who has a directory are looked for, and how long is waited between two looks.
const LOOKS_FOR_WORDS: u32 = 40;
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// How often a directory that is taken is tried: whoever looks at it has its lock for a moment.
const TRIES_TO_LOCK: u32 = 40;

/// Who has a state directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Nobody.
    Nobody,
    /// A daemon: its process and where it listens, as far as it said.
    Daemon { process: Option<u32>, address: Option<SocketAddr> },
    /// It can't be told.
    Unknown,
}

impl Holder {
    pub(crate) fn is_running(self) -> bool {
        matches!(self, Self::Daemon { .. })
    }

    pub(crate) fn process(self) -> Option<u32> {
        match self {
            Self::Daemon { process, .. } => process,
            Self::Nobody | Self::Unknown => None,
        }
    }
}

/// A state directory that is ours until this value is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    lock: File,
}

impl StateDir {
    /// The file whose lock says that the directory is in use.
    pub(crate) const LOCK_FILE: &str = "gatewarden.lock";

    /// Makes the directory where there is none (mode 0700) and locks it.
    pub(crate) fn claim(path: &Path) -> Result<Self, StartError> {
        let unusable = |source| StartError::StateDir { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(Self::LOCK_FILE))
            .map_err(unusable)?;
        give_to_owner_of_place(&path.join(Self::LOCK_FILE));
        if !Self::lock(&lock).map_err(unusable)? {
            let text = Self::words_of_holder(&mut lock);
            let (holder, address) = (Self::noted_process(&text), Self::address_in(&text));
            return Err(StartError::InUse { path: path.to_owned(), holder, address });
        }
        // The number is for the sentence that a second daemon says; the lock itself is the kernel's.
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| write!(lock, "{}", std::process::id()))
            .map_err(unusable)?;
        Ok(Self { path: path.to_owned(), lock })
    }

    /// What the file says. Who has just locked it writes its words in the next moment; half a sentence is as good where none come.
    #[expect(clippy::disallowed_methods, reason = "before anything else of the daemon runs, and for 200 ms at most")]
    fn words_of_holder(lock: &mut File) -> String {
        let mut text = String::new();
        for _ in 0..LOOKS_FOR_WORDS {
            let _ = lock.rewind().and_then(|()| lock.read_to_string(&mut text));
            if !text.is_empty() {
                break;
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
        text
    }

    /// Who has the directory. Nothing is made, and the lock is taken for no longer than the look takes; a daemon that starts in that
    /// moment tries again.
    pub(crate) fn holder(path: &Path) -> std::io::Result<Holder> {
        let mut lock = match File::open(path.join(Self::LOCK_FILE)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Holder::Nobody),
            opened => opened?,
        };
        match lock.try_lock_shared() {
            Ok(()) => Ok(Holder::Nobody),
            Err(TryLockError::WouldBlock) => {
                let text = Self::words_of_holder(&mut lock);
                Ok(Holder::Daemon { process: Self::noted_process(&text), address: Self::address_in(&text) })
            }
            Err(TryLockError::Error(_)) => Ok(Holder::Unknown),
        }
    }

    /// Locks it; false where another daemon has it. Who only looks is gone in a moment.
    #[expect(clippy::disallowed_methods, reason = "before anything else of the daemon runs, and for 200 ms at most")]
    fn lock(lock: &File) -> std::io::Result<bool> {
        for _ in 0..TRIES_TO_LOCK {
            match lock.try_lock() {
                Ok(()) => return Ok(true),
                Err(TryLockError::WouldBlock) => std::thread::sleep(BETWEEN_LOOKS),
                Err(TryLockError::Error(source)) => return Err(source),
            }
        }
        Ok(false)
    }

    /// Tells this directory's lock from any other's, also from that of a copy: whoever had it before in this boot of the machine is
    /// gone.
    pub(crate) fn home(&self) -> String {
        // A service that sees little of /proc is told by its unit.
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").or_else(|_| std::env::var("BOOT_ID"));
        let boot = boot.map(|boot| boot.replace('-', "")).unwrap_or_default();
        // Without its boot a machine can't be told from another one: then nobody is taken for gone.
        let boot = if boot.trim().is_empty() { uuid::Uuid::new_v4().to_string() } else { boot };
        let (device, inode) = self.lock.metadata().map(|lock| (lock.dev(), lock.ino())).unwrap_or_default();
        format!("{} {device} {inode}", boot.trim())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Says beside the process where it listens, for `doctor`: a flag or a passed socket may differ from the configuration.
    pub(crate) fn note_address(&self, address: SocketAddr) {
        let mut lock = &self.lock;
        // Nothing works less without it.
        let _ = write!(lock, " {address}");
    }

    /// Where the daemon that holds the lock listens, as far as it said.
    pub(crate) fn noted_address(state_dir: &Path) -> Option<SocketAddr> {
        match Self::holder(state_dir) {
            Ok(Holder::Daemon { address, .. }) => address,
            _ => None,
        }
    }

    fn address_in(text: &str) -> Option<SocketAddr> {
        text.split_whitespace().nth(1)?.parse().ok()
    }

    /// The process in the text of a lock file.
    fn noted_process(text: &str) -> Option<u32> {
        text.split_whitespace().next()?.parse().ok()
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        // Who listens there next is another program.
        let _ = self.lock.set_len(0);
    }
}

/// Gives what root made in somebody's directory to that somebody: else the daemon, once it runs as its own user, couldn't use
/// it. Anybody else owns what they make, and can't give it away.
pub(super) fn give_to_owner_of_place(path: &Path) {
    let place = path.parent().unwrap_or(Path::new("/"));
    let (Ok(place), Ok(made)) = (std::fs::metadata(place), std::fs::symlink_metadata(path)) else { return };
    if (place.uid(), place.gid()) != (made.uid(), made.gid()) {
        let _ = chown(path, Some(place.uid()), Some(place.gid()));
    }
}

/// The admin key that isn't stored in the database.
#[derive(Debug, Clone)]
pub(crate) struct AdminKey {
    key: Option<Secret>,
    made_now: bool,
    origin: &'static str,
}

impl AdminKey {
    pub(crate) fn configured(key: Secret) -> Self {
        Self { key: Some(key), made_now: false, origin: "configuration" }
    }

    /// The key of the file; made where there is neither a file nor a stored admin key. Where nodes share the database (`node`), one
    /// that was retired at any of them counts nowhere.
    pub(crate) async fn load_or_create(
        state_dir: &Path,
        store: &StoreHandle,
        clock: &Clock,
        node: Option<&str>,
    ) -> Result<Self, StartError> {
        let found = match node {
            Some(node) => {
                let settled = store.settle_admin_key(Self::known(state_dir)?, node.to_owned()).await?;
                Self::keep(state_dir, settled.as_ref())?;
                settled
            }
            None => in_file(state_dir)?,
        };
        let made_now = found.is_none() && !has_admin(store, clock.wall_ms() / 1000).await?;
        let key = if made_now { Some(create(state_dir)?) } else { found };
        if let Some(node) = node.filter(|_| made_now) {
            store.settle_admin_key(Self::known(state_dir)?, node.to_owned()).await?;
            Self::keep(state_dir, key.as_ref())?;
        }
        Ok(Self { key, made_now, origin: ADMIN_KEY_FILE })
    }

    /// What a node knows of the key before it asks the database.
    pub(crate) fn known(state_dir: &Path) -> Result<KnownAdminKey, StartError> {
        let before = std::fs::read_to_string(state_dir.join(KEY_HASH_FILE)).ok();
        Ok(KnownAdminKey { key: in_file(state_dir)?, before: before.map(|hash| hash.trim().to_owned()) })
    }

    /// Lets the file hold the key that was found to count, or none.
    pub(crate) fn keep(state_dir: &Path, counts: Option<&Secret>) -> Result<(), StartError> {
        let path = state_dir.join(ADMIN_KEY_FILE);
        let KnownAdminKey { key: found, before } = Self::known(state_dir)?;
        match counts {
            Some(key) if found.as_ref() == Some(key) => {}
            Some(key) => {
                write(state_dir, ADMIN_KEY_FILE, key.expose())?;
                tracing::info!(file = %path.display(), "took over the admin key that the nodes share");
            }
            None if found.is_some() => {
                std::fs::remove_file(&path).map_err(|source| StartError::AdminKey { path: path.clone(), source })?;
                tracing::warn!(file = %path.display(), "the admin key was retired at another node: its file is removed");
            }
            None => {}
        }
        match counts.map(|key| key_hash(key.expose())) {
            Some(hash) if before.as_ref() != Some(&hash) => write(state_dir, KEY_HASH_FILE, &hash),
            // What was retired is known in the database.
            None if before.is_some() => {
                let path = state_dir.join(KEY_HASH_FILE);
                std::fs::remove_file(&path).map_err(|source| StartError::AdminKey { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Where it comes from: the configuration, or the name of its file in the state directory.
    pub(crate) fn origin(&self) -> &'static str {
        self.origin
    }

    pub(crate) fn key(&self) -> Option<&Secret> {
        self.key.as_ref()
    }

    /// The key, where this start made it: to be shown once.
    pub(crate) fn made_now(&self) -> Option<Secret> {
        self.key.clone().filter(|_| self.made_now)
    }
}

async fn has_admin(store: &StoreHandle, now_s: i64) -> Result<bool, Failure> {
    let keys = store.list_keys().await?;
    Ok(keys.iter().any(|key| key.role == Role::Admin && key.expires_at.is_none_or(|expires_at| now_s < expires_at)))
}

/// The key in the file. A file that others may read is made private first.
fn in_file(state_dir: &Path) -> Result<Option<Secret>, StartError> {
    let path = state_dir.join(ADMIN_KEY_FILE);
    let unusable = |source| StartError::AdminKey { path: path.clone(), source };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(error)),
    };
    let mode = file.metadata().map_err(unusable)?.permissions().mode();
    if mode & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(unusable)?;
        tracing::warn!(file = %path.display(), "other users could read the admin key; its file is private now");
    }
    let mut text = String::new();
    file.take(MAX_KEY).read_to_string(&mut text).map_err(unusable)?;
    let key = text.trim();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable(Error::new(ErrorKind::InvalidData, "it holds no key (one line of printable characters)")));
    }
    Ok(Some(Secret::new(key)))
}

/// Draws a key and stores it.
fn create(state_dir: &Path) -> Result<Secret, StartError> {
    let path = state_dir.join(ADMIN_KEY_FILE);
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| StartError::AdminKey { path, source: Error::other(error.to_string()) })?;
    let key = Secret::new(format!("gw_{}", URL_SAFE_NO_PAD.encode(bytes)));
    write(state_dir, ADMIN_KEY_FILE, key.expose())?;
    Ok(key)
}

/// Stores a line so that a power cut leaves either all of it or nothing.
fn write(state_dir: &Path, name: &str, line: &str) -> Result<(), StartError> {
    let path = state_dir.join(name);
    let line = Zeroizing::new([line, "\n"].concat());
    replace(&path, line.as_bytes()).map_err(|source| StartError::AdminKey { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_directory_is_private() {
        let parent = tempfile::TempDir::new().unwrap();
        let path = parent.path().join("a/state");
        let claimed = StateDir::claim(&path).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(claimed.path()), 0o700);
        assert_eq!(mode(&path.join(StateDir::LOCK_FILE)), 0o600);
    }

    #[test]
    fn a_second_daemon_is_told_who_has_the_directory() {
        let dir = tempfile::TempDir::new().unwrap();
        let first = StateDir::claim(dir.path()).unwrap();
        let error = StateDir::claim(dir.path()).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        let said = error.to_string();
        assert!(said.contains("in use by another gatewarden"), "{said}");
        assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
        drop(first);
        assert!(StateDir::claim(dir.path()).is_ok(), "the directory is free again");
    }

    #[test]
    fn a_directory_that_is_a_file_is_refused_with_its_path() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("state");
        std::fs::write(&path, "x").unwrap();
        let said = StateDir::claim(&path).unwrap_err().to_string();
        assert!(said.contains(&path.display().to_string()) && said.contains("--state-dir"), "{said}");
    }

    #[test]
    fn a_made_key_is_private_and_read_back() {
        let dir = tempfile::TempDir::new().unwrap();
        assert!(in_file(dir.path()).unwrap().is_none());
        let key = create(dir.path()).unwrap();
        assert!(key.expose().len() >= 43, "256 bits");
        let path = dir.path().join(ADMIN_KEY_FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(in_file(dir.path()).unwrap().unwrap(), key);
    }

    #[test]
    fn two_keys_are_never_the_same() {
        let (one, other) = (tempfile::TempDir::new().unwrap(), tempfile::TempDir::new().unwrap());
        assert_ne!(create(one.path()).unwrap(), create(other.path()).unwrap());
    }

    #[test]
    fn a_key_file_that_others_may_read_is_made_private() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join(ADMIN_KEY_FILE);
        std::fs::write(&path, "adm\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(in_file(dir.path()).unwrap().unwrap().expose(), "adm");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_empty_or_odd_key_file_is_refused_without_showing_it() {
        let dir = tempfile::TempDir::new().unwrap();
        for content in ["", "\n", "hush hush", "h\u{e4}sh"] {
            std::fs::write(dir.path().join(ADMIN_KEY_FILE), content).unwrap();
            let said = in_file(dir.path()).unwrap_err().to_string();
            assert!(said.contains("admin.key") && !said.contains("hush"), "{said}");
        }
    }
}
