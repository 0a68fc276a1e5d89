//! `gatewarden gateway nodes`: devices that carry out commands, asked of the running gateway.

use clap::{Args, Subcommand};
use gatewarden_embedded_gateway::clock::Now;
use serde_json::{Value, json};

use super::super::EXIT_OK;
use super::super::error::CliError;
use super::super::output::print;
use super::devices::{ago, name};
use super::running::{call, text, words_of};
use super::{PlaceArgs, RequestArgs, ShowArgs};

#[derive(Debug, Subcommand)]
pub(super) enum NodesCommand {
    /// Show the nodes, what they may be asked for, and what waits for an approval
    #[command(visible_alias = "ls")]
    List(ShowArgs),
    /// Let a node be asked for the commands that it offers
    Approve(RequestArgs),
    /// Leave what a node offers unapproved
    Reject(RequestArgs),
    /// Give a node another name
    Rename {
        #[command(flatten)]
        node: NodeArgs,
        /// Its new name
        #[arg(long, value_name = "NAME")]
        name: String,
    },
    /// Take a node's approval and its tokens away, and close its connection
    Remove(NodeArgs),
}

#[derive(Debug, Args)]
pub(super) struct NodeArgs {
    /// The id of the node, as `nodes list` says it
    #[arg(value_name = "NODE")]
    node: String,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Carries out one of the commands.
pub(super) fn run(command: &NodesCommand) -> Result<u8, CliError> {
    print(&match command {
        NodesCommand::List(args) => {
            let listed = call(&args.place, "node.list", &json!({}))?;
            if args.json { listed.to_string() } else { for_people(&listed, Now::read().wall_ms) }
        }
        NodesCommand::Approve(args) => {
            let answer = call(&args.place, "node.pair.approve", &json!({"requestId": args.request}))?;
            let node = answer.get("node").unwrap_or(&Value::Null);
            format!("Approved: {} may be asked for {}.", name(node), commands(node, "commands"))
        }
        NodesCommand::Reject(args) => {
            let answer = call(&args.place, "node.pair.reject", &json!({"requestId": args.request}))?;
            format!("Rejected: what the node {} offers. It stays paired.", text(&answer, "nodeId"))
        }
        NodesCommand::Rename { node, name } => {
            let answer = call(&node.place, "node.rename", &json!({"nodeId": node.node, "displayName": name}))?;
            format!("Renamed: the node {} is \"{}\" now.", text(&answer, "nodeId"), text(&answer, "displayName"))
        }
        NodesCommand::Remove(node) => {
            let answer = call(&node.place, "node.pair.remove", &json!({"nodeId": node.node}))?;
            let id = text(&answer, "nodeId");
            format!("Removed: the node {id}. Its tokens as a node are worth nothing, its connection is closed.")
        }
    });
    Ok(EXIT_OK)
}

fn for_people(listed: &Value, now_ms: i64) -> String {
    let nodes = listed.get("nodes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if nodes.is_empty() {
        return "No nodes. One that connects waits in: gatewarden gateway devices list".to_owned();
    }
    let mut lines = vec![format!("Nodes ({})", nodes.len())];
    for node in nodes {
        let is_connected = node.get("connected").and_then(Value::as_bool) == Some(true);
        let left = node.get("lastDisconnectedAtMs").map_or("lastSeenAtMs", |_| "lastDisconnectedAtMs");
        let since = if is_connected { "connectedAtMs" } else { left };
        let state = if is_connected { "connected" } else { "not connected, last seen" };
        lines.push(format!("  {}: {state} {}", name(node), ago(node, since, now_ms)));
        lines.push(format!("    {}", text(node, "nodeId")));
        lines.push(format!("    may be asked for {}", commands(node, "commands")));
        let request = text(node, "pendingRequestId");
        if !request.is_empty() {
            lines.push(format!("    offers {}; to approve that:", commands(node, "pendingDeclaredCommands")));
            lines.push(format!("    gatewarden gateway nodes approve {request}"));
        }
    }
    lines.join("\n")
}

fn commands(row: &Value, field: &str) -> String {
    words_of(row, field, "no commands")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_is_shown_with_what_it_may_be_asked_for_and_what_waits() {
        let now = 1_000_000_000_000;
        let listed = json!({"nodes": [
            {"nodeId": "n1", "displayName": "Studio\u{1b}[31m", "clientId": "node-host", "platform": "linux",
                "connected": true, "connectedAtMs": now - 120_000, "commands": ["system.which"],
                "pendingRequestId": "req-1", "pendingDeclaredCommands": ["system.run", "system.which"]},
            {"nodeId": "n2", "clientId": "openclaw-ios", "platform": "ios", "connected": false,
                "lastSeenAtMs": now - 9_200_000, "lastDisconnectedAtMs": now - 7_200_000, "commands": []},
        ]});
        let page = for_people(&listed, now);
        assert!(page.starts_with("Nodes (2)\n  \"Studio"), "{page}");
        assert!(page.contains("connected 2 min ago\n    n1\n    may be asked for system.which\n"), "{page}");
        assert!(page.contains("offers system.run, system.which; to approve that:\n"), "{page}");
        assert!(page.contains("    gatewarden gateway nodes approve req-1\n"), "{page}");
        assert!(
            page.ends_with(
                "openclaw-ios on ios: not connected, last seen 2 h ago\n    n2\n    may be asked for no commands"
            ),
            "{page}"
        );
        assert!(!page.contains('\u{1b}'), "a stranger's name must not steer the terminal");
        assert!(for_people(&json!({"nodes": []}), now).contains("devices list"));
    }
}
