//! Whatever happens in whatever order, and wherever a crash cuts the changes of files off: what is read again is what was
//! there up to that point, without holes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

/// A state directory in memory.
#[derive(Debug, Clone, Default)]
struct Disk(BTreeMap<PathBuf, Vec<u8>>);

impl Disk {
    fn carry_out(&mut self, change: &FileChange) {
        match change {
            FileChange::Append { file, line } => {
                let content = self.0.entry(file.clone()).or_default();
                content.extend_from_slice(line.as_bytes());
                content.push(b'\n');
            }
            FileChange::Replace { file, text } => drop(self.0.insert(file.clone(), text.clone().into_bytes())),
            FileChange::Remove { file } => drop(self.0.remove(file)),
        }
    }

    /// The change was under way: of a line, only a part is there; everything else is atomic and didn't happen.
    fn carry_out_in_part(&mut self, change: &FileChange, part: usize) {
        if let FileChange::Append { file, line } = change {
            let bytes = line.as_bytes();
            let part = part % (bytes.len() + 1);
            self.0.entry(file.clone()).or_default().extend_from_slice(&bytes[..part]);
        }
    }

    fn load(&self) -> transcript::LoadedSessions {
        load(
            BOUNDS,
            self.0
                .iter()
                .map(|(file, bytes)| (file.file_stem().expect("named").to_string_lossy().into_owned(), bytes.clone())),
        )
    }
}

#[test]
fn what_a_crash_cut_off_is_the_run_of_the_first_message_without_an_answer() {
    let mut room = Room::new();
    let key = room.open("a");
    for (role, run) in [(Role::User, "r1"), (Role::Assistant, "r1"), (Role::User, "r2"), (Role::User, "r3")] {
        let run = RunId(run.to_owned());
        if role == Role::User {
            room.act(|sessions, subscribers, turn| sessions.begin_run(&key, &run, subscribers, turn));
        }
        let message = NewMessage {
            role,
            text: "words".into(),
            run: Some(run.clone()),
            model: None,
            usage: None,
            stop_reason: None,
        };
        room.act(|sessions, subscribers, turn| sessions.append(&key, message, subscribers, turn));
        if role == Role::Assistant {
            room.end(&key, "r1", RunEnd::Done);
        }
    }
    let mut disk = Disk::default();
    for effect in &room.effects {
        if let Effect::Write(change) = effect {
            disk.carry_out(change);
        }
    }
    let after = disk.load().sessions;
    let session = after.get(&key).expect("it is kept");
    assert_eq!((session.status, session.last_run_id.as_deref()), (Some(RowStatus::Failed), Some("r2")));
}

#[derive(Debug, Clone)]
enum Act {
    Open(u8),
    Say(u8, String),
    Begin(u8, u8),
    End(u8, u8),
    Label(u8, String),
    Reset(u8),
    Delete(u8),
    Compact(u8, usize),
    Prune(i64),
}

fn act() -> impl Strategy<Value = Act> {
    let key = 0..4_u8;
    prop_oneof![
        3 => key.clone().prop_map(Act::Open),
        8 => (key.clone(), "[a-z\"\\\\\n{}é]{0,12}").prop_map(|(key, text)| Act::Say(key, text)),
        2 => (key.clone(), 0..3_u8).prop_map(|(key, run)| Act::Begin(key, run)),
        2 => (key.clone(), 0..3_u8).prop_map(|(key, run)| Act::End(key, run)),
        1 => (key.clone(), "[a-z]{1,4}").prop_map(|(key, label)| Act::Label(key, label)),
        1 => key.clone().prop_map(Act::Reset),
        1 => key.clone().prop_map(Act::Delete),
        1 => (key, 1..5_usize).prop_map(|(key, keep)| Act::Compact(key, keep)),
        1 => (0..5_000_000_i64).prop_map(Act::Prune),
    ]
}

fn perform(room: &mut Room, act: &Act) {
    let key = |number: &u8| SessionKey::of("main", &format!("k{number}")).to_string();
    match act {
        Act::Open(number) => {
            let key = SessionKey::of("main", &format!("k{number}"));
            room.act(|sessions, subscribers, turn| sessions.open(&key, Opening::default(), subscribers, turn).is_ok());
        }
        Act::Say(number, text) => drop(room.say(&key(number), text)),
        Act::Begin(number, run) => drop(room.begin(&key(number), &format!("r{run}"))),
        Act::End(number, run) => drop(room.end(&key(number), &format!("r{run}"), RunEnd::Done)),
        Act::Label(number, label) => {
            let patch = Patch { label: Some(Some(label.clone())), ..Patch::default() };
            room.act(|sessions, subscribers, turn| sessions.patch(&key(number), patch, subscribers, turn).is_some());
        }
        Act::Reset(number) => {
            room.act(|sessions, subscribers, turn| sessions.reset(&key(number), "reset", subscribers, turn).is_some());
        }
        Act::Delete(number) => {
            room.act(|sessions, subscribers, turn| sessions.delete(&key(number), subscribers, turn));
        }
        Act::Compact(number, keep) => {
            room.act(|sessions, subscribers, turn| sessions.compact(&key(number), *keep, subscribers, turn));
        }
        Act::Prune(later) => {
            room.now.wall_ms += later;
            room.act(|sessions, subscribers, turn| sessions.prune(turn.now.wall_ms, subscribers, turn));
        }
    }
}

