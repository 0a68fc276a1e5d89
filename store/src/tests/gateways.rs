use super::*;
use crate::records::DeleteOutcome;
use gatewarden_core::error::ErrorCode;
use gatewarden_core::gateway_record::{GatewayChange, HeldDown, NewGateway, Observed, TlsTrust, Transport};
use gatewarden_core::ids::GatewayId;
use gatewarden_protocol::Dialect;
use std::collections::BTreeMap;
use std::time::Duration;

fn full_gateway() -> GatewaySpec {
    GatewaySpec {
        url_token: Some(Secret::new("url-token-1")),
        password: Some(Secret::new("password-1")),
        is_primary: true,
        priority: -3,
        labels: BTreeMap::from([("site".to_owned(), "berlin \"mitte\"".to_owned())]),
        transport: Transport::Ws,
        tls: TlsTrust::Pins { pins: vec!["ab".repeat(32)] },
        disable_device_pairing: true,
        process: None,
        node: Some("warden-b".to_owned()),
        ..new_gateway("prod")
    }
}

#[actix::test]
async fn a_gateway_comes_back_as_it_was_stored() {
    let scratch = Scratch::open();
    let created = scratch.store.create_gateway(full_gateway()).await.unwrap();
    let record = &created.record;
    assert_eq!(record.token.as_ref().unwrap().expose(), "token-of-prod");
    assert_eq!(record.url_token.as_ref().unwrap().expose(), "url-token-1");
    assert_eq!(record.password.as_ref().unwrap().expose(), "password-1");
    assert_eq!(record.labels["site"], "berlin \"mitte\"");
    assert_eq!(record.node.as_deref(), Some("warden-b"));
    assert_eq!(record.tls, TlsTrust::Pins { pins: vec!["ab".repeat(32)] });
    assert_eq!((record.transport, record.priority, record.port), (Transport::Ws, -3, 18789));
    assert!(record.is_primary && record.disable_device_pairing && !record.drained);
    assert_eq!((record.revision, record.created_at), (1, record.updated_at));
    assert!(record.created_at > 1_700_000_000);
    assert_eq!(record.observed, Observed::default());
    assert_eq!(created.demoted, None);
    let scratch = scratch.reopen().await;
    assert_eq!(scratch.store.load_gateways().await.unwrap(), vec![created.record]);
}

#[actix::test]
async fn no_token_is_found_in_the_files() {
    let scratch = Scratch::open();
    scratch.store.create_gateway(full_gateway()).await.unwrap();
    assert!(scratch.holds("berlin"), "the test must look where the rows are");
    assert!(!scratch.holds("token-of-prod"));
    assert!(!scratch.holds("url-token-1"));
}

#[actix::test]
async fn a_taken_name_is_refused_and_changes_nothing() {
    let scratch = Scratch::open();
    let first = scratch.store.create_gateway(GatewaySpec { is_primary: true, ..new_gateway("prod") }).await.unwrap();
    let refused =
        scratch.store.create_gateway(GatewaySpec { is_primary: true, ..new_gateway("prod") }).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NameTaken);
    assert!(refused.message.contains("\"prod\""));
    let second = scratch.store.create_gateway(new_gateway("dev")).await.unwrap();
    let rename = GatewayChange { name: Some("prod".to_owned()), is_primary: Some(true), ..GatewayChange::default() };
    assert_eq!(scratch.store.update_gateway(second.record.id, rename).await.unwrap_err().code, ErrorCode::NameTaken);
    assert_eq!(scratch.store.load_gateways().await.unwrap(), vec![first.record, second.record]);
}

#[actix::test]
async fn a_new_primary_unsets_the_old_one_in_the_same_write() {
    let scratch = Scratch::open();
    let old =
        scratch.store.create_gateway(GatewaySpec { is_primary: true, ..new_gateway("old") }).await.unwrap().record;
    let created = scratch.store.create_gateway(GatewaySpec { is_primary: true, ..new_gateway("new") }).await.unwrap();
    let demoted = created.demoted.unwrap();
    assert_eq!((demoted.id, demoted.is_primary, demoted.revision), (old.id, false, old.revision + 1));
    let back = GatewayChange { is_primary: Some(true), ..GatewayChange::default() };
    let updated = scratch.store.update_gateway(old.id, back.clone()).await.unwrap();
    let seen: Vec<_> = updated.iter().map(|record| (record.id, record.is_primary)).collect();
    assert_eq!((seen, updated[1].revision), (vec![(created.record.id, false), (old.id, true)], 3));
    let again = scratch.store.update_gateway(old.id, back).await.unwrap();
    assert!(again.len() == 1 && again[0].is_primary);
    let unset = GatewayChange { is_primary: Some(false), ..GatewayChange::default() };
    assert!(!scratch.store.update_gateway(old.id, unset).await.unwrap().pop().unwrap().is_primary);
}

