//! The admin key of a daemon that was given none: made at the first start, kept in a private file.
//!
//! The file is the truth: each start lets in whoever has its content. It is synced before the key counts, so that a crash
//! can't leave a daemon that nobody can enter. Taking the file away retires the key; a new one is made only while no
//! other admin key is stored.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatewarden_actors::clock::Clock;
use gatewarden_actors::error::Failure;
use gatewarden_actors::store::handle::StoreHandle;
use gatewarden_actors::store::records::Role;
use gatewarden_protocol::Secret;

use super::start_error::StartError;

/// Name of the file in the state directory.
const ADMIN_KEY_FILE: &str = "admin.key";

/// The key file is one line; nothing longer is read.
const MAX_KEY: u64 = 1024;

/// The admin key that isn't stored in the database.
#[derive(Debug, Clone)]
pub struct AdminKey {
    key: Option<Secret>,
    made_now: bool,
}

impl AdminKey {
    /// The key of the configuration.
    pub fn configured(key: Secret) -> Self {
        Self { key: Some(key), made_now: false }
    }

    /// The key of the file; made where there is neither a file nor a stored admin key.
    ///
    /// # Errors
    /// File or store can't be read or written.
    pub async fn load_or_create(state_dir: &Path, store: &StoreHandle, clock: &Clock) -> Result<Self, StartError> {
        if let Some(key) = in_file(state_dir)? {
            return Ok(Self { key: Some(key), made_now: false });
        }
        if has_admin(store, clock.wall_ms() / 1000).await? {
            return Ok(Self { key: None, made_now: false });
        }
        Ok(Self { key: Some(create(state_dir)?), made_now: true })
    }

    /// The key, where there is one.
    pub fn key(&self) -> Option<&Secret> {
        self.key.as_ref()
    }

    /// The key, where this start made it: to be shown once.
    pub fn made_now(&self) -> Option<Secret> {
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

/// Draws a key and stores it so that a power cut leaves either all of it or nothing.
fn create(state_dir: &Path) -> Result<Secret, StartError> {
    let path = state_dir.join(ADMIN_KEY_FILE);
    let unusable = |source| StartError::AdminKey { path: path.clone(), source };
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| unusable(Error::other(error.to_string())))?;
    let key = Secret::new(format!("gw_{}", URL_SAFE_NO_PAD.encode(bytes)));
    let draft = state_dir.join(format!("{ADMIN_KEY_FILE}.new"));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(key.expose().as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&draft, &path))
        .and_then(|()| File::open(state_dir)?.sync_all());
    written.map_err(unusable)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

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
