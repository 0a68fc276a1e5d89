//! On a paused clock, with a recorder in the store's place.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::records::AuditActor;
use gatewarden_core::error::ErrorCode;

#[derive(Clone, Default)]
struct Recorder {
    batches: Rc<RefCell<Vec<Vec<AuditEntry>>>>,
    broken: Rc<Cell<bool>>,
    slow: Rc<Cell<bool>>,
}

impl Recorder {
    fn start(&self) -> AuditLogWriter {
        let recorder = self.clone();
        let append = move |entries: Vec<AuditEntry>| -> Appending {
            let recorder = recorder.clone();
            Box::pin(async move {
                if recorder.slow.get() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                if recorder.broken.get() {
                    return Err(Failure::new(ErrorCode::StoreUnavailable, "locked"));
                }
                recorder.batches.borrow_mut().push(entries);
                Ok(())
            })
        };
        AuditLogWriter::start_with(append, || 77)
    }

    fn stored(&self) -> Vec<i64> {
        self.batches.borrow().iter().flatten().map(|entry| entry.at_ms).collect()
    }
}

fn entry(at_ms: i64) -> AuditEntry {
    AuditEntry {
        at_ms,
        actor: AuditActor::anonymous(),
        address: None,
        request_id: None,
        action: "gateway.update".to_owned(),
        target: None,
        result: AuditResult::Ok,
        details: json!({}),
    }
}

/// Lets the actor take what was pushed.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[actix::test]
async fn entries_of_one_second_are_one_batch_in_order() {
    tokio::time::pause();
    let recorder = Recorder::default();
    let writer = recorder.start();
    for at in 0..10 {
        writer.push(entry(at));
    }
    settle().await;
    assert!(recorder.batches.borrow().is_empty());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(recorder.batches.borrow().len(), 1);
    assert_eq!(recorder.stored(), (0..10).collect::<Vec<_>>());
}

#[actix::test]
async fn who_waits_for_an_entry_is_answered_at_once_and_shares_the_transaction() {
    tokio::time::pause();
    let recorder = Recorder::default();
    recorder.slow.set(true);
    let writer = recorder.start();
    let since = tokio::time::Instant::now();
    writer.push(entry(0));
    let waiting = (1..=5).map(|at| {
        let writer = writer.clone();
        async move { writer.write(entry(at)).await }
    });
    for answer in futures_util::future::join_all(waiting).await {
        answer.unwrap();
    }
    assert!(since.elapsed() < Duration::from_millis(300), "{:?}", since.elapsed());
    assert_eq!(recorder.stored(), (0..=5).collect::<Vec<_>>());
    assert_eq!(recorder.batches.borrow().len(), 2, "the first, and those who came while it was written");
}

#[actix::test]
async fn who_waits_learns_that_the_store_is_down_and_the_entry_is_written_later_once() {
    tokio::time::pause();
    let recorder = Recorder::default();
    let writer = recorder.start();
    recorder.broken.set(true);
    for at in 0..3 {
        let failure = writer.write(entry(at)).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::StoreUnavailable);
    }
    recorder.broken.set(false);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(recorder.stored(), vec![0, 1, 2]);
}

#[actix::test]
async fn the_log_itself_tells_how_many_entries_it_lacks() {
    tokio::time::pause();
    let recorder = Recorder::default();
    let writer = recorder.start();
    recorder.broken.set(true);
    for turn in 0..12 {
        for at in 0..1_000 {
            writer.push(entry(turn * 1_000 + at));
        }
        settle().await;
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    recorder.broken.set(false);
    writer.flush().await;
    writer.write(entry(12_000)).await.unwrap();
    let batches = recorder.batches.borrow().concat();
    let (gaps, kept): (Vec<_>, Vec<_>) = batches.iter().partition(|entry| entry.action == "audit.lost");
    assert_eq!(kept.iter().map(|entry| entry.at_ms).collect::<Vec<_>>(), (2_000..=12_000).collect::<Vec<_>>());
    assert_eq!(gaps.len(), 1, "told once");
    assert_eq!((gaps[0].at_ms, gaps[0].details.clone()), (77, json!({"entries": 2_000})));
    assert_eq!(batches[0].action, "audit.lost", "before what came later");
}
