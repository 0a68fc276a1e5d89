//! What the service manager's words about a unit mean for its gateway.

use super::systemd_bus::UnitStatus;
use super::view::{LastEnd, ProcessState};
use crate::machines::process_supervision::Ending;

/// What a status means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) state: ProcessState,
    pub(super) reason: Option<String>,
    pub(super) last_end: Option<LastEnd>,
}

/// Reads a status. While somebody has asked for a start (`acting`), or a job waits, an inactive unit is on its way.
pub(super) fn read(unit: &str, status: &UnitStatus, acting: bool) -> Reading {
    let last_end = last_end(status);
    let end = last_end.as_ref().map(|end| format!(": its process {}", end.words)).unwrap_or_default();
    let coming = acting || status.job;
    let (state, reason) = match status.active.as_str() {
        _ if status.load == "not-found" => (
            ProcessState::Unknown,
            Some(format!("there is no unit {unit}: install it, or correct the unit in the gateway's record")),
        ),
        _ if matches!(status.load.as_str(), "masked" | "error" | "bad-setting") => {
            (ProcessState::Unknown, Some(format!("unit {unit} is {}: systemctl status {unit} says why", status.load)))
        }
        "active" | "reloading" => (ProcessState::Running, None),
        "activating" if status.sub == "auto-restart" => {
            (ProcessState::Waiting, Some(format!("the service manager starts it again soon{end}")))
        }
        "activating" => (ProcessState::Starting, None),
        "deactivating" => (ProcessState::Stopping, None),
        "inactive" | "failed" if coming => (ProcessState::Starting, None),
        "inactive" => (ProcessState::Stopped, Some(format!("unit {unit} is inactive{end}"))),
        "failed" => (ProcessState::GaveUp, Some(failed(unit, &status.result, &end))),
        other => (ProcessState::Unknown, Some(format!("the service manager calls unit {unit} \"{other}\""))),
    };
    Reading { state, reason, last_end }
}

fn failed(unit: &str, result: &str, end: &str) -> String {
    let why = match result {
        "start-limit-hit" => "it was started too often in too short a time".to_owned(),
        other => format!("{other}{end}"),
    };
    format!(
        "unit {unit} failed ({why}). Given up by the service manager: read journalctl -u {unit}, then start it again"
    )
}

fn last_end(status: &UnitStatus) -> Option<LastEnd> {
    let (how, number) = status.main_exit;
    let ending = match how {
        1 => Ending::Code(number),
        2 | 3 => Ending::Signal(number),
        _ => return None,
    };
    Some(LastEnd {
        at_ms: i64::try_from(status.main_exited_us / 1000).unwrap_or_default(),
        words: ending.words(),
        code: (how == 1).then_some(number),
        signal: (how != 1).then_some(number),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(active: &str, sub: &str) -> UnitStatus {
        UnitStatus { load: "loaded".into(), active: active.into(), sub: sub.into(), ..UnitStatus::default() }
    }

    fn state(status: &UnitStatus, acting: bool) -> ProcessState {
        read("g.service", status, acting).state
    }

    #[test]
    fn the_service_managers_words_become_states() {
        for (active, sub, expected) in [
            ("active", "running", ProcessState::Running),
            ("reloading", "reload", ProcessState::Running),
            ("activating", "start", ProcessState::Starting),
            ("activating", "auto-restart", ProcessState::Waiting),
            ("deactivating", "stop-sigterm", ProcessState::Stopping),
            ("inactive", "dead", ProcessState::Stopped),
            ("failed", "failed", ProcessState::GaveUp),
            ("dreaming", "", ProcessState::Unknown),
        ] {
            assert_eq!(state(&status(active, sub), false), expected, "{active}");
        }
    }

    #[test]
    fn one_that_was_asked_to_start_is_on_its_way_while_it_is_inactive() {
        assert_eq!(state(&status("inactive", "dead"), true), ProcessState::Starting);
        let queued = UnitStatus { job: true, ..status("failed", "failed") };
        assert_eq!(state(&queued, false), ProcessState::Starting);
    }

    #[test]
    fn a_missing_unit_and_a_failed_one_say_what_to_do() {
        let missing = UnitStatus { load: "not-found".into(), ..status("inactive", "dead") };
        let reading = read("g.service", &missing, true);
        assert_eq!(reading.state, ProcessState::Unknown);
        assert!(reading.reason.unwrap().contains("install it"));
        let failed = UnitStatus { result: "exit-code".into(), main_exit: (1, 78), ..status("failed", "failed") };
        let reading = read("g.service", &failed, false);
        let words = reading.reason.unwrap();
        assert!(words.contains("exited with code 78") && words.contains("journalctl -u g.service"), "{words}");
        assert_eq!(reading.last_end.unwrap().code, Some(78));
    }
}
