//! What the nodes of a cluster tell each other in the database: the SQL behind [`gatewarden_core::cluster`], and the check that
//! refuses the writes of a node that acts no longer.
//!
//! Times are the server's (`clock_timestamp()`), so no node's clock counts. A statement does what was decided only if it is still
//! so: a beat only of a living node, a death only of a node that is expired and didn't beat since, a claim only of a free role.

use std::time::Duration;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use gatewarden_core::cluster::{Seen, SeenNode, Step, TTL_MS, not_acting};

use super::address::{Fence, ServerAddress};
use super::mesh_entry::{Mesh, MeshColumns, MeshFacts, MeshKey};
use super::{LOCK, PostgresConnection, Trouble, connect, fault_of, holder, number};
use crate::error::{Fault, StoreError};

/// A transaction that a frozen node leaves open is ended by the server after this: below the time after which another one takes
/// over, and waits for it.
pub(super) const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(4);

/// Whether a node didn't beat for the time to live. One that would live for longer has beaten before the server's clock was put back.
fn expired() -> String {
    format!("expires_at NOT BETWEEN clock_timestamp() AND clock_timestamp() + interval '{TTL_MS} milliseconds'")
}

/// The row of `meta` with the oldest release that may work on the database.
pub(super) const OLDEST_RELEASE: &str = "min_release";

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// `node.name`.
    pub name: String,
    /// Where people and programs reach it.
    pub url: String,
    /// Its release.
    pub release: String,
    /// Its state directory, of which it has the lock: whoever had it before in this boot of the machine is gone.
    pub home: String,
    /// Where other nodes reach it; none where it takes no connections of theirs.
    pub mesh: Option<MeshFacts>,
}

/// A node as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNode {
    /// The run of the daemon.
    pub node: String,
    /// `node.name`.
    pub name: String,
    /// Where it is reached.
    pub url: String,
    /// Its release.
    pub release: String,
    /// Whether it has the role.
    pub acts: bool,
    /// Grows with each beat.
    pub beat: i64,
    /// Whether it didn't beat for the time to live.
    pub expired: bool,
    /// Since its last beat, by the server's clock.
    pub beat_age_ms: i64,
    /// Wall ms of the server.
    pub joined_ms: i64,
    /// Where other nodes reach it.
    pub mesh: Mesh,
}

#[derive(QueryableByName)]
struct NodeRow {
    #[diesel(sql_type = Text)]
    node: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    url: String,
    #[diesel(sql_type = Text)]
    release: String,
    #[diesel(sql_type = Bool)]
    acts: bool,
    #[diesel(sql_type = BigInt)]
    beat: i64,
    #[diesel(sql_type = Bool)]
    expired: bool,
    #[diesel(sql_type = BigInt)]
    beat_age_ms: i64,
    #[diesel(sql_type = BigInt)]
    joined_ms: i64,
    #[diesel(embed)]
    mesh: MeshColumns,
}

impl NodeRow {
    /// Without the key nothing is proven.
    fn into_node(self, key: Option<&MeshKey>) -> ClusterNode {
        let Self { node, name, url, release, acts, beat, expired, beat_age_ms, joined_ms, mesh } = self;
        let mesh = key.map_or(Mesh::None, |key| key.read(&node, mesh));
        ClusterNode { node, name, url, release, acts, beat, expired, beat_age_ms, joined_ms, mesh }
    }
}

#[derive(QueryableByName)]
struct RoleRow {
    #[diesel(sql_type = Nullable<Text>)]
    node: Option<String>,
    #[diesel(sql_type = BigInt)]
    epoch: i64,
    #[diesel(sql_type = BigInt)]
    since_ms: i64,
    #[diesel(sql_type = BigInt)]
    server_start: i64,
    #[diesel(sql_type = Nullable<Text>)]
    oldest_release: Option<String>,
}

/// What was seen at a beat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) seen: Seen,
    pub(crate) nodes: Vec<ClusterNode>,
    /// Wall ms of the server at which the role changed hands.
    pub(crate) since_ms: i64,
    /// The oldest release that may work on the database, where it names one.
    pub(crate) oldest_release: Option<String>,
}

