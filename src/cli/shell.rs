//! `gatewarden completions` and `gatewarden man`: what shells and `man` are told, made from the commands themselves.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, EXIT_FAILURE, EXIT_OK, fail, terminal};

const NAME: &str = "gatewarden";

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// Which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Write gatewarden.1 and a page for each command into this directory, which must exist
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints the script.
pub(super) fn completions(args: &CompletionsArgs) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    terminal::print(&String::from_utf8_lossy(&script));
    EXIT_OK
}

/// Prints the page, or writes them all.
pub(super) fn man(args: &ManArgs) -> u8 {
    let command = Cli::command();
    if let Some(dir) = &args.dir {
        return match clap_mangen::generate_to(command, dir) {
            Ok(()) => EXIT_OK,
            Err(error) => fail(EXIT_FAILURE, format!("The pages cannot be written to {}: {error}.", dir.display())),
        };
    }
    let mut page = Vec::new();
    match clap_mangen::Man::new(command).render(&mut page) {
        Ok(()) => {
            terminal::print(&String::from_utf8_lossy(&page));
            EXIT_OK
        }
        Err(error) => fail(EXIT_FAILURE, format!("The page cannot be made: {error}.")),
    }
}
