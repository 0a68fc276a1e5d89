//! Where the sealing key comes from: a systemd credential, else a file of mode 0600 that the first start makes.
//!
//! 1. `<credentials directory>/gatewarden.key`, where systemd passes one (`LoadCredential=` or `LoadCredentialEncrypted=`).
//! 2. `<state directory>/gatewarden.key`. Others than its owner must not read it: such a mode is narrowed, with a warning.
//! 3. Neither: a new key is drawn. It is written only when the store has found that its database was never sealed
//!    ([`SealingKey::write_if_new`]), so that a lost key is reported instead of being covered up by a new one.
//!
//! While a key is changed (`rekey`, or a restore that brings its key), the new one lies beside the present one as
//! `gatewarden.key.next`. Whichever opens the database counts, so that a crash at any point leaves a pair that does; the
//! next start then puts the new key in its place.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use zeroize::Zeroizing;

/// Name of the credential and of the file.
pub const KEY_FILE_NAME: &str = "gatewarden.key";

/// The key that is about to take the place of the one in the file, while that is under way.
pub const NEXT_KEY_FILE_NAME: &str = "gatewarden.key.next";

/// No key file is longer than this.
const MAX_KEY_FILE: u64 = 4096;

/// The key that seals secrets in the database. Wiped when dropped; `Debug` shows only where it came from.
pub struct SealingKey {
    bytes: Zeroizing<[u8; 32]>,
    path: PathBuf,
    new: bool,
    next: Option<Zeroizing<[u8; 32]>>,
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealingKey").field("path", &self.path).field("new", &self.new).finish_non_exhaustive()
    }
}

/// Why there is no usable key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file is there and can't be read.
    #[error("The encryption key {} cannot be read: {source}. Let the daemon's user read it.", path.display())]
    Unreadable {
        /// The key file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The file isn't a key.
    #[error(
        "The encryption key {} is malformed: it must hold 32 bytes, raw, as 64 hex digits or as base64. Put the right file \
         back from a backup.",
        path.display()
    )]
    Malformed {
        /// The key file.
        path: PathBuf,
    },
    /// Others may read the file, and that can't be changed.
    #[error(
        "The encryption key {} can be read by other users (mode {mode:o}), and that could not be changed: {source}. Run \
         chmod 600 on it as its owner.",
        path.display()
    )]
    TooOpen {
        /// The key file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The system's words.
        source: io::Error,
    },
    /// A new key can't be written.
    #[error(
        "A new encryption key cannot be written to {}: {source}. Check that the state directory belongs to the daemon's user \
         and has free space.",
        path.display()
    )]
    NotWritable {
        /// The key file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The system gives no random numbers.
    #[error("A new encryption key cannot be drawn: the system gives no random numbers ({0}).")]
    NoRandomness(getrandom::Error),
}

impl KeyError {
    /// The daemon's exit code: 78 where the key itself must change first, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Malformed { .. } | Self::TooOpen { .. } => 78,
            Self::Unreadable { .. } | Self::NotWritable { .. } | Self::NoRandomness(_) => 1,
        }
    }
}

impl SealingKey {
    /// Loads the key, or draws a new one that is written when the store opens. Reads files: not for an arbiter that serves.
    pub fn load_or_create(credentials_dir: Option<&Path>, state_dir: &Path) -> Result<Self, KeyError> {
        if let Some(dir) = credentials_dir {
            let path = dir.join(KEY_FILE_NAME);
            if let Some(text) = read_key_file(&path)? {
                return Self::parse(path, &text);
            }
        }
        let path = state_dir.join(KEY_FILE_NAME);
        // One that can't be read was never used: it is whole on disk before anything is sealed with it.
        let next = read_key_file(&state_dir.join(NEXT_KEY_FILE_NAME)).ok().flatten().and_then(|text| decode_key(&text));
        if let Some(text) = read_key_file(&path)? {
            narrow_mode(&path)?;
            return Ok(Self { next, ..Self::parse(path, &text)? });
        }
        Ok(Self { next, ..Self::draw(state_dir)? })
    }

