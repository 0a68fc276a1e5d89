//! Nodes on a database that answers when it likes: whatever is late, frozen or cut off, two never may act at once.

use std::collections::HashMap;

use super::*;

fn seen(nodes: &[(&str, i64, bool)], holder: Option<&str>, epoch: i64) -> Seen {
    Seen {
        server_start: 1,
        nodes: nodes
            .iter()
            .map(|(id, beat, expired)| SeenNode { id: (*id).into(), beat: *beat, expired: *expired })
            .collect(),
        holder: holder.map(Into::into),
        epoch,
    }
}

#[test]
fn a_release_works_on_databases_that_name_it_or_an_older_one_or_none() {
    for oldest in [None, Some("0.9.12"), Some("0.10.0")] {
        assert!(may_work("0.10.0", oldest), "{oldest:?}");
    }
    for oldest in ["0.10.1", "0.11.0", "1.0.0", "", "soon"] {
        assert!(!may_work("0.10.0", Some(oldest)), "{oldest:?}");
    }
    assert!(!may_work("0.11.0-beta.1", Some("0.11.0")) && !may_work("of my own", Some("0.1.0")));
}

#[test]
fn a_role_that_nobody_has_is_claimed_and_a_beat_lets_its_holder_act_from_when_it_was_sent() {
    let mut lease = Lease::new("a");
    assert_eq!(lease.answered(0, 10, &seen(&[("a", 1, false)], None, 7)), [Step::Claim { epoch: 7 }]);
    assert_eq!((lease.held(), lease.until_ms()), (None, i64::MIN));
    assert_eq!(lease.answered(20, 2_000, &seen(&[("a", 2, false)], Some("a"), 8)), []);
    assert_eq!((lease.held(), lease.until_ms()), (Some(8), 20 + VALID_MS));
    let right = RightToAct::none();
    right.set(lease.until_ms());
    assert!(right.holds(4_519) && !right.holds(4_520) && RightToAct::always().holds(i64::MAX - 1));
}

#[test]
fn a_silent_holder_is_declared_dead_after_the_whole_time_to_live_and_not_before() {
    let mut lease = Lease::new("b");
    let look = |lease: &mut Lease, at, expired| {
        lease.answered(at, at, &seen(&[("a", 5, expired), ("b", 1, false)], Some("a"), 1))
    };
    for at in (0..TTL_MS).step_by(500) {
        assert_eq!(look(&mut lease, at, true), [], "at {at}");
    }
    // The server's clock has a say as well.
    assert_eq!(look(&mut lease, TTL_MS, false), []);
    assert_eq!(look(&mut lease, TTL_MS + 1, true), [Step::DeclareDead { node: "a".into(), beat: 5 }]);
    let dead = seen(&[("b", 9, false)], Some("a"), 1);
    assert_eq!(lease.answered(6_100, 6_100, &dead), [Step::Claim { epoch: 1 }]);
}

#[test]
fn who_did_not_see_for_a_while_observes_from_the_start_and_so_does_who_sees_another_start_of_the_server() {
    let mut lease = Lease::new("b");
    let silent = seen(&[("a", 5, true), ("b", 1, false)], Some("a"), 1);
    lease.answered(0, 0, &silent);
    assert_eq!(lease.answered(20_000, 20_000, &silent), []);
    for at in (20_500..26_000).step_by(500) {
        assert_eq!(lease.answered(at, at, &silent), []);
    }
    assert_eq!(lease.answered(26_000, 26_000, &silent).len(), 1);
    // Its clock, which may have been put back behind its start, has no say in that.
    let started_anew = Seen { server_start: 2, ..silent.clone() };
    for at in (26_500..32_500).step_by(500) {
        assert_eq!(lease.answered(at, at, &started_anew), [], "at {at}");
    }
    assert_eq!(lease.answered(32_500, 32_500, &started_anew).len(), 1);
}

#[test]
fn a_standby_looks_twice_as_often_and_at_the_moment_that_it_waits_for() {
    let mut lease = Lease::new("b");
    lease.answered(0, 30, &seen(&[("a", 5, false), ("b", 1, false)], Some("a"), 1));
    assert_eq!(lease.next_ms(0), LOOK_MS);
    assert_eq!(lease.next_ms(5_800), 30 + TTL_MS);
    lease.answered(6_100, 6_100, &seen(&[("b", 2, false)], Some("b"), 2));
    assert_eq!(lease.next_ms(6_100), 6_100 + BEAT_MS);
}

/// Numbers that follow from a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most.unsigned_abs()).cast_signed()
    }
}

/// The database: rows as the store keeps them, and its rules.
#[derive(Default)]
struct Server {
    nodes: HashMap<String, (i64, i64)>,
    holder: Option<String>,
    epoch: i64,
    started_ms: i64,
}

impl Server {
    fn beat(&mut self, me: &str, now_ms: i64) -> Option<Seen> {
        let (beat, expires_ms) = self.nodes.get_mut(me)?;
        (*beat, *expires_ms) = (*beat + 1, now_ms + TTL_MS);
        Some(Seen {
            server_start: self.started_ms,
            nodes: (self.nodes.iter())
                .map(|(id, (beat, until))| SeenNode { id: id.clone(), beat: *beat, expired: *until < now_ms })
                .collect(),
            holder: self.holder.clone(),
            epoch: self.epoch,
        })
    }

