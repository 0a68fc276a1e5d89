use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::clock::Now;

const BEAT: Duration = Duration::from_secs(40);

fn session(seq: u64) -> Session {
    Session { id: "s".to_owned(), url: "wss://resume".to_owned(), seq }
}

fn hello() -> String {
    json!({"op": 10, "d": {"heartbeat_interval": 40_000}, "s": null, "t": null}).to_string()
}

fn ready(seq: u64) -> String {
    let d = json!({"v": 10, "session_id": "s", "resume_gateway_url": "wss://resume", "user": {"id": "666"}});
    json!({"op": 0, "t": "READY", "s": seq, "d": d}).to_string()
}

fn event(name: &str, seq: u64) -> String {
    json!({"op": 0, "t": name, "s": seq, "d": {"id": seq.to_string()}}).to_string()
}

/// A conversation that is open.
fn open(now: Instant) -> Conversation {
    let mut talk = Conversation::new(None, now);
    assert_eq!(talk.hear(&hello(), now, 0.5), [Step::Say(Word::Identify)]);
    assert_eq!(talk.hear(&ready(1), now, 0.5), [Step::Open { is_new: true }]);
    talk
}

fn ending(steps: &[Step]) -> Option<Next> {
    steps.iter().find_map(|step| match step {
        Step::End { next, .. } => Some(*next),
        _ => None,
    })
}

#[test]
fn a_new_session_is_begun_and_its_events_are_counted() {
    let now = Now::read().at;
    let mut talk = open(now);
    assert_eq!(talk.session, Some(session(1)));
    let steps = talk.hear(&event("MESSAGE_CREATE", 7), now, 0.5);
    assert_eq!(steps, [Step::Message(json!({"id": "7"}))]);
    assert!(talk.hear(&event("TYPING_START", 8), now, 0.5).is_empty());
    assert_eq!(talk.session, Some(session(8)));
}

#[test]
fn a_session_is_gone_on_with_and_what_was_missed_comes_before() {
    let now = Now::read().at;
    let mut talk = Conversation::new(Some(session(5)), now);
    let word = Word::Resume { session: "s".to_owned(), seq: 5 };
    assert_eq!(talk.hear(&hello(), now, 0.0), [Step::Say(word)]);
    assert!(matches!(talk.hear(&event("MESSAGE_CREATE", 6), now, 0.0)[..], [Step::Message(_)]));
    assert_eq!(talk.hear(&event("RESUMED", 7), now, 0.0), [Step::Open { is_new: false }]);
    assert_eq!(talk.session, Some(session(7)));
}

#[test]
fn nothing_is_believed_before_the_gateway_has_said_hello() {
    let now = Now::read().at;
    let mut talk = Conversation::new(None, now);
    assert!(talk.hear(&ready(1), now, 0.0).is_empty());
    assert!(talk.hear(&event("MESSAGE_CREATE", 2), now, 0.0).is_empty());
    assert!(talk.hear(&event("RESUMED", 2), now, 0.0).is_empty());
    assert_eq!(talk.session, None);
    talk.hear(&hello(), now, 0.0);
    assert!(talk.hear(&event("MESSAGE_CREATE", 2), now, 0.0).is_empty(), "nor before it has let the bot in");
}