/// What must survive: ids, labels, messages.
fn kept(sessions: &Sessions) -> BTreeMap<String, (String, Option<String>, u64)> {
    sessions
        .iter()
        .map(|session| {
            (session.key.clone(), (session.session_id.clone(), session.label.clone(), session.message_count))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_anywhere_costs_at_most_the_change_under_way(
        acts in prop::collection::vec(act(), 1..60),
        crash in any::<prop::sample::Index>(),
        part in any::<usize>(),
    ) {
        let mut room = Room::new();
        let mut changes: Vec<(usize, FileChange)> = Vec::new();
        let mut states = vec![kept(&room.sessions)];
        // All that was ever said, by session id.
        let mut said = BTreeMap::<String, BTreeMap<u64, String>>::new();
        for (number, act) in acts.iter().enumerate() {
            perform(&mut room, act);
            for effect in std::mem::take(&mut room.effects) {
                if let Effect::Write(change) = effect {
                    changes.push((number, change));
                }
            }
            for session in room.sessions.iter() {
                let log = said.entry(session.session_id.clone()).or_default();
                log.extend(session.history().map(|message| (message.seq, message.text.clone())));
            }
            states.push(kept(&room.sessions));
        }
        prop_assume!(!changes.is_empty());
        let cut = crash.index(changes.len());
        let mut disk = Disk::default();
        for (_, change) in &changes[..cut] {
            disk.carry_out(change);
        }
        disk.carry_out_in_part(&changes[cut].1, part);
        let during = changes[cut].0;
        let (before, after) = (&states[during], &states[during + 1]);

        let loaded = disk.load();
        let found = kept(&loaded.sessions);
        for (key, (id, label, count)) in &found {
            let known = |state: &BTreeMap<String, (String, Option<String>, u64)>| state.get(key).cloned();
            let candidates: Vec<_> = [known(before), known(after)].into_iter().flatten().collect();
            prop_assert!(candidates.iter().any(|one| one.0 == *id), "{key}: a session from nowhere");
            prop_assert!(candidates.iter().any(|one| one.0 == *id && one.1 == *label), "{key}: a label from nowhere");
            prop_assert!(candidates.iter().any(|one| one.0 == *id && one.2 == *count), "{key}: {count} messages");
            let session = loaded.sessions.get(key).expect("found");
            let mut last = None;
            for message in session.history() {
                prop_assert!(last.is_none_or(|last: u64| last + 1 == message.seq), "{key}: a hole");
                last = Some(message.seq);
                let meant = said.get(id).and_then(|log| log.get(&message.seq));
                prop_assert_eq!(meant, Some(&message.text));
            }
            prop_assert!(last.is_none_or(|last| last == *count), "{key}: the end is missing");
        }
        for (key, one) in before {
            if after.get(key) == Some(one) {
                prop_assert!(found.contains_key(key), "{key} is lost");
            }
        }

        // What was put in order stays so.
        for change in &loaded.repairs {
            disk.carry_out(change);
        }
        let again = disk.load();
        prop_assert_eq!(kept(&again.sessions), found);
        prop_assert!(again.repairs.is_empty(), "{:?}", again.repairs);
        prop_assert!(again.remarks.is_empty(), "{:?}", again.remarks);
    }
}

#[test]
fn a_run_that_was_cut_off_reads_as_failed() {
    let mut room = Room::new();
    let key = room.open("a");
    room.begin(&key, "r");
    let mut disk = Disk::default();
    for effect in &room.effects {
        if let Effect::Write(change) = effect {
            disk.carry_out(change);
        }
    }
    let loaded = disk.load();
    let session = loaded.sessions.get(&key).expect("kept");
    assert_eq!(session.status, Some(RowStatus::Failed));
    assert!(session.last_run_error.as_deref().is_some_and(|error| error.contains("ended while")));
    assert!(!session.is_busy());
}

#[test]
fn files_that_are_no_transcripts_are_left_alone_and_named() {
    for (name, content) in [
        ("half", "garbage without end"),
        ("noise", "\u{0}\u{1}garbage\n{}\n"),
        (
            "other-name",
            "{\"type\":\"session\",\"key\":\"agent:main:x\",\"sessionId\":\"y\",\"agentId\":\"main\",\"kind\":\"direct\",\"createdAt\":1,\"updatedAt\":1}\n",
        ),
        (
            "bad-key",
            "{\"type\":\"session\",\"key\":\"agent:../../x:y\",\"sessionId\":\"bad-key\",\"agentId\":\"..\",\"kind\":\"direct\",\"createdAt\":1,\"updatedAt\":1}\n",
        ),
    ] {
        let loaded = load(BOUNDS, [(name.to_owned(), content.as_bytes().to_vec())]);
        assert_eq!((loaded.sessions.len(), loaded.repairs.len(), loaded.remarks.len()), (0, 0, 1), "{name}");
        assert!(loaded.remarks[0].contains(name), "{name}");
    }
}
