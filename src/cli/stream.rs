//! A stream of the daemon's events that is opened again, after the last event, whenever it ends.

use std::time::Duration;

use super::daemon::Daemon;
use super::error::CliError;
use super::sleep;
use crate::event_stream::StreamEvent;

/// Between two attempts to open a stream.
const PAUSE: Duration = Duration::from_secs(1);

/// What becomes of a stream.
pub(super) enum StreamUpdate {
    Event(StreamEvent),
    /// From now on events come.
    Open,
    /// It ended; it is opened again.
    Ended,
    /// It could not be opened; that is tried again.
    Refused(CliError),
}

/// Reads a stream for as long as `take` wants more of it; `after` is the number of the event to go on after.
pub(super) fn follow(
    daemon: &Daemon,
    path: &str,
    mut after: Option<String>,
    mut take: impl FnMut(StreamUpdate) -> bool,
) {
    let mut read_once = || {
        let mut stream = match daemon.stream(path, after.as_deref(), None) {
            Ok(stream) => stream,
            Err(error) => return take(StreamUpdate::Refused(error)),
        };
        if !take(StreamUpdate::Open) {
            return false;
        }
        while let Some(event) = stream.next() {
            if event.id.is_some() {
                after.clone_from(&event.id);
            }
            if !take(StreamUpdate::Event(event)) {
                return false;
            }
        }
        take(StreamUpdate::Ended)
    };
    while read_once() {
        sleep(PAUSE);
    }
}
