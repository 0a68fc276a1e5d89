//! `gatewarden store copy`: the database moved from a file to a server, or back, while no daemon runs.

use std::path::{Path, PathBuf};

use clap::Args;
use gatewarden_actors::store::Database;
use gatewarden_actors::store::maintenance::copy::{Wanted, copy};
use gatewarden_actors::store::postgres::address::ServerAddress;
use gatewarden_protocol::Secret;
use serde_json::{Map, json};

use super::{Done, InstallationArgs, claim, key};
use crate::app::StateDir;
use crate::cli::error::CliError;
use crate::cli::files::read_secret;
use crate::cli::output::counted;
use crate::config::{Config, must_be_private};

#[derive(Debug, Args)]
pub(in crate::cli) struct CopyArgs {
    /// Database to copy: a file, a postgres:// URL, or @FILE that holds the URL [default: that of the configuration]
    #[arg(long, value_name = "DATABASE")]
    from: Option<String>,
    /// Empty database to copy it into: a file that does not exist, a URL, or @FILE. Others see a URL in the list of processes
    #[arg(long, value_name = "DATABASE")]
    to: String,
    /// File of the encryption key, where the service gets it as a credential
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) installation: InstallationArgs,
}

/// Copies.
pub(in crate::cli) fn copy_store(args: &CopyArgs, config: &Config) -> Result<Done, CliError> {
    let from =
        args.from.as_deref().map_or_else(|| Ok(config.store.database.clone()), |place| database(place, "--from"))?;
    let to = database(&args.to, "--to")?;
    if from == to {
        return Err(CliError::usage("--from and --to are the same database."));
    }
    let key = key(config, args.key.as_deref())?;
    let mut claimed: Vec<StateDir> = Vec::new();
    for dir in [&from, &to].into_iter().filter_map(|database| database.file().and_then(Path::parent)) {
        let is_held = claimed.iter().any(|held| held.path() == dir);
        // Only where daemons work is there such a file.
        if !is_held && dir.join(StateDir::LOCK_FILE).exists() {
            claimed.push(claim(dir)?);
        }
    }
    let copied = copy(Wanted { from: &from, to: &to, key, patience: config.store.busy_timeout })?;
    let url = to.file().map_or_else(|| to.place().display().to_string(), |file| format!("sqlite://{}", file.display()));
    let (from, to) = (from.place(), to.place());
    let rows = copied.tables.iter().map(|table| table.rows).sum();
    let mut lines = vec![format!(
        "copied  {} of {} tables from {} to {}; all were read again there and are the same",
        counted(rows, "row"),
        copied.tables.len(),
        from.display(),
        to.display()
    )];
    let filled = copied.tables.iter().filter(|table| table.rows > 0);
    lines.extend(filled.map(|table| format!("        {:<22}{:>9}  {:.16}", table.name, table.rows, table.digest)));
    lines.push(format!(
        "key     {} opens the copy, too: secrets were copied as they are sealed",
        copied.key_path.display()
    ));
    lines.push(format!(
        "next    let store.url name the copy ({url}), and start the daemon. Nothing was changed in {}: let no daemon run on it again",
        from.display()
    ));
    let tables = copied
        .tables
        .iter()
        .map(|table| (table.name.to_owned(), json!({ "rows": table.rows, "digest": table.digest })));
    let json = json!({ "copied": {
        "from": from.display().to_string(),
        "to": to.display().to_string(),
        "rows": rows,
        "tables": tables.collect::<Map<_, _>>(),
        "key_path": copied.key_path.display().to_string(),
    }});
    Ok(Done { json, lines })
}

/// A database as it is named on the command line.
fn database(named: &str, option: &str) -> Result<Database, CliError> {
    let url = match named.strip_prefix('@') {
        Some(file) => {
            let file = Path::new(file);
            must_be_private(file, option).map_err(|problem| CliError::usage(format!("{problem}.")))?;
            read_secret(file)?
        }
        None => Secret::new(named),
    };
    if ServerAddress::is_meant_by(url.expose()) {
        let address =
            ServerAddress::parse(&url).map_err(|expected| CliError::usage(format!("{option} {expected}.")))?;
        return Ok(Database::Server(address));
    }
    let path = url.expose().strip_prefix("sqlite://").unwrap_or(url.expose());
    let unusable = |error| CliError::usage(format!("{option} names no file: {error}."));
    std::path::absolute(path).map(Database::File).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::cli::files::write_private;

    #[test]
    fn a_database_is_a_file_a_url_or_a_file_that_holds_the_url() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("url");
        write_private(&file, "postgres://gw:tok-secret@db.example/fleet\n").unwrap();
        let server = database(&format!("@{}", file.display()), "--to").unwrap();
        assert_eq!(server.place(), Path::new("postgres://gw@db.example:5432/fleet"));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = database(&format!("@{}", file.display()), "--to").unwrap_err().to_string();
        assert!(refused.contains("--to: other users may read this secret (mode 0644)"), "{refused}");
        for named in ["/var/lib/gatewarden.db", "sqlite:///var/lib/gatewarden.db"] {
            assert_eq!(database(named, "--to").unwrap().file(), Some(Path::new("/var/lib/gatewarden.db")));
        }
        let refused = database("postgres://gw:tok-secret@db.example/", "--to").unwrap_err().to_string();
        assert!(refused.starts_with("--to must be postgres://") && !refused.contains("tok-secret"), "{refused}");
    }
}
