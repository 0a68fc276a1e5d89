//! `gatewarden completions`, `gatewarden man` and `gatewarden openapi`: what shells, `man` and clients are told, made from the code.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::error::CliError;
use super::output::print;
use super::{Cli, EXIT_OK};

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
    print(&String::from_utf8_lossy(&script));
    EXIT_OK
}

/// Prints the page, or writes them all.
pub(super) fn man(args: &ManArgs) -> Result<u8, CliError> {
    let command = Cli::command();
    if let Some(dir) = &args.dir {
        let unwritten = |error| CliError::new(format!("The pages cannot be written to {}: {error}.", dir.display()));
        clap_mangen::generate_to(command, dir).map_err(unwritten)?;
        return Ok(EXIT_OK);
    }
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(command).render(&mut page);
    rendered.map_err(|error| CliError::new(format!("The page cannot be made: {error}.")))?;
    print(&String::from_utf8_lossy(&page));
    Ok(EXIT_OK)
}

/// Prints the document that the daemon serves.
pub(super) fn openapi() -> Result<u8, CliError> {
    let document = crate::http::openapi().to_pretty_json();
    let document =
        document.map_err(|error| CliError::new(format!("The OpenAPI document cannot be written: {error}.")))?;
    print(&document);
    Ok(EXIT_OK)
}
