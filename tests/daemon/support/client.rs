//! Commands of a client, run against a daemon with its admin key.

use super::daemon::{Daemon, Ended, PATIENCE, Setup};
use super::wait;

/// Runs one to its end.
pub(crate) fn run(daemon: &Daemon, args: &[&str]) -> Ended {
    Setup::client_of(daemon, args).run()
}

/// Runs one that must end well; what it printed.
#[track_caller]
pub(crate) fn fine(daemon: &Daemon, args: &[&str]) -> String {
    let ended = run(daemon, args);
    assert_eq!(ended.code, Some(0), "{args:?}: {} {}", ended.stdout, ended.stderr);
    ended.stdout
}

/// Runs one until it prints these words; what it printed then.
#[track_caller]
pub(crate) fn until(daemon: &Daemon, args: &[&str], words: &str) -> String {
    wait::until_ok(&format!("{args:?} says {words}"), PATIENCE, || {
        let ended = run(daemon, args);
        if ended.stdout.contains(words) { Ok(ended.stdout) } else { Err(format!("{} {}", ended.stdout, ended.stderr)) }
    })
}
