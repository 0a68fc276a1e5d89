use super::*;
use crate::records::{
    AgentChange, AgentFilter, AgentRecord, AgentSeen, AgentSource, AgentStatus, NewAgent, NewConnection, SyncStats,
    SyncedAgent,
};
use gatewarden_core::error::ErrorCode;
use gatewarden_core::ids::GatewayId;
use serde_json::{Value, json};

fn names(agents: &[AgentRecord]) -> Vec<&str> {
    agents.iter().map(|agent| agent.name.as_str()).collect()
}

fn listed(name: &str, role: Option<&str>, config: Value) -> SyncedAgent {
    SyncedAgent { name: name.to_owned(), role: role.map(str::to_owned), config }
}

async fn find(scratch: &Scratch, name: &str) -> AgentRecord {
    scratch.store.find_agent_by_name(name.to_owned()).await.unwrap().unwrap()
}

async fn gateway(scratch: &Scratch, name: &str) -> GatewayId {
    scratch.store.create_gateway(new_gateway(name)).await.unwrap().record.id
}

/// Makes old what is stored, so that a change of `updated_at` shows.
fn age(scratch: &Scratch) {
    scratch.execute("UPDATE agents SET created_at = 1, updated_at = 1").unwrap();
}

#[actix::test]
async fn an_agent_is_stored_found_changed_and_deleted() {
    let scratch = Scratch::open();
    let home = gateway(&scratch, "a").await;
    let config = json!({"gateway_config": {"preferred_gateway": 7}, "model": "m"});
    let new = NewAgent { gateway_id: Some(home), config: config.clone(), ..NewAgent::manual("researcher") };
    let made = scratch.store.create_agent(new).await.unwrap();
    assert_eq!((made.role.as_str(), made.status, made.source), ("agent", AgentStatus::Offline, AgentSource::Manual));
    assert_eq!((made.gateway_id, &made.config, made.last_seen), (Some(home), &config, None));
    assert_eq!(made.preferred_gateway().as_deref(), Some("7"));
    let scratch = scratch.reopen().await;
    assert_eq!(scratch.store.find_agent_by_id(made.id).await.unwrap(), Some(made.clone()));
    assert_eq!(find(&scratch, "researcher").await, made);
    assert_eq!(scratch.store.find_agent_by_name("Researcher".to_owned()).await.unwrap(), None);
    let change = AgentChange {
        name: Some("writer".to_owned()),
        role: Some("writes".to_owned()),
        gateway_id: Some(None),
        config: Some(json!({})),
        ..AgentChange::default()
    };
    let changed = scratch.store.update_agent(made.id, change).await.unwrap().unwrap();
    assert_eq!((changed.name.as_str(), changed.role.as_str()), ("writer", "writes"));
    assert_eq!((changed.gateway_id, &changed.config), (None, &json!({})));
    assert!(scratch.store.delete_agent(made.id).await.unwrap());
    assert!(!scratch.store.delete_agent(made.id).await.unwrap());
    assert_eq!(scratch.store.update_agent(made.id, AgentChange::default()).await.unwrap(), None);
    let next = scratch.store.create_agent(NewAgent::manual("writer")).await.unwrap();
    assert!(next.id > made.id, "an id is never used again");
}

#[actix::test]
async fn a_taken_name_and_an_unknown_gateway_are_refused_and_change_nothing() {
    let scratch = Scratch::open();
    let a = scratch.store.create_agent(NewAgent::manual("a")).await.unwrap();
    let b = scratch.store.create_agent(NewAgent::manual("b")).await.unwrap();
    let failure = scratch.store.create_agent(NewAgent::manual("a")).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::NameTaken);
    assert!(failure.message.contains("agent") && failure.message.contains("\"a\""), "{failure}");
    let rename = AgentChange { name: Some("a".to_owned()), role: Some("x".to_owned()), ..AgentChange::default() };
    assert_eq!(scratch.store.update_agent(b.id, rename).await.unwrap_err().code, ErrorCode::NameTaken);
    let moved = AgentChange { gateway_id: Some(Some(GatewayId(99))), ..AgentChange::default() };
    assert_eq!(scratch.store.update_agent(b.id, moved).await.unwrap_err().code, ErrorCode::GatewayNotFound);
    let lost = NewAgent { gateway_id: Some(GatewayId(99)), ..NewAgent::manual("c") };
    assert_eq!(scratch.store.create_agent(lost).await.unwrap_err().code, ErrorCode::GatewayNotFound);
    assert_eq!(scratch.store.sync_agents(GatewayId(99), vec![]).await.unwrap_err().code, ErrorCode::GatewayNotFound);
    assert_eq!(scratch.store.list_agents_after(AgentFilter::default(), 0, 50).await.unwrap(), (vec![a, b], 2));
}

