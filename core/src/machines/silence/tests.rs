use proptest::prelude::*;
use serde_json::json;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
    Instant::now()
}

fn connection(name: &str) -> Watched {
    Watched::Connection(name.to_owned())
}

fn overdue(watch: &mut SilenceWatch, now: Instant) -> Vec<Watched> {
    watch.take_overdue(now, 100).into_iter().map(|overdue| overdue.who).collect()
}

#[test]
fn whoever_reports_in_is_never_overdue_and_whoever_stops_is_once() {
    let (mut watch, start) = (SilenceWatch::new(10), start());
    let mut now = start;
    for _ in 0..10 {
        watch.heard(now, connection("a"), 1, MINUTE);
        now += MINUTE - SECOND;
        assert_eq!(overdue(&mut watch, now), []);
    }
    now += SECOND;
    assert_eq!(watch.take_overdue(now, 9), [Overdue { who: connection("a"), last_heard_s: 1 }]);
    assert_eq!(overdue(&mut watch, now + MINUTE), [], "said once");
    assert!(watch.is_empty());
}

#[test]
fn whoever_said_goodbye_is_not_missed() {
    let (mut watch, now) = (SilenceWatch::new(10), start());
    watch.heard(now, connection("a"), 1, MINUTE);
    watch.forget(&connection("a"));
    watch.forget(&connection("never there"));
    assert_eq!(overdue(&mut watch, now + MINUTE * 2), []);
}

#[test]
fn the_longest_overdue_are_first_and_the_rest_come_later() {
    let (mut watch, now) = (SilenceWatch::new(10), start());
    for (name, allowance) in [("late", 3), ("early", 1), ("middle", 2)] {
        watch.heard(now, connection(name), 1, SECOND * allowance);
    }
    watch.heard(now, Watched::Agent(7), 1, SECOND * 4);
    let later = now + MINUTE;
    let first: Vec<_> = watch.take_overdue(later, 2).into_iter().map(|overdue| overdue.who).collect();
    assert_eq!(first, [connection("early"), connection("middle")]);
    assert_eq!(overdue(&mut watch, later), [connection("late"), Watched::Agent(7)]);
}

#[test]
fn there_is_a_bound_and_who_is_watched_already_is_within_it() {
    let (mut watch, now) = (SilenceWatch::new(2), start());
    assert!(watch.heard(now, connection("a"), 1, MINUTE) && watch.heard(now, connection("b"), 1, MINUTE));
    assert!(!watch.heard(now, connection("c"), 1, MINUTE));
    assert!(watch.heard(now, connection("a"), 2, MINUTE));
    assert_eq!(watch.len(), 2);
    watch.forget(&connection("b"));
    assert!(watch.heard(now, connection("c"), 1, MINUTE));
}

#[test]
fn a_tool_may_announce_a_longer_interval_and_not_a_shorter_one() {
    for (metadata, seconds) in [
        (json!({"heartbeat_interval_s": 100}), 150.0),
        (json!({"heartbeat_interval_s": 60.5}), 90.75),
        (json!({"heartbeat_interval_s": 40}), 60.0),
        (json!({"heartbeat_interval_s": 5}), 60.0),
        (json!({"heartbeat_interval_s": 0}), 60.0),
        (json!({"heartbeat_interval_s": -5}), 60.0),
        (json!({"heartbeat_interval_s": "100"}), 60.0),
        (json!({"heartbeat_interval_s": 1e300}), 60.0),
        (json!({"heartbeat_interval_s": 1e9}), 129_600.0),
        (json!({"model": "m"}), 60.0),
        (json!("text"), 60.0),
    ] {
        assert_eq!(allowance(MINUTE, Some(&metadata)), Duration::from_secs_f64(seconds), "{metadata}");
    }
    assert_eq!(allowance(MINUTE, None), MINUTE);
}

proptest! {
    /// Against a plain list of deadlines: the same are overdue, at every step.
    #[test]
    fn it_is_a_list_of_deadlines(steps in proptest::collection::vec((0_u8..4, 0_i64..6, 1_u64..50), 1..120)) {
        let (mut watch, start) = (SilenceWatch::new(4), start());
        let (mut model, mut now): (HashMap<i64, Instant>, Instant) = (HashMap::new(), start);
        for (act, id, span) in steps {
            let span = SECOND * u32::try_from(span).unwrap();
            match act {
                0 | 1 => {
                    let taken = watch.heard(now, Watched::Agent(id), 0, span);
                    prop_assert_eq!(taken, model.len() < 4 || model.contains_key(&id));
                    if taken {
                        model.insert(id, now + span);
                    }
                }
                2 => {
                    watch.forget(&Watched::Agent(id));
                    model.remove(&id);
                }
                _ => {
                    now += span;
                    let mut found: Vec<Watched> = overdue(&mut watch, now);
                    found.sort();
                    let mut expected: Vec<Watched> =
                        model.iter().filter(|(_, due)| **due <= now).map(|(id, _)| Watched::Agent(*id)).collect();
                    expected.sort();
                    prop_assert_eq!(found, expected);
                    model.retain(|_, due| *due > now);
                }
            }
            prop_assert_eq!(watch.len(), model.len());
            prop_assert_eq!(watch.by_due.len(), model.len());
        }
    }
}
