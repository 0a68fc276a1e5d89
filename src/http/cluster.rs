//! `/api/cluster`: the nodes that share the database, and which of them acts.

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::{HttpResponse, get};
use gatewarden_actors::store::member::Member;
use gatewarden_api::cluster::{Cluster, ClusterNode};

use super::auth::{Authorized, Viewer};
use super::context::App;
use crate::mesh::Mesh;

/// List the nodes that share the database
///
/// As this node saw them at its last beat. With a database in a file there is this one alone. A node that stands by answers it, too.
#[utoipa::path(tag = "Daemon", responses((status = 200, description = "All that live, by name", body = Cluster)))]
#[get("/api/cluster")]
pub(crate) async fn read_cluster(_by: Authorized<Viewer>, app: App) -> HttpResponse {
    let node = &app.node;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let Some(member) = &node.member else {
        let since = app.now_s() - i64::try_from(app.uptime_s()).unwrap_or(0);
        let alone = ClusterNode {
            name: node.name.clone(),
            url: node.url.clone(),
            version,
            role: "acting".to_owned(),
            this: true,
            beat_age_ms: 0,
            since,
            mesh: None,
            reached: None,
            gateways: Some(app.roster.len()),
        };
        return HttpResponse::Ok().json(Cluster {
            clustered: false,
            acting: true,
            epoch: 0,
            acting_since: since,
            nodes: vec![alone],
        });
    };
    let mut seen = seen_by(member, node.mesh.as_deref(), app.clock.uptime_ms());
    let mut held: HashMap<Option<Arc<str>>, usize> = HashMap::new();
    for view in app.roster.list() {
        *held.entry(view.on_node.clone()).or_default() += 1;
    }
    for node in &mut seen.nodes {
        let name = (!node.this).then(|| node.name.as_str().into());
        node.gateways = Some(held.get(&name).copied().unwrap_or(0));
    }
    HttpResponse::Ok().json(seen)
}

/// All nodes as a node saw them at its last beat.
pub(super) fn seen_by(member: &Member, mesh: Option<&Mesh>, now_ms: i64) -> Cluster {
    let seen = member.view().borrow().clone();
    let age_ms = now_ms.saturating_sub(seen.seen_ms);
    let acting = member.right().holds(now_ms);
    let nodes = seen.nodes.iter().map(|other| ClusterNode {
        name: other.name.clone(),
        url: other.url.clone(),
        version: other.release.clone(),
        role: match (other.acts, other.node == seen.id) {
            (true, true) if !acting => "unconfirmed",
            (true, _) => "acting",
            (false, _) => "standby",
        }
        .to_owned(),
        this: other.node == seen.id,
        beat_age_ms: other.beat_age_ms.saturating_add(age_ms).max(0),
        since: other.joined_ms.div_euclid(1000),
        mesh: other.mesh.proven().map(|facts| facts.address.clone()),
        reached: mesh.and_then(|mesh| mesh.reached(&other.node)),
        gateways: None,
    });
    Cluster {
        clustered: true,
        acting,
        epoch: seen.epoch,
        acting_since: seen.since_ms.div_euclid(1000),
        nodes: nodes.collect(),
    }
}
