//! Watchers come and go, the log grows and is rotated, connections break: whatever happens, nobody gets a line twice, and
//! nobody misses one unless it was told so.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Bytes of a line in the simulated log.
const WIDTH: u64 = 10;

#[derive(Debug, Clone)]
enum Happens {
    Write(u8),
    Rotate,
    Join(u8),
    Leave(u8),
    Lose,
    Connect,
    Ask,
    Answer,
    Fail,
}

fn happenings() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (1_u8..4).prop_map(Happens::Write),
        1 => Just(Happens::Rotate),
        3 => (0_u8..4).prop_map(Happens::Join),
        1 => (0_u8..8).prop_map(Happens::Leave),
        1 => Just(Happens::Lose),
        2 => Just(Happens::Connect),
        5 => Just(Happens::Ask),
        5 => Just(Happens::Answer),
        1 => Just(Happens::Fail),
    ]
}

/// A gateway's log file: lines that are numbered through all files.
#[derive(Debug)]
struct File {
    name: u64,
    lines: Vec<u64>,
    written: u64,
}

impl File {
    fn answer(&self, question: TailQuestion) -> TailReply {
        let size = u64::try_from(self.lines.len()).unwrap() * WIDTH;
        let reset = question.cursor.is_some_and(|cursor| cursor > size);
        let from = question.cursor.filter(|_| !reset).unwrap_or(0) / WIDTH;
        let lines = &self.lines[usize::try_from(from).unwrap()..];
        let lines = &lines[lines.len().saturating_sub(question.limit)..];
        TailReply {
            file: Some(self.name.to_string()),
            cursor: size,
            lines: lines.iter().map(u64::to_string).collect(),
            truncated: false,
            reset,
        }
    }
}

/// What a watcher got: each stretch of lines between two gaps, and the last place.
#[derive(Debug, Default)]
struct Got {
    stretches: Vec<Vec<u64>>,
}

impl Got {
    fn lines(&mut self, lines: &[String]) {
        let lines = lines.iter().map(|line| line.parse::<u64>().unwrap());
        self.stretches.last_mut().unwrap().extend(lines);
    }
}

#[derive(Debug)]
struct World {
    tail: LogTail,
    file: File,
    now: Instant,
    connected: bool,
    under_way: Option<TailReply>,
    got: BTreeMap<WatchToken, Got>,
    joined: u64,
    waiting: Vec<WatchToken>,
}

impl World {
    fn new() -> Self {
        Self {
            tail: LogTail::default(),
            file: File { name: 0, lines: Vec::new(), written: 0 },
            now: start(),
            connected: false,
            under_way: None,
            got: BTreeMap::new(),
            joined: 0,
            waiting: Vec::new(),
        }
    }

    fn happens(&mut self, what: &Happens) {
        match what {
            Happens::Write(lines) => {
                for _ in 0..*lines {
                    self.file.written += 1;
                    self.file.lines.push(self.file.written);
                }
            }
            Happens::Rotate => {
                self.file.name += 1;
                self.file.lines.clear();
            }
            Happens::Join(history) => {
                self.joined += 1;
                let watch = WatchToken(self.joined);
                let begin = if *history == 0 { Begin::Now } else { Begin::Newest(usize::from(*history)) };
                self.waiting.push(watch);
                self.tail.join(self.now, watch, begin);
            }
            Happens::Leave(which) => {
                let watch = self.got.keys().chain(&self.waiting).nth(usize::from(*which)).copied();
                if let Some(watch) = watch {
                    self.got.remove(&watch);
                    self.waiting.retain(|waiting| *waiting != watch);
                    self.tail.leave(watch);
                }
            }
            Happens::Lose if self.connected => {
                self.connected = false;
                self.under_way = None;
                self.tail.on_disconnected();
            }
            Happens::Connect if !self.connected => {
                self.connected = true;
                self.tail.on_connected(self.now, LogSource::Tail);
            }
            Happens::Ask => {
                if let Some(due) = self.tail.next_deadline() {
                    self.now = self.now.max(due);
                    assert!(self.connected && self.under_way.is_none());
                    assert!(!self.got.is_empty() || !self.waiting.is_empty(), "asked for nobody");
                    // The gateway reads its file now; the answer may come much later.
                    let question = self.tail.on_deadline(self.now);
                    self.under_way = question.map(|question| self.file.answer(question));
                }
            }
            Happens::Answer => {
                if let Some(reply) = self.under_way.take() {
                    self.tail.on_reply(self.now, reply);
                }
            }
            Happens::Fail => {
                if self.under_way.take().is_some() {
                    self.tail.on_failure(self.now);
                }
            }
            Happens::Lose | Happens::Connect => {}
        }
        self.hear();
    }

    fn hear(&mut self) {
        for step in self.tail.take_steps() {
            match step {
                LogStep::Welcome { watch, lines, gap, .. } => {
                    assert!(self.waiting.contains(&watch) && gap.is_none());
                    self.waiting.retain(|waiting| *waiting != watch);
                    let got = self.got.entry(watch).or_default();
                    got.stretches.push(Vec::new());
                    got.lines(&lines);
                }
                LogStep::Refused(watch) => {
                    assert!(self.waiting.contains(&watch));
                    self.waiting.retain(|waiting| *waiting != watch);
                }
                LogStep::Lines { lines, known, .. } => {
                    for (watch, got) in &mut self.got {
                        let known = known.iter().find(|(who, _)| who == watch).map_or(0, |(_, known)| *known);
                        got.lines(&lines[known..]);
                    }
                }
                LogStep::Gap(_) => self.got.values_mut().for_each(|got| got.stretches.push(Vec::new())),
                LogStep::Interrupted | LogStep::Resumed => {}
                LogStep::Over => panic!("the gateway has logs"),
            }
        }
        for got in self.got.values() {
            got.stretches.iter().for_each(|stretch| {
                assert!(stretch.windows(2).all(|pair| pair[0] + 1 == pair[1]), "a line twice or missing: {got:?}");
            });
            let all: Vec<u64> = got.stretches.concat();
            assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "a line twice: {got:?}");
        }
        assert_eq!(self.tail.watchers(), self.got.len() + self.waiting.len());
    }

    /// Lets everything be asked and answered, then all watchers must have the end of the file.
    fn settle(&mut self) {
        self.happens(&Happens::Connect);
        for _ in 0..self.waiting.len() + 4 {
            self.happens(&Happens::Ask);
            self.happens(&Happens::Answer);
        }
        assert!(self.waiting.is_empty(), "somebody waits for good");
        let end = self.file.lines.last().copied();
        for (watch, got) in &self.got {
            let last = got.stretches.concat().last().copied();
            assert!(last >= end || last.is_none() || end.is_none(), "{watch:?} lacks the end {end:?}: {got:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nobody_gets_a_line_twice_or_misses_one_without_being_told(story in prop::collection::vec(happenings(), 1..80)) {
        let mut world = World::new();
        world.happens(&Happens::Connect);
        for what in &story {
            world.happens(what);
        }
        world.settle();
        world.happens(&Happens::Write(2));
        world.settle();
        let written = world.file.written;
        for got in world.got.values() {
            prop_assert_eq!(got.stretches.concat().last().copied(), Some(written), "a line written while watched");
        }
    }
}