#[test]
fn heartbeats_begin_at_a_chosen_moment_and_say_what_came_last() {
    let now = Now::read().at;
    let mut talk = open(now);
    assert_eq!(talk.deadline(), Some(now + BEAT / 2));
    assert!(talk.on_time(now).is_empty());
    assert_eq!(talk.on_time(now + BEAT / 2), [Step::Say(Word::Heartbeat(Some(1)))]);
    assert!(talk.hear(r#"{"op":11}"#, now, 0.0).is_empty());
    assert_eq!(talk.deadline(), Some(now + BEAT / 2 + BEAT));
    assert_eq!(
        talk.hear(r#"{"op":1,"d":null}"#, now, 0.0),
        [Step::Say(Word::Heartbeat(Some(1)))],
        "it may ask for one"
    );
    assert_eq!(talk.on_time(now + BEAT * 2), [Step::Say(Word::Heartbeat(Some(1)))]);
}

#[test]
fn a_connection_that_answers_no_heartbeat_is_dead_and_its_session_is_not() {
    let now = Now::read().at;
    let mut talk = open(now);
    talk.on_time(now + BEAT);
    let steps = talk.on_time(now + BEAT * 2);
    assert_eq!(ending(&steps), Some(Next::Resume));
    assert_eq!(talk.session, Some(session(1)));
    assert_eq!(talk.deadline(), None);
    assert!(talk.hear(&event("MESSAGE_CREATE", 2), now, 0.0).is_empty(), "nothing is heard after the end");
}

#[test]
fn a_gateway_that_says_nothing_is_given_up() {
    let now = Now::read().at;
    let mut talk = Conversation::new(Some(session(1)), now);
    assert!(talk.on_time(now + PATIENCE / 2).is_empty());
    assert_eq!(ending(&talk.on_time(now + PATIENCE)), Some(Next::Resume));
    let mut talk = Conversation::new(None, now);
    talk.hear(&json!({"op": 10, "d": {"heartbeat_interval": 600_000}}).to_string(), now + PATIENCE / 2, 1.0);
    assert!(talk.on_time(now + PATIENCE).is_empty());
    assert_eq!(ending(&talk.on_time(now + PATIENCE * 2)), Some(Next::Resume));
}

#[test]
fn the_gateway_may_want_another_connection_or_end_the_session() {
    let now = Now::read().at;
    for (said, next) in [
        (r#"{"op":7,"d":null}"#, Next::Resume),
        (r#"{"op":9,"d":true}"#, Next::Resume),
        (r#"{"op":9,"d":false}"#, Next::Anew),
        (r#"{"op":9}"#, Next::Anew),
        ("garbage", Next::Resume),
        ("[]", Next::Resume),
        (r#"{"op":"2"}"#, Next::Resume),
        (r#"{"op":10,"d":{"heartbeat_interval":0}}"#, Next::Resume),
        (r#"{"op":10,"d":{}}"#, Next::Resume),
        (r#"{"op":0,"t":"READY","d":{}}"#, Next::Anew),
    ] {
        let mut talk = open(now);
        assert_eq!(ending(&talk.hear(said, now, 0.0)), Some(next), "{said}");
        assert_eq!(talk.session.is_some(), next == Next::Resume, "{said}");
    }
    assert!(open(now).hear(r#"{"op":99,"d":{}}"#, now, 0.0).is_empty(), "what is new is passed over");
}

#[test]
fn a_close_ends_it_once() {
    let now = Now::read().at;
    let mut talk = open(now);
    assert_eq!(ending(&talk.closed(Some(4009), "")), Some(Next::Anew));
    assert_eq!(talk.session, None);
    assert!(talk.closed(Some(4004), "").is_empty());
    assert!(talk.on_time(now + BEAT * 9).is_empty());
}

#[test]
fn connections_that_fail_are_made_ever_more_rarely() {
    let mut now = Now::read().at;
    let mut attempts = Attempts::default();
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let again = attempts.ended(Next::Resume, now, 0.0);
        assert!(!again.is_usual);
        pauses.push(again.at.duration_since(now).as_secs());
        now = again.at;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]);
    attempts.opened(now);
    now += GOOD;
    assert_eq!(attempts.ended(Next::Resume, now, 0.0), Again { at: now, is_usual: true });
    attempts.opened(now);
    let again = attempts.ended(Next::Resume, now, 0.0);
    assert_eq!((again.at, again.is_usual), (now + Duration::from_secs(1), true), "one short one is nothing");
    attempts.opened(now);
    assert!(!attempts.ended(Next::Resume, now, 0.0).is_usual, "two are");
}

#[test]
fn new_sessions_keep_their_distance() {
    let now = Now::read().at;
    let mut attempts = Attempts::default();
    attempts.opened(now);
    attempts.identified(now + GOOD);
    assert_eq!(attempts.ended(Next::Anew, now + GOOD, 0.0).at, now + GOOD + IDENTIFY_PAUSE);
    attempts.opened(now);
    assert_eq!(attempts.ended(Next::Anew, now + GOOD * 9, 1.0).at, now + GOOD * 9 + Duration::from_secs(5));
}

/// However it fails, a day has far fewer new sessions than the thousand after which Discord ends a token.
#[test]
fn a_gateway_that_lets_in_and_throws_out_costs_no_token() {
    let start = Now::read().at;
    let (mut now, mut sessions) = (start, 0);
    let mut attempts = Attempts::default();
    while now < start + Duration::from_secs(86_400) {
        sessions += 1;
        attempts.identified(now);
        attempts.opened(now);
        now = attempts.ended(Next::Anew, now + Duration::from_secs(1), 0.0).at;
    }
    assert!(sessions < 400, "{sessions}");
}

proptest! {
    #[test]
    fn whatever_comes_it_ends_at_most_once_and_identifies_at_most_once(
        said in prop::collection::vec(prop_oneof![
            Just(hello()), Just(ready(1)), Just(event("RESUMED", 3)), Just(event("MESSAGE_CREATE", 4)), Just(r#"{"op":11}"#.to_owned()),
            Just(r#"{"op":1}"#.to_owned()), Just(r#"{"op":7}"#.to_owned()), Just(r#"{"op":9,"d":false}"#.to_owned()), ".{0,20}",
        ], 0..20),
        resumes: bool, seconds in 0_u64..90,
    ) {
        let mut now = Now::read().at;
        let mut talk = Conversation::new(resumes.then(|| session(1)), now);
        let mut steps = Vec::new();
        for text in said {
            now += Duration::from_secs(seconds);
            steps.extend(talk.on_time(now));
            steps.extend(talk.hear(&text, now, 0.3));
        }
        let ends = steps.iter().filter(|step| matches!(step, Step::End { .. })).count();
        let begins = steps.iter().filter(|step| matches!(step, Step::Say(Word::Identify | Word::Resume { .. }))).count();
        prop_assert!(ends <= 1 && begins <= 1);
        prop_assert!(ends == 0 || matches!(steps.last(), Some(Step::End { .. })), "nothing after the end");
    }
}
