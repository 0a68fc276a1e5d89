//! The database and its key.

use std::time::Duration;

use gatewarden_actors::store::maintenance::backup::{Inspection, inspect};
use gatewarden_actors::store::postgres::cluster::ClusterNode;
use gatewarden_actors::store::postgres::inspection::{self, ServerInspection};
use gatewarden_actors::store::postgres::mesh_entry::Mesh;
use gatewarden_actors::store::{Database, StoreError};

use super::DoctorArgs;
use crate::cli::findings::Report;
use crate::cli::installation::key;
use crate::cli::output::{counted, size};
use crate::config::Config;
use crate::mesh::certificate_shown_at;

const AREA: &str = "database";
/// How long a node may take to show its certificate.
const MESH_PATIENCE: Duration = Duration::from_secs(3);
const MIB: u64 = 1024 * 1024;
/// A log that is longer is not being written back.
const LONG_LOG: u64 = 256 * MIB;
/// Free space of the file that is worth a word, beside its share.
const MUCH_FREE: u64 = 64 * MIB;

/// Gateways that it holds.
pub(super) fn look(report: &mut Report, config: &Config, args: &DoctorArgs, running: bool) -> u64 {
    let key = match key(config, args.key.as_deref()) {
        Ok(key) => Some(key),
        Err(error) => {
            report.problem("encryption key", error.to_string(), "as the sentence says");
            None
        }
    };
    let key_source = key.as_ref().map(|key| key.path().display().to_string()).unwrap_or_default();
    let is_missing = key.as_ref().is_some_and(|key| key.is_missing());
    let tried = key.filter(|key| !key.is_missing());
    let path = match &config.store.database {
        Database::File(path) => path,
        Database::Server(address) => {
            return match inspection::inspect(&config.store, address, tried) {
                Ok(seen) => {
                    server(report, config, &seen);
                    judge_key(report, &key_source, seen.key.as_ref(), is_missing && seen.sealed, is_missing && running);
                    seen.gateways
                }
                Err(StoreError::Server { place, trouble }) => {
                    report.problem(AREA, format!("{place}: {}", trouble.said()), trouble.cure());
                    0
                }
                Err(error) => {
                    report.problem(AREA, error.to_string(), "as the sentence says");
                    0
                }
            };
        }
    };
    match inspect(path, tried, args.deep) {
        Err(StoreError::NoDatabase { .. }) => {
            report.note(AREA, format!("there is none at {}; the first start makes it", path.display()), "");
            0
        }
        Err(error) => {
            report.problem(
                AREA,
                error.to_string(),
                "as the sentence says; `gatewarden restore FILE` puts a backup back",
            );
            0
        }
        Ok(seen) => {
            pages(report, config, &seen, args.deep);
            judge_key(report, &key_source, seen.key.as_ref(), is_missing && seen.sealed, is_missing && running);
            seen.gateways
        }
    }
}

/// `running`: there is none, and a daemon runs all the same.
fn judge_key(
    report: &mut Report,
    source: &str,
    tried: Option<&Result<(), StoreError>>,
    is_lacking: bool,
    running: bool,
) {
    const AREA: &str = "encryption key";
    match tried {
        Some(Ok(())) => report.fine(AREA, format!("{source} opens the database")),
        Some(Err(error)) => report.problem(
            AREA,
            error.to_string(),
            "put the right key there; where the service gets it as a credential, name that file with --key FILE to check it",
        ),
        None if running => report.note(
            AREA,
            format!("none at {source}; the running daemon must have it as a credential"),
            "name the file that the credential is made of with --key FILE to check it",
        ),
        None if is_lacking => report.problem(
            AREA,
            format!("there is none at {source}, and the database is sealed with one"),
            "put it back from its copy; where the service gets it as a credential, name that file with --key FILE to check it",
        ),
        None => {}
    }
}

fn server(report: &mut Report, config: &Config, seen: &ServerInspection) {
    let place = config.store.database.place();
    let how = if seen.protected { "TLS" } else { "no TLS" };
    let text = format!(
        "{}: PostgreSQL {}, {how}, {}, {}",
        place.display(),
        seen.version,
        size(seen.bytes),
        counted(seen.gateways, "gateway")
    );
    report.fine(AREA, text);
    if !seen.unsafe_settings.is_empty() {
        report.problem(
            AREA,
            format!("the server runs with {}", seen.unsafe_settings.join(" and ")),
            "switch it on: a crash of the server's machine may cost what was acknowledged, or all of the database",
        );
    }
    if seen.sealed {
        pending(report, seen.pending, "make a dump of it before");
    } else {
        report.note(AREA, "it is empty: the next start makes its tables".to_owned(), "");
    }
    nodes(report, &seen.nodes);
    mesh(report, &seen.nodes, |address| certificate_shown_at(address, MESH_PATIENCE));
}

fn nodes(report: &mut Report, nodes: &[ClusterNode]) {
    const AREA: &str = "cluster";
    let shown = |node: &ClusterNode| {
        let role = if node.expired {
            "gives no sign of life"
        } else if node.acts {
            "acts"
        } else {
            "stands by"
        };
        format!("{} at {} {role}", node.name, node.url)
    };
    let all = nodes.iter().map(shown).collect::<Vec<_>>().join(", ");
    if nodes.is_empty() {
        return;
    }
    if nodes.iter().any(|node| node.acts && !node.expired) {
        report.fine(AREA, all);
    } else {
        report.problem(AREA, format!("no node acts: {all}"), "look at the log of each node");
    }
    if nodes.iter().any(|node| node.release != nodes.first().map_or("", |first| &first.release)) {
        report.note(AREA, "the nodes are of different releases".to_owned(), "upgrade the others, too");
    }
}