    fn take(&mut self, me: &str, now_ms: i64, step: &Step) {
        match step {
            Step::DeclareDead { node, beat } => {
                if self.nodes.get(node).is_some_and(|(last, until)| last == beat && *until < now_ms) {
                    self.nodes.remove(node);
                }
            }
            Step::Claim { epoch } => {
                let is_free = self.holder.as_ref().is_none_or(|holder| !self.nodes.contains_key(holder));
                if is_free && self.epoch == *epoch && self.nodes.contains_key(me) {
                    (self.holder, self.epoch) = (Some(me.to_owned()), epoch + 1);
                }
            }
        }
    }
}

/// A beat on its way: sent, executed by the server, answered.
struct OnItsWay {
    sent_ms: i64,
    executed_ms: i64,
    answered_ms: i64,
    seen: Option<Seen>,
}

struct Node {
    id: String,
    lease: Lease,
    right: RightToAct,
    next_ms: i64,
    frozen_until_ms: i64,
    beat: Option<OnItsWay>,
}

/// Delays of seconds, frozen nodes, an outage for all and a server that starts anew, drawn from a seed.
fn run(seed: u64) -> (usize, i64) {
    let mut chance = Chance(seed | 1);
    let mut server = Server { started_ms: -100_000, ..Server::default() };
    let mut nodes: Vec<Node> = (0..3)
        .map(|n| {
            let id = format!("n{n}");
            server.nodes.insert(id.clone(), (0, TTL_MS));
            Node {
                lease: Lease::new(&id),
                id,
                right: RightToAct::none(),
                next_ms: n * 37,
                frozen_until_ms: 0,
                beat: None,
            }
        })
        .collect();
    let (mut acted, mut born) = (0, 3);
    let mut away_until_ms = 0;
    let mut now_ms = 0;
    while now_ms < 120_000 {
        now_ms += 20;
        if chance.below(1_500) == 0 {
            away_until_ms = now_ms + chance.below(15_000);
        }
        if now_ms >= away_until_ms && chance.below(3_000) == 0 {
            server.started_ms = now_ms;
        }
        for node in &mut nodes {
            if node.frozen_until_ms <= now_ms && chance.below(1_000) == 0 {
                node.frozen_until_ms = now_ms + chance.below(20_000);
            }
            let is_frozen = node.frozen_until_ms > now_ms;
            // What is on its way to the server gets there, also from a node that is frozen.
            if let Some(beat) = &mut node.beat
                && beat.seen.is_none()
                && now_ms >= beat.executed_ms.max(away_until_ms)
            {
                beat.seen = server.beat(&node.id, now_ms);
                beat.executed_ms = i64::MAX;
            }
            if is_frozen {
                continue;
            }
            if node.beat.is_none() && now_ms >= node.next_ms {
                let late =
                    |chance: &mut Chance| if chance.below(10) == 0 { chance.below(4_000) } else { chance.below(60) };
                let executed_ms = now_ms + late(&mut chance);
                node.beat = Some(OnItsWay {
                    sent_ms: now_ms,
                    executed_ms,
                    answered_ms: executed_ms + late(&mut chance),
                    seen: None,
                });
            }
            let Some(beat) = node.beat.take_if(|beat| beat.executed_ms == i64::MAX && now_ms >= beat.answered_ms)
            else {
                continue;
            };
            match beat.seen {
                None => {
                    // Dead: it comes back as another one.
                    *node = Node {
                        id: format!("n{born}"),
                        lease: Lease::new(format!("n{born}")),
                        right: RightToAct::none(),
                        next_ms: now_ms + 100,
                        frozen_until_ms: 0,
                        beat: None,
                    };
                    born += 1;
                    server.nodes.insert(node.id.clone(), (0, now_ms + TTL_MS));
                }
                Some(seen) => {
                    let steps = node.lease.answered(beat.sent_ms, now_ms, &seen);
                    steps.iter().for_each(|step| server.take(&node.id, now_ms, step));
                    node.right.set(node.lease.until_ms());
                    node.next_ms = if steps.is_empty() { node.lease.next_ms(beat.sent_ms) } else { now_ms };
                }
            }
        }
        let acting: Vec<&str> = nodes.iter().filter(|node| node.right.holds(now_ms)).map(|node| &*node.id).collect();
        assert!(acting.len() <= 1, "seed {seed}, at {now_ms}: {acting:?} act");
        acted += usize::from(acting.len() == 1);
    }
    (acted, server.epoch)
}

#[test]
fn two_never_may_act_at_once_whatever_is_late_frozen_or_away() {
    let (mut acted, mut takeovers) = (0, 0);
    let more = std::env::var("GATEWARDEN_SIM_SEEDS").ok().and_then(|count| count.parse().ok());
    let count: u64 = more.unwrap_or(300);
    for seed in 1..=count {
        let (ticks, epoch) = run(seed * 0x9E37_79B9);
        acted += ticks;
        takeovers += epoch - 1;
    }
    // The runs are worth something: mostly one acts, and it changes.
    println!("{count} histories of two minutes: {takeovers} takeovers");
    assert!(u64::try_from(acted).unwrap() > count * 3_000, "{acted}");
    assert!(takeovers.unsigned_abs() > count / 2, "{takeovers}");
}
