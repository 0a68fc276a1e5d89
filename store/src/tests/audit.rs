use super::*;
use crate::audit_log::AuditLogWriter;
use crate::records::{AuditActor, AuditEntry, AuditResult, NewApiKey, Role};
use serde_json::json;

const DAY_MS: i64 = 24 * 3_600_000;

fn entry(at_ms: i64) -> AuditEntry {
    AuditEntry {
        at_ms,
        actor: AuditActor { key_id: Some(3), name: "deploy".to_owned(), role: Some(Role::Operator) },
        address: Some("127.0.0.1".to_owned()),
        request_id: Some("req-1".to_owned()),
        action: "gateway.update".to_owned(),
        target: Some("gateway 3".to_owned()),
        result: AuditResult::Refused,
        details: json!({"code": "forbidden"}),
    }
}

async fn times(scratch: &Scratch, limit: usize, since: Option<i64>, before: Option<i64>) -> Vec<i64> {
    let records = scratch.store.list_audit(limit, since, before).await.unwrap();
    records.into_iter().map(|record| record.entry.at_ms).collect()
}

#[actix::test]
async fn entries_come_back_newest_first_in_pages_as_they_were_written() {
    let scratch = Scratch::open();
    scratch.store.append_audit((0..7).map(entry).collect()).await.unwrap();
    let scratch = scratch.reopen().await;
    let page = scratch.store.list_audit(3, None, None).await.unwrap();
    assert_eq!(page[0].entry, entry(6));
    assert_eq!(page.iter().map(|record| record.entry.at_ms).collect::<Vec<_>>(), vec![6, 5, 4]);
    assert_eq!(times(&scratch, 3, None, Some(page[2].id)).await, vec![3, 2, 1]);
    assert_eq!(times(&scratch, 50, Some(5), None).await, vec![6, 5]);
    assert_eq!(times(&scratch, 50, Some(5), Some(page[0].id)).await, vec![5]);
    assert_eq!(times(&scratch, 0, None, None).await, vec![6], "the limit is brought into range");
    let shown = serde_json::to_value(&page[0]).unwrap();
    assert_eq!(
        (&shown["at_ms"], &shown["result"], &shown["actor"]["role"]),
        (&json!(6), &json!("refused"), &json!("operator"))
    );
}

#[actix::test]
async fn oversized_texts_are_cut_and_oversized_details_left_out() {
    let scratch = Scratch::open();
    let huge = AuditEntry {
        address: Some("a".repeat(1_000)),
        action: "b".repeat(1_000),
        target: Some("\u{e9}".repeat(1_000)),
        details: json!({"text": "x".repeat(20_000)}),
        ..entry(1)
    };
    let odd = AuditEntry { details: json!("no object"), actor: AuditActor::system(), ..entry(2) };
    scratch.store.append_audit(vec![huge, odd]).await.unwrap();
    let found = scratch.store.list_audit(9, None, None).await.unwrap();
    assert_eq!((&found[0].entry.details, &found[0].entry.actor), (&json!({}), &AuditActor::system()));
    let cut = &found[1].entry;
    assert_eq!(cut.address.as_ref().unwrap().len(), 100);
    assert_eq!((cut.action.len(), cut.target.as_ref().unwrap().chars().count()), (100, 600));
    assert_eq!(cut.details, json!({"left_out_bytes": 20_011}));
}

#[actix::test]
async fn what_a_key_did_stays_known_when_the_key_is_gone() {
    let scratch = Scratch::open();
    let new = NewApiKey {
        name: "k".to_owned(),
        role: Role::Admin,
        sha256: "0".repeat(64),
        prefix: "gwk".to_owned(),
        expires_at: None,
    };
    let key = scratch.store.insert_key(new).await.unwrap();
    let actor = AuditActor { key_id: Some(key.id), name: key.name, role: Some(key.role) };
    scratch.store.append_audit(vec![AuditEntry { actor: actor.clone(), ..entry(1) }]).await.unwrap();
    scratch.store.delete_key(key.id).await.unwrap();
    assert_eq!(scratch.store.list_audit(1, None, None).await.unwrap()[0].entry.actor, actor);
}

#[actix::test]
async fn entries_are_kept_for_ninety_days_and_no_longer() {
    let scratch = Scratch::open();
    let now = 1_000 * DAY_MS;
    let old = (0..4_500).map(|turn| entry(now - 90 * DAY_MS - 1 - turn));
    scratch.store.append_audit(old.chain([entry(now - 90 * DAY_MS), entry(now)]).collect()).await.unwrap();
    assert_eq!(scratch.store.thin_audit(now, RetentionSettings::default().audit).await.unwrap(), 4_500);
    assert_eq!(times(&scratch, 1_000, None, None).await, vec![now, now - 90 * DAY_MS]);
    assert_eq!(scratch.store.thin_audit(now, RetentionSettings::default().audit).await.unwrap(), 0);
}

#[actix::test]
async fn the_writer_brings_entries_into_the_database() {
    let scratch = Scratch::open();
    let writer = AuditLogWriter::start(scratch.store.clone());
    for at in 0..300 {
        writer.push(entry(at));
    }
    writer.write(entry(300)).await.unwrap();
    writer.flush().await;
    assert_eq!(times(&scratch, 1_000, None, None).await, (0..=300).rev().collect::<Vec<_>>());
}
