use super::*;
use crate::records::{
    AgentHeartbeat, AgentStatus, Closed, ConnectionRecord, ConnectionStatus, EndReason, NewAgent, NewConnection, Opened,
};
use serde_json::json;

const DAY_S: i64 = 24 * 3600;

async fn opened(scratch: &Scratch, agent: &str) -> Opened {
    let new = NewConnection {
        agent_name: agent.to_owned(),
        agent_role: Some("coder".to_owned()),
        tool_name: "codex".to_owned(),
        tool_version: Some("2.1.0".to_owned()),
        metadata: Some(json!({"workspace": "/home/user/project"})),
    };
    scratch.store.open_connection(new).await.unwrap()
}

async fn found(scratch: &Scratch, opened: &Opened) -> ConnectionRecord {
    scratch.store.find_connection(opened.connection.connection_id.clone()).await.unwrap().unwrap()
}

async fn status_of(scratch: &Scratch, agent: &str) -> AgentStatus {
    scratch.store.find_agent_by_name(agent.to_owned()).await.unwrap().unwrap().status
}

fn over(opened: &Opened) -> AgentHeartbeat {
    AgentHeartbeat { connection_id: Some(opened.connection.connection_id.clone()), status: None }
}

fn silent(opened: &Opened) -> Vec<(String, i64)> {
    vec![(opened.connection.connection_id.clone(), opened.connection.last_heartbeat)]
}

#[actix::test]
async fn a_tool_connects_as_a_new_agent_and_is_shown_with_it() {
    let scratch = Scratch::open();
    let opened = opened(&scratch, "codex-01").await;
    assert!(opened.agent_is_new && opened.replaced.is_none());
    let connection = &opened.connection;
    assert_eq!((connection.agent_id, connection.agent_name.as_str()), (opened.agent.id, "codex-01"));
    assert_eq!((connection.agent_status, connection.agent_role.as_str()), (AgentStatus::Online, "coder"));
    assert_eq!((connection.status, connection.end_reason), (ConnectionStatus::Connected, None));
    assert_eq!((connection.tool_name.as_str(), connection.tool_version.as_deref()), ("codex", Some("2.1.0")));
    assert_eq!(connection.metadata, Some(json!({"workspace": "/home/user/project"})));
    assert_eq!((connection.connection_id.len(), &connection.connection_id[..5]), (37, "conn-"));
    let scratch = scratch.reopen().await;
    assert_eq!(scratch.store.list_connections(true, None).await.unwrap(), vec![opened.connection]);
}

#[actix::test]
async fn a_second_connection_of_an_agent_ends_the_first() {
    let scratch = Scratch::open();
    let (first, other) = (opened(&scratch, "a").await, opened(&scratch, "b").await);
    let second = opened(&scratch, "a").await;
    assert!(!second.agent_is_new);
    let replaced = second.replaced.clone().unwrap();
    assert_eq!((replaced.id, replaced.end_reason), (first.connection.id, Some(EndReason::Replaced)));
    assert!(replaced.disconnected_at.is_some());
    let open = scratch.store.list_connections(true, None).await.unwrap();
    assert_eq!(open, vec![second.connection.clone(), other.connection]);
    assert_eq!(scratch.store.list_connections(false, None).await.unwrap().len(), 3);
    assert_eq!(scratch.store.list_connections(false, Some(1)).await.unwrap(), vec![second.connection]);
    assert_eq!(status_of(&scratch, "a").await, AgentStatus::Online);
    let two = "UPDATE direct_connections SET disconnected_at = NULL";
    assert!(scratch.execute(two).is_err(), "the database holds it too");
}

#[actix::test]
async fn a_closed_connection_takes_its_agent_offline_and_does_not_come_back() {
    let scratch = Scratch::open();
    let opened = opened(&scratch, "a").await;
    let close = || scratch.store.close_connection(opened.connection.connection_id.clone());
    let Closed::Now(ended) = close().await.unwrap() else { panic!("it was open") };
    assert_eq!((ended.status, ended.agent_status), (ConnectionStatus::Disconnected, AgentStatus::Offline));
    assert_eq!(status_of(&scratch, "a").await, AgentStatus::Offline);
    assert_eq!(close().await.unwrap(), Closed::Before(ended.clone()));
    assert_eq!(scratch.store.close_connection("conn-x".to_owned()).await.unwrap(), Closed::NotFound);
    let beaten = scratch.store.beat_connection(opened.agent.id, over(&opened)).await.unwrap().unwrap();
    assert_eq!((beaten.connection, beaten.revived, beaten.status_changed), (Some(ended), false, false));
    assert_eq!(status_of(&scratch, "a").await, AgentStatus::Offline);
}

#[actix::test]
async fn a_silent_connection_is_given_up_and_its_next_heartbeat_revives_it() {
    let scratch = Scratch::open();
    let opened = opened(&scratch, "a").await;
    let closed = scratch.store.close_stale_connections(silent(&opened)).await.unwrap();
    assert_eq!((closed.len(), closed[0].end_reason), (1, Some(EndReason::Silent)));
    assert_eq!(closed[0].agent_status, AgentStatus::Offline);
    assert_eq!(scratch.store.close_stale_connections(silent(&opened)).await.unwrap(), vec![], "only once");
    let beaten = scratch.store.beat_connection(opened.agent.id, over(&opened)).await.unwrap().unwrap();
    assert!(beaten.revived && beaten.status_changed);
    assert_eq!(beaten.agent.status, AgentStatus::Online);
    let connection = beaten.connection.unwrap();
    assert_eq!(
        (connection.status, connection.end_reason, connection.disconnected_at),
        (ConnectionStatus::Connected, None, None)
    );
}

