//! What is only so on a server. Skipped where TEST_POSTGRES names none: `.ci/postgres` starts one.

use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use gatewarden_clock::clock::Clock;
use gatewarden_core::error::ErrorCode;
use gatewarden_core::gateway_record::GatewaySpec;
use gatewarden_protocol::Secret;

use crate::database::Database;
use crate::error::StoreError;
use crate::postgres::address::ServerAddress;
use crate::records::NewAgent;
use crate::tests::{Scratch, new_gateway, new_schema, open, outside, server};

fn at(url: &str) -> Database {
    Database::Server(ServerAddress::parse(&Secret::new(url.to_owned())).unwrap())
}

fn administer(server: &str, query: &str) {
    outside(&at(server), |connection| connection.batch_execute(query)).unwrap();
}

/// The URL of another role, host or database.
fn changed(server: &str, change: impl Fn(&mut url::Url)) -> String {
    let mut url = url::Url::parse(server).unwrap();
    change(&mut url);
    url.to_string()
}

fn refused(database: &Database, dir: &tempfile::TempDir) -> StoreError {
    open(database, dir.path(), |options| options.busy_timeout = Duration::from_millis(600)).unwrap_err()
}

#[actix::test]
async fn each_trouble_of_a_server_has_its_sentence_and_its_exit_code() {
    let Some(server) = server() else { return };
    let dir = tempfile::tempdir().unwrap();
    let name = format!("r{}", uuid::Uuid::new_v4().simple());
    administer(&server, &format!("CREATE ROLE {name} LOGIN PASSWORD 'pw-secret'"));
    administer(&server, &format!("CREATE DATABASE {name} OWNER {name}"));
    administer(&server, &format!("CREATE DATABASE {name}_latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'"));
    let role = changed(&server, |url| {
        url.set_username(&name).unwrap();
        url.set_password(Some("pw-secret")).unwrap();
    });
    let own = changed(&role, |url| url.set_path(&name));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let cases = [
        (changed(&own, |url| url.set_password(Some("wrong-secret")).unwrap()), "refuses the password", 78),
        (changed(&own, |url| url.set_path("nothing_there")), "no such database", 78),
        (changed(&own, |url| url.set_port(Some(closed)).unwrap()), "Nothing listens there", 1),
        (format!("{own}?sslmode=verify-full"), "offers no TLS", 78),
        (format!("{own}?sslrootcert=/nonexistent.pem"), "sslrootcert", 78),
        (format!("{own}?options=-cdefault_transaction_read_only%3Don"), "takes no writes", 1),
        (changed(&server, |url| url.set_path(&format!("{name}_latin"))), "encoding is LATIN1", 78),
        // Of the server's own database it may use the schema, and make nothing there.
        (role.clone(), "lacks rights", 78),
    ];
    for (url, sentence, code) in cases {
        let error = refused(&at(&url), &dir);
        assert!(error.to_string().contains(sentence), "{sentence}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        assert_eq!(error.exit_code(), code, "{error}");
    }
    assert!(!dir.path().join(crate::key_file::KEY_FILE_NAME).exists(), "a start that failed makes no key");
    administer(&server, &format!("ALTER ROLE {name} CONNECTION LIMIT 0"));
    let crowded = refused(&at(&own), &dir);
    assert!(crowded.to_string().contains("no connection left") && crowded.exit_code() == 1, "{crowded}");
    administer(&server, &format!("ALTER ROLE {name} CONNECTION LIMIT -1"));
    open(&at(&own), dir.path(), |_| {}).unwrap().create_gateway(new_gateway("a")).await.unwrap();
}

#[actix::test]
async fn a_second_daemon_is_refused_and_told_by_whom() {
    let Some(server) = server() else { return };
    let scratch = Scratch::open();
    scratch.store.create_gateway(new_gateway("a")).await.unwrap();
    let error = refused(&scratch.database, &scratch.dir);
    assert!(error.to_string().contains("another gatewarden works on it (gatewarden from 127.0.0.1"), "{error}");
    assert_eq!(error.exit_code(), 1);
    // Another schema is another installation.
    Scratch::of(Database::Server(new_schema(&server)), |_| {}).store.create_gateway(new_gateway("b")).await.unwrap();
}

#[actix::test]
async fn a_command_beside_a_daemon_reads_and_does_not_write() {
    if server().is_none() {
        return;
    }
    let scratch = Scratch::open();
    scratch.store.create_gateway(new_gateway("a")).await.unwrap();
    let beside = open(&scratch.database, scratch.dir.path(), |options| {
        options.beside_another = true;
        options.busy_timeout = Duration::from_millis(600);
    });
    let beside = beside.unwrap();
    assert_eq!(beside.load_gateways().await.unwrap().len(), 1);
    let failure = beside.create_gateway(new_gateway("b")).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::StoreUnavailable);
    assert!(failure.message.contains("another gatewarden works on the database"), "{failure}");
    scratch.store.create_gateway(new_gateway("b")).await.unwrap();
}

