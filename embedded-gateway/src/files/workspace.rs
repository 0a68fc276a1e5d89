//! An agent's files on disk: a fixed list of names in one folder, and no way out of it by links.

use std::fs::{self, DirBuilder, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::fs::OFlags;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::agents::{FILE_BYTES, WORKSPACE_FILES};
use crate::call::CallError;
use crate::effect::Workspace;
use crate::private_files::replace;

pub(super) fn list(whose: &Workspace) -> Result<Value, CallError> {
    let folder = folder(whose)?;
    let files: Vec<Value> =
        WORKSPACE_FILES.iter().map(|name| Value::Object(described(&folder.join(name), name))).collect();
    Ok(json!({"agentId": whose.agent, "workspace": folder.display().to_string(), "files": files}))
}

pub(super) fn get(whose: &Workspace, name: &str) -> Result<Value, CallError> {
    let folder = folder(whose)?;
    let path = folder.join(name);
    let content = content(&path).map_err(|error| refused("read", &path, &error))?;
    let mut file = described(&path, name);
    if let Some(content) = content {
        file.insert("hash".into(), hash(content.as_bytes()).into());
        file.insert("content".into(), content.into());
    }
    Ok(json!({"agentId": whose.agent, "workspace": folder.display().to_string(), "file": file}))
}

pub(super) fn set(whose: &Workspace, name: &str, text: &str, expected_hash: Option<&str>) -> Result<Value, CallError> {
    let folder = folder(whose)?;
    let path = folder.join(name);
    let before = content(&path).map_err(|error| refused("read", &path, &error))?;
    if let Some(expected) = expected_hash {
        let found = hash(before.as_deref().unwrap_or_default().as_bytes());
        if !found.eq_ignore_ascii_case(expected) {
            return Err(CallError::invalid(format!(
                "{name} of agent \"{}\" changed since it was read; re-run agents.files.get and retry",
                whose.agent
            ))
            .with_details(json!({"code": "HASH_MISMATCH", "hash": found})));
        }
    }
    replace(&path, text.as_bytes()).map_err(|error| refused("written", &path, &error))?;
    let mut file = described(&path, name);
    file.insert("hash".into(), hash(text.as_bytes()).into());
    file.insert("content".into(), text.into());
    Ok(json!({"ok": true, "agentId": whose.agent, "workspace": folder.display().to_string(), "file": file}))
}

/// The folder itself, made where it is missing, with all links resolved.
fn folder(whose: &Workspace) -> Result<PathBuf, CallError> {
    let failed = |error: &io::Error| refused("opened", &whose.folder, error);
    if let Some(root) = &whose.below {
        make(root).map_err(|error| failed(&error))?;
        let root = root.canonicalize().map_err(|error| failed(&error))?;
        // The part that is there already decides: a link in it could lead anywhere, and nothing may be made there.
        let there = whose.folder.ancestors().find_map(|ancestor| ancestor.canonicalize().ok());
        if !there.is_some_and(|there| there.starts_with(&root)) {
            return Err(CallError::invalid(format!(
                "the workspace of agent \"{}\" leads out of {}; replace the link by a folder",
                whose.agent,
                root.display()
            )));
        }
    }
    make(&whose.folder).map_err(|error| failed(&error))?;
    whose.folder.canonicalize().map_err(|error| failed(&error))
}

fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() { Ok(()) } else { DirBuilder::new().recursive(true).mode(0o700).create(folder) }
}

/// The content of a regular file; none where it is missing. Links, pipes and devices are refused, whatever they lead to.
fn content(path: &Path) -> io::Result<Option<String>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if metadata.len() > FILE_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {FILE_BYTES} bytes ({} bytes)", metadata.len()),
        ));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn described(path: &Path, name: &str) -> Map<String, Value> {
    let found = fs::symlink_metadata(path).ok().filter(Metadata::is_file);
    let mut file = Map::new();
    file.insert("name".into(), name.into());
    file.insert("path".into(), path.display().to_string().into());
    file.insert("missing".into(), found.is_none().into());
    if let Some(found) = found {
        file.insert("size".into(), found.len().into());
        let changed = found.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let changed = changed.and_then(|since| u64::try_from(since.as_millis()).ok());
        file.insert("updatedAtMs".into(), changed.into());
    }
    file
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn refused(done: &str, path: &Path, error: &io::Error) -> CallError {
    CallError::unavailable(format!("{} could not be {done}: {error}", path.display()))
}