#[actix::test]
async fn a_connection_with_a_heartbeat_since_is_not_given_up() {
    let scratch = Scratch::open();
    let opened = opened(&scratch, "a").await;
    let past = "UPDATE direct_connections SET last_heartbeat = 100";
    scratch.execute(past).unwrap();
    scratch.store.beat_connection(opened.agent.id, AgentHeartbeat::default()).await.unwrap().unwrap();
    let stale = vec![(opened.connection.connection_id.clone(), 100), ("conn-x".to_owned(), i64::MAX)];
    assert_eq!(scratch.store.close_stale_connections(stale).await.unwrap(), vec![]);
    assert_eq!(found(&scratch, &opened).await.status, ConnectionStatus::Connected);
}

#[actix::test]
async fn what_was_given_up_does_not_come_back_once_it_is_replaced_or_closed() {
    let scratch = Scratch::open();
    let first = opened(&scratch, "a").await;
    scratch.store.close_stale_connections(silent(&first)).await.unwrap();
    let second = opened(&scratch, "a").await;
    assert_eq!(second.replaced, None);
    let beaten = scratch.store.beat_connection(first.agent.id, over(&first)).await.unwrap().unwrap();
    assert!(!beaten.revived);
    assert_eq!(beaten.connection.unwrap().end_reason, Some(EndReason::Replaced));
    scratch.store.close_stale_connections(silent(&second)).await.unwrap();
    let closed = scratch.store.close_connection(second.connection.connection_id.clone()).await.unwrap();
    assert!(matches!(closed, Closed::Before(_)), "{closed:?}");
    let beaten = scratch.store.beat_connection(second.agent.id, over(&second)).await.unwrap().unwrap();
    assert!(!beaten.revived);
}

#[actix::test]
async fn a_heartbeat_says_what_the_agent_does_and_speaks_over_its_own_connection_alone() {
    let scratch = Scratch::open();
    let (a, b) = (opened(&scratch, "a").await, opened(&scratch, "b").await);
    let busy = AgentHeartbeat { status: Some(AgentStatus::Busy), ..over(&a) };
    let beaten = scratch.store.beat_connection(a.agent.id, busy).await.unwrap().unwrap();
    assert_eq!((beaten.agent.status, beaten.status_changed), (AgentStatus::Busy, true));
    let beaten = scratch.store.beat_connection(a.agent.id, AgentHeartbeat::default()).await.unwrap().unwrap();
    assert_eq!((beaten.agent.status, beaten.status_changed), (AgentStatus::Busy, false), "silence changes nothing");
    assert_eq!(beaten.connection.unwrap().id, a.connection.id);
    let foreign = AgentHeartbeat { status: Some(AgentStatus::Error), ..over(&b) };
    let foreign = scratch.store.beat_connection(a.agent.id, foreign).await.unwrap().unwrap();
    assert_eq!((foreign.connection, foreign.agent.status), (None, AgentStatus::Busy));
    let manual = scratch.store.create_agent(NewAgent::manual("m")).await.unwrap();
    let beaten = scratch.store.beat_connection(manual.id, AgentHeartbeat::default()).await.unwrap().unwrap();
    assert_eq!((beaten.agent.status, beaten.connection), (AgentStatus::Online, None));
    assert_eq!(scratch.store.beat_connection(999, AgentHeartbeat::default()).await.unwrap(), None);
}

#[actix::test]
async fn connections_go_with_their_agent_or_thirty_days_after_their_end() {
    let scratch = Scratch::open();
    let (a, b, c) = (opened(&scratch, "a").await, opened(&scratch, "b").await, opened(&scratch, "c").await);
    assert!(scratch.store.delete_agent(a.agent.id).await.unwrap());
    assert_eq!(scratch.store.find_connection(a.connection.connection_id).await.unwrap(), None);
    scratch.store.close_connection(b.connection.connection_id.clone()).await.unwrap();
    let now_s = Clock::system().wall_ms() / 1000;
    for (ended_s, forgotten) in [(now_s - 30 * DAY_S + 60, 0), (now_s - 30 * DAY_S - 1, 1)] {
        let age =
            format!("UPDATE direct_connections SET disconnected_at = {ended_s} WHERE disconnected_at IS NOT NULL");
        scratch.execute(age).unwrap();
        let count = scratch.store.thin_connections(now_s * 1000, StoreHandle::CONNECTIONS_KEPT).await.unwrap();
        assert_eq!(count, forgotten);
    }
    assert_eq!(scratch.store.list_connections(false, None).await.unwrap(), vec![c.connection]);
}

#[actix::test]
async fn oversized_metadata_is_left_out() {
    let scratch = Scratch::open();
    let new = NewConnection {
        agent_name: "a".to_owned(),
        agent_role: None,
        tool_name: "t".to_owned(),
        tool_version: None,
        metadata: Some(json!({"text": "x".repeat(20_000)})),
    };
    let opened = scratch.store.open_connection(new.clone()).await.unwrap();
    assert_eq!(opened.connection.metadata, Some(json!({"left_out_bytes": 20_011})));
    let odd = NewConnection { metadata: Some(json!("text")), ..new };
    assert_eq!(scratch.store.open_connection(odd).await.unwrap().connection.metadata, None);
}
