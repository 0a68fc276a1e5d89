//! On a paused clock, with a recorder in the store's place.

use std::cell::RefCell;
use std::rc::Rc;

use std::time::Duration;

use super::*;
use gatewarden_core::error::{ErrorCode, Failure};
use gatewarden_core::gateway_report::Status;

#[derive(Clone, Default)]
struct Recorder {
    batches: Rc<RefCell<Vec<Vec<i64>>>>,
    broken: Rc<RefCell<bool>>,
}

impl Recorder {
    fn start(&self) -> HealthLogWriter {
        let recorder = self.clone();
        HealthLogWriter::start_with(
            move |points| {
                let recorder = recorder.clone();
                Box::pin(async move {
                    if *recorder.broken.borrow() {
                        return Err(Failure::new(ErrorCode::StoreUnavailable, "locked"));
                    }
                    recorder.batches.borrow_mut().push(points.iter().map(|(_, point)| point.at_ms).collect());
                    Ok(())
                })
            },
            || 0,
        )
    }

    fn stored(&self) -> Vec<i64> {
        self.batches.borrow().concat()
    }
}

fn push(writer: &HealthLogWriter, at_ms: i64) {
    let point = HealthPoint {
        samples: Vec::new(),
        at_ms,
        status: Status::Online,
        latency_ms: None,
        latency_min_ms: None,
        latency_avg_ms: None,
        latency_max_ms: None,
        misses: 0,
        error: None,
    };
    writer.push((GatewayId(1), point));
}

/// Lets the actor take what was pushed.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[actix::test]
async fn points_of_one_second_are_one_batch_in_order() {
    tokio::time::pause();
    let recorder = Recorder::default();
    let writer = recorder.start();
    for at in 0..10 {
        push(&writer, at);
    }
    settle().await;
    assert!(recorder.batches.borrow().is_empty());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(*recorder.batches.borrow(), vec![(0..10).collect::<Vec<_>>()]);
}

#[actix::test]
async fn a_large_batch_does_not_wait_for_its_second() {
    tokio::time::pause();
    let recorder = Recorder::default();
    let writer = recorder.start();
    for at in 0..450 {
        push(&writer, at);
    }
    settle().await;
    assert!(recorder.stored().len() >= 400, "{}", recorder.stored().len());
    writer.flush().await;
    assert_eq!(recorder.stored(), (0..450).collect::<Vec<_>>());
}

#[actix::test]
async fn points_wait_while_the_store_is_down_and_are_written_when_it_is_back() {
    tokio::time::pause();
    let recorder = Recorder::default();
    let writer = recorder.start();
    *recorder.broken.borrow_mut() = true;
    for at in 0..3 {
        push(&writer, at);
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    push(&writer, 3);
    settle().await;
    *recorder.broken.borrow_mut() = false;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(recorder.stored(), vec![0, 1, 2, 3]);
}

#[actix::test]
async fn the_oldest_points_go_when_the_store_is_down_for_long() {
    tokio::time::pause();
    let recorder = Recorder::default();
    let writer = recorder.start();
    *recorder.broken.borrow_mut() = true;
    for turn in 0..13 {
        for at in 0..1_000 {
            push(&writer, turn * 1_000 + at);
        }
        settle().await;
    }
    *recorder.broken.borrow_mut() = false;
    writer.flush().await;
    assert_eq!(recorder.stored(), (3_000..13_000).collect::<Vec<_>>());
}

#[actix::test]
async fn a_flush_of_a_broken_store_answers_all_the_same() {
    tokio::time::pause();
    let recorder = Recorder::default();
    let writer = recorder.start();
    *recorder.broken.borrow_mut() = true;
    push(&writer, 1);
    tokio::time::timeout(Duration::from_secs(1), writer.flush()).await.unwrap();
    *recorder.broken.borrow_mut() = false;
    writer.flush().await;
    assert_eq!(recorder.stored(), vec![1]);
    writer.flush().await;
}