/// Opens a node's session. As long as it lasts no command writes beside the nodes, and no release that knows nothing of nodes.
pub(crate) fn open(address: &ServerAddress, patience: Duration) -> Result<PostgresConnection, StoreError> {
    let mut session = connect(address, patience)?;
    let lock_wait = (patience / 2).as_millis();
    let settings = format!(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
         SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout';
         SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; SET lock_timeout = {lock_wait};
         SELECT pg_advisory_lock_shared({LOCK}, hashtext(current_schema()))"
    );
    use diesel::connection::SimpleConnection as _;
    match session.batch_execute(&settings) {
        Ok(()) => Ok(session),
        Err(error) if fault_of(&error, &error.to_string()) == Some(Fault::Locked) => {
            Err(Trouble::InUse(holder(&mut session).unwrap_or_default()).at(address))
        }
        Err(error) => Err(Trouble::of_query(&error).at(address)),
    }
}

/// Refuses the transaction that was just begun, unless its node still has the role; nobody takes the role before it ends.
pub(crate) fn check(session: &mut PostgresConnection, fence: &Fence) -> Result<(), StoreError> {
    let query = sql::<BigInt>("SELECT epoch FROM cluster_roles WHERE role = 'coordinator' AND node = ")
        .bind::<Text, _>(&fence.node)
        .sql(" AND epoch = ")
        .bind::<BigInt, _>(fence.epoch)
        .sql(" FOR SHARE");
    let held: Option<i64> = query.get_result(session).optional()?;
    held.map(drop).ok_or_else(|| not_acting("Another node has taken over: this one changes nothing any more").into())
}

/// Enters the node; false where another one that nobody declared dead has its name. What ran from the same state directory before
/// is gone, or it would have its lock.
pub(crate) fn join(
    session: &mut PostgresConnection,
    id: &str,
    facts: &NodeFacts,
    key: Option<&MeshKey>,
) -> QueryResult<bool> {
    diesel::sql_query("UPDATE cluster_nodes SET state = 'dead' WHERE home = $1 AND state = 'active'")
        .bind::<Text, _>(&facts.home)
        .execute(session)?;
    diesel::sql_query(
        "DELETE FROM cluster_nodes WHERE state = 'dead' AND beat_at < clock_timestamp() - interval '1 day'",
    )
    .execute(session)?;
    let mesh = facts.mesh.as_ref().zip(key);
    let entered = diesel::sql_query(format!(
        "INSERT INTO cluster_nodes (node, name, url, release, home, mesh_address, mesh_certificate, mesh_proof, \
         state, joined_at, beat_at, expires_at) SELECT $1, $2, $3, $4, $5, $6, $7, $8, \
         'active', now, now, now + interval '{TTL_MS} milliseconds' FROM clock_timestamp() AS now \
         ON CONFLICT DO NOTHING"
    ))
    .bind::<Text, _>(id)
    .bind::<Text, _>(&facts.name)
    .bind::<Text, _>(&facts.url)
    .bind::<Text, _>(&facts.release)
    .bind::<Text, _>(&facts.home)
    .bind::<Nullable<Text>, _>(mesh.map(|(mesh, _)| &mesh.address))
    .bind::<Nullable<Text>, _>(mesh.map(|(mesh, _)| &mesh.certificate))
    .bind::<Nullable<Text>, _>(mesh.map(|(mesh, key)| key.prove(id, mesh)))
    .execute(session)?;
    Ok(entered == 1)
}

/// Says that the node lives, and looks at all of them; none where it was declared dead.
pub(crate) fn beat(session: &mut PostgresConnection, id: &str, key: Option<&MeshKey>) -> QueryResult<Option<Look>> {
    let beaten = diesel::sql_query(format!(
        "UPDATE cluster_nodes SET beat = beat + 1, beat_at = clock_timestamp(), \
         expires_at = clock_timestamp() + interval '{TTL_MS} milliseconds' WHERE node = $1 AND state = 'active'"
    ))
    .bind::<Text, _>(id)
    .execute(session)?;
    if beaten == 0 { Ok(None) } else { look(session, key).map(Some) }
}

