//! A database in trouble, jobs that panic, too many jobs: each costs its own request and nothing else.

use super::*;
use diesel::RunQueryDsl;
use diesel::connection::SimpleConnection;
use gatewarden_clock::clock::Clock;
use gatewarden_clock::overdue;
use gatewarden_core::error::ErrorCode;
use gatewarden_core::gateway_record::GatewayChange;
use std::collections::BTreeMap;
use std::sync::mpsc;

/// Occupies a thread until the sender is dropped or says so; answers once the job runs.
pub(super) async fn occupy(store: &StoreHandle, writer: bool) -> mpsc::Sender<()> {
    let (release, wait) = mpsc::channel::<()>();
    let (started, running) = tokio::sync::oneshot::channel();
    let store = store.clone();
    actix::spawn(async move {
        let started = std::sync::Mutex::new(Some(started));
        let job = move || {
            let _ = started.lock().unwrap().take().unwrap().send(());
            let _ = wait.recv_timeout(Duration::from_secs(20));
            Ok(())
        };
        let _ = if writer {
            store.write("wait for the test", move |_| job()).await
        } else {
            store.read("wait for the test", move |_| job()).await
        };
    });
    running.await.unwrap();
    release
}

#[actix::test]
async fn a_locked_database_fails_writes_with_advice_while_reads_go_on() {
    let scratch = Scratch::in_file();
    scratch.store.create_gateway(new_gateway("a")).await.unwrap();
    let mut outsider = scratch.outsider();
    outsider.batch_execute("BEGIN IMMEDIATE").unwrap();
    let failure = scratch.store.create_gateway(new_gateway("b")).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::StoreUnavailable);
    assert!(failure.message.contains("locked by another process"), "{}", failure.message);
    assert!(failure.help.is_some() && failure.retry_after.is_some());
    assert_eq!(scratch.store.load_gateways().await.unwrap().len(), 1);
    scratch.store.ping_writer().await.unwrap();
    outsider.batch_execute("ROLLBACK").unwrap();
    scratch.store.create_gateway(new_gateway("b")).await.unwrap();
}

#[actix::test]
async fn a_full_disk_fails_writes_as_a_whole_until_there_is_space_again() {
    let scratch = Scratch::in_file();
    scratch.store.create_gateway(GatewaySpec { is_primary: true, ..new_gateway("a") }).await.unwrap();
    let full = |connection: &mut Connection| connection.batch_execute("PRAGMA max_page_count = 1");
    scratch.store.shared_writer_for_test(full).await;
    let huge = GatewaySpec {
        labels: BTreeMap::from([("k".to_owned(), "v".repeat(200_000))]),
        is_primary: true,
        ..new_gateway("b")
    };
    let failure = scratch.store.create_gateway(huge.clone()).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::StoreUnavailable);
    assert!(failure.message.contains("no space left"), "{}", failure.message);
    assert_eq!(scratch.store.last_write_fault(), Some(failure));
    let gateways = scratch.store.load_gateways().await.unwrap();
    assert!(gateways.len() == 1 && gateways[0].is_primary, "the primary was not unset by half a write");
    // The limit was that of the connection, which is replaced after such an error: the space is back.
    scratch.store.try_a_write().await.unwrap();
    assert_eq!(scratch.store.last_write_fault(), None);
    scratch.store.create_gateway(huge.clone()).await.unwrap();
    scratch.store.create_gateway(huge).await.unwrap_err();
    assert_eq!(scratch.store.last_write_fault(), None, "a name that is taken says nothing of the database");
}

#[actix::test]
async fn a_database_that_became_read_only_fails_writes_while_reads_go_on() {
    let scratch = Scratch::in_file();
    let record = scratch.store.create_gateway(new_gateway("a")).await.unwrap().record;
    scratch.store.shared_writer_for_test(|connection| connection.batch_execute("PRAGMA query_only = ON")).await;
    let change = GatewayChange { priority: Some(7), ..GatewayChange::default() };
    let failure = scratch.store.update_gateway(record.id, change.clone()).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::StoreUnavailable);
    assert!(failure.message.contains("read-only"), "{}", failure.message);
    assert_eq!(scratch.store.load_gateways().await.unwrap(), vec![record.clone()]);
    assert_eq!(scratch.store.update_gateway(record.id, change).await.unwrap().pop().unwrap().priority, 7);
}

#[actix::test]
async fn readers_can_not_write() {
    let scratch = Scratch::open();
    let attempt = scratch.store.read("write from a reader", |db| {
        diesel::sql_query("DELETE FROM meta").execute(db.connection)?;
        Ok(())
    });
    assert_eq!(attempt.await.unwrap_err().code, ErrorCode::StoreUnavailable);
}

#[actix::test]
async fn a_panic_in_a_job_fails_that_job_and_undoes_its_writes() {
    let scratch = Scratch::open_with(|options| options.readers = 1);
    // The canary, the installation id, the organization id; where nodes share it, the oldest release that may work on it.
    let rows = || scratch.execute("UPDATE meta SET value = value").unwrap();
    let before = rows();
    assert!(before >= 3);
    for _ in 0..3 {
        let write = scratch.store.write("panic", |db| -> Result<(), _> {
            diesel::sql_query("DELETE FROM meta").execute(db.connection)?;
            panic!("on purpose, in the writer")
        });
        let failure = write.await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::Internal);
        assert!(!failure.to_string().contains("on purpose"));
        let read = scratch.store.read("panic", |_| -> Result<(), _> { panic!("on purpose, in a reader") });
        assert_eq!(read.await.unwrap_err().code, ErrorCode::Internal);
    }
    scratch.store.ping_writer().await.unwrap();
    scratch.store.ping_readers().await.unwrap();
    scratch.store.create_gateway(new_gateway("a")).await.unwrap();
    assert_eq!(scratch.store.load_gateways().await.unwrap().len(), 1);
    assert_eq!(rows(), before, "all of it is still there");
}

