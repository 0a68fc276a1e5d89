//! `gatewarden config check`

use super::{EXIT_OK, load_config, terminal};
use crate::config::Inputs;

/// Prints every setting with its source, or everything that is wrong.
pub(super) fn run(inputs: &Inputs) -> u8 {
    let config = match load_config(inputs) {
        Ok(config) => config,
        Err(code) => return code,
    };
    terminal::print(&config.describe());
    for warning in &config.warnings {
        terminal::complain(warning);
    }
    EXIT_OK
}
