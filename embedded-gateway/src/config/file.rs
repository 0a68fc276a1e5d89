//! The configuration's file while the gateway runs: read, checked, and written anew. Runs on the thread of files, where one thing
//! happens after the other: of two who change it, the second is told.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use gatewarden_protocol::Secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use super::load::read_tree;
use super::merging::{changed_paths, dropped, merged};
use super::plan::decided_on_the_machine;
use super::redaction::{join, redacted, restored};
use super::{ConfigError, Draft, GatewayConfig, Inputs, Problem, written};
use crate::call::CallError;
use crate::clock::{Chance as _, SystemChance};
use crate::private_files::replace_with_mode;

/// Longest file that a client may make of it, in bytes.
const MAX_SENT: usize = 256 * 1024;
/// Problems that an error's sentence names; its details have all.
const NAMED_PROBLEMS: usize = 3;

/// What a running gateway's configuration is made of: file, flags and environment.
pub struct ConfigFile {
    inputs: Inputs,
    /// Makes hashes of the file that say nothing of the secrets in it.
    key: Secret,
}

impl fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigFile").finish_non_exhaustive()
    }
}

/// The file as it is now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Snapshot {
    /// Where it is; or where it would be made.
    pub(crate) path: PathBuf,
    pub(crate) exists: bool,
    /// Of its text; says nothing of the text. Changes with every change, and with every start of the gateway.
    pub(crate) hash: String,
    /// What stands in it, its secrets hidden; null where it is wrong.
    pub(crate) shown: Value,
    pub(crate) read: Result<Read, CallError>,
}

/// A configuration that can be used.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Read {
    pub(crate) config: GatewayConfig,
    pub(crate) warnings: Vec<String>,
}

/// How a client wants it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) method: Method,
    /// JSON5.
    pub(crate) raw: String,
    /// The hash of what the client saw.
    pub(crate) base_hash: Option<String>,
    /// Lists that a patch may replace.
    pub(crate) replace: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Set,
    Patch,
    Apply,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Edited {
    pub(crate) snapshot: Snapshot,
    pub(crate) changed_paths: Vec<String>,
    /// The file that was there before.
    pub(crate) kept: Option<PathBuf>,
}

impl Edited {
    pub(crate) fn unchanged(snapshot: Snapshot) -> Self {
        Self { snapshot, changed_paths: Vec::new(), kept: None }
    }
}

impl ConfigFile {
    /// What a gateway was started with.
    pub fn new(inputs: Inputs) -> Self {
        Self { inputs, key: SystemChance.secret() }
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot, CallError> {
        Ok(self.look()?.0)
    }

    /// The snapshot for a gateway that is to take it over. An emptied file is no configuration: somebody is writing it.
    pub(crate) fn reload(&self) -> Result<Snapshot, CallError> {
        let (snapshot, text, _) = self.look()?;
        if snapshot.exists && snapshot.read.is_ok() && text.trim().is_empty() {
            let said = format!("{} is empty; write {{}} for a configuration of defaults", snapshot.path.display());
            return Err(CallError::invalid(said));
        }
        Ok(snapshot)
    }

    /// The snapshot; the text and the tree of a file that can be read. The error: nobody knows where the file would be.
    fn look(&self) -> Result<(Snapshot, String, Value), CallError> {
        let nowhere = |problem: Problem| CallError::unavailable(problem.to_string());
        let found = self.inputs.file().map_err(nowhere)?;
        let state_dir = self.inputs.state_directory().map_err(nowhere)?;
        let exists = found.is_some();
        let path = found.or_else(|| self.inputs.usual_files().into_iter().next()).ok_or_else(|| {
            CallError::unavailable(
                "this gateway has no configuration file and no $HOME to make one in: start it with --config FILE",
            )
        })?;
        let text = if exists { written::text(&path) } else { Ok(String::new()) };
        let hash = text.as_ref().map(|text| self.hash(text)).unwrap_or_default();
        let parsed = text.and_then(|text| Ok((written::parse(&text, written::is_yaml(&path, &text))?, text)));
        let (text, tree, draft) = match parsed {
            Ok((tree, text)) => {
                let draft = read_tree(&self.inputs, exists.then(|| path.clone()), &tree, state_dir);
                (text, tree, draft.map_err(|error| invalid(&error)))
            }
            Err(cure) => {
                let problem = Problem::of(&path.display().to_string(), None, cure);
                (String::new(), Value::Null, Err(invalid(&ConfigError { problems: vec![problem] })))
            }
        };
        let shown = draft.as_ref().map_or(Value::Null, |draft| redacted(&tree, &draft.plain));
        let read = draft.and_then(settled);
        Ok((Snapshot { path, exists, hash, shown, read }, text, tree))
    }

    fn hash(&self, text: &str) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(self.key.expose().as_bytes());
        mac.map_or_else(|_| String::new(), |mac| hex::encode(mac.chain_update(text).finalize().into_bytes()))
    }