/// Ends all sessions of the database's lock, or of anybody else who may look at this schema.
fn end_sessions(database: &Database) {
    outside(database, |connection| {
        connection.batch_execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE pid <> pg_backend_pid() AND application_name = current_setting('application_name')",
        )
    })
    .unwrap();
}

#[actix::test]
async fn sessions_that_the_server_ends_are_opened_again() {
    let Some(server) = server() else { return };
    let scratch = Scratch::of(Database::Server(new_schema(&server).named("cut-off")), |_| {});
    scratch.store.create_gateway(new_gateway("a")).await.unwrap();
    scratch.store.load_gateways().await.unwrap();
    end_sessions(&scratch.database);
    scratch.store.create_gateway(new_gateway("b")).await.unwrap();
    assert_eq!(scratch.store.load_gateways().await.unwrap().len(), 2);
    // In the middle of a job it is another matter: what it asked before is undone.
    let database = scratch.database.clone();
    let broken = scratch.store.write("try this", move |db| {
        end_sessions(&database);
        Ok(crate::database::write_trial(db.connection)?)
    });
    let failure = broken.await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::StoreUnavailable);
    assert!(failure.message.contains("the database server does not answer"), "{failure}");
    assert_eq!(scratch.store.last_write_fault(), Some(failure));
    scratch.store.try_a_write().await.unwrap();
    assert_eq!(scratch.store.last_write_fault(), None);
}

#[actix::test]
async fn of_a_write_that_was_lost_at_its_commit_nobody_claims_to_know() {
    let Some(server) = server() else { return };
    let scratch = Scratch::of(Database::Server(new_schema(&server).named("lost-at-commit")), |_| {});
    let database = scratch.database.clone();
    let failure = scratch.store.write("try this", move |_| {
        end_sessions(&database);
        Ok(())
    });
    let failure = failure.await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::OutcomeUnknown, "{failure}");
    assert!(scratch.store.last_write_fault().is_some());
}

#[actix::test]
async fn a_write_that_meets_another_one_is_done_again() {
    if server().is_none() {
        return;
    }
    let scratch = Scratch::open();
    let agent = scratch.store.create_agent(NewAgent::manual("a")).await.unwrap();
    let attempts = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (database, counted) = (scratch.database.clone(), attempts.clone());
    let written = scratch.store.write("try this", move |db| {
        use diesel::prelude::*;
        let role: String =
            crate::schema::agents::table.find(agent.id).select(crate::schema::agents::role).first(db.connection)?;
        if counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            let other = "UPDATE agents SET role = 'other'";
            outside(&database, |connection| connection.batch_execute(other)).unwrap();
        }
        diesel::update(crate::schema::agents::table.find(agent.id))
            .set(crate::schema::agents::role.eq(format!("{role}!")))
            .execute(db.connection)?;
        Ok(())
    });
    written.await.unwrap();
    assert_eq!(attempts.load(std::sync::atomic::Ordering::SeqCst), 2);
    assert_eq!(scratch.store.find_agent_by_id(agent.id).await.unwrap().unwrap().role, "other!");
}

