//! Nodes on a server. Skipped where TEST_POSTGRES names none: `.ci/postgres` starts one.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use gatewarden_clock::clock::Clock;
use gatewarden_core::cluster::Step;
use gatewarden_core::error::ErrorCode;
use gatewarden_core::machines::auth_budget::FailedLogin;

use super::address::ServerAddress;
use super::cluster::{self, NodeFacts};
use super::release;
use crate::StoreHandle;
use crate::database::Database;
use crate::error::StoreError;
use crate::key_file::SealingKey;
use crate::member::{Member, Standing};
use crate::queue::StoreOptions;
use crate::records::{NewApiKey, Role};
use crate::tests::{new_gateway, new_schema, outside, server};

const LONG: Duration = Duration::from_secs(20);

fn facts(name: &str, home: &str) -> NodeFacts {
    NodeFacts {
        name: name.into(),
        url: "http://here".into(),
        release: release::RELEASE.into(),
        home: home.into(),
        mesh: None,
    }
}

async fn join(address: &ServerAddress, dir: &tempfile::TempDir, facts: NodeFacts) -> Result<Member, StoreError> {
    let key = SealingKey::load_or_create(None, dir.path()).unwrap();
    let options = StoreOptions::of(Database::Server(address.clone()));
    Member::join(&options, address, key, facts, None, Clock::system()).await
}

/// The store of the node that acts.
fn store_of(member: &Member, address: &ServerAddress, dir: &tempfile::TempDir) -> StoreHandle {
    let view = member.view().borrow().clone();
    let Standing::Acts(epoch) = view.standing else { panic!("{view:?}") };
    let options = StoreOptions::of(Database::Server(address.clone())).fenced(&view.id, epoch);
    let key = SealingKey::load_or_create(None, dir.path()).unwrap();
    StoreHandle::open(options, key, Clock::system(), std::sync::Arc::new(())).unwrap()
}

/// Another node takes the role from whoever has it, as if that were dead.
fn take_over(address: &ServerAddress, epoch: i64) -> bool {
    let mut session = cluster::open(address, LONG).unwrap();
    session.batch_execute("UPDATE cluster_nodes SET state = 'dead'").unwrap();
    assert!(cluster::join(&mut session, "other", &facts("other", "elsewhere"), None).unwrap());
    cluster::take(&mut session, "other", &Step::Claim { epoch }).unwrap()
}

#[actix::test]
async fn a_write_of_a_node_that_acts_no_longer_is_refused_and_nothing_is_written() {
    let Some(server) = server() else { return };
    let (address, dir) = (new_schema(&server), tempfile::tempdir().unwrap());
    let member = join(&address, &dir, facts("a", "here")).await.unwrap();
    let store = store_of(&member, &address, &dir);
    store.create_gateway(new_gateway("before")).await.unwrap();
    let taken = address.clone();
    assert!(std::thread::spawn(move || take_over(&taken, 1)).join().unwrap());
    let failure = store.create_gateway(new_gateway("after")).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::NotActing, "{failure}");
    assert_eq!(store.load_gateways().await.unwrap().len(), 1);
    let failed = FailedLogin { ago: Duration::ZERO, refused: true };
    let failure = store.put_failed_logins(vec![("ws://h:1".into(), vec![failed])]).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::NotActing, "{failure}");
    assert_eq!(store.load_failed_logins().await.unwrap(), []);
    let mut view = member.view();
    tokio::time::timeout(LONG, view.wait_for(|view| matches!(view.standing, Standing::Lost(_))))
        .await
        .unwrap()
        .unwrap();
    assert!(!member.right().holds(Clock::system().uptime_ms()));
}

#[actix::test]
async fn a_takeover_waits_for_what_is_in_hand_and_sees_it() {
    let Some(server) = server() else { return };
    let (address, dir) = (new_schema(&server), tempfile::tempdir().unwrap());
    let member = join(&address, &dir, facts("a", "here")).await.unwrap();
    let store = store_of(&member, &address, &dir);
    let (told, done) = channel();
    let taken = address.clone();
    let written = store.write("try this", move |db| {
        let (taken, told) = (taken.clone(), told.clone());
        std::thread::spawn(move || told.send(take_over(&taken, 1)));
        Ok(crate::database::write_trial(db.connection)?)
    });
    // The other one waits for a transaction that takes its time.
    let waiting = std::thread::spawn(move || done.recv_timeout(LONG));
    written.await.unwrap();
    assert_eq!(waiting.join().unwrap(), Ok(true));
}

