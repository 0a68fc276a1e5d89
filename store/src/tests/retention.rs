use super::*;
use crate::records::{AuditEntry, AuditResult, TokenUsage};
use serde_json::json;

#[actix::test]
async fn one_call_forgets_what_is_old_and_keeps_the_rest() {
    let scratch = Scratch::open();
    let now = Clock::system().wall_ms();
    for at_ms in [0, now] {
        let entry = AuditEntry::by_system(at_ms, "gateway.update", None, AuditResult::Ok, json!({}));
        scratch.store.append_audit(vec![entry]).await.unwrap();
        let usage = TokenUsage {
            at_ms,
            agent: "a".to_owned(),
            model: "m".to_owned(),
            input_tokens: 1,
            output_tokens: 1,
            cost: None,
            session_key: None,
            source: "api".to_owned(),
        };
        scratch.store.append_token_usage(vec![usage]).await.unwrap();
    }
    scratch.store.forget_old(&RetentionSettings::default()).await.unwrap();
    assert_eq!(scratch.store.list_audit(9, None, None).await.unwrap().len(), 1);
    assert_eq!(scratch.store.list_tokens(0, 9, None).await.unwrap().len(), 1);
}

fn entry(at_ms: i64) -> AuditEntry {
    let details = json!({ "filling": "x".repeat(4_000) });
    AuditEntry::by_system(at_ms, "gateway.update", None, AuditResult::Ok, details)
}

#[actix::test]
async fn a_flood_costs_the_oldest_entries_and_no_spawn_that_is_open() {
    let scratch = Scratch::open();
    scratch.store.append_audit((0..30).map(entry).collect()).await.unwrap();
    scratch.store.record_spawn(new_spawn("open"), spawn_text(), None).await.unwrap();
    scratch.store.record_spawn(new_spawn("open too"), spawn_text(), None).await.unwrap();
    assert_eq!(scratch.store.cut_logs(10, 1).await.unwrap(), 20);
    let left = scratch.store.list_audit(99, None, None).await.unwrap();
    assert_eq!(left.iter().map(|record| record.entry.at_ms).collect::<Vec<_>>(), (20..30).rev().collect::<Vec<_>>());
    assert_eq!(scratch.store.open_spawns().await.unwrap().len(), 2);
    assert_eq!(scratch.store.cut_logs(10, 1).await.unwrap(), 0);
}

#[actix::test]
async fn space_that_is_not_used_any_more_is_given_back() {
    let scratch = Scratch::in_file();
    for _ in 0..4 {
        scratch.store.append_audit((0..1_000).map(entry).collect()).await.unwrap();
    }
    let size = || async {
        scratch.store.checkpoint().await.unwrap();
        std::fs::metadata(scratch.path()).unwrap().len()
    };
    let full = size().await;
    assert!(full > 15 << 20, "{full}");
    scratch.store.cut_logs(10, 10).await.unwrap();
    scratch.store.tidy().await.unwrap();
    let tidied = size().await;
    // Some stays for what comes next.
    assert!((4 << 20..6 << 20).contains(&tidied), "{tidied}");
}

#[actix::test]
async fn a_database_that_could_not_give_space_back_can_from_the_next_start_on() {
    use diesel::connection::SimpleConnection as _;
    let scratch = Scratch::in_file();
    scratch.store.create_gateway(new_gateway("a")).await.unwrap();
    scratch.outsider().batch_execute("PRAGMA auto_vacuum = NONE; VACUUM").unwrap();
    let can = |scratch: &Scratch| crate::sqlite::can_shrink(&mut scratch.outsider()).unwrap();
    assert!(!can(&scratch));
    let scratch = scratch.reopen().await;
    assert!(can(&scratch));
    assert_eq!(scratch.store.load_gateways().await.unwrap().len(), 1);
}

#[actix::test]
async fn the_daemon_makes_backups_by_itself() {
    let scratch = Scratch::in_file();
    scratch.store.create_gateway(new_gateway("a")).await.unwrap();
    let backup = scratch.store.back_up(scratch.dir.path().join("b.db")).await.unwrap();
    assert_eq!((backup.contents.gateways, backup.contents.key_checked, backup.key_path), (1, true, None));
    let error = scratch.store.back_up(scratch.dir.path().join("b.db")).await.unwrap_err();
    assert!(error.to_string().contains("is there already"), "{error}");
}
