//! `gatewarden gateway restart`

use super::super::{EXIT_FAILURE, EXIT_OK, fail, terminal};
use super::{PlaceArgs, detached, load_draft, stop, user_unit};

/// Stops it and starts it with the same arguments.
pub(super) fn run(place: &PlaceArgs) -> u8 {
    // First: a gateway that runs isn't stopped for a configuration that wouldn't start.
    let draft = match load_draft(&place.inputs()) {
        Ok(draft) => draft,
        Err(code) => return code,
    };
    let state_dir = &draft.settings().state_dir;
    let by_unit = match super::holder_of(state_dir) {
        Err(code) => return code,
        Ok(holder) => holder.is_some_and(|holder| user_unit::main_pid() == Some(holder.pid)),
    };
    if by_unit {
        return match user_unit::systemctl(&["restart", user_unit::UNIT]) {
            Ok(()) => {
                terminal::print(&format!("restarted the systemd user unit {}", user_unit::UNIT));
                EXIT_OK
            }
            Err(sentence) => fail(EXIT_FAILURE, sentence),
        };
    }
    let words = match stop::stop(state_dir) {
        Err(code) => return code,
        Ok(None) => place.words(),
        Ok(Some(holder)) => {
            let mut words = holder.arguments;
            if !words.iter().any(|word| word == "--state-dir") {
                words.extend(["--state-dir".to_owned(), state_dir.display().to_string()]);
            }
            if let (Some(file), false) = (&place.config, words.iter().any(|word| word == "--config")) {
                words.extend(["--config".to_owned(), super::absolute(file)]);
            }
            words
        }
    };
    match detached::start(state_dir, &words) {
        Ok(started) => {
            terminal::print(&format!("restarted the gateway: process {}, {}", started.pid, started.url));
            EXIT_OK
        }
        Err(sentence) => fail(EXIT_FAILURE, sentence),
    }
}