#[actix::test]
async fn a_transaction_that_a_frozen_node_leaves_open_holds_nobody_off_for_long() {
    let Some(server) = server() else { return };
    let (address, dir) = (new_schema(&server), tempfile::tempdir().unwrap());
    let member = join(&address, &dir, facts("a", "here")).await.unwrap();
    let store = store_of(&member, &address, &dir);
    let (told, done) = channel();
    let taken = address.clone();
    let done = std::sync::Mutex::new(done);
    let written = store.write("try this", move |db| {
        let (taken, told) = (taken.clone(), told.clone());
        std::thread::spawn(move || told.send(take_over(&taken, 1)));
        let done = done.lock().unwrap();
        // The transaction holds it off, until the server ends that.
        assert_eq!(done.recv_timeout(Duration::from_millis(500)), Err(RecvTimeoutError::Timeout));
        assert_eq!(done.recv_timeout(LONG), Ok(true));
        Ok(crate::database::write_trial(db.connection)?)
    });
    assert!(written.await.is_err());
    let failure = store.create_gateway(new_gateway("after")).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::NotActing, "{failure}");
}

#[actix::test]
async fn a_node_may_be_declared_dead_too_where_the_servers_clock_was_put_back_and_one_that_beats_may_not() {
    let Some(server) = server() else { return };
    let (address, dir) = (new_schema(&server), tempfile::tempdir().unwrap());
    let member = join(&address, &dir, facts("a", "here")).await.unwrap();
    let looked = outside(&Database::Server(address), |connection| {
        let crate::connection::Connection::Postgres(session) = connection else { panic!("it is a server") };
        assert!(cluster::join(session, "gone", &facts("gone", "elsewhere"), None).unwrap());
        // As if the clock had been an hour ahead when it beat last.
        session
            .batch_execute("UPDATE cluster_nodes SET expires_at = expires_at + interval '1 hour' WHERE name = 'gone'")
            .unwrap();
        let looked = cluster::look(session, None).unwrap();
        for node in &looked.seen.nodes {
            let step = Step::DeclareDead { node: node.id.clone(), beat: node.beat };
            assert_eq!(cluster::take(session, "somebody", &step).unwrap(), node.id == "gone");
        }
        assert_eq!(cluster::look(session, None).unwrap().seen.server_start, looked.seen.server_start);
        looked
    });
    assert_eq!(looked.nodes.iter().map(|node| node.expired).collect::<Vec<_>>(), [false, true]);
    member.leave().await;
}

#[actix::test]
async fn a_name_has_one_living_node_and_a_state_directory_too() {
    let Some(server) = server() else { return };
    let (address, dir) = (new_schema(&server), tempfile::tempdir().unwrap());
    let first = join(&address, &dir, facts("a", "here")).await.unwrap();
    let error = join(&address, &dir, facts("a", "there")).await.unwrap_err();
    assert!(matches!(error, StoreError::NodeNameTaken { .. }) && error.exit_code() == 78, "{error}");
    let second = join(&address, &dir, facts("b", "there")).await.unwrap();
    assert_eq!(second.view().borrow().standing, Standing::StandsBy);
    // Whoever has the lock of the directory follows itself at once.
    let again = join(&address, &dir, facts("a", "here")).await.unwrap();
    let mut lost = first.view();
    tokio::time::timeout(LONG, lost.wait_for(|view| matches!(view.standing, Standing::Lost(_))))
        .await
        .unwrap()
        .unwrap();
    for member in [&second, &again] {
        member.leave().await;
    }
}

#[actix::test]
async fn a_node_for_which_the_database_is_too_new_gives_the_role_back_and_says_so() {
    let Some(server) = server() else { return };
    let (address, dir) = (new_schema(&server), tempfile::tempdir().unwrap());
    let acting = join(&address, &dir, facts("a", "here")).await.unwrap();
    let standing_by = join(&address, &dir, facts("b", "there")).await.unwrap();
    let database = Database::Server(address.clone());
    let execute = |query: &str| outside(&database, |connection| connection.batch_execute(query)).unwrap();
    execute("UPDATE meta SET value = '99.0.0' WHERE name = 'min_release'");
    for member in [&acting, &standing_by] {
        let mut view = member.view();
        tokio::time::timeout(LONG, view.wait_for(|view| view.standing == Standing::Outdated("99.0.0".to_owned())))
            .await
            .unwrap()
            .unwrap();
        assert!(!member.right().holds(Clock::system().uptime_ms()));
    }
    execute("UPDATE meta SET value = '0.1.0' WHERE name = 'min_release'");
    let next = join(&address, &dir, facts("c", "here too")).await.unwrap();
    assert_eq!(next.view().borrow().standing, Standing::Acts(2), "nobody was waited for");
    next.leave().await;
}