/// Tries where the nodes take connections of each other, from this machine. `shown_at` gives the certificate that is shown at an address.
fn mesh(report: &mut Report, nodes: &[ClusterNode], shown_at: impl Fn(&str) -> std::io::Result<String>) {
    const AREA: &str = "mesh";
    let living: Vec<&ClusterNode> = nodes.iter().filter(|node| !node.expired).collect();
    let mut reached = Vec::new();
    for node in &living {
        let name = &node.name;
        match &node.mesh {
            Mesh::None => {}
            Mesh::Unproven => report.problem(
                AREA,
                format!("node {name} has another encryption key, or its entry in the database was changed: no other node connects to it"),
                "give all nodes the same gatewarden.key and restart that one; if nobody changed keys, see who writes to the database",
            ),
            Mesh::Proven(facts) => match shown_at(&facts.address) {
                Ok(shown) if shown == facts.certificate => reached.push(format!("{name} at {}", facts.address)),
                Ok(_) => report.problem(
                    AREA,
                    format!("another program than node {name} answers at {}", facts.address),
                    "set node.mesh_address of that node to where the others reach its node.mesh_listen, and restart it",
                ),
                Err(error) => report.problem(
                    AREA,
                    format!("node {name} is not reached at {}: {error}", facts.address),
                    "set node.mesh_address of that node to where the others reach its node.mesh_listen, and let the firewall pass it",
                ),
            },
        }
    }
    if !reached.is_empty() {
        report.fine(AREA, format!("reached from here: {}", reached.join(", ")));
    }
    let without: Vec<&str> =
        living.iter().filter(|node| node.mesh == Mesh::None).map(|node| node.name.as_str()).collect();
    if !without.is_empty() && without.len() < living.len() {
        let text = format!("{} take no connections of other nodes", without.join(", "));
        report.note(
            AREA,
            text,
            "set node.mesh_listen on all nodes: one without it is not passed on to, and passes nothing on",
        );
    }
}

fn pending(report: &mut Report, pending: usize, before: &str) {
    if pending > 0 {
        let count = counted(u64::try_from(pending).unwrap_or(0), "migration");
        report.note(AREA, format!("{count} to be made by the next start, {before}"), "");
    }
}

fn pages(report: &mut Report, config: &Config, seen: &Inspection, deep: bool) {
    let place = config.store.database.place();
    let path = place.display();
    if seen.damage.is_empty() {
        let how = if deep { "every page and index" } else { "every page" };
        report.fine(
            AREA,
            format!("{path} is whole ({how}): {}, {}", size(seen.bytes), counted(seen.gateways, "gateway")),
        );
    } else {
        report.problem(
            AREA,
            format!("{path} is damaged: {}", seen.damage.join("; ")),
            "stop the daemon, keep a copy of the file, then `gatewarden restore FILE` with the newest backup; look at the disk too",
        );
    }
    pending(report, seen.pending, "after a copy of it was made");
    if seen.log_bytes > LONG_LOG {
        report.problem(
            AREA,
            format!("its log has grown to {}", size(seen.log_bytes)),
            "some process reads the database without an end: see who with `fuser`, end it, and the log is written back",
        );
    }
    if seen.free_bytes > MUCH_FREE && seen.free_bytes > seen.bytes / 2 {
        report.note(
            AREA,
            format!(
                "{} of it hold nothing; the daemon uses them again and gives them back little by little",
                size(seen.free_bytes)
            ),
            "",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatewarden_actors::store::postgres::mesh_entry::MeshFacts;

    fn node(name: &str, mesh: Mesh) -> ClusterNode {
        ClusterNode {
            node: name.to_owned(),
            name: name.to_owned(),
            url: String::new(),
            release: String::new(),
            acts: false,
            beat: 1,
            expired: false,
            beat_age_ms: 0,
            joined_ms: 0,
            mesh,
        }
    }

    fn proven(address: &str) -> Mesh {
        Mesh::Proven(MeshFacts { address: address.to_owned(), certificate: "ab".to_owned() })
    }

    #[test]
    fn of_each_node_it_is_said_whether_it_is_reached_and_is_the_one_that_the_database_names() {
        let nodes = [
            node("fine", proven("fine:1")),
            node("other", proven("other:1")),
            node("gone", proven("gone:1")),
            node("forged", Mesh::Unproven),
            node("old", Mesh::None),
        ];
        let mut report = Report::default();
        mesh(&mut report, &nodes, |address| match address {
            "fine:1" => Ok("ab".to_owned()),
            "other:1" => Ok("cd".to_owned()),
            _ => Err(std::io::ErrorKind::ConnectionRefused.into()),
        });
        let said = report.json().to_string();
        for expected in [
            "reached from here: fine at fine:1",
            "another program than node other answers at other:1",
            "node gone is not reached at gone:1",
            "node forged has another encryption key",
            "old take no connections of other nodes",
        ] {
            assert!(said.contains(expected), "{expected}: {said}");
        }
        let mut report = Report::default();
        mesh(&mut report, &[node("old", Mesh::None)], |_| panic!("nobody is asked"));
        assert_eq!(report.exit_code(), 0);
        assert!(!report.json().to_string().contains("mesh"));
    }
}
