//! `gatewarden keys …`: the API keys of a daemon.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use gatewarden_api::access::{Key, KeyList, NewKeyAnswer, NewKeyBody, Revoked};
use serde_json::Value;

use super::EXIT_OK;
use super::confirmation::YesArgs;
use super::daemon::{Answer, Daemon, OfDaemon, now_s};
use super::error::CliError;
use super::files::create_private;
use super::output::{at, complain_as_is, plain};
use super::table::{Cell, Table};

const DAY_S: i64 = 24 * 3600;
const ALL: &str = "/api/keys?limit=200";

/// API keys.
#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// List them; the keys themselves are nowhere
    #[command(visible_alias = "ls")]
    List,
    /// Create one; it is shown this once
    Create(CreateArgs),
    /// Revoke some, with the browser sessions that they opened
    Revoke {
        /// Ids or names
        #[arg(value_name = "API_KEY", required = true)]
        keys: Vec<String>,
        #[command(flatten)]
        yes: YesArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
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
pub(super) fn run(args: &OfDaemon<KeysCommand>) -> u8 {
    args.run(|daemon, command| match command {
        KeysCommand::List => daemon.list(&daemon.get(ALL)?, "keys", table),
        KeysCommand::Create(args) => create(daemon, args),
        KeysCommand::Revoke { keys, yes } => {
            let known = daemon.fetch::<KeyList>(ALL)?.keys;
            // A name that is wrong must not leave half of them done.
            let ids = keys.iter().map(|named| id_of(named, &known)).collect::<Result<Vec<_>, _>>()?;
            yes.confirm("Revoke", "the key", keys)?;
            for (id, named) in ids.into_iter().zip(keys) {
                let answer = daemon.call("DELETE", &format!("/api/keys/{id}"), None)?;
                daemon.done(&answer, |_: &Revoked| format!("revoked {named}"))?;
            }
            Ok(EXIT_OK)
        }
    })
}

/// A key by its id or its name; what looks like an id is one, unless it is only a name.
fn id_of(named: &str, known: &[Key]) -> Result<i64, CliError> {
    let id = named.parse::<i64>().ok().filter(|id| *id > 0);
    let called: Vec<i64> = known.iter().filter(|key| key.name == named).map(|key| key.id).collect();
    match (id, called.as_slice()) {
        (Some(id), []) => Ok(id),
        (Some(id), _) if known.iter().any(|key| key.id == id) => Ok(id),
        (_, [id]) => Ok(*id),
        (_, []) => Err(CliError::new(format!("No key is called {}, and none has this id.", plain(named)))
            .cure("`gatewarden keys list` shows all.")),
        (_, ids) => {
            let ids = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Err(CliError::new(format!("Several keys are called {}.", plain(named)))
                .cure(format!("Name one by its id: {ids}.")))
        }
    }
}

fn table(list: &KeyList) -> Table {
    let row = |key: &Key| {
        vec![
            Cell::new(key.id.to_string()),
            Cell::new(&key.name),
            Cell::new(&key.role),
            Cell::new(&key.prefix),
            Cell::new(at(key.created_at)),
            Cell::maybe(key.last_used_at.map(at)),
            Cell::maybe(key.expires_at.map(at)),
        ]
    };
    let heading = ["ID", "NAME", "ROLE", "BEGINS WITH", "MADE", "USED", "GOOD UNTIL"];
    // Of the configuration or of the state directory. It has no id: it can't be revoked while the daemon runs.
    let name = match list.configured_in.as_deref() {
        Some("configuration") => "(of the configuration)",
        Some(_) => "(admin.key in the state directory)",
        None => "(the daemon's admin key)",
    };
    let configured = list.configured.then(|| ["", name, "admin", "", "", "", ""].into_iter().map(Cell::new).collect());
    Table::of(&heading, configured.into_iter().chain(list.keys.iter().map(row)), "There is no key.")
        .cutting(&[("NAME", 16)])
        .leaving_out(&["MADE", "USED", "BEGINS WITH"])
}

fn create(daemon: &Daemon, args: &CreateArgs) -> Result<u8, CliError> {
    let file = args.output.as_deref().map(|path| {
        let file = create_private(path).map_err(|error| {
            let path = path.display();
            CliError::usage(format!("The key cannot be written to {path}: {error}. Name a file that does not exist."))
        });
        file.map(|file| (file, path))
    });
    let file = file.transpose()?;
    let expires_at = args.days.map(|days| now_s() + i64::from(days) * DAY_S);
    let body = NewKeyBody { name: args.name.clone(), role: args.role.clone(), expires_at };
    let answer = daemon.send("POST", "/api/keys", &body).inspect_err(|_| {
        // Nothing was made, so nothing is left behind.
        if let Some((_, path)) = &file {
            let _ = std::fs::remove_file(path);
        }
    })?;
    let NewKeyAnswer { api_key, key } = daemon.read(&answer)?;
    let Some((mut file, path)) = file else {
        if daemon.output.is_for_people() {
            complain_as_is(&format!("key {}, shown this once:", key.id));
        }
        return daemon.show(&answer, |_| api_key);
    };
    let (id, path) = (key.id, path.display());
    file.write_all(format!("{api_key}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
        CliError::new(format!("Key {id} was made and cannot be written to {path}: {error}."))
            .cure(format!("Revoke it: `gatewarden keys revoke {id}`."))
    })?;
    // With `--json` the answer is printed, and the key has its place already.
    let mut without_key: Value = serde_json::from_str(&answer.text).unwrap_or_default();
    if let Some(fields) = without_key.as_object_mut() {
        fields.remove("api_key");
    }
    daemon.done(&Answer::<Value>::of(without_key.to_string()), |_| format!("key {id} is in {path}"))
}