#[actix::test]
async fn a_release_that_takes_something_away_waits_for_nodes_that_need_it_and_names_the_oldest_that_does_not() {
    let Some(server) = server() else { return };
    let (address, dir) = (new_schema(&server), tempfile::tempdir().unwrap());
    let old = join(&address, &dir, NodeFacts { release: "0.9.3".into(), ..facts("a", "here") }).await.unwrap();
    let database = Database::Server(address.clone());
    let spared = |oldest: &str| outside(&database, |connection| release::spare_nodes(connection, oldest));
    assert!(spared("0.9.3").is_ok());
    let error = spared("0.10.0").unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, StoreError::OlderNode { .. }) && error.exit_code() == 1, "{error}");
    assert!(said.contains("Node a at http://here") && said.contains("0.9.3") && said.contains("0.10.0"), "{said}");
    old.leave().await;
    assert!(spared("0.10.0").is_ok());
    outside(&database, |connection| {
        for (oldest, named) in [("0.10.0", "0.10.0"), ("0.9.0", "0.10.0"), ("1.0.0", "1.0.0")] {
            release::name_oldest(connection, oldest).unwrap();
            assert_eq!(crate::startup::setting(connection, "min_release").unwrap().as_deref(), Some(named));
        }
    });
    assert!(
        gatewarden_core::cluster::may_work(release::RELEASE, Some(release::OLDEST)),
        "it may work on its own tables"
    );
}

#[actix::test]
async fn a_node_that_stands_by_reads_which_keys_are_good_and_which_no_more() {
    let Some(server) = server() else { return };
    let (address, dir) = (new_schema(&server), tempfile::tempdir().unwrap());
    let acting = join(&address, &dir, facts("a", "here")).await.unwrap();
    let store = store_of(&acting, &address, &dir);
    let standing_by = join(&address, &dir, facts("b", "there")).await.unwrap();
    let new = NewApiKey {
        name: "k".to_owned(),
        role: Role::Viewer,
        sha256: "00".repeat(32),
        prefix: "gw_0".to_owned(),
        expires_at: None,
    };
    let key = store.insert_key(new).await.unwrap();
    let mut view = standing_by.view();
    tokio::time::timeout(LONG, view.wait_for(|_| standing_by.keys().is_some_and(|seen| *seen.keys == [key.clone()])))
        .await
        .unwrap()
        .unwrap();
    store.delete_key(key.id).await.unwrap();
    tokio::time::timeout(LONG, view.wait_for(|_| standing_by.keys().is_some_and(|seen| seen.keys.is_empty())))
        .await
        .unwrap()
        .unwrap();
    assert!(acting.keys().is_none(), "the one that acts has its own");
}

#[actix::test]
async fn commands_that_write_are_refused_beside_a_node() {
    let Some(server) = server() else { return };
    let (address, dir) = (new_schema(&server), tempfile::tempdir().unwrap());
    let member = join(&address, &dir, facts("a", "here")).await.unwrap();
    store_of(&member, &address, &dir).create_gateway(new_gateway("a")).await.unwrap();
    let mut options = StoreOptions::of(Database::Server(address.clone()));
    options.busy_timeout = Duration::from_millis(600);
    options.beside_another = true;
    let key = SealingKey::load_or_create(None, dir.path()).unwrap();
    let beside = StoreHandle::open(options, key, Clock::system(), std::sync::Arc::new(())).unwrap();
    assert_eq!(beside.load_gateways().await.unwrap().len(), 1);
    let failure = beside.create_gateway(new_gateway("b")).await.unwrap_err();
    assert!(failure.message.contains("another gatewarden works on the database"), "{failure}");
    let seen = outside(&Database::Server(address), |connection| {
        let crate::connection::Connection::Postgres(session) = connection else { panic!("it is a server") };
        cluster::look(session, None).unwrap()
    });
    assert_eq!((seen.nodes.len(), seen.seen.epoch), (1, 1));
}
