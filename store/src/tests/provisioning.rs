use super::*;
use crate::records::{AgentFilter, AgentRecord, DeleteOutcome, MainAgent, NewAgent};
use gatewarden_core::error::ErrorCode;
use gatewarden_core::gateway_record::GatewayRecord;
use serde_json::json;

fn main_agent(id: &str) -> MainAgent {
    MainAgent { agent_id: id.to_owned(), role: None, config: json!({"workspace": "/w"}) }
}

async fn provisional(scratch: &Scratch, name: &str) -> GatewayRecord {
    scratch.store.create_provisional_gateway(new_gateway(name), "/srv/w".to_owned()).await.unwrap()
}

async fn agents(scratch: &Scratch) -> Vec<AgentRecord> {
    scratch.store.list_agents(AgentFilter::default(), 1, 100).await.unwrap().0
}

#[actix::test]
async fn a_provisional_gateway_reserves_its_name_and_is_loaded_by_nobody() {
    let scratch = Scratch::open();
    let record = provisional(&scratch, "prod").await;
    assert!(record.provisioning && !record.is_primary);
    assert_eq!(record.workspace_root.as_deref(), Some("/srv/w"));
    assert!(scratch.store.load_gateways().await.unwrap().is_empty());
    let taken = scratch.store.create_gateway(new_gateway("prod")).await.unwrap_err();
    assert_eq!(taken.code, ErrorCode::NameTaken);
    let again = scratch.store.create_provisional_gateway(new_gateway("prod"), "/w".to_owned()).await.unwrap_err();
    assert_eq!(again.code, ErrorCode::NameTaken);
    // It is none that would keep the first one from being seeded.
    assert!(scratch.store.seed_gateway_if_empty(new_gateway("first")).await.unwrap().is_some());
}

#[actix::test]
async fn with_its_main_agent_it_becomes_a_gateway() {
    let scratch = Scratch::open();
    let record = provisional(&scratch, "prod").await;
    let recorded = scratch.store.record_main_agent(record.id, main_agent("main")).await.unwrap().unwrap();
    assert!(!recorded.record.provisioning && recorded.record.revision > record.revision);
    assert_eq!(recorded.record.gateway_agent_id.as_deref(), Some("main"));
    let agent = &recorded.agent;
    assert_eq!((agent.name.as_str(), agent.role.as_str()), ("main", "gateway main"));
    assert_eq!((agent.gateway_id, agent.is_gateway_main), (Some(record.id), true));
    let scratch = scratch.reopen().await;
    assert_eq!(scratch.store.load_gateways().await.unwrap(), vec![recorded.record.clone()]);
    assert!(!scratch.store.abandon_provisional_gateway(record.id).await.unwrap(), "it is a gateway now");
    assert!(scratch.store.purge_provisional_gateways().await.unwrap().is_empty());
    // Recorded again, nothing changes.
    let again = scratch.store.record_main_agent(record.id, main_agent("main")).await.unwrap().unwrap();
    assert_eq!(again, recorded);
}

#[actix::test]
async fn what_was_abandoned_or_left_by_a_crash_leaves_no_trace_and_frees_its_name() {
    let scratch = Scratch::open();
    let record = provisional(&scratch, "prod").await;
    assert!(scratch.store.abandon_provisional_gateway(record.id).await.unwrap());
    assert!(!scratch.store.abandon_provisional_gateway(record.id).await.unwrap());
    assert_eq!(scratch.store.record_main_agent(record.id, main_agent("main")).await.unwrap(), None);
    provisional(&scratch, "prod").await;
    let scratch = scratch.reopen().await;
    assert_eq!(scratch.store.purge_provisional_gateways().await.unwrap(), ["prod"]);
    assert!(agents(&scratch).await.is_empty());
    scratch.store.create_gateway(new_gateway("prod")).await.unwrap();
}

#[actix::test]
async fn a_main_agent_takes_no_name_from_another_gateways_agent() {
    let scratch = Scratch::open();
    let first = provisional(&scratch, "a").await;
    let second = provisional(&scratch, "b").await;
    scratch.store.record_main_agent(first.id, main_agent("main")).await.unwrap().unwrap();
    let recorded = scratch.store.record_main_agent(second.id, main_agent("main")).await.unwrap().unwrap();
    assert_eq!(recorded.agent.name, format!("main-{}", &second.uuid[..8]));
    assert_eq!(recorded.record.gateway_agent_id.as_deref(), Some("main"));
    let again = scratch.store.record_main_agent(second.id, main_agent("main")).await.unwrap().unwrap();
    assert_eq!(again.agent.id, recorded.agent.id);
    let mains: Vec<_> = agents(&scratch).await.into_iter().filter(|agent| agent.is_gateway_main).collect();
    assert_eq!(mains.len(), 2);
}

#[actix::test]
async fn an_agent_without_a_gateway_becomes_the_main_one_and_keeps_what_was_decided_here() {
    let scratch = Scratch::open();
    let config = json!({"gateway_config": {"preferred_gateway": "a"}, "model": "m"});
    let known = scratch.store.create_agent(NewAgent { config, ..NewAgent::manual("main") }).await.unwrap();
    let record = provisional(&scratch, "a").await;
    let recorded = scratch.store.record_main_agent(record.id, main_agent("main")).await.unwrap().unwrap();
    assert_eq!((recorded.agent.id, recorded.agent.is_gateway_main), (known.id, true));
    assert_eq!(recorded.agent.config, json!({"gateway_config": {"preferred_gateway": "a"}, "workspace": "/w"}));
}

#[actix::test]
async fn a_gateway_has_one_main_agent_and_takes_its_record_along() {
    let scratch = Scratch::open();
    let record = provisional(&scratch, "a").await;
    scratch.store.record_main_agent(record.id, main_agent("main")).await.unwrap().unwrap();
    let moved = scratch.store.record_main_agent(record.id, main_agent("other")).await.unwrap().unwrap();
    assert_eq!(moved.record.gateway_agent_id.as_deref(), Some("other"));
    let flags: Vec<_> = agents(&scratch).await.into_iter().map(|agent| (agent.name, agent.is_gateway_main)).collect();
    assert_eq!(flags, [("main".to_owned(), false), ("other".to_owned(), true)]);
    assert_eq!(scratch.store.delete_gateway(record.id).await.unwrap(), DeleteOutcome::Deleted);
    let left = agents(&scratch).await;
    assert_eq!(left.len(), 1, "the main agent's record went with its gateway");
    assert_eq!((left[0].name.as_str(), left[0].gateway_id), ("main", None));
}

#[actix::test]
async fn the_organization_has_one_id_for_good() {
    let scratch = Scratch::open();
    let id = scratch.store.organization_id().to_owned();
    assert_eq!(id.len(), 36);
    assert_ne!(id, scratch.store.installation_id());
    assert_eq!(scratch.reopen().await.store.organization_id(), id);
}
