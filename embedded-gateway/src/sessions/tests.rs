//! How sessions behave, what they tell, and what a crash leaves of them.

mod crashes;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::caller::{ConnectionId, caller_with};
use crate::clock::{CountingChance, Now};
use crate::effect::Effect;

const BOUNDS: SessionBounds = SessionBounds { sessions: 3, age: Duration::from_secs(3_600), history: 8 };

/// Sessions, who listens to them, and what was wanted so far.
struct Room {
    sessions: Sessions,
    subscribers: Subscribers,
    chance: CountingChance,
    now: Now,
    effects: Vec<Effect>,
}

impl Room {
    fn new() -> Self {
        let now = Now { wall_ms: 1_000_000, ..Now::read() };
        Self {
            sessions: Sessions::new(BOUNDS),
            subscribers: Subscribers::default(),
            chance: CountingChance::default(),
            now,
            effects: Vec::new(),
        }
    }

    /// Somebody who holds `scope`, speaks `protocol` and follows all sessions.
    fn follower(&mut self, connection: u64, protocol: u32, scope: &str) {
        let mut caller = caller_with(&[scope]);
        caller.connection = ConnectionId(connection);
        caller.protocol = protocol;
        self.subscribers.join(Arc::new(caller));
        self.subscribers.follow_sessions(ConnectionId(connection), true);
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Sessions, &Subscribers, &mut Turn<'_>) -> T) -> T {
        let mut turn = Turn::new(self.now, &mut self.chance);
        let done = act(&mut self.sessions, &self.subscribers, &mut turn);
        self.effects.extend(turn.into_effects());
        self.now.wall_ms += 1;
        done
    }

    fn open(&mut self, name: &str) -> String {
        let key = SessionKey::of("main", name);
        self.act(|sessions, subscribers, turn| {
            sessions.open(&key, Opening::default(), subscribers, turn).map(|session| session.key.clone())
        })
        .expect("room")
    }

    fn say(&mut self, key: &str, text: &str) -> Option<Message> {
        let message = NewMessage {
            role: Role::User,
            text: text.to_owned(),
            run: None,
            model: None,
            usage: None,
            stop_reason: None,
        };
        self.act(|sessions, subscribers, turn| sessions.append(key, message, subscribers, turn))
    }

    fn begin(&mut self, key: &str, run: &str) -> bool {
        let run = RunId(run.to_owned());
        self.act(|sessions, subscribers, turn| sessions.begin_run(key, &run, subscribers, turn))
    }

    fn end(&mut self, key: &str, run: &str, end: RunEnd) -> bool {
        let run = RunId(run.to_owned());
        self.act(|sessions, subscribers, turn| sessions.end_run(key, &run, end, subscribers, turn))
    }

    /// The events so far, in order: who, name, payload.
    fn told(&mut self) -> Vec<(u64, String, Value)> {
        let mut told = Vec::new();
        for effect in std::mem::take(&mut self.effects) {
            if let Effect::Tell { to, event, payload } = effect {
                told.extend(to.into_iter().map(|one| (one.0, event.clone(), (*payload).clone())));
            }
        }
        told
    }

    fn events(&mut self, name: &str) -> Vec<(u64, Value)> {
        self.told().into_iter().filter(|(_, event, _)| event == name).map(|(who, _, payload)| (who, payload)).collect()
    }
}

#[test]
fn what_runs_for_a_session_ends_when_it_is_deleted_or_begun_anew() {
    let mut room = Room::new();
    let key = room.open("a");
    for delete in [false, true] {
        let id = room.sessions.get(&key).map(|session| session.session_id.clone()).expect("a session");
        room.act(|sessions, subscribers, turn| match delete {
            true => sessions.delete(&key, subscribers, turn),
            false => sessions.reset(&key, "reset", subscribers, turn).is_some(),
        });
        assert!(room.effects.contains(&Effect::EndSession(id)), "{delete}");
    }
}

#[test]
fn opening_a_key_again_is_the_same_session() {
    let mut room = Room::new();
    let key = room.open("a");
    let id = room.sessions.get(&key).map(|session| session.session_id.clone());
    room.open("a");
    assert_eq!(room.sessions.len(), 1);
    assert_eq!(room.sessions.get(&key).map(|session| session.session_id.clone()), id);
}