#[actix::test]
async fn there_is_one_primary_whatever_happens_at_the_same_time() {
    let scratch = Scratch::open();
    let mut ids = Vec::new();
    for turn in 0..8 {
        ids.push(scratch.store.create_gateway(new_gateway(&format!("g{turn}"))).await.unwrap().record.id);
    }
    let primary = GatewayChange { is_primary: Some(true), ..GatewayChange::default() };
    let changes = (0..80).map(|turn| scratch.store.update_gateway(ids[turn % ids.len()], primary.clone()));
    let reads = (0..80).map(|_| scratch.store.load_gateways());
    let (changed, seen) =
        futures_util::future::join(futures_util::future::join_all(changes), futures_util::future::join_all(reads))
            .await;
    assert!(changed.iter().all(Result::is_ok));
    for gateways in seen {
        assert!(gateways.unwrap().iter().filter(|gateway| gateway.is_primary).count() <= 1);
    }
    let gateways = scratch.store.load_gateways().await.unwrap();
    assert_eq!(gateways.iter().filter(|gateway| gateway.is_primary).count(), 1);
}

#[actix::test]
async fn the_database_itself_refuses_a_second_primary() {
    let scratch = Scratch::open();
    scratch.store.create_gateway(GatewaySpec { is_primary: true, ..new_gateway("a") }).await.unwrap();
    scratch.store.create_gateway(new_gateway("b")).await.unwrap();
    let forced = scratch.execute("UPDATE gateways SET is_primary = TRUE");
    assert!(forced.unwrap_err().to_string().to_lowercase().contains("unique"));
}

#[actix::test]
async fn a_change_touches_only_what_it_names() {
    let scratch = Scratch::open();
    let before = scratch.store.create_gateway(full_gateway()).await.unwrap().record;
    let change = GatewayChange {
        host: Some("gw.example".to_owned()),
        port: Some(443),
        url_token: Some(None),
        labels: Some(BTreeMap::new()),
        drained: Some(true),
        dialect: Some(Dialect::Openclaw),
        ..GatewayChange::default()
    };
    let after = scratch.store.update_gateway(before.id, change).await.unwrap().pop().unwrap();
    assert_eq!((after.host.as_str(), after.port, after.revision), ("gw.example", 443, 2));
    assert_eq!((after.url_token.as_ref(), after.token.as_ref()), (None, before.token.as_ref()));
    assert!(after.labels.is_empty() && after.drained && after.is_primary);
    assert_eq!(after.dialect, Some(Dialect::Openclaw));
    assert_eq!((&after.uuid, &after.name, &after.tls), (&before.uuid, &before.name, &before.tls));
    let retoken = GatewayChange { token: Some(Some(Secret::new("next"))), ..GatewayChange::default() };
    let after = scratch.store.update_gateway(before.id, retoken).await.unwrap().pop().unwrap();
    assert_eq!(after.spec.token.unwrap().expose(), "next");
    let cleared = GatewayChange { token: Some(Some(Secret::new(""))), ..GatewayChange::default() };
    assert_eq!(scratch.store.update_gateway(before.id, cleared).await.unwrap().pop().unwrap().token, None);
    let unknown = scratch.store.update_gateway(GatewayId(999), GatewayChange::default()).await.unwrap();
    assert_eq!(unknown, []);
}

#[actix::test]
async fn observations_grow_the_revision_but_leave_updated_at() {
    let scratch = Scratch::open();
    let id = scratch.store.create_gateway(new_gateway("a")).await.unwrap().record.id;
    scratch.execute("UPDATE gateways SET updated_at = 1000").unwrap();
    let external = GatewayChange {
        status: Some("online".to_owned()),
        last_seen: Some(5),
        latency: Some(7),
        sessions_count: Some(2),
        agents_count: Some(3),
        ..GatewayChange::default()
    };
    let record = scratch.store.update_gateway(id, external).await.unwrap().pop().unwrap();
    assert_eq!((record.updated_at, record.revision), (1000, 2));
    let expected = Observed {
        status: Some("online".to_owned()),
        last_seen: Some(5),
        latency: Some(7),
        sessions_count: 2,
        agents_count: 3,
        held: None,
    };
    assert_eq!(record.observed, expected);
    let held = Some(HeldDown { until_ms: 1_700_000_000_123, length: Duration::from_secs(600) });
    let own = Observed { status: Some("timeout".to_owned()), held, ..Observed::default() };
    scratch.store.save_observed(vec![(id, own.clone()), (GatewayId(999), own.clone())]).await.unwrap();
    let record = scratch.store.load_gateways().await.unwrap().remove(0);
    assert_eq!((record.observed, record.updated_at, record.revision), (own, 1000, 2));
    let renamed = GatewayChange { name: Some("b".to_owned()), ..GatewayChange::default() };
    assert!(scratch.store.update_gateway(id, renamed).await.unwrap().pop().unwrap().updated_at > 1000);
}

