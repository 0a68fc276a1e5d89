//! `gatewarden cluster`: the nodes that share a database.

use gatewarden_api::cluster::{Cluster, ClusterNode};

use super::daemon::DaemonArgs;
use super::output::{at, plain};
use super::table::{Cell, Table};

/// Prints them.
pub(super) fn run(args: &DaemonArgs) -> u8 {
    args.run(|daemon| {
        daemon.show(&daemon.get("/api/cluster")?, |seen: &Cluster| {
            let table = table(seen).shown(daemon.output);
            if daemon.output.is_for_people() { format!("{table}\n\n{}", summary(seen)) } else { table }
        })
    })
}

fn table(seen: &Cluster) -> Table {
    let row = |node: &ClusterNode| {
        let age = std::time::Duration::from_millis(node.beat_age_ms.unsigned_abs());
        vec![
            Cell::new(&node.name),
            Cell::new(&node.role),
            Cell::new(&node.url),
            Cell::new(mesh(node)),
            Cell::new(node.gateways.map_or_else(|| "-".to_owned(), |held| held.to_string())),
            Cell::new(&node.version),
            Cell::new(format!("{:.1} s ago", age.as_secs_f64())),
            Cell::new(at(node.since)),
        ]
    };
    let heading = ["NODE", "ROLE", "ADDRESS", "MESH", "GATEWAYS", "RELEASE", "SIGN OF LIFE", "SINCE"];
    Table::of(&heading, seen.nodes.iter().map(row), "There is no node.").leaving_out(&["SINCE", "RELEASE", "MESH"])
}

/// Where other nodes reach it, and whether the one that answers does.
fn mesh(node: &ClusterNode) -> String {
    let address = node.mesh.as_deref().unwrap_or("-");
    if node.reached == Some(false) { format!("{address} (not reached)") } else { address.to_owned() }
}

fn summary(seen: &Cluster) -> String {
    match seen.nodes.iter().find(|node| node.role == "acting") {
        _ if !seen.clustered => "The database is a file: this node is alone.".to_owned(),
        Some(node) => format!("{} acts since {} (epoch {}).", plain(&node.name), at(seen.acting_since), seen.epoch),
        None if seen.nodes.iter().any(|node| node.role == "unconfirmed") => {
            "This node had the role, and the database does not confirm it: it changes nothing, and another node may act.".to_owned()
        }
        None => "No node acts.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Paint;

    #[test]
    fn the_table_names_each_node_its_role_and_who_acts() {
        let node = |name: &str, role: &str| ClusterNode {
            name: name.to_owned(),
            url: format!("http://{name}:3000"),
            version: "1".to_owned(),
            role: role.to_owned(),
            this: false,
            beat_age_ms: 640,
            since: 1_795_000_000,
            mesh: (name == "b").then(|| "b:3001".to_owned()),
            reached: (name == "b").then_some(false),
            gateways: None,
        };
        let nodes = vec![node("a", "standby"), node("b", "acting")];
        let mut seen = Cluster { clustered: true, acting: true, epoch: 7, acting_since: 1_795_000_000, nodes };
        let lines = table(&seen).lines(Paint::none(), None).join("\n");
        assert!(lines.contains("http://a:3000") && lines.contains("0.6 s ago") && lines.contains("standby"), "{lines}");
        assert!(lines.contains("b:3001 (not reached)"), "{lines}");
        assert!(summary(&seen).starts_with("b acts since 2026-") && summary(&seen).ends_with("(epoch 7)."));
        seen.nodes.pop();
        assert_eq!(summary(&seen), "No node acts.");
    }
}
