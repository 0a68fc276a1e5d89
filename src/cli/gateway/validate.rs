//! `gatewarden gateway config validate`

use super::super::{EXIT_OK, terminal};
use super::{PlaceArgs, load_draft};

/// Says that the configuration is fine and what is odd about it, or everything that is wrong.
pub(super) fn run(place: &PlaceArgs) -> u8 {
    let draft = match load_draft(&place.inputs()) {
        Ok(draft) => draft,
        Err(code) => return code,
    };
    let what = draft.settings().file.as_ref().map_or_else(
        || "no configuration file, the defaults count".to_owned(),
        |file| format!("{} is fine", file.display()),
    );
    let (agents, commands) = (draft.settings().agents.len(), draft.settings().commands.len());
    terminal::print(&format!("{what}; agents: {agents}, commands: {commands}, warnings: {}", draft.warnings.len()));
    for warning in &draft.warnings {
        terminal::complain(warning);
    }
    EXIT_OK
}