/// Looks at all living nodes. With a key it is also checked who can be reached by other nodes.
pub(crate) fn look(session: &mut PostgresConnection, key: Option<&MeshKey>) -> QueryResult<Look> {
    // A command may look at tables that a former release has made.
    let mesh = if key.is_some() {
        "n.mesh_address, n.mesh_certificate, n.mesh_proof"
    } else {
        "NULL::text AS mesh_address, NULL::text AS mesh_certificate, NULL::text AS mesh_proof"
    };
    let nodes: Vec<NodeRow> = diesel::sql_query(format!(
        "SELECT n.node, n.name, n.url, n.release, n.node IS NOT DISTINCT FROM r.node AS acts, n.beat, \
         {} AS expired, \
         (1000 * extract(epoch FROM clock_timestamp() - n.beat_at))::bigint AS beat_age_ms, \
         (1000 * extract(epoch FROM n.joined_at))::bigint AS joined_ms, {mesh} \
         FROM cluster_nodes n JOIN cluster_roles r ON r.role = 'coordinator' WHERE n.state = 'active' ORDER BY n.name LIMIT 256",
        expired()
    ))
    .load(session)?;
    let nodes: Vec<ClusterNode> = nodes.into_iter().map(|row| row.into_node(key)).collect();
    let role: RoleRow = diesel::sql_query(
        "SELECT node, epoch, (1000 * extract(epoch FROM since))::bigint AS since_ms, \
         (1000000 * extract(epoch FROM pg_postmaster_start_time()))::bigint AS server_start, \
         (SELECT value FROM meta WHERE name = $1) AS oldest_release FROM cluster_roles WHERE role = 'coordinator'",
    )
    .bind::<Text, _>(OLDEST_RELEASE)
    .get_result(session)?;
    let seen =
        (nodes.iter()).map(|node| SeenNode { id: node.node.clone(), beat: node.beat, expired: node.expired }).collect();
    let seen = Seen { server_start: role.server_start, nodes: seen, holder: role.node, epoch: role.epoch };
    Ok(Look { seen, nodes, since_ms: role.since_ms, oldest_release: role.oldest_release })
}

/// Does what was decided, if it is still so; whether it was. A claim waits for what its last holder has in hand.
pub(crate) fn take(session: &mut PostgresConnection, me: &str, step: &Step) -> QueryResult<bool> {
    let done = match step {
        Step::DeclareDead { node, beat } => diesel::sql_query(format!(
            "UPDATE cluster_nodes SET state = 'dead' WHERE node = $1 AND beat = $2 AND state = 'active' AND {}",
            expired()
        ))
        .bind::<Text, _>(node)
        .bind::<BigInt, _>(*beat)
        .execute(session)?,
        Step::Claim { epoch } => diesel::sql_query(
            "UPDATE cluster_roles SET node = $1, epoch = epoch + 1, since = clock_timestamp() \
             WHERE role = 'coordinator' AND epoch = $2 \
             AND NOT EXISTS (SELECT 1 FROM cluster_nodes n WHERE n.node = cluster_roles.node AND n.state = 'active') \
             AND EXISTS (SELECT 1 FROM cluster_nodes n WHERE n.node = $1 AND n.state = 'active' AND n.expires_at > clock_timestamp())",
        )
        .bind::<Text, _>(me)
        .bind::<BigInt, _>(*epoch)
        .execute(session)?,
    };
    Ok(done == 1)
}

/// Takes the node out, and gives back the role where it has it.
pub(crate) fn leave(session: &mut PostgresConnection, me: &str) -> QueryResult<()> {
    diesel::sql_query("UPDATE cluster_roles SET node = NULL, since = clock_timestamp() WHERE node = $1")
        .bind::<Text, _>(me)
        .execute(session)?;
    diesel::sql_query("DELETE FROM cluster_nodes WHERE node = $1").bind::<Text, _>(me).execute(session).map(drop)
}

/// Takes the right to write from every node: whoever wakes later finds itself dead.
pub(crate) fn retire_all(session: &mut PostgresConnection) -> QueryResult<()> {
    use diesel::connection::SimpleConnection as _;
    session.batch_execute(
        "UPDATE cluster_nodes SET state = 'dead' WHERE state = 'active'; \
         UPDATE cluster_roles SET node = NULL, epoch = epoch + 1, since = clock_timestamp() WHERE node IS NOT NULL",
    )
}

/// Whether the tables are there: an older release may have made the others.
pub(crate) fn exists(session: &mut PostgresConnection) -> QueryResult<bool> {
    let query = "SELECT COUNT(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'cluster_nodes'";
    Ok(number(session, query)? == 1)
}

/// Whether a release that knows of the mesh has made them.
pub(crate) fn has_mesh(session: &mut PostgresConnection) -> QueryResult<bool> {
    let query = "SELECT COUNT(*) FROM pg_attribute WHERE attrelid = to_regclass('cluster_nodes') \
                 AND attname = 'mesh_proof' AND NOT attisdropped";
    Ok(number(session, query)? == 1)
}