#[actix::test]
async fn agents_are_listed_by_name_in_pages_with_the_total_of_the_filter() {
    let scratch = Scratch::open();
    let home = gateway(&scratch, "a").await;
    for (name, role, gateway_id, status) in [
        ("delta", "Research", None, AgentStatus::Busy),
        ("alpha", "research", Some(home), AgentStatus::Busy),
        ("ch%arlie", "writer", Some(home), AgentStatus::Idle),
        ("b_ravo", "writer", None, AgentStatus::Offline),
    ] {
        let role = Some(role.to_owned());
        scratch.store.create_agent(NewAgent { role, gateway_id, status, ..NewAgent::manual(name) }).await.unwrap();
    }
    let list = |filter: AgentFilter, offset, limit| scratch.store.list_agents_after(filter, offset, limit);
    let (page, total) = list(AgentFilter::default(), 3, 3).await.unwrap();
    assert_eq!((names(&page), total), (vec!["delta"], 4));
    let (page, total) = list(AgentFilter::default(), 0, 0).await.unwrap();
    assert_eq!((names(&page), total), (vec!["alpha"], 4), "the limit is brought into range");
    assert_eq!(list(AgentFilter::default(), usize::MAX, usize::MAX).await.unwrap(), (vec![], 4));
    let search = |text: &str| AgentFilter { search: Some(text.to_owned()), ..AgentFilter::default() };
    for (filter, expected) in [
        (AgentFilter { gateway_id: Some(home), ..AgentFilter::default() }, vec!["alpha", "ch%arlie"]),
        (AgentFilter { role: Some("writer".to_owned()), ..AgentFilter::default() }, vec!["b_ravo", "ch%arlie"]),
        (AgentFilter { status: Some(AgentStatus::Busy), ..search("RESEARCH") }, vec!["alpha", "delta"]),
        (search("%"), vec!["ch%arlie"]),
        (search("_"), vec!["b_ravo"]),
        (search("\\"), vec![]),
        (search("A_"), vec![]),
    ] {
        let (page, total) = list(filter.clone(), 0, 50).await.unwrap();
        assert_eq!((names(&page), total), (expected.clone(), expected.len()), "{filter:?}");
    }
}

#[actix::test]
async fn a_sync_creates_the_unknown_updates_the_changed_and_leaves_the_rest_alone() {
    let scratch = Scratch::open();
    let home = gateway(&scratch, "a").await;
    let first = vec![
        listed("kept", Some("r"), json!({"model": "m"})),
        listed("changed", None, json!({"model": "m"})),
        listed("gone", None, json!({})),
    ];
    let stats = scratch.store.sync_agents(home, first).await.unwrap();
    assert_eq!(stats, SyncStats { synced: 3, created: 3, updated: 0, skipped: 0 });
    age(&scratch);
    let second = vec![
        listed("kept", None, json!({"model": "m"})),
        listed("changed", Some("now"), json!({"other": 1})),
        listed("new", None, json!("no object")),
        listed("new", Some("twice"), json!({})),
        listed(" ", None, json!({})),
    ];
    let stats = scratch.store.sync_agents(home, second).await.unwrap();
    assert_eq!(stats, SyncStats { synced: 3, created: 1, updated: 1, skipped: 2 });
    let kept = find(&scratch, "kept").await;
    assert_eq!((kept.role.as_str(), kept.updated_at), ("r", 1), "no role named, so the role stays");
    assert_eq!(find(&scratch, "gone").await.updated_at, 1);
    let changed = find(&scratch, "changed").await;
    assert_eq!((changed.role.as_str(), &changed.config), ("now", &json!({"other": 1})));
    assert!(changed.updated_at > 1 && changed.source == AgentSource::Sync);
    let new = find(&scratch, "new").await;
    assert_eq!((new.role.as_str(), new.gateway_id, &new.config), ("agent", Some(home), &json!({})));
}