#[actix::test]
async fn texts_with_nul_are_stored_with_a_sign_in_its_place() {
    if server().is_none() {
        return;
    }
    let scratch = Scratch::open();
    let record = scratch.store.create_agent(NewAgent::manual("a\0b")).await.unwrap();
    assert_eq!(record.name, "a\u{fffd}b");
    assert_eq!(scratch.store.find_agent_by_name("a\0b".to_owned()).await.unwrap(), Some(record));
}

#[actix::test]
async fn a_schema_of_another_program_or_of_a_later_release_is_left_alone() {
    let Some(server) = server() else { return };
    let later = Scratch::of(Database::Server(new_schema(&server)), |_| {});
    later.store.create_gateway(new_gateway("a")).await.unwrap();
    let dir = later.dir.path().to_owned();
    later.store.close_for_test().await;
    let database = later.database.clone();
    let execute = |query: &str| outside(&database, |connection| connection.batch_execute(query)).unwrap();
    // It added something, and lets this one work on.
    execute(
        "INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000'); \
         ALTER TABLE gateways ADD COLUMN later TEXT NOT NULL DEFAULT 'x'; CREATE TABLE later (id INT)",
    );
    let beside = open(&database, &dir, |_| {}).unwrap();
    beside.create_gateway(new_gateway("b")).await.unwrap();
    beside.close_for_test().await;
    // It took something away.
    execute("UPDATE meta SET value = '99.0.0' WHERE name = 'min_release'");
    let error = open(&database, &dir, |_| {}).unwrap_err();
    assert!(matches!(error, StoreError::ReleaseTooOld { .. }) && error.exit_code() == 78, "{error}");
    assert!(error.to_string().contains("one for gatewarden 99.0.0 and later"), "{error}");
    // It says nothing of that.
    execute("DELETE FROM meta WHERE name = 'min_release'");
    let error = open(&database, &dir, |_| {}).unwrap_err();
    assert!(matches!(error, StoreError::TooNew { .. }) && error.exit_code() == 78, "{error}");
    let other = Database::Server(new_schema(&server));
    outside(&other, |connection| connection.batch_execute("CREATE TABLE theirs (id INT)")).unwrap();
    let error = open(&other, &dir, |_| {}).unwrap_err();
    assert!(error.to_string().contains("tables of another program") && error.exit_code() == 78, "{error}");
}

#[actix::test]
async fn another_key_does_not_open_a_servers_database() {
    if server().is_none() {
        return;
    }
    let scratch = Scratch::open();
    scratch.store.create_gateway(new_gateway("a")).await.unwrap();
    scratch.store.close_for_test().await;
    let Scratch { database, dir, .. } = scratch;
    let missing = open(&database, tempfile::tempdir().unwrap().path(), |_| {}).unwrap_err();
    assert!(matches!(missing, StoreError::KeyMissing { .. }), "{missing}");
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join(crate::key_file::KEY_FILE_NAME), [1_u8; 32]).unwrap();
    let wrong = open(&database, other.path(), |_| {}).unwrap_err();
    assert!(matches!(wrong, StoreError::WrongKey { .. }), "{wrong}");
    open(&database, dir.path(), |_| {}).unwrap();
}

/// Takes connections and says nothing.
#[actix::test]
async fn a_server_that_gives_no_answer_is_given_up_in_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut taken = Vec::new();
        while let Ok((stream, _)) = silent.accept() {
            taken.push(stream);
        }
    });
    let began = Clock::system().now();
    let error = refused(&at(&format!("postgres://a:b@127.0.0.1:{port}/c")), &tempfile::tempdir().unwrap());
    let said = error.to_string();
    assert!(said.contains("doesn't answer (no answer within") && said.contains("pg_locks"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
}

#[actix::test]
async fn a_database_of_a_server_is_not_backed_up_as_a_file() {
    if server().is_none() {
        return;
    }
    let scratch = Scratch::open();
    let error = scratch.store.back_up(scratch.dir.path().join("b.db")).await.unwrap_err();
    assert!(error.to_string().contains("pg_dump"), "{error}");
    scratch.store.checkpoint().await.unwrap();
    scratch.store.tidy().await.unwrap();
    let spec = GatewaySpec { is_primary: true, ..new_gateway("a") };
    scratch.store.create_gateway(spec).await.unwrap();
}
