//! What a shell offers for a value that only the daemon knows: names of gateways and agents, keys of sessions.
//! Where no daemon answers at once, nothing is offered.

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::engine::CompletionCandidate;
use serde_json::Value;

use super::daemon::contexts::{Contexts, directory};
use super::daemon::{Daemon, PlaceArgs};
use super::output::Output;
use crate::config::Inputs;

/// Whoever presses a key doesn't wait longer.
const PATIENCE: Duration = Duration::from_secs(1);

type Candidates = fn(&OsStr) -> Vec<CompletionCandidate>;

/// What is offered for an option by the name of its value.
pub(super) fn of(value: &str, id: &str) -> Option<Candidates> {
    match (value, id) {
        ("GATEWAY", _) => Some(|typed| names(typed, "/api/gateways", "gateways", "name")),
        ("AGENT", _) => Some(|typed| names(typed, "/api/agents?limit=200", "agents", "name")),
        ("API_KEY", _) => Some(|typed| names(typed, "/api/keys?limit=200", "keys", "name")),
        ("ID", "spawn") => Some(|typed| names(typed, "/api/spawn?limit=50", "history", "spawnId")),
        ("CONTEXT", _) | ("NAME", "context") => Some(contexts),
        ("KEY", "key" | "keys" | "session") => Some(|typed| names(typed, "/api/sessions?limit=200", "sessions", "key")),
        _ => None,
    }
}

fn names(typed: &OsStr, path: &str, list: &str, field: &str) -> Vec<CompletionCandidate> {
    let args = place(std::env::args());
    let Ok(daemon) = Daemon::find(&args, Output::of_process(false, true), PATIENCE) else { return Vec::new() };
    let Ok(answer) = daemon.fetch::<Value>(path) else { return Vec::new() };
    let rows = answer.get(list).and_then(Value::as_array).into_iter().flatten();
    let names =
        rows.filter_map(|row| row.get(field)?.as_str()).filter(|name| name.starts_with(&*typed.to_string_lossy()));
    // What could steer a terminal is not offered.
    names.filter(|name| !name.chars().any(char::is_control)).map(CompletionCandidate::new).collect()
}

/// What this machine knows of daemons, without asking one.
fn contexts(typed: &OsStr) -> Vec<CompletionCandidate> {
    let known = directory(&Inputs::of_process()).and_then(|dir| Contexts::load(&dir).ok()).unwrap_or_default();
    let names = known.contexts.into_keys().filter(|name| name.starts_with(&*typed.to_string_lossy()));
    names.map(CompletionCandidate::new).collect()
}

/// The daemon that was named on the line so far.
fn place(words: impl Iterator<Item = String>) -> PlaceArgs {
    let words: Vec<String> = words.collect();
    let after = |flag: &str| {
        let separate = || {
            words
                .windows(2)
                .find_map(|pair| Some(pair.get(1)?.clone()).filter(|_| pair.first().is_some_and(|word| word == flag)))
        };
        words.iter().find_map(|word| Some(word.strip_prefix(flag)?.strip_prefix('=')?.to_owned())).or_else(separate)
    };
    PlaceArgs {
        url: after("--url"),
        context: after("--context"),
        // Standard input belongs to the shell.
        key_file: after("--key-file").filter(|file| file != "-").map(Into::into),
        state_dir: after("--state-dir").map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_is_taken_from_the_line_so_far() {
        let words = ["gatewarden", "logs", "--url", "http://a", "--key-file=k", "--state-dir", "/s", ""];
        let args = place(words.into_iter().map(str::to_owned));
        assert_eq!(args.url.as_deref(), Some("http://a"));
        assert_eq!(args.key_file.as_deref(), Some(std::path::Path::new("k")));
        assert_eq!(args.state_dir.as_deref(), Some(std::path::Path::new("/s")));
        assert_eq!(args.context, None);
    }
}