#[actix::test]
async fn a_sync_takes_nothing_from_another_gateway_a_tool_or_an_operator() {
    let scratch = Scratch::open();
    let (home, other) = (gateway(&scratch, "a").await, gateway(&scratch, "b").await);
    scratch.store.sync_agents(other, vec![listed("theirs", None, json!({"x": 1}))]).await.unwrap();
    tool_connects(&scratch, "tool", None).await;
    let ours = json!({"gateway_config": {"preferred_gateway": "b"}, "note": "mine", "model": "old"});
    scratch.store.create_agent(NewAgent { config: ours, ..NewAgent::manual("manual") }).await.unwrap();
    let list = ["theirs", "tool", "manual"]
        .map(|name| listed(name, None, json!({"model": "new", "gateway_config": {"preferred_gateway": "a"}})));
    let stats = scratch.store.sync_agents(home, list.to_vec()).await.unwrap();
    assert_eq!(stats, SyncStats { synced: 1, created: 0, updated: 1, skipped: 2 });
    assert_eq!(find(&scratch, "theirs").await.config, json!({"x": 1}));
    assert_eq!(find(&scratch, "theirs").await.gateway_id, Some(other));
    assert_eq!(find(&scratch, "tool").await.gateway_id, None);
    let manual = find(&scratch, "manual").await;
    assert_eq!((manual.gateway_id, manual.source), (Some(home), AgentSource::Manual));
    let expected = json!({"gateway_config": {"preferred_gateway": "b"}, "note": "mine", "model": "new"});
    assert_eq!(manual.config, expected);
    let again = scratch.store.sync_agents(home, list.to_vec()).await.unwrap();
    assert_eq!((again.synced, again.updated), (1, 0), "what was merged stays");
}

async fn tool_connects(scratch: &Scratch, agent: &str, role: Option<&str>) -> (AgentRecord, bool) {
    let new = NewConnection {
        agent_name: agent.to_owned(),
        agent_role: role.map(str::to_owned),
        tool_name: "codex".to_owned(),
        tool_version: None,
        metadata: None,
    };
    let opened = scratch.store.open_connection(new).await.unwrap();
    (opened.agent, opened.agent_is_new)
}

#[actix::test]
async fn a_tools_agent_is_made_once_and_only_tools_agents_take_its_role() {
    let scratch = Scratch::open();
    let (made, is_new) = tool_connects(&scratch, "codex", Some("coder")).await;
    assert!(is_new);
    assert_eq!((made.source, made.status, made.role.as_str()), (AgentSource::Cli, AgentStatus::Online, "coder"));
    assert!(made.last_seen.is_some());
    let (again, is_new) = tool_connects(&scratch, "codex", Some("tester")).await;
    assert_eq!((is_new, again.id, again.role.as_str()), (false, made.id, "tester"));
    scratch.store.create_agent(NewAgent::manual("manual")).await.unwrap();
    let (manual, is_new) = tool_connects(&scratch, "manual", Some("x")).await;
    assert_eq!((is_new, manual.role.as_str(), manual.status), (false, "agent", AgentStatus::Online));
}

#[actix::test]
async fn signs_of_life_move_forward_and_a_gateway_speaks_for_its_own_agents_alone() {
    let scratch = Scratch::open();
    let (home, other) = (gateway(&scratch, "a").await, gateway(&scratch, "b").await);
    scratch.store.sync_agents(home, vec![listed("x", None, json!({}))]).await.unwrap();
    age(&scratch);
    let seen = |gateway, at, status| AgentSeen {
        name: "x".to_owned(),
        gateway_id: gateway,
        status: Some(status),
        last_seen: Some(at),
        last_activity: Some("Processing".to_owned()),
    };
    let nobody = AgentSeen { name: "nobody".to_owned(), ..seen(None, 1, AgentStatus::Busy) };
    let foreign = seen(Some(other), 5, AgentStatus::Error);
    assert_eq!(scratch.store.observe_agents(vec![nobody, foreign]).await.unwrap(), vec![]);
    let changed = scratch.store.observe_agents(vec![seen(Some(home), 10, AgentStatus::Busy)]).await.unwrap();
    assert_eq!(changed, vec![find(&scratch, "x").await]);
    assert_eq!((changed[0].status, changed[0].last_seen, changed[0].updated_at), (AgentStatus::Busy, Some(10), 1));
    let older = seen(None, 9, AgentStatus::Busy);
    assert_eq!(scratch.store.observe_agents(vec![older]).await.unwrap(), vec![], "nothing new in it");
}

#[actix::test]
async fn a_malformed_configuration_costs_itself_only() {
    let scratch = Scratch::open();
    scratch.store.create_agent(NewAgent::manual("a")).await.unwrap();
    scratch.execute("UPDATE agents SET config = '[', status = 'new', source = 'new'").unwrap();
    let read = find(&scratch, "a").await;
    assert_eq!((read.config, read.status, read.source), (json!({}), AgentStatus::Offline, AgentSource::Manual));
}