#[actix::test]
async fn too_many_jobs_are_refused_soon_and_say_when_to_try_again() {
    let scratch = Scratch::open_with(|options| {
        options.max_queue = 3;
        options.admission_wait = Duration::from_millis(20);
    });
    let release = occupy(&scratch.store, true).await;
    let queued: Vec<_> = ["a", "b"]
        .map(|name| {
            let store = scratch.store.clone();
            actix::spawn(async move { store.create_gateway(new_gateway(name)).await })
        })
        .into();
    while scratch.store.queue_depth().0 < 3 {
        tokio::task::yield_now().await;
    }
    let failure = scratch.store.create_gateway(new_gateway("c")).await.unwrap_err();
    assert_eq!((failure.code, failure.retry_after), (ErrorCode::StoreUnavailable, Some(Duration::from_secs(1))));
    assert!(failure.message.contains("too many"), "{}", failure.message);
    assert_eq!(scratch.store.queue_depth(), (3, 0));
    assert_eq!(scratch.store.load_gateways().await.unwrap(), vec![], "readers have a queue of their own");
    release.send(()).unwrap();
    for job in queued {
        job.await.unwrap().unwrap();
    }
    scratch.store.flush().await.unwrap();
    assert_eq!(scratch.store.queue_depth(), (0, 0));
}

#[actix::test]
async fn an_answer_that_does_not_come_is_given_up_and_its_job_is_not_run_later() {
    let scratch = Scratch::in_file_with(|options| options.job_deadline = Duration::from_millis(30));
    let release = occupy(&scratch.store, true).await;
    let failure = scratch.store.create_gateway(new_gateway("late")).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::StoreUnavailable);
    assert!(failure.message.contains("in time, and will not do it"), "{}", failure.message);
    release.send(()).unwrap();
    while scratch.store.flush().await.is_err() {}
    assert_eq!(scratch.store.load_gateways().await.unwrap(), vec![]);
}

#[actix::test]
async fn a_write_that_has_begun_is_waited_for_to_its_end_while_its_client_is_told() {
    let scratch = Scratch::in_file_with(|options| {
        options.job_deadline = Duration::from_secs(3);
        options.busy_timeout = Duration::from_secs(60);
    });
    let mut outsider = scratch.outsider();
    outsider.batch_execute("BEGIN IMMEDIATE").unwrap();
    let (client, told) = tokio::sync::oneshot::channel();
    let store = scratch.store.clone();
    let writing =
        actix::spawn(overdue::on_behalf_of(client, async move { store.create_gateway(new_gateway("late")).await }));
    let failure = told.await.unwrap();
    assert_eq!(failure.code, ErrorCode::OutcomeUnknown);
    assert!(failure.message.contains("store the gateway"), "{}", failure.message);
    assert!(!writing.is_finished());
    outsider.batch_execute("COMMIT").unwrap();
    let created = writing.await.unwrap().unwrap();
    assert_eq!(scratch.store.load_gateways().await.unwrap(), vec![created.record]);
}

#[actix::test]
async fn a_read_that_takes_too_long_is_given_up() {
    let scratch = Scratch::open_with(|options| options.job_deadline = Duration::from_millis(30));
    let (_release, wait) = mpsc::channel::<()>();
    let read = scratch.store.read("wait for the test", move |_| {
        let _ = wait.recv_timeout(Duration::from_secs(20));
        Ok(())
    });
    let failure = read.await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::StoreUnavailable);
    assert!(failure.message.contains("in time"), "{}", failure.message);
}

#[actix::test]
async fn a_ping_answers_while_a_job_runs_unless_it_runs_for_too_long() {
    let scratch = Scratch::in_file_with(|options| options.stuck_after = Duration::from_secs(3));
    let release = occupy(&scratch.store, true).await;
    scratch.store.ping_writer().await.unwrap();
    scratch.store.ping_readers().await.unwrap();
    let since = Clock::system().now();
    let failure = loop {
        match scratch.store.ping_writer().await {
            Err(failure) => break failure,
            Ok(()) => assert!(since.elapsed() < Duration::from_secs(30)),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(since.elapsed() >= Duration::from_secs(2));
    assert!(failure.message.contains("stuck"), "{}", failure.message);
    release.send(()).unwrap();
    scratch.store.flush().await.unwrap();
    scratch.store.ping_writer().await.unwrap();
}

#[actix::test]
async fn a_file_that_vanished_is_not_replaced_by_an_empty_one() {
    let scratch = Scratch::in_file();
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", scratch.path().display()));
    }
    // Whatever the open connections still say: nothing may be acknowledged into a new, empty file.
    let panic = scratch.store.write("panic", |_| -> Result<(), _> { panic!("to lose the connection") });
    assert!(panic.await.is_err());
    let failure = scratch.store.create_gateway(new_gateway("a")).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::StoreUnavailable);
    assert!(!scratch.path().exists());
}
