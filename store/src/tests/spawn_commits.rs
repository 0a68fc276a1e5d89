//! Spawns that are recorded at the same time: one commit, and each its own answer.

use std::sync::mpsc;

use futures_util::future::join_all;
use gatewarden_core::error::{ErrorCode, Failure};
use gatewarden_core::spawn::SpawnRecord;

use super::faults::occupy;
use super::spawns::{new_spawn, text};
use super::*;
use diesel::connection::SimpleConnection;
use tokio::task::JoinHandle;

type Answer = Result<Option<SpawnRecord>, Failure>;

impl Scratch {
    async fn until_gathered(&self, count: usize) {
        while self.store.gathered_spawns().all().len() < count {
            tokio::task::yield_now().await;
        }
    }
}

/// Asks for a spawn's record; where its answer comes.
fn begin(scratch: &Scratch, spawn: SpawnRecord, key: Option<&str>) -> JoinHandle<Answer> {
    let (store, key) = (scratch.store.clone(), key.map(str::to_owned));
    actix::spawn(async move { store.record_spawn(spawn, text(), key).await })
}

/// Has these recorded while the writer is kept busy, so that all wait for one commit; what each is answered with.
async fn together(scratch: &Scratch, spawns: Vec<(SpawnRecord, Option<&str>)>) -> Vec<Answer> {
    let release: mpsc::Sender<()> = occupy(&scratch.store, true).await;
    let count = spawns.len();
    let begun: Vec<_> = spawns.into_iter().map(|(spawn, key)| begin(scratch, spawn, key)).collect();
    scratch.until_gathered(count).await;
    assert_eq!(scratch.store.queue_depth().0, 2, "all of them are one job, behind the one that is under way");
    drop(release);
    join_all(begun).await.into_iter().map(Result::unwrap).collect()
}

#[actix::test]
async fn spawns_that_wait_for_the_writer_share_a_commit_and_get_their_own_answers() {
    let scratch = Scratch::open();
    let first =
        scratch.store.record_spawn(new_spawn("first"), text(), Some("again".to_owned())).await.unwrap().unwrap();
    let other = scratch.store.record_spawn(new_spawn("other"), Secret::new("other"), Some("other".to_owned()));
    other.await.unwrap().unwrap();
    let mut spawns: Vec<_> = (0..8).map(|turn| (new_spawn(&turn.to_string()), None)).collect();
    spawns.extend([(new_spawn("again"), Some("again")), (new_spawn("other text"), Some("other"))]);
    spawns.extend([(new_spawn("twin"), Some("twin")), (new_spawn("twin"), Some("twin"))]);
    let answers = together(&scratch, spawns.clone()).await;
    for (answer, (asked, _)) in answers.iter().zip(&spawns).take(8) {
        let record = answer.as_ref().unwrap().as_ref().unwrap();
        assert_eq!((&record.spawn_id, &record.summary), (&asked.spawn_id, &asked.summary));
    }
    let [.., again, other_text, one, twin] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!(again, &Ok(Some(first)), "the spawn that its key stands for");
    assert_eq!(other_text, &Ok(None), "its key stands for another text");
    assert!(one.as_ref().is_ok_and(Option::is_some) && one == twin, "of two with one key in one commit one is new");
    assert_eq!(scratch.store.list_spawns(99, 0).await.unwrap().1, 11);
}

#[actix::test]
async fn of_two_with_one_key_in_one_commit_the_other_is_answered_later() {
    let scratch = Scratch::open();
    let release = occupy(&scratch.store, true).await;
    let one = begin(&scratch, new_spawn("one"), Some("twin"));
    scratch.until_gathered(1).await;
    let other = begin(&scratch, new_spawn("other"), Some("twin"));
    scratch.until_gathered(2).await;
    // Behind their commit, so that nothing more is written.
    let behind = actix::spawn({
        let store = scratch.store.clone();
        async move { occupy(&store, true).await }
    });
    while scratch.store.queue_depth().0 < 3 {
        tokio::task::yield_now().await;
    }
    drop(release);
    let (record, behind) = (one.await.unwrap().unwrap(), behind.await.unwrap());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!other.is_finished(), "whoever sends the first one has not had a turn to hear of it");
    drop(behind);
    assert_eq!(other.await.unwrap().unwrap(), record);
}

#[actix::test]
async fn each_of_those_that_share_a_commit_has_the_time_at_which_it_was_asked_for() {
    let scratch = Scratch::open();
    let release = occupy(&scratch.store, true).await;
    let first = begin(&scratch, new_spawn("first"), None);
    scratch.until_gathered(1).await;
    let first_by_ms = scratch.store.now_ms();
    while scratch.store.now_ms() <= first_by_ms {
        tokio::task::yield_now().await;
    }
    let second = begin(&scratch, new_spawn("second"), None);
    scratch.until_gathered(2).await;
    drop(release);
    let created_ms = |answer: Answer| answer.unwrap().unwrap().created_at_ms;
    assert!(created_ms(first.await.unwrap()) <= first_by_ms);
    assert!(created_ms(second.await.unwrap()) > first_by_ms);
}

#[actix::test]
async fn one_that_the_database_refuses_keeps_none_of_the_others_from_being_recorded() {
    let scratch = Scratch::in_file();
    scratch
        .execute(
            "CREATE TRIGGER no BEFORE INSERT ON spawns WHEN NEW.summary = 'bad' BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .unwrap();
    let spawns = ["a", "bad", "b"].map(|summary| (new_spawn(summary), None));
    let answers = together(&scratch, spawns.to_vec()).await;
    assert_eq!(answers[1].as_ref().unwrap_err().code, ErrorCode::Internal);
    for (answer, (asked, _)) in [&answers[0], &answers[2]].into_iter().zip([&spawns[0], &spawns[2]]) {
        assert_eq!(answer.as_ref().unwrap().as_ref().unwrap().spawn_id, asked.spawn_id);
    }
    assert_eq!(scratch.store.list_spawns(9, 0).await.unwrap().1, 2);
}

#[actix::test]
async fn a_locked_database_fails_all_that_wait_for_good() {
    let scratch = Scratch::in_file();
    let mut outsider = scratch.outsider();
    outsider.batch_execute("BEGIN IMMEDIATE").unwrap();
    // All are asked for before the task that has them recorded gets its turn.
    let record = |summary: &str| scratch.store.record_spawn(new_spawn(summary), text(), None);
    let answers = join_all(["a", "b", "c"].map(record)).await;
    for answer in &answers {
        assert_eq!(answer.as_ref().unwrap_err().code, ErrorCode::StoreUnavailable);
    }
    outsider.batch_execute("ROLLBACK").unwrap();
    assert_eq!(scratch.store.list_spawns(9, 0).await.unwrap().1, 0, "what failed is not recorded later");
}

#[actix::test]
async fn the_one_who_asks_for_all_may_go_away() {
    let scratch = Scratch::open();
    let release = occupy(&scratch.store, true).await;
    let first = begin(&scratch, new_spawn("first"), None);
    scratch.until_gathered(1).await;
    let second = begin(&scratch, new_spawn("second"), None);
    scratch.until_gathered(2).await;
    first.abort();
    assert!(first.await.is_err());
    drop(release);
    assert_eq!(second.await.unwrap().unwrap().unwrap().summary, "second");
}