#[actix::test]
async fn a_deleted_gateway_is_gone_and_its_id_is_never_used_again() {
    let scratch = Scratch::open();
    let id = scratch.store.create_gateway(new_gateway("a")).await.unwrap().record.id;
    assert_eq!(scratch.store.delete_gateway(id).await.unwrap(), DeleteOutcome::Deleted);
    assert_eq!(scratch.store.delete_gateway(id).await.unwrap(), DeleteOutcome::NotFound);
    let next = scratch.store.create_gateway(GatewaySpec { is_primary: true, ..new_gateway("a") }).await.unwrap().record;
    assert!(next.id > id);
    assert_eq!(scratch.store.delete_gateway(next.id).await.unwrap(), DeleteOutcome::IsPrimary);
    assert_eq!(scratch.store.load_gateways().await.unwrap(), vec![next]);
}

#[actix::test]
async fn agents_are_registered_once_and_stay_with_their_gateway() {
    let scratch = Scratch::open();
    let agent = |name: &str| (name.to_owned(), None);
    let with = |name: &str, agents| NewGateway { spec: new_gateway(name), agents };
    let first = scratch.store.create_gateway(with("a", vec![agent("coder"), agent("writer"), agent("coder")])).await;
    let first = first.unwrap();
    assert_eq!(first.agents_registered, 2);
    let second = scratch.store.create_gateway(with("b", vec![agent("coder"), agent("tester")])).await.unwrap();
    assert_eq!(second.agents_registered, 1, "an agent of another gateway stays there");
    scratch.store.delete_gateway(first.record.id).await.unwrap();
    let third = scratch.store.create_gateway(with("c", vec![agent("coder"), agent("tester")])).await.unwrap();
    assert_eq!(third.agents_registered, 1, "an agent without a gateway joins");
    let many = (0..60).map(|turn| agent(&format!("agent-{turn}"))).collect();
    assert_eq!(scratch.store.create_gateway(with("d", many)).await.unwrap().agents_registered, 50);
}

#[actix::test]
async fn seeding_happens_only_while_there_is_no_gateway() {
    let scratch = Scratch::open();
    let seed = GatewaySpec { is_primary: true, ..new_gateway("primary") };
    let seeded = scratch.store.seed_gateway_if_empty(seed.clone()).await.unwrap().unwrap();
    assert!(seeded.is_primary && seeded.seeded);
    let seen = GatewayChange { dialect: Some(Dialect::Rpc), ..GatewayChange::default() };
    assert!(scratch.store.update_gateway(seeded.id, seen).await.unwrap().pop().unwrap().seeded, "nobody touched it");
    assert_eq!(scratch.store.seed_gateway_if_empty(seed.clone()).await.unwrap(), None);
    let unset = GatewayChange { is_primary: Some(false), ..GatewayChange::default() };
    assert!(!scratch.store.update_gateway(seeded.id, unset).await.unwrap().pop().unwrap().seeded);
    scratch.store.delete_gateway(seeded.id).await.unwrap();
    assert!(scratch.store.seed_gateway_if_empty(seed).await.unwrap().is_some());
}

#[actix::test]
async fn a_sealed_token_moved_to_another_row_or_column_is_not_used() {
    let scratch = Scratch::open();
    scratch.store.create_gateway(full_gateway()).await.unwrap();
    scratch.store.create_gateway(new_gateway("dev")).await.unwrap();
    for theft in [
        "UPDATE gateways SET token = (SELECT token FROM gateways WHERE name = 'prod') WHERE name = 'dev'",
        "UPDATE gateways SET url_token = token WHERE name = 'prod'",
    ] {
        scratch.execute(theft).unwrap();
    }
    let gateways = scratch.store.load_gateways().await.unwrap();
    assert_eq!(gateways.len(), 2, "the other gateways are loaded all the same");
    assert_eq!(gateways[0].token.as_ref().unwrap().expose(), "token-of-prod");
    assert_eq!(gateways[0].url_token, None);
    assert_eq!(gateways[1].token, None);
}