#[test]
fn followers_are_told_in_the_words_of_their_protocol() {
    let mut room = Room::new();
    room.follower(3, 3, "operator.read");
    room.follower(4, 4, "operator.read");
    let key = room.open("a");
    let told = room.events("sessions.changed");
    let of = |who: u64| told.iter().find(|(one, _)| *one == who).map(|(_, payload)| payload.clone()).expect("told");
    let (three, four) = (of(3), of(4));
    assert_eq!(three["reason"], "create");
    assert_eq!(three["sessionKey"], json!(key));
    assert!(three["updatedAt"].is_number(), "flat on protocol 3");
    assert!(three.get("session").is_none() && three.get("agentId").is_some());
    assert_eq!(four["session"]["key"], json!(key), "nested on protocol 4");
    assert_eq!(four["agentId"], "main");
    assert!(four.get("updatedAt").is_none());
}

#[test]
fn nobody_without_the_read_scope_hears_of_sessions() {
    let mut room = Room::new();
    room.follower(1, 4, "operator.pairing");
    let key = room.open("a");
    room.say(&key, "hello");
    room.begin(&key, "r");
    room.end(&key, "r", RunEnd::Done);
    assert_eq!(room.told(), []);
}

#[test]
fn readers_hear_the_events_of_document_004_without_asking() {
    let mut room = Room::new();
    let mut caller = caller_with(&["operator.read"]);
    caller.connection = ConnectionId(7);
    room.subscribers.join(Arc::new(caller));
    let key = room.open("a");
    room.begin(&key, "r");
    room.say(&key, "not each message");
    room.act(|sessions, subscribers, turn| sessions.delete(&key, subscribers, turn));
    let names: Vec<String> = room.told().into_iter().map(|(_, event, _)| event).collect();
    assert_eq!(names, ["session.created", "session.updated", "session.pruned"]);
}

#[test]
fn a_run_shows_in_the_row_from_begin_to_end() {
    let mut room = Room::new();
    let key = room.open("a");
    let row_of = |room: &Room| row(room.sessions.get(&key).expect("there"), 4, room.now.wall_ms);
    assert!(row_of(&room).get("status").is_none(), "never ran");
    assert!(room.begin(&key, "r1"));
    assert!(!room.begin(&key, "r1"), "begins only once");
    let running = row_of(&room);
    assert_eq!((&running["status"], &running["hasActiveRun"]), (&json!("running"), &json!(true)));
    assert_eq!(running["activeRunIds"], json!(["r1"]));
    assert_eq!(running["state"], "active");
    room.act(|sessions, subscribers, turn| sessions.pause_run(&key, &RunId("r1".into()), true, subscribers, turn));
    assert_eq!((&row_of(&room)["paused"], &row_of(&room)["state"]), (&json!(true), &json!("paused")));
    assert!(room.end(&key, "r1", RunEnd::Killed));
    assert!(!room.end(&key, "r1", RunEnd::Killed), "ends only once");
    let ended = row_of(&room);
    assert_eq!((&ended["status"], &ended["hasActiveRun"]), (&json!("killed"), &json!(false)));
    assert_eq!((&ended["abortedLastRun"], &ended["lastRunId"]), (&json!(true), &json!("r1")));
    assert!(ended.get("paused").is_none());
}

#[test]
fn a_session_is_done_only_when_its_last_run_is() {
    let mut room = Room::new();
    let key = room.open("a");
    room.begin(&key, "r1");
    room.begin(&key, "r2");
    room.end(&key, "r1", RunEnd::Failed("no".into()));
    assert_eq!(room.sessions.get(&key).and_then(|session| session.status), Some(RowStatus::Running));
    room.end(&key, "r2", RunEnd::Done);
    assert_eq!(room.sessions.get(&key).and_then(|session| session.status), Some(RowStatus::Done));
}

