//! `gatewarden context …`: daemons by name.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use gatewarden_embedded_gateway::private_files::replace;

use super::EXIT_OK;
use super::daemon::FormArgs;
use super::daemon::contexts::{Context, Contexts, directory};
use super::daemon::endpoint::Endpoint;
use super::error::CliError;
use super::files::read_secret;
use super::output::{Output, print};
use super::table::{Cell, Table};
use crate::config::Inputs;

/// Names of daemons.
#[derive(Debug, Args)]
pub(super) struct ContextArgs {
    #[command(flatten)]
    form: FormArgs,
    #[command(subcommand)]
    command: ContextCommand,
}

#[derive(Debug, Subcommand)]
enum ContextCommand {
    /// Name a daemon, or change what is kept of one; the first one is used from now on
    Add {
        /// Its name
        #[arg(value_name = "NAME", value_parser = name)]
        name: String,
        /// Where the daemon is: an http or https URL, or HOST:PORT for http
        #[arg(value_name = "URL")]
        url: String,
        /// File that holds its API key: the place is kept; a key from standard input (-) is kept in a file of its own
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
    /// Talk to one from now on
    Use {
        /// Its name
        #[arg(value_name = "CONTEXT")]
        name: String,
    },
    /// List them; the one in use is marked
    #[command(visible_alias = "ls")]
    List,
    /// Forget one; the daemon itself is left alone
    Rm {
        /// Its name
        #[arg(value_name = "CONTEXT")]
        name: String,
    },
}

fn name(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.len() <= 64;
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if fits && plain { Ok(text.to_owned()) } else { Err("must be 1 to 64 letters, digits, - and _".to_owned()) }
}

/// Carries out a command.
pub(super) fn run(args: &ContextArgs) -> u8 {
    let output = args.form.output();
    carry_out(&args.command, output).map_or_else(|error| error.say(output), |()| EXIT_OK)
}

fn carry_out(command: &ContextCommand, output: Output) -> Result<(), CliError> {
    let dir = directory(&Inputs::of_process())
        .ok_or_else(|| CliError::usage("Neither $XDG_CONFIG_HOME nor $HOME says where contexts are kept."))?;
    let mut contexts = Contexts::load(&dir)?;
    let said = match command {
        ContextCommand::Add { name, url, key_file } => {
            Endpoint::parse(url).map_err(|reason| CliError::usage(format!("{name}: its URL {reason}")))?;
            let key_file = key_file.as_deref().map(|file| kept(&dir, name, file)).transpose()?;
            contexts.contexts.insert(name.clone(), Context { url: url.clone(), key_file, ..Context::default() });
            let used = contexts.current.get_or_insert_with(|| name.clone()) == name;
            format!("{name} is {url}{}", if used { ", and in use" } else { "" })
        }
        ContextCommand::Use { name } => {
            let url = contexts.get(name)?.url.clone();
            contexts.current = Some(name.clone());
            format!("{name} is in use: {url}")
        }
        ContextCommand::List => {
            print_all(&contexts, output);
            return Ok(());
        }
        ContextCommand::Rm { name } => {
            contexts.get(name)?;
            contexts.contexts.remove(name);
            contexts.current.take_if(|current| current == name);
            // A key that came from standard input has no other place.
            let _ = std::fs::remove_file(key_place(&dir, name));
            format!("{name} is forgotten")
        }
    };
    contexts.save(&dir)?;
    if output.is_for_people() {
        print(&said);
    }
    Ok(())
}

fn key_place(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.key"))
}

/// Where the key is found from now on.
fn kept(dir: &Path, name: &str, file: &Path) -> Result<PathBuf, CliError> {
    let key = read_secret(file)?;
    let unusable = |error| CliError::usage(format!("{} cannot be used: {error}.", file.display()));
    if file != Path::new("-") {
        return std::path::absolute(file).map_err(unusable);
    }
    let place = key_place(dir, name);
    let written = replace(&place, format!("{}\n", key.expose()).as_bytes());
    written.map_err(|error| CliError::new(format!("{} cannot be written: {error}.", place.display())))?;
    Ok(place)
}

fn print_all(contexts: &Contexts, output: Output) {
    if output.is_json_lines() {
        for (name, Context { url, key_file, .. }) in &contexts.contexts {
            let current = contexts.current.as_ref() == Some(name);
            print(&serde_json::json!({"name": name, "current": current, "url": url, "key_file": key_file}).to_string());
        }
        return;
    }
    if output.is_json() {
        print(&serde_json::json!({ "current": contexts.current, "contexts": contexts.contexts }).to_string());
        return;
    }
    let row = |(name, context): (&String, &Context)| {
        let used = contexts.current.as_ref() == Some(name);
        vec![
            Cell::new(name),
            Cell::new(if used { "*" } else { "" }),
            Cell::new(&context.url),
            Cell::maybe(context.key_file.as_ref().map(|file| file.display())),
        ]
    };
    let table =
        Table::of(&["NAME", "USED", "URL", "KEY"], contexts.contexts.iter().map(row), "No daemon has a name yet.");
    let text = table.cutting(&[("KEY", 12)]).shown(output);
    if !text.is_empty() {
        print(&text);
    }
}
