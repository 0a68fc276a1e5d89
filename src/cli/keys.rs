//! `gatewarden keys …`: the API keys of a daemon.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use gatewarden_actors::clock::Clock;
use serde_json::{Value, json};

use super::client::{Cell, Daemon, DaemonArgs, Table, Trouble, at, number, text};
use super::{EXIT_OK, terminal};

const DAY_S: i64 = 24 * 3600;

/// API keys.
#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// List them; the keys themselves are nowhere
    List,
    /// Create one; it is shown this once
    Create(CreateArgs),
    /// Revoke some, with the browser sessions that they opened
    Revoke {
        /// Ids
        #[arg(value_name = "ID", required = true)]
        ids: Vec<i64>,
    },
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// What it is for
    #[arg(value_name = "NAME")]
    name: String,
    /// What it may do
    #[arg(long, value_name = "ROLE", value_parser = ["viewer", "operator", "admin"])]
    role: String,
    /// It is good for so many days; for ever where none are given
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: Option<u32>,
    /// Write the key to a new file (mode 0600) and don't show it
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Carries out a command.
pub(super) fn run(args: &KeysArgs) -> u8 {
    args.daemon.run(|daemon| match &args.command {
        KeysCommand::List => list(daemon),
        KeysCommand::Create(args) => create(daemon, args),
        KeysCommand::Revoke { ids } => {
            for id in ids {
                let answer = daemon.call("DELETE", &format!("/api/keys/{id}"), None)?;
                daemon.done(&answer, |_| format!("revoked {id}"));
            }
            Ok(EXIT_OK)
        }
    })
}

fn list(daemon: &Daemon) -> Result<u8, Trouble> {
    let answer = daemon.get("/api/keys?limit=200")?;
    daemon.show(&answer, |seen| {
        let mut table =
            Table::new(&["ID", "NAME", "ROLE", "BEGINS WITH", "MADE", "USED", "GOOD UNTIL"], "There is no key.");
        for row in seen.get("keys").and_then(Value::as_array).into_iter().flatten() {
            table.row(vec![
                Cell::maybe(number(row, "/id")),
                Cell::new(text(row, "/name").unwrap_or_default()),
                Cell::new(text(row, "/role").unwrap_or_default()),
                Cell::new(text(row, "/prefix").unwrap_or_default()),
                Cell::maybe(number(row, "/created_at").map(at)),
                Cell::maybe(number(row, "/last_used_at").map(at)),
                Cell::maybe(number(row, "/expires_at").map(at)),
            ]);
        }
        table.shown(daemon.output)
    });
    Ok(EXIT_OK)
}

fn create(daemon: &Daemon, args: &CreateArgs) -> Result<u8, Trouble> {
    let mut file = args.output.as_deref().map(open).transpose()?;
    let mut body = json!({"name": args.name, "role": args.role});
    if let (Some(fields), Some(days)) = (body.as_object_mut(), args.days) {
        let now_s = Clock::system().wall_ms() / 1000;
        fields.insert("expires_at".to_owned(), (now_s + i64::from(days) * DAY_S).into());
    }
    let answer = match daemon.call("POST", "/api/keys", Some(&body)) {
        Ok(answer) => answer,
        Err(trouble) => {
            // Nothing was made, so nothing is left behind.
            if let Some(path) = &args.output {
                let _ = std::fs::remove_file(path);
            }
            return Err(trouble);
        }
    };
    let said = answer.json();
    let key = text(&said, "/api_key").unwrap_or_default();
    let id = number(&said, "/key/id").unwrap_or_default();
    if let (Some(file), Some(path)) = (&mut file, &args.output) {
        let written = file.write_all(format!("{key}\n").as_bytes()).and_then(|()| file.sync_all());
        written.map_err(|error| {
            Trouble::new(
                format!("Key {id} was made and cannot be written to {}: {error}.", path.display()),
                format!("Revoke it: `gatewarden keys revoke {id}`."),
            )
        })?;
        daemon.done(&answer_without_key(&answer), |_| format!("key {id} is in {}", path.display()));
        return Ok(EXIT_OK);
    }
    daemon.show(&answer, |_| {
        if !daemon.output.is_quiet() {
            terminal::complain_as_is(&format!("key {id}, shown this once:"));
        }
        key.clone()
    });
    Ok(EXIT_OK)
}

fn open(path: &Path) -> Result<std::fs::File, Trouble> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        Trouble::usage(format!(
            "The key cannot be written to {}: {error}. Name a file that does not exist.",
            path.display()
        ))
    })
}

/// With `--json` the answer is printed, and the key has its place already.
fn answer_without_key(answer: &super::http_client::Answer) -> super::http_client::Answer {
    let mut body = answer.json();
    if let Some(fields) = body.as_object_mut() {
        fields.remove("api_key");
    }
    super::http_client::Answer { text: body.to_string(), ..answer.clone() }
}
