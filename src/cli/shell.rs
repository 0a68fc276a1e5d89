//! `gatewarden completions`, `gatewarden man` and `gatewarden openapi`: what shells, `man` and clients are told, made from the code.

use std::io::{Result, Write};
use std::path::PathBuf;

use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;
use clap_complete::env::Shells;
use clap_mangen::Man;

use super::error::CliError;
use super::help::{documented, is_client, sections};
use super::output::print;
use super::{Cli, EXIT_OK};

const NAME: &str = "gatewarden";
/// A shell that wants candidates sets it.
const COMPLETE_VARIABLE: &str = "_GATEWARDEN_COMPLETE";

const BASH: &str = include_str!("completions.bash");

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// Which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Write gatewarden.1 and a page for each command into this directory, which is made where it is missing
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Answers a shell that wants candidates, and ends then.
pub(super) fn complete() {
    clap_complete::CompleteEnv::with_factory(|| documented(Cli::command())).var(COMPLETE_VARIABLE).complete();
}

/// Prints the script: it asks this program for candidates.
pub(super) fn completions(args: &CompletionsArgs) -> std::result::Result<u8, CliError> {
    if args.shell == Shell::Bash {
        print(BASH);
        return Ok(EXIT_OK);
    }
    let shell = args.shell.to_string();
    let unmade = || CliError::new(format!("No script can be made for {shell}."));
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let written = shells.completer(&shell).ok_or_else(unmade)?;
    written.write_registration(COMPLETE_VARIABLE, NAME, NAME, NAME, &mut script).map_err(|_| unmade())?;
    print(&String::from_utf8_lossy(&script));
    Ok(EXIT_OK)
}

/// Prints the page, or writes them all.
pub(super) fn man(args: &ManArgs) -> std::result::Result<u8, CliError> {
    let mut command = documented(Cli::command()).disable_help_subcommand(true);
    if let Some(dir) = &args.dir {
        command.build();
        let unwritten = |error| CliError::new(format!("The pages cannot be written to {}: {error}.", dir.display()));
        std::fs::create_dir_all(dir).and_then(|()| write_pages(&command, "", dir)).map_err(unwritten)?;
        return Ok(EXIT_OK);
    }
    let mut page = Vec::new();
    let rendered = write_page(&command, "", &mut page);
    rendered.map_err(|error| CliError::new(format!("The page cannot be made: {error}.")))?;
    print(&String::from_utf8_lossy(&page));
    Ok(EXIT_OK)
}

fn write_pages(command: &Command, path: &str, dir: &std::path::Path) -> Result<()> {
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        write_pages(command, format!("{path} {}", command.get_name()).trim(), dir)?;
    }
    let mut page = std::fs::File::create(dir.join(Man::new(command.clone()).get_filename()))?;
    write_page(command, path, &mut page)
}

fn write_page(command: &Command, path: &str, page: &mut dyn Write) -> Result<()> {
    let man = Man::new(command.clone()).source(concat!("gatewarden ", env!("CARGO_PKG_VERSION")));
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(page)?;
    }
    for (title, lines) in sections(path, is_client(command)) {
        writeln!(page, ".SH \"{}\"", title.to_uppercase())?;
        for (name, text) in lines {
            // Without a text it is an example.
            let (name, text) = (escaped(&name), escaped(&text));
            if text.is_empty() {
                write!(page, ".EX\n{name}\n.EE\n")?
            } else {
                write!(page, ".TP\n\\fB{name}\\fR\n{text}\n")?
            }
        }
    }
    Ok(())
}

/// A text that `man` takes for nothing else.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq")
}

/// Prints the document that the daemon serves.
pub(super) fn openapi() -> std::result::Result<u8, CliError> {
    let document = crate::http::openapi().to_pretty_json();
    let document =
        document.map_err(|error| CliError::new(format!("The OpenAPI document cannot be written: {error}.")))?;
    print(&document);
    Ok(EXIT_OK)
}