#[test]
fn our_own_client_reads_the_rows_as_they_are_meant() {
    use gatewarden_protocol::sessions::{RowRules, SessionRow, SessionStatus};
    let mut room = Room::new();
    let key = room.open("a");
    let read = |room: &Room, protocol| {
        let rules = RowRules { running_may_stick: protocol < 4, now_ms: room.now.wall_ms };
        let row = SessionRow::read(&row(room.sessions.get(&key).expect("there"), protocol, room.now.wall_ms), rules)
            .expect("a row");
        (row.status, row.run_id, row.run_end)
    };
    let mut seen = Vec::new();
    for step in 0..5 {
        match step {
            1 => drop(room.begin(&key, "r")),
            2 | 3 => drop(room.act(|sessions, subscribers, turn| {
                sessions.pause_run(&key, &RunId("r".into()), step == 2, subscribers, turn)
            })),
            4 => drop(room.end(&key, "r", RunEnd::Killed)),
            _ => {}
        }
        // 0 is that of callers without one, over HTTP.
        for protocol in [0, 3] {
            assert_eq!(read(&room, protocol), read(&room, 4));
        }
        seen.push(read(&room, 4));
    }
    use gatewarden_protocol::sessions::RunEnd as Told;
    let run = || Some("r".to_owned());
    let (active, paused, completed) =
        (Some(SessionStatus::Active), Some(SessionStatus::Paused), Some(SessionStatus::Completed));
    assert_eq!(
        seen,
        [
            (None, None, None),
            (active, run(), None),
            (paused, run(), None),
            (active, run(), None),
            (completed, run(), Some(Told::Killed)),
        ]
    );
}

#[test]
fn tokens_add_up_and_the_last_prompt_is_the_total() {
    let mut room = Room::new();
    let key = room.open("a");
    let report = |input, output, cost| Usage { input, output, cost_usd: cost, ..Usage::default() };
    assert!(room.sessions.count_tokens(&key, &report(100, 7, Some(0.5))));
    assert!(room.sessions.count_tokens(&key, &report(300, 3, Some(f64::NAN))));
    assert!(room.sessions.count_tokens(&key, &report(0, 1, Some(-4.0))));
    let session = room.sessions.get(&key).expect("there");
    assert_eq!((session.input_tokens, session.output_tokens), (400, 11));
    assert_eq!((session.total_tokens, session.cost_usd), (Some(300), Some(0.5)));
    assert!(!room.sessions.count_tokens("agent:main:none", &Usage::default()));
    room.sessions.count_tokens(&key, &report(u64::MAX, u64::MAX, None));
    assert_eq!(room.sessions.get(&key).map(|session| session.input_tokens), Some(u64::MAX), "never wraps");
}

#[test]
fn a_long_history_is_compacted_and_says_so() {
    let mut room = Room::new();
    room.follower(4, 4, "operator.read");
    let key = room.open("a");
    for number in 0..9 {
        room.say(&key, &format!("message {number}"));
    }
    let session = room.sessions.get(&key).expect("there");
    assert_eq!(session.history().len(), 6);
    assert_eq!(session.history().next().map(|message| message.seq), Some(4));
    assert_eq!((session.message_count, session.compactions), (9, 1));
    let pruned = room.events("session.pruned");
    assert_eq!(pruned.len(), 1);
    assert_eq!((&pruned[0].1["dropped"], &pruned[0].1["kept"]), (&json!(3), &json!(6)));
}

#[test]
fn huge_messages_are_cut_and_a_huge_history_is_compacted() {
    let mut room = Room::new();
    room.sessions.bounds.history = 1_000;
    let key = room.open("a");
    let message = room.say(&key, &"ä".repeat(MESSAGE_BYTES)).expect("there");
    assert!(message.text.len() <= MESSAGE_BYTES && message.text.ends_with(session::CUT_MARK));
    for _ in 0..40 {
        room.say(&key, &"x".repeat(MESSAGE_BYTES));
    }
    let session = room.sessions.get(&key).expect("there");
    assert!(session.history_bytes <= HISTORY_BYTES);
    assert_eq!(session.history_bytes, session.history().map(|message| message.text.len()).sum::<usize>());
}

#[test]
fn the_oldest_idle_session_makes_room_and_busy_ones_never_do() {
    let mut room = Room::new();
    let (a, b, c) = (room.open("a"), room.open("b"), room.open("c"));
    room.begin(&a, "r");
    let d = room.open("d");
    assert!(room.sessions.get(&a).is_some() && room.sessions.get(&b).is_none());
    room.begin(&c, "r2");
    room.begin(&d, "r3");
    let refused = room.act(|sessions, subscribers, turn| {
        sessions.open(&SessionKey::of("main", "e"), Opening::default(), subscribers, turn).err()
    });
    assert!(refused.is_some_and(|error| error.code == "UNAVAILABLE" && error.message.contains("limits.sessions")));
    assert_eq!(room.sessions.len(), 3);
}

