//! `gatewarden export`: the gateways of a daemon as a list that `import` reads.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use url::Url;

use super::client::{Daemon, DaemonArgs, Trouble, number, path_part, text};
use super::{EXIT_OK, terminal};

/// What goes out, and where to.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    /// Form of the list
    #[arg(long, value_name = "FORMAT", default_value = "toml")]
    format: Format,
    /// Put the gateways' tokens in, too; the daemon's audit log says who read them
    #[arg(long)]
    with_tokens: bool,
    /// Write to a new file (mode 0600) in place of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Toml,
    Json,
}

/// Fields that are settings and not observations.
const SETTINGS: [&str; 7] = ["name", "host", "port", "is_primary", "priority", "transport", "disable_device_pairing"];

/// Writes the list.
pub(super) fn run(args: &ExportArgs) -> u8 {
    args.daemon.run(|daemon| {
        let list = daemon.get("/api/gateways")?.json();
        let rows = list.get("gateways").and_then(Value::as_array).into_iter().flatten();
        let gateways = rows.map(|row| entry(daemon, row, args.with_tokens)).collect::<Result<Vec<_>, _>>()?;
        let count = gateways.len();
        let json = args.format == Format::Json || daemon.output.is_json();
        let document = json!({"gateways": gateways});
        let written = if json {
            serde_json::to_string_pretty(&document).map_err(|error| Trouble::new(error.to_string(), ""))?
        } else {
            let body = toml::to_string(&document).map_err(|error| Trouble::new(error.to_string(), ""))?;
            format!(
                "# The gateways of {}, by gatewarden {}. `gatewarden import` reads this.\n\n{body}",
                daemon.url(),
                env!("CARGO_PKG_VERSION")
            )
        };
        match &args.output {
            None => terminal::print(&written),
            Some(path) => {
                OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .and_then(|mut file| {
                        file.write_all(written.as_bytes())?;
                        file.write_all(b"\n")?;
                        file.sync_all()
                    })
                    .map_err(|error| {
                        let path = path.display();
                        Trouble::new(
                            format!("The list cannot be written to {path}: {error}."),
                            "Name a file that does not exist.",
                        )
                    })?;
                if !daemon.output.is_quiet() {
                    let tokens = if args.with_tokens { "with their tokens" } else { "without tokens" };
                    terminal::complain_as_is(&format!("{count} gateways, {tokens}, are in {}", path.display()));
                }
            }
        }
        Ok(EXIT_OK)
    })
}

fn entry(daemon: &Daemon, row: &Value, with_token: bool) -> Result<Value, Trouble> {
    let mut entry = Map::new();
    for name in SETTINGS {
        if let Some(value) = row.get(name).filter(|value| !value.is_null()) {
            entry.insert(name.to_owned(), value.clone());
        }
    }
    if row.get("drained") == Some(&Value::Bool(true)) {
        entry.insert("drained".to_owned(), true.into());
    }
    if with_token {
        put_token(daemon, row, &mut entry)?;
    }
    for name in ["labels", "tls"] {
        let section = row.get(name).and_then(Value::as_object).filter(|section| !section.is_empty());
        if let Some(section) = section {
            entry.insert(name.to_owned(), Value::Object(section.clone()));
        }
    }
    Ok(Value::Object(entry))
}

/// Its token; one that came in its URL goes back there.
fn put_token(daemon: &Daemon, row: &Value, entry: &mut Map<String, Value>) -> Result<(), Trouble> {
    let body = json!({"id": number(row, "/id")});
    let said = daemon.call("POST", "/api/gateways/connect", Some(&body))?.json();
    if let Some(token) = text(&said, "/token") {
        entry.insert("token".to_owned(), token.into());
        return Ok(());
    }
    let url = text(&said, "/ws_url").and_then(|url| Url::parse(&url).ok());
    let in_url =
        url.and_then(|url| url.query_pairs().find(|(name, _)| name == "token").map(|(_, token)| token.into_owned()));
    if let (Some(token), Some(host)) = (in_url.filter(|token| !token.is_empty()), text(row, "/host")) {
        entry.insert("host".to_owned(), format!("{host}?token={}", path_part(&token)).into());
    }
    Ok(())
}
