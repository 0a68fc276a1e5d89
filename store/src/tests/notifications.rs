//! Episodes and their notifications are stored together or not at all, and survive.

use super::Scratch;
use crate::records::{EpisodeMove, EpisodeRecord, NewNotification, NotificationMove};

fn episode(destination: &str, id: &str, sequence: u32) -> EpisodeRecord {
    EpisodeRecord {
        destination: destination.to_owned(),
        subject: "gateway-1".to_owned(),
        condition: "down".to_owned(),
        episode: id.to_owned(),
        began_ms: 1,
        announced_ms: 2,
        sequence,
        detail: String::new(),
        subject_name: "prod".to_owned(),
        hold_ms: 300_000,
    }
}

fn step(kind: EpisodeMove, episode: EpisodeRecord) -> NotificationMove {
    let notification_id = format!("{}-{}", episode.episode, episode.sequence);
    let notification = Some(NewNotification { body: format!("body of {notification_id}"), notification_id });
    NotificationMove { kind, episode, notification }
}

#[actix::test]
async fn what_was_announced_and_not_delivered_survives_a_restart() {
    let scratch = Scratch::open();
    let rows = scratch.store.announce(vec![step(EpisodeMove::Begin, episode("ops", "e1", 0))]).await.unwrap();
    scratch.store.note_notification_attempt(rows[0].unwrap(), 3, 77).await.unwrap();
    let scratch = scratch.reopen().await;
    let (episodes, waiting) = scratch.store.load_notifications().await.unwrap();
    assert_eq!(episodes, [episode("ops", "e1", 0)]);
    assert_eq!(waiting.len(), 1);
    assert_eq!((waiting[0].notification_id.as_str(), waiting[0].body.as_str()), ("e1-0", "body of e1-0"));
    assert_eq!((waiting[0].attempts, waiting[0].next_attempt_ms), (3, 77));
    scratch.store.settle_notifications(vec![waiting[0].row]).await.unwrap();
    scratch.store.announce(vec![step(EpisodeMove::End, episode("ops", "e1", 1))]).await.unwrap();
    let (episodes, waiting) = scratch.store.load_notifications().await.unwrap();
    assert_eq!(episodes, []);
    assert_eq!(waiting[0].notification_id, "e1-1");
}

#[actix::test]
async fn a_decision_on_another_state_than_the_stored_one_changes_nothing() {
    let scratch = Scratch::open();
    scratch.store.announce(vec![step(EpisodeMove::Begin, episode("ops", "e1", 0))]).await.unwrap();
    for wrong in [
        step(EpisodeMove::Begin, episode("ops", "e2", 0)),
        step(EpisodeMove::GoOn, episode("ops", "e1", 2)),
        step(EpisodeMove::GoOn, episode("ops", "e2", 1)),
        step(EpisodeMove::End, episode("ops", "e1", 0)),
        step(EpisodeMove::End, episode("chat", "e1", 1)),
    ] {
        let other = NotificationMove {
            episode: EpisodeRecord { subject: "fleet".into(), ..episode("ops", "e9", 0) },
            ..step(EpisodeMove::Begin, episode("ops", "e9", 0))
        };
        assert!(scratch.store.announce(vec![other, wrong.clone()]).await.is_err(), "{wrong:?}");
        let (episodes, waiting) = scratch.store.load_notifications().await.unwrap();
        assert_eq!((episodes.len(), waiting.len()), (1, 1), "{wrong:?}: all or nothing");
    }
    scratch.store.announce(vec![step(EpisodeMove::GoOn, episode("ops", "e1", 1))]).await.unwrap();
}

#[actix::test]
async fn destinations_that_are_gone_leave_nothing_behind() {
    let scratch = Scratch::open();
    for (destination, id) in [("ops", "e1"), ("chat", "e2")] {
        scratch.store.announce(vec![step(EpisodeMove::Begin, episode(destination, id, 0))]).await.unwrap();
    }
    assert_eq!(scratch.store.keep_notifications_of(vec!["ops".into()]).await.unwrap(), 1);
    let (episodes, waiting) = scratch.store.load_notifications().await.unwrap();
    assert_eq!((episodes.len(), waiting.len()), (1, 1));
    assert_eq!(waiting[0].destination, "ops");
    scratch.store.forget_episode(episodes[0].clone()).await.unwrap();
    assert_eq!(scratch.store.keep_notifications_of(Vec::new()).await.unwrap(), 1);
    let (episodes, waiting) = scratch.store.load_notifications().await.unwrap();
    assert_eq!((episodes.len(), waiting.len()), (0, 0));
}