    /// Changes the file, if what comes out can be used. Nothing is changed else.
    pub(crate) fn edit(&self, edit: &Edit) -> Result<Edited, CallError> {
        let (before, text, tree) = self.look()?;
        if before.exists {
            match &edit.base_hash {
                None => return Err(CallError::invalid("config base hash required; re-run config.get and retry")),
                Some(hash) if *hash != before.hash => {
                    let said = "config changed since last load; re-run config.get and retry";
                    return Err(CallError::invalid(said).with_details(json!({"code": "CONFIG_CHANGED"})));
                }
                Some(_) => {}
            }
        }
        let now = match &before.read {
            Ok(read) => &read.config,
            Err(error) => {
                let said = format!("{}; put the file right on the gateway's machine", error.message);
                return Err(CallError { message: said, ..error.clone() });
            }
        };
        let new = self.changed(edit, &before, &tree)?;
        // Before the new configuration is read, which opens the files that it names.
        let place = (!now.remote_programs).then(|| place_of_the_machine(&tree, &new)).flatten();
        if let Some(place) = place {
            return Err(forbidden(&before.path, &[&place]));
        }
        let changed_paths = changed_paths(&tree, &new);
        if changed_paths.is_empty() {
            return Ok(Edited::unchanged(before));
        }
        let state_dir = self.inputs.state_directory().map_err(|problem| CallError::unavailable(problem.to_string()))?;
        let draft = read_tree(&self.inputs, before.exists.then(|| before.path.clone()), &new, state_dir);
        let wanted = settled(draft.map_err(|error| invalid(&error))?)?.config;
        let local = decided_on_the_machine(now, &wanted);
        if !local.is_empty() && !now.remote_programs {
            return Err(forbidden(&before.path, &local));
        }
        let new_text = written::text_of(&new, written::is_yaml(&before.path, &text))?;
        if new_text.len() > MAX_SENT.max(text.len()) {
            return Err(CallError::invalid(format!("the configuration would have more than {MAX_SENT} bytes")));
        }
        let kept = write(&before, &new_text)?;
        let (mut snapshot, text_now, _) = self.look()?;
        let lost = written::text_of(&tree, written::is_yaml(&before.path, &text)).is_ok_and(|own| own != text);
        if let (Ok(read), true, Some(kept)) = (&mut snapshot.read, lost && !text_now.is_empty(), &kept) {
            let said = format!("comments and layout of the file are gone; {} has them", kept.display());
            read.warnings.push(said);
        }
        Ok(Edited { snapshot, changed_paths, kept })
    }

    /// The tree that an edit leads to, with the secrets that it left marked.
    fn changed(&self, edit: &Edit, before: &Snapshot, tree: &Value) -> Result<Value, CallError> {
        let sent = written::parse(&edit.raw, false).map_err(CallError::invalid)?;
        let empty = Value::Object(Map::new());
        let (tree, shown) = if tree.is_null() { (&empty, &empty) } else { (tree, &before.shown) };
        let new = match edit.method {
            Method::Patch => {
                let merged = merged(tree, &sent, &edit.replace);
                let dropped = dropped(tree, &merged, &sent, &edit.replace);
                if !dropped.is_empty() {
                    return Err(CallError::invalid(format!(
                        "config.patch would remove entries from array path(s): {}. Pass replacePaths with the exact path(s) \
                         when this is intentional, or use config.apply for full-config replacement.",
                        dropped.join(", ")
                    )));
                }
                merged
            }
            Method::Set | Method::Apply => sent,
        };
        let new = restored(&new, tree, shown).map_err(|place| {
            CallError::invalid(format!(
                "Sentinel value \"{}\" in key {place} is not valid as real data: write the value out, or leave the key out",
                super::redaction::REDACTED
            ))
        })?;
        let gone = if edit.method == Method::Set { lost_agents(tree, &new) } else { Vec::new() };
        if !gone.is_empty() {
            let gone = gone.join(", ");
            return Err(CallError::invalid(format!(
                "config.set would remove existing agent entries: {gone}. Use config.apply for intentional deletion."
            )));
        }
        Ok(new)
    }
}

/// The keys whose changes a client may not make, in words.
fn forbidden(path: &Path, keys: &[&str]) -> CallError {
    CallError::forbidden(format!(
        "{}: over the protocol only logging.level, the default agent, and an agent's name, model and command are changed; change it in \
         {} and send the gateway SIGHUP, or write gatewarden.remotePrograms: true there",
        keys.join(", "),
        path.display()
    ))
    .with_details(json!({"code": "DECIDED_ON_THE_MACHINE", "keys": keys}))
}

