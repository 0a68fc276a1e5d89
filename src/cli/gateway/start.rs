//! `gatewarden gateway start`: in the background, as a service where it is installed as one.

use super::super::{EXIT_FAILURE, EXIT_OK, fail, terminal};
use super::{RunArgs, detached, holder_of, load_draft, user_unit};

/// Starts it and says what was done.
pub(super) fn run(args: &RunArgs) -> u8 {
    let inputs = args.inputs();
    let draft = match load_draft(&inputs) {
        Ok(draft) => draft,
        Err(code) => return code,
    };
    let state_dir = &draft.settings().state_dir;
    match holder_of(state_dir) {
        Err(code) => return code,
        Ok(Some(holder)) => {
            let address = holder.address.unwrap_or_else(|| "an address that it does not have yet".to_owned());
            terminal::print(&format!("a gateway runs already: process {}, at {address}", holder.pid));
            return EXIT_OK;
        }
        Ok(None) => {}
    }
    let words = args.words();
    // The unit has its own arguments; whoever gives others means another gateway.
    if user_unit::is_installed(&inputs) && words.is_empty() {
        return match user_unit::systemctl(&["start", user_unit::UNIT]) {
            Ok(()) => {
                terminal::print(&format!(
                    "started the systemd user unit {}; `systemctl --user status {}` shows it",
                    user_unit::UNIT,
                    user_unit::UNIT
                ));
                EXIT_OK
            }
            Err(sentence) => {
                fail(EXIT_FAILURE, format!("{sentence}. `gatewarden gateway run` starts it without systemd."))
            }
        };
    }
    match detached::start(state_dir, &words) {
        Ok(started) => {
            terminal::print(&format!(
                "started a gateway in the background: process {}, {}\nlog: {}",
                started.pid,
                started.url,
                draft.settings().log.file.display()
            ));
            EXIT_OK
        }
        Err(sentence) => fail(EXIT_FAILURE, sentence),
    }
}
