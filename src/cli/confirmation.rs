//! A question before something is removed: to whoever sits at a terminal, and to nobody else.

use std::io::{IsTerminal as _, Read as _, Write as _};

use clap::Args;

use super::error::CliError;
use super::output::plain;

/// Whether somebody sits at a terminal.
pub(super) fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

#[derive(Debug, Args)]
pub(super) struct YesArgs {
    /// Don't ask first; without a terminal nothing is asked
    #[arg(long, short)]
    pub(super) yes: bool,
}

impl YesArgs {
    /// `Remove the gateway lab?` An error where the answer isn't yes.
    pub(super) fn confirm(&self, verb: &str, what: &str, names: &[String]) -> Result<(), CliError> {
        if self.yes || !can_ask() {
            return Ok(());
        }
        let names = plain(&names.join(", "));
        let _ = write!(std::io::stderr().lock(), "{verb} {what} {names}? [y/N] ");
        let mut answer = Vec::new();
        // A terminal hands over a line at a time.
        for byte in std::io::stdin().lock().take(64).bytes() {
            match byte {
                Ok(b'\n') | Err(_) => break,
                Ok(byte) => answer.push(byte.to_ascii_lowercase()),
            }
        }
        match String::from_utf8_lossy(&answer).trim() {
            "y" | "yes" => Ok(()),
            _ => Err(CliError::new(format!("Nothing was done to {what} {names}."))),
        }
    }
}