/// Where a text stands in `new` that reads a variable of the gateway's environment or names a file, and didn't stand in `old` under a
/// key of that name: what it leads to could be shown to clients, or opened.
fn place_of_the_machine(old: &Value, new: &Value) -> Option<String> {
    let mut known = Vec::new();
    local_texts("", "", old, &mut known);
    let mut wanted = Vec::new();
    local_texts("", "", new, &mut wanted);
    let known: BTreeSet<(&str, &str)> = known.into_iter().map(|(_, name, text)| (name, text)).collect();
    wanted.into_iter().find(|(_, name, text)| !known.contains(&(*name, *text))).map(|(place, ..)| place)
}

fn local_texts<'a>(path: &str, name: &'a str, value: &'a Value, into: &mut Vec<(String, &'a str, &'a str)>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| local_texts(&join(path, name), name, value, into));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| local_texts(&format!("{path}[{at}]"), name, item, into));
        }
        Value::String(text)
            if text.contains("${") || ["File", "Path", "file"].iter().any(|end| name.ends_with(end)) =>
        {
            into.push((path.to_owned(), name, text));
        }
        _ => {}
    }
}

fn settled(draft: Draft) -> Result<Read, CallError> {
    let warnings = draft.warnings.clone();
    draft.settle().map(|config| Read { config, warnings }).map_err(|error| CallError::unavailable(error.to_string()))
}

/// What is wrong, as real gateways say it. Values are left out: one with a misspelt key may be a secret.
fn invalid(error: &ConfigError) -> CallError {
    let place = |problem: &Problem| problem.key.clone().unwrap_or_else(|| problem.origin.clone());
    let said: Vec<String> = error
        .problems
        .iter()
        .take(NAMED_PROBLEMS)
        .map(|problem| format!("{}: {}", place(problem), problem.cure))
        .collect();
    let more = match error.problems.len().saturating_sub(NAMED_PROBLEMS) {
        0 => String::new(),
        more => format!(" (+{more} more issue{})", if more == 1 { "" } else { "s" }),
    };
    let issues: Vec<Value> =
        error.problems.iter().map(|problem| json!({"path": place(problem), "message": problem.cure})).collect();
    CallError::invalid(format!("invalid config: {}{more}", said.join("; "))).with_details(json!({"issues": issues}))
}

fn lost_agents(old: &Value, new: &Value) -> Vec<String> {
    let ids = |tree: &Value| -> BTreeSet<String> {
        let entries = tree.pointer("/agents/entries").and_then(Value::as_object);
        let list = tree.pointer("/agents/list").and_then(Value::as_array);
        let listed = list.into_iter().flatten().filter_map(|agent| agent.get("id")?.as_str().map(str::to_owned));
        entries.into_iter().flat_map(Map::keys).cloned().chain(listed).collect()
    };
    ids(old).difference(&ids(new)).cloned().collect()
}

/// Puts a text in place of the file, which is kept beside it as `.bak`.
fn write(before: &Snapshot, text: &str) -> Result<Option<PathBuf>, CallError> {
    // A link stays one.
    let path = fs::canonicalize(&before.path).unwrap_or_else(|_| before.path.clone());
    let written = (|| {
        if !before.exists {
            return replace_with_mode(&path, text.as_bytes(), 0o600).map(|()| None);
        }
        let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".bak");
        let kept = path.with_file_name(name);
        replace_with_mode(&kept, &fs::read(&path)?, mode)?;
        replace_with_mode(&path, text.as_bytes(), mode).map(|()| Some(kept))
    })();
    written.map_err(|error| {
        let said =
            format!("the configuration {} could not be written, and nothing was changed: {error}", path.display());
        CallError::unavailable(format!("{said}. {}", cure(&path, error.kind())))
            .with_details(json!({"code": "CONFIG_NOT_WRITTEN"}))
    })
}

fn cure(path: &Path, kind: ErrorKind) -> String {
    let folder = path.parent().unwrap_or(path).display();
    match kind {
        _ if std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|dir| path.starts_with(dir)) => {
            "It is a credential of systemd: change the file that the unit's LoadCredential names, and restart the unit"
                .into()
        }
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied | ErrorKind::ResourceBusy => format!(
            "It was given to this gateway to read only: change it where it is made and send the gateway SIGHUP, or let it \
             write in {folder} (systemd: ReadWritePaths={folder})"
        ),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "Make room on the disk".to_owned(),
        _ => format!("Look at {folder}"),
    }
}

#[cfg(test)]
mod tests;
