//! The nodes that share a database.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest name of a node, characters.
pub const MAX_NODE_NAME: usize = 63;
/// What is said of a text that names no node.
pub const NODE_NAME: &str = "must be 1 to 63 letters, digits, dots, dashes or underscores";

/// Whether a node may have this name.
pub fn is_node_name(name: &str) -> bool {
    (1..=MAX_NODE_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// All nodes as one of them sees them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cluster {
    /// Whether the database is one that several nodes may share: a PostgreSQL.
    pub clustered: bool,
    /// Whether the node that answers may act at this moment.
    #[schema(example = true)]
    pub acting: bool,
    /// How often a node began to act; 0 without a cluster.
    #[schema(example = 7)]
    pub epoch: i64,
    /// Since when the node that acts does.
    pub acting_since: i64,
    /// All that live, by name; at most 256.
    pub nodes: Vec<ClusterNode>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClusterNode {
    /// `node.name` of its configuration.
    #[schema(example = "host-a")]
    pub name: String,
    /// Where it is reached.
    #[schema(example = "http://192.0.2.7:3000")]
    pub url: String,
    /// Its release.
    pub version: String,
    /// `acting`, `standby`, or `unconfirmed`: it acted, and the database did not confirm that in time, so it changes nothing.
    #[schema(example = "acting")]
    pub role: String,
    /// Whether it is the node that answers.
    pub this: bool,
    /// Milliseconds since its last sign of life; after 6000 another node may declare it dead.
    pub beat_age_ms: i64,
    /// When it joined.
    pub since: i64,
    /// Where other nodes reach it, as `host:port`; none where it takes no connections of theirs, or isn't proven to have the same
    /// encryption key.
    #[serde(default)]
    #[schema(example = "192.0.2.7:3001")]
    pub mesh: Option<String>,
    /// Whether the node that answers reached it there, when it last tried, about every 10 s; none where it has not yet.
    #[serde(default)]
    pub reached: Option<bool>,
    /// Gateways that it is to hold; those that nobody holds count for the node that acts. None where another node than that answers.
    #[serde(default)]
    #[schema(example = 12)]
    pub gateways: Option<usize>,
}