    /// A key of a file that somebody names.
    ///
    /// # Errors
    /// The file isn't there, can't be read, or is no key.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let missing = || KeyError::Unreadable { path: path.to_path_buf(), source: ErrorKind::NotFound.into() };
        let text = read_key_file(path)?.ok_or_else(missing)?;
        Self::parse(path.to_path_buf(), &text)
    }

    /// A key drawn now, for the file of a state directory. It is in no file yet.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn draw(state_dir: &Path) -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        getrandom::fill(bytes.as_mut_slice()).map_err(KeyError::NoRandomness)?;
        Ok(Self { bytes, path: state_dir.join(KEY_FILE_NAME), new: true, next: None })
    }

    /// Whether there is no key at all: none in its file, and none about to get there.
    pub fn is_missing(&self) -> bool {
        self.new && self.next.is_none()
    }

    /// Whether it is the file of this state directory, rather than a credential or a file that somebody named.
    pub fn is_of(&self, state_dir: &Path) -> bool {
        self.path == state_dir.join(KEY_FILE_NAME)
    }

    /// Whether both are the same key, wherever they came from.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }

    /// The key that is about to take this one's place, if one is.
    pub(super) fn next(&self) -> Option<Self> {
        let path = self.path.with_file_name(NEXT_KEY_FILE_NAME);
        self.next.clone().map(|bytes| Self { bytes, path, new: false, next: None })
    }

    /// Writes this key to a file that isn't there yet: mode 0600, on disk when this returns.
    pub(super) fn write_to(&self, path: &Path) -> io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("."));
        let mut text = Zeroizing::new(String::with_capacity(65));
        for byte in self.bytes.iter() {
            text.push_str(&Zeroizing::new(format!("{byte:02x}")));
        }
        text.push('\n');
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        if let Err(error) = written {
            // Half a key must not be found by the next start; nothing was sealed with it yet.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        File::open(dir)?.sync_all()
    }

    /// The file it came from, or will be written to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was drawn just now and is in no file yet.
    pub fn is_new(&self) -> bool {
        self.new
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Writes a new key: never over an existing file, mode 0600, synced to disk together with its directory before this
    /// returns. Does nothing for a key that was loaded.
    pub(super) fn write_if_new(&mut self) -> Result<(), KeyError> {
        if !self.new {
            return Ok(());
        }
        self.write().map_err(|source| KeyError::NotWritable { path: self.path.clone(), source })?;
        self.new = false;
        tracing::info!(key.path = %self.path.display(), "made a new encryption key; back it up together with the database");
        Ok(())
    }

    fn write(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.path.parent().unwrap_or(Path::new(".")))?;
        self.write_to(&self.path)
    }

    fn parse(path: PathBuf, content: &[u8]) -> Result<Self, KeyError> {
        let bytes = decode_key(content).ok_or_else(|| KeyError::Malformed { path: path.clone() })?;
        Ok(Self { bytes, path, new: false, next: None })
    }
}

/// Puts the key in its place that is about to take it. To be called once the database opens with it and, where the one
/// before is still wanted, that is kept elsewhere. Somebody else may have done it meanwhile: a start beside us.
pub(super) fn promote_next(state_dir: &Path) -> io::Result<()> {
    match fs::rename(state_dir.join(NEXT_KEY_FILE_NAME), state_dir.join(KEY_FILE_NAME)) {
        Err(error) if error.kind() == ErrorKind::NotFound && state_dir.join(KEY_FILE_NAME).exists() => Ok(()),
        renamed => renamed.and_then(|()| File::open(state_dir)?.sync_all()),
    }
}

fn decode_key(content: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    if let Ok(raw) = <[u8; 32]>::try_from(content) {
        return Some(Zeroizing::new(raw));
    }
    let text = std::str::from_utf8(content).ok()?.trim();
    let mut key = Zeroizing::new([0_u8; 32]);
    if text.len() == 64 && text.is_ascii() {
        for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        return text.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(key);
    }
    let decoded = Zeroizing::new(STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok()?);
    key.copy_from_slice(decoded.get(..).filter(|bytes| bytes.len() == 32)?);
    Some(key)
}

/// The content, or `None` where there is no such file.
fn read_key_file(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
    let unreadable = |source| KeyError::Unreadable { path: path.to_path_buf(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut content = Zeroizing::new(Vec::with_capacity(128));
    file.take(MAX_KEY_FILE).read_to_end(&mut content).map_err(unreadable)?;
    Ok(Some(content))
}

fn narrow_mode(path: &Path) -> Result<(), KeyError> {
    let metadata = fs::metadata(path).map_err(|source| KeyError::Unreadable { path: path.to_path_buf(), source })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(|source| KeyError::TooOpen {
        path: path.to_path_buf(),
        mode,
        source,
    })?;
    tracing::warn!(
        key.path = %path.display(),
        "the encryption key could be read by other users (mode {mode:o}); it is mode 600 now. If others use this machine, \
         renew the gateways' tokens"
    );
    Ok(())
}

#[cfg(test)]
mod tests;