#[test]
fn old_sessions_are_pruned_unless_they_are_at_work() {
    let mut room = Room::new();
    let (idle, busy) = (room.open("idle"), room.open("busy"));
    room.begin(&busy, "r");
    room.now.wall_ms += 3_600_000;
    let fresh = room.open("fresh");
    assert_eq!(room.act(|sessions, subscribers, turn| sessions.prune(turn.now.wall_ms, subscribers, turn)), 1);
    assert!(room.sessions.get(&idle).is_none());
    assert!(room.sessions.get(&busy).is_some() && room.sessions.get(&fresh).is_some());
}

#[test]
fn a_reset_session_is_empty_has_a_new_id_and_keeps_its_name() {
    let mut room = Room::new();
    room.follower(4, 4, "operator.read");
    let key = room.open("a");
    let patch = Patch { label: Some(Some("Probe".into())), ..Patch::default() };
    room.act(|sessions, subscribers, turn| sessions.patch(&key, patch, subscribers, turn).is_some());
    room.say(&key, "hello");
    let before = room.sessions.get(&key).expect("there").clone();
    room.act(|sessions, subscribers, turn| sessions.reset(&key, "reset", subscribers, turn).is_some());
    let after = room.sessions.get(&key).expect("there");
    assert_ne!(after.session_id, before.session_id);
    assert_eq!((after.history().len(), after.message_count), (0, 0));
    assert_eq!(after.label, before.label);
    assert!(room.events("sessions.changed").iter().any(|(_, payload)| payload["reason"] == "reset"));
}

#[test]
fn a_label_belongs_to_one_session() {
    let mut room = Room::new();
    let (a, b) = (room.open("a"), room.open("b"));
    let patch = Patch { label: Some(Some("Probe".into())), ..Patch::default() };
    room.act(|sessions, subscribers, turn| sessions.patch(&a, patch, subscribers, turn).is_some());
    assert_eq!(room.sessions.check_label("Probe", &a), Ok(()));
    assert_eq!(
        room.sessions.check_label("Probe", &b).map_err(|error| error.message),
        Err("label already in use: Probe".to_owned())
    );
}

#[test]
fn messages_are_worded_as_their_protocol_has_them() {
    let mut room = Room::new();
    let key = room.open("a");
    let person = room.say(&key, "hello").expect("there");
    assert_eq!(message(&person, 4)["content"], "hello");
    assert_eq!(message(&person, 3)["content"], json!([{"type": "text", "text": "hello"}]));
    let answer = NewMessage {
        role: Role::Assistant,
        text: "hi".into(),
        run: Some(RunId("r".into())),
        model: Some("m".into()),
        usage: None,
        stop_reason: None,
    };
    let cut_off = NewMessage { stop_reason: Some("aborted"), ..answer.clone() };
    let answer =
        room.act(|sessions, subscribers, turn| sessions.append(&key, answer, subscribers, turn)).expect("there");
    let shown = message(&answer, 4);
    assert_eq!(shown["content"], json!([{"type": "text", "text": "hi"}]));
    assert_eq!((&shown["__openclaw"]["seq"], &shown["stopReason"]), (&json!(2), &json!("stop")));
    let cut_off =
        room.act(|sessions, subscribers, turn| sessions.append(&key, cut_off, subscribers, turn)).expect("there");
    assert_eq!(message(&cut_off, 4)["stopReason"], "aborted");
}

#[test]
fn those_who_follow_one_session_get_its_messages_only() {
    let mut room = Room::new();
    let mut caller = caller_with(&["operator.read"]);
    caller.connection = ConnectionId(5);
    room.subscribers.join(Arc::new(caller));
    let (a, b) = (room.open("a"), room.open("b"));
    room.subscribers.follow_messages(ConnectionId(5), &a, true, 10);
    room.say(&a, "for you");
    room.say(&b, "not for you");
    let told = room.events("session.message");
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0].1["sessionKey"], &told[0].1["messageSeq"]), (&json!(a), &json!(1)));
}

#[test]
fn a_tick_names_the_newest_hundred_and_says_how_many_there_are() {
    let mut room = Room::new();
    room.sessions.bounds.sessions = 500;
    for number in 0..130 {
        room.open(&format!("s{number}"));
    }
    let snapshot = tick_snapshot(&room.sessions, room.now.wall_ms);
    assert_eq!((snapshot["count"].as_u64(), snapshot["totalCount"].as_u64()), (Some(100), Some(130)));
    assert_eq!(snapshot["sessions"][0]["key"], "agent:main:s129");
    for field in ["key", "kind", "totalTokens", "contextTokens", "messageCount", "cost", "updatedAt", "active"] {
        assert!(!snapshot["sessions"][0][field].is_null(), "{field}");
    }
}
