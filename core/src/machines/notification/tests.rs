use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const FIRST: GatewayId = GatewayId(1);

fn down(id: i64) -> Topic {
    Topic { subject: Subject::Gateway(GatewayId(id)), condition: Condition::Down }
}

/// Of the configured primary, which is the first.
fn failover() -> Topic {
    failover_of(1)
}

fn failover_of(configured: i64) -> Topic {
    Topic { subject: Subject::Gateway(GatewayId(configured)), condition: Condition::Failover }
}

/// From the look on that sees it first.
const NOW: i64 = i64::MAX;

fn holds() -> Sight {
    Sight::Holds { since_ms: NOW, stand_in: None, at_once: false }
}

fn acting(id: i64) -> Sight {
    Sight::Holds { since_ms: NOW, stand_in: Some(StandIn::Gateway(GatewayId(id))), at_once: true }
}

/// A destination's machine with its surroundings: the time, and what a store would have kept.
struct World {
    watch: Watch,
    settings: WatchSettings,
    started: Instant,
    elapsed: Duration,
    sights: BTreeMap<Topic, Sight>,
    present: BTreeSet<GatewayId>,
    stored: BTreeMap<Topic, Episode>,
    told: Vec<(Duration, Step)>,
    room: usize,
    undelivered: BTreeSet<Topic>,
    ids: u64,
}

impl World {
    fn new(settings: WatchSettings) -> Self {
        Self {
            watch: Watch::new(settings.clone()),
            settings,
            started: crate::any_instant(),
            elapsed: Duration::ZERO,
            sights: BTreeMap::new(),
            present: (1..=3).map(GatewayId).collect(),
            stored: BTreeMap::new(),
            told: Vec::new(),
            room: 100,
            undelivered: BTreeSet::new(),
            ids: 0,
        }
    }

    fn usual() -> Self {
        Self::new(WatchSettings { after: 30 * SECOND, remind_every: Some(Duration::from_secs(3600)), recovered: true })
    }

    fn now(&self) -> Instant {
        self.started + self.elapsed
    }

    fn look(&mut self, write_succeeds: bool) {
        let now = self.now();
        let ids = &mut self.ids;
        let mut new_id = || {
            *ids += 1;
            format!("e{ids}")
        };
        let steps = self.watch.propose(Look {
            now,
            now_ms: 1_700_000_000_000 + i64::try_from(self.elapsed.as_millis()).unwrap(),
            sights: &self.sights,
            present: &self.present,
            room: self.room,
            undelivered: &self.undelivered,
            new_id: &mut new_id,
        });
        if !write_succeeds {
            return;
        }
        for step in steps {
            match step.change {
                Change::Closed { .. } => self.stored.remove(&step.topic),
                _ => self.stored.insert(step.topic, step.episode.clone()),
            };
            self.watch.apply(&step, now);
            if step.told {
                self.told.push((self.elapsed, step));
            }
        }
    }

    /// Looks each second.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.elapsed += SECOND;
            self.look(true);
        }
    }

    /// The first gateway is down for so long, and then well for as long.
    fn fails_and_returns(&mut self, seconds: u64) {
        self.sights.insert(down(1), holds());
        self.pass(seconds);
        self.sights.clear();
        self.pass(seconds);
    }

    fn restart(&mut self) {
        self.watch = Watch::new(self.settings.clone());
        self.watch.restore(self.stored.clone());
    }

    fn changes(&self) -> Vec<&Change> {
        self.told.iter().map(|(_, step)| &step.change).collect()
    }
}

const OPENED: Change = Change::Opened;
const CLOSED: Change = Change::Closed { removed: false };

#[test]
fn a_condition_is_announced_once_it_has_held_and_taken_back_once_it_has_been_gone() {
    let mut world = World::usual();
    world.sights.insert(down(1), holds());
    world.pass(30);
    assert_eq!(world.told.len(), 0, "not before it held for 30 s");
    world.pass(1);
    assert_eq!(world.changes(), [&OPENED]);
    world.pass(600);
    assert_eq!(world.told.len(), 1);
    world.sights.clear();
    world.pass(30);
    assert_eq!(world.told.len(), 1);
    world.pass(1);
    assert_eq!(world.changes(), [&OPENED, &CLOSED]);
    world.pass(1000);
    assert_eq!(world.told.len(), 2);
    let ids: Vec<_> = world.told.iter().map(|(_, step)| step.episode.notification_id()).collect();
    assert_eq!(ids, ["e1-0", "e1-1"]);
}

#[test]
fn what_was_withheld_is_told_at_once_afterwards_with_its_true_beginning() {
    let mut world = World::usual();
    world.sights.insert(down(1), Sight::Withheld { since_ms: NOW });
    world.pass(240);
    assert!(world.told.is_empty());
    world.sights.insert(down(1), holds());
    world.pass(1);
    assert_eq!(world.changes(), [&OPENED]);
    assert_eq!(world.told[0].1.episode.began_ms, 1_700_000_000_000 + 1_000);
}

#[test]
fn an_episode_begins_when_its_condition_does() {
    let mut world = World::usual();
    let began = 1_700_000_000_000 + 1_000;
    world.fails_and_returns(31);
    let (opened, closed) = (&world.told[0].1, &world.told[1].1);
    assert_eq!((opened.episode.began_ms, opened.held), (began, 30 * SECOND));
    assert_eq!((closed.episode.began_ms, closed.held), (began, 30 * SECOND));
}

#[test]
fn the_end_of_a_failover_is_told_when_it_ends() {
    let mut world = World::usual();
    world.sights.insert(failover(), acting(2));
    world.pass(5);
    world.sights.clear();
    world.pass(1);
    assert_eq!(world.changes(), [&OPENED, &CLOSED]);
}

#[test]
fn many_that_turn_within_seconds_are_told_of_together() {
    let mut world = World::usual();
    world.present = (1..=40).map(GatewayId).collect();
    let drop_and_tell = |world: &mut World, ends: bool| {
        for id in 1..=40 {
            if ends {
                world.sights.remove(&down(id));
            } else {
                world.sights.insert(down(id), holds());
            }
            if id % 5 == 0 {
                world.pass(1);
            }
        }
        world.pass(32);
        std::mem::take(&mut world.told)
    };
    for ends in [false, true] {
        let told = drop_and_tell(&mut world, ends);
        assert_eq!(told.len(), 40);
        assert!(told.iter().all(|(at, step)| step.in_digest && *at == told[0].0), "{told:?}");
    }
    world.sights.insert(down(1), holds());
    world.pass(31);
    assert!(world.told.iter().all(|(_, step)| !step.in_digest), "one alone is told by itself");
    assert_eq!(world.told.len(), 1);
}

#[test]
fn a_digest_waits_no_longer_than_ten_seconds_for_those_that_follow() {
    let mut world = World::usual();
    world.present = (1..=100).map(GatewayId).collect();
    for id in 1..=100 {
        world.sights.insert(down(id), holds());
        world.pass(1);
    }
    world.pass(45);
    let times: BTreeSet<Duration> = world.told.iter().map(|(at, _)| *at).collect();
    assert_eq!(world.told.len(), 100);
    assert!(times.len() <= 11, "{times:?}");
    assert_eq!(*times.first().unwrap(), 41 * SECOND);
}

#[test]
fn a_short_blip_is_nobodys_affair() {
    let mut world = World::usual();
    for _ in 0..20 {
        world.sights.insert(down(1), holds());
        world.pass(20);
        world.sights.clear();
        world.pass(5);
    }
    assert_eq!(world.told.len(), 0);
}

#[test]
fn reminders_come_while_it_lasts_and_not_after() {
    let mut world = World::usual();
    world.sights.insert(down(1), holds());
    world.pass(3600 * 3 + 60);
    assert_eq!(world.changes(), [&OPENED, &Change::Reminded, &Change::Reminded, &Change::Reminded]);
    world.sights.clear();
    world.pass(3600 * 3);
    assert_eq!(world.told.len(), 5);
}

#[test]
fn nothing_is_repeated_over_a_notification_that_still_waits() {
    let mut world = World::usual();
    world.sights.insert(down(1), holds());
    world.pass(60);
    world.undelivered.insert(down(1));
    world.pass(3600 * 5);
    assert_eq!(world.told.len(), 1);
    world.undelivered.clear();
    world.pass(1);
    assert_eq!(world.changes(), [&OPENED, &Change::Reminded]);
}

#[test]
fn what_was_announced_before_a_restart_is_neither_repeated_nor_forgotten() {
    let mut world = World::usual();
    world.sights.insert(down(1), holds());
    world.pass(60);
    world.restart();
    world.sights.insert(down(1), Sight::Unclear);
    world.pass(100);
    world.sights.insert(down(1), holds());
    world.pass(600);
    assert_eq!(world.told.len(), 1, "it is known to be down");
    world.restart();
    world.sights.clear();
    world.pass(31);
    assert_eq!(world.changes(), [&OPENED, &CLOSED], "its recovery is told after the restart");
}

#[test]
fn a_write_that_failed_is_proposed_again() {
    let mut world = World::usual();
    world.sights.insert(down(1), holds());
    for _ in 0..100 {
        world.elapsed += SECOND;
        world.look(false);
    }
    assert_eq!(world.told.len(), 0);
    world.pass(1);
    assert_eq!(world.changes(), [&OPENED]);
}

#[test]
fn a_deleted_gateway_is_taken_back_at_once_and_says_why() {
    let mut world = World::usual();
    world.sights.insert(down(1), holds());
    world.pass(60);
    world.sights.clear();
    world.present.remove(&FIRST);
    world.pass(1);
    assert_eq!(world.changes(), [&OPENED, &Change::Closed { removed: true }]);
}

#[test]
fn a_gateway_that_bounces_stays_announced_until_it_has_calmed_down() {
    let mut world = World::new(WatchSettings { after: Duration::ZERO, remind_every: None, recovered: true });
    for _ in 0..1800 {
        world.fails_and_returns(1);
    }
    let told = world.told.len();
    assert!(told <= 25, "an hour of bouncing each second made {told} notifications");
    assert!(world.told.iter().any(|(_, step)| step.change == OPENED && !step.episode.hold.is_zero()));
    world.pass(3 * 3600);
    assert!(matches!(world.changes().last(), Some(Change::Closed { .. })), "its calm is told in the end");
}

#[test]
fn another_stand_in_is_told_but_not_each_of_many() {
    let mut world = World::usual();
    world.sights.insert(failover(), acting(2));
    world.pass(1);
    assert_eq!(world.changes(), [&OPENED], "a failover has waited for long enough");
    for second in 0..58 {
        world.sights.insert(failover(), acting(if second % 2 == 0 { 3 } else { 2 }));
        world.pass(1);
    }
    assert_eq!(world.told.len(), 1);
    world.sights.insert(failover(), acting(3));
    world.pass(10);
    assert_eq!(world.changes(), [&OPENED, &Change::Moved { from: Some(StandIn::Gateway(GatewayId(2))) }]);
    world.sights.clear();
    world.pass(31);
    assert_eq!(world.changes().last(), Some(&&CLOSED));
}

#[test]
fn the_return_of_a_gateway_that_bounces_is_told_once_it_was_well_for_all_of_its_hold_down_also_over_a_restart() {
    for restarts in [false, true] {
        let mut world = World::new(WatchSettings { after: SECOND, remind_every: None, recovered: true });
        for _ in 0..2 {
            world.fails_and_returns(10);
        }
        world.sights.insert(down(1), holds());
        world.pass(290);
        assert_eq!(world.told.last().unwrap().1.episode.hold, Duration::from_secs(300), "it comes and goes");
        let told = world.told.len();
        if restarts {
            world.restart();
        }
        world.sights.clear();
        world.pass(200);
        world.sights.insert(down(1), Sight::Unclear);
        world.pass(10);
        world.sights.clear();
        world.pass(300);
        assert_eq!(world.told.len(), told, "it was well for 300 s, but not yet without a break");
        world.pass(1);
        let (_, closed) = world.told.last().unwrap();
        assert_eq!((&closed.change, closed.held), (&CLOSED, Duration::from_secs(300)));
    }
}

#[test]
fn what_something_else_stood_for_begins_anew() {
    let mut world = World::usual();
    world.sights.insert(down(1), holds());
    world.pass(10);
    world.sights.insert(down(1), Sight::Aside);
    world.pass(3_600);
    world.sights.insert(down(1), holds());
    world.pass(31);
    assert_eq!(world.told.len(), 1);
    assert_eq!(world.told[0].1.episode.began_ms, 1_700_000_000_000 + 3_611_000);
}

#[test]
fn a_write_of_which_nobody_heard_makes_no_recovery_of_the_time_before_it() {
    let mut world = World::usual();
    world.sights.insert(down(1), holds());
    world.pass(30);
    let mut written = world.watch.clone();
    world.pass(1);
    written.restore(world.stored.clone());
    world.watch = written;
    world.sights.clear();
    world.pass(30);
    assert_eq!(world.changes(), [&OPENED], "it has been well for 29 s");
}

#[test]
fn another_configured_primary_ends_a_failover_and_begins_another() {
    let mut world = World::usual();
    world.sights.insert(failover_of(1), acting(2));
    world.pass(5);
    world.sights.clear();
    world.sights.insert(failover_of(3), acting(2));
    world.pass(5);
    assert_eq!(world.changes(), [&OPENED, &CLOSED, &OPENED]);
    let began: Vec<i64> = world.told.iter().map(|(_, step)| step.episode.began_ms - 1_700_000_000_000).collect();
    assert_eq!(began, [1_000, 1_000, 6_000]);
}

#[test]
fn a_full_outbox_delays_announcements_and_never_a_recovery() {
    let mut world = World::usual();
    world.sights.insert(down(1), holds());
    world.pass(60);
    world.room = 0;
    world.sights.insert(down(2), holds());
    world.pass(3600 * 2);
    assert_eq!(world.told.len(), 1, "neither an announcement nor a reminder");
    world.sights.remove(&down(1));
    world.pass(31);
    assert_eq!(world.changes(), [&OPENED, &CLOSED]);
    world.room = 1;
    world.pass(1);
    assert_eq!(world.changes(), [&OPENED, &CLOSED, &OPENED], "what still holds is told once there is room");
}

#[test]
fn who_wants_no_recoveries_gets_none_and_hears_of_the_next_failure() {
    let mut world = World::new(WatchSettings { after: SECOND, remind_every: None, recovered: false });
    for _ in 0..2 {
        world.fails_and_returns(1000);
    }
    assert_eq!(world.changes(), [&OPENED, &OPENED]);
    assert!(world.stored.is_empty());
}

#[test]
fn names_of_subjects_and_conditions_read_back() {
    for stand_in in [StandIn::Nobody, StandIn::Gateway(GatewayId(7))] {
        assert_eq!(StandIn::from_name(&stand_in.to_string()), Some(stand_in));
    }
    assert_eq!(StandIn::from_name(""), None);
    for condition in Condition::ALL {
        assert_eq!(Condition::from_name(condition.as_str()), Some(condition));
    }
    for subject in [Subject::Fleet, Subject::Gateway(GatewayId(7))] {
        assert_eq!(Subject::from_name(&subject.to_string()), Some(subject));
    }
    assert_eq!(Subject::from_name("gateway-x"), None);
    assert_eq!(Subject::from_name("nobody"), None);
}

/// What may happen to a fleet and to the daemon.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Fails(i64),
    Unclear(i64),
    Recovers(i64),
    Deleted(i64),
    Registered(i64),
    Acts(u8),
    Passes(u16),
    WritesFail(u8),
    Restarts,
    Room(u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (1..=3_i64).prop_map(Happening::Fails),
        1 => (1..=3_i64).prop_map(Happening::Unclear),
        4 => (1..=3_i64).prop_map(Happening::Recovers),
        1 => (1..=3_i64).prop_map(Happening::Deleted),
        1 => (1..=3_i64).prop_map(Happening::Registered),
        1 => (0..4_u8).prop_map(Happening::Acts),
        8 => (1..400_u16).prop_map(Happening::Passes),
        1 => (1..40_u8).prop_map(Happening::WritesFail),
        1 => Just(Happening::Restarts),
        1 => (0..3_u8).prop_map(Happening::Room),
    ]
}

fn happen(world: &mut World, happening: Happening) {
    match happening {
        Happening::Fails(id) if world.present.contains(&GatewayId(id)) => {
            world.sights.insert(down(id), holds());
        }
        Happening::Unclear(id) if world.present.contains(&GatewayId(id)) => {
            world.sights.insert(down(id), Sight::Unclear);
        }
        Happening::Recovers(id) => {
            world.sights.remove(&down(id));
        }
        Happening::Deleted(id) => {
            world.present.remove(&GatewayId(id));
            world.sights.remove(&down(id));
        }
        Happening::Registered(id) => {
            world.present.insert(GatewayId(id));
        }
        Happening::Acts(0) => {
            world.sights.remove(&failover());
        }
        Happening::Acts(id) => {
            world.sights.insert(failover(), acting(id.into()));
        }
        Happening::Passes(seconds) => world.pass(seconds.into()),
        Happening::WritesFail(times) => {
            for _ in 0..times {
                world.elapsed += SECOND;
                world.look(false);
            }
        }
        Happening::Restarts => world.restart(),
        Happening::Room(room) => world.room = room.into(),
        Happening::Fails(_) | Happening::Unclear(_) => {}
    }
}

proptest! {
    #[test]
    fn no_recovery_is_lost_no_id_doubled_and_reminders_keep_their_distance(
        after in 0..60_u64,
        every in 60..2000_u64,
        happenings in proptest::collection::vec(happening(), 1..80),
    ) {
        let every = Duration::from_secs(every);
        let mut world =
            World::new(WatchSettings { after: Duration::from_secs(after), remind_every: Some(every), recovered: true });
        for happening in happenings {
            happen(&mut world, happening);
            let open: BTreeMap<_, _> = world.watch.open().map(|(topic, one)| (*topic, one.clone())).collect();
            prop_assert_eq!(&open, &world.stored, "what is remembered is what is stored");
        }
        world.sights.clear();
        world.pass(2 * 3600);
        prop_assert!(world.stored.is_empty(), "something is still announced though all is well: {:?}", world.stored);
        let mut ids = BTreeSet::new();
        let mut open: BTreeMap<Topic, (String, Duration)> = BTreeMap::new();
        for (at, step) in &world.told {
            prop_assert!(ids.insert(step.episode.notification_id()), "an id twice: {:?}", step);
            match &step.change {
                Change::Opened => {
                    let before = open.insert(step.topic, (step.episode.id.clone(), *at));
                    prop_assert!(before.is_none(), "announced twice: {:?}", step);
                }
                Change::Reminded | Change::Moved { .. } => {
                    let (id, last) = open.get_mut(&step.topic).expect("it was announced before");
                    prop_assert_eq!(&step.episode.id, &*id);
                    let distance = if step.change == Change::Reminded { every } else { MOVE_SPACING };
                    prop_assert!(*at - *last >= distance, "too soon: {:?} after {:?}", at, last);
                    *last = *at;
                }
                Change::Closed { .. } => {
                    let (id, _) = open.remove(&step.topic).expect("it was announced before");
                    prop_assert_eq!(&step.episode.id, &id);
                }
            }
        }
        prop_assert!(open.is_empty(), "never taken back: {:?}", open);
        prop_assert!(world.watch.topics.len() <= 8, "memory grows: {}", world.watch.topics.len());
    }

    /// Configured primaries and gateways that act, however they change: what is told of failovers is what there was.
    #[test]
    fn every_failover_is_told_once_with_its_own_beginning_and_two_names_and_ends_once(
        after in 0..60_u64,
        turns in proptest::collection::vec((1..=3_i64, 0..=3_i64, 1..1500_u64, any::<bool>()), 1..40),
    ) {
        let mut world =
            World::new(WatchSettings { after: Duration::from_secs(after), remind_every: None, recovered: true });
        // Each failover that there was: whose, and when it began.
        let mut there_were: Vec<(i64, i64)> = Vec::new();
        let mut must_be_told = BTreeSet::new();
        let mut lasting: Option<(i64, i64)> = None;
        for (configured, acts, seconds, restarts) in turns {
            let now_ms = 1_700_000_000_000 + i64::try_from(world.elapsed.as_millis()).unwrap();
            let before = lasting.filter(|(of, _)| *of == configured && acts != configured);
            lasting = (acts != configured).then(|| before.unwrap_or((configured, now_ms)));
            world.sights.clear();
            if let Some((of, since_ms)) = lasting {
                if before.is_none() {
                    there_were.push((of, since_ms));
                }
                let stand_in = if acts == 0 { StandIn::Nobody } else { StandIn::Gateway(GatewayId(acts)) };
                let is_open = world.stored.contains_key(&failover_of(of));
                if acts != 0 && (!is_open || before.is_some()) {
                    must_be_told.insert((of, since_ms));
                }
                let sight = Sight::Holds { since_ms, stand_in: Some(stand_in), at_once: acts != 0 };
                world.sights.insert(failover_of(of), sight);
            }
            world.pass(seconds);
            if restarts {
                world.restart();
            }
        }
        world.sights.clear();
        world.pass(2 * 3600);
        prop_assert!(world.stored.is_empty(), "not taken back: {:?}", world.stored);
        let mut told = BTreeSet::new();
        for (_, step) in &world.told {
            let Subject::Gateway(configured) = step.topic.subject else { panic!("{:?}", step.topic) };
            let failover = (configured.0, step.episode.began_ms);
            prop_assert!(there_were.contains(&failover), "there was no such failover: {:?}", step);
            match &step.change {
                Change::Opened => prop_assert!(told.insert(failover), "told twice: {:?}", step),
                Change::Closed { .. } => must_be_told.retain(|one| *one != failover),
                _ => prop_assert!(told.contains(&failover)),
            }
            let is_over = matches!(step.change, Change::Closed { .. });
            prop_assert!(is_over || step.episode.stand_in != Some(StandIn::Gateway(configured)), "{:?}", step);
        }
        // A bounce stays one episode until it has calmed down.
        must_be_told.retain(|(of, since_ms)| {
            let spans = |step: &Step| step.topic == failover_of(*of) && step.episode.began_ms < *since_ms
                && !step.episode.hold.is_zero() && matches!(step.change, Change::Closed { .. })
                && step.episode.announced_ms > *since_ms;
            !world.told.iter().any(|(_, step)| spans(step))
        });
        prop_assert!(must_be_told.is_empty(), "never told, or not ended: {:?}", must_be_told);
        let count = |is: fn(&Change) -> bool| world.told.iter().filter(|(_, step)| is(&step.change)).count();
        prop_assert_eq!(count(|change| *change == OPENED), count(|change| matches!(change, Change::Closed { .. })));
    }

    #[test]
    fn what_holds_is_announced_and_no_bouncing_makes_a_storm(
        gaps in proptest::collection::vec((1..30_u64, 1..30_u64), 10..200),
    ) {
        let mut world = World::new(WatchSettings { after: Duration::ZERO, remind_every: None, recovered: true });
        for (bad, good) in gaps {
            world.sights.insert(down(1), holds());
            world.pass(bad);
            prop_assert!(world.stored.contains_key(&down(1)), "down, and not announced");
            world.sights.clear();
            world.pass(good);
        }
        for (index, (at, _)) in world.told.iter().enumerate() {
            let soon = world.told[index..].iter().take_while(|(later, _)| *later - *at < Duration::from_secs(300)).count();
            prop_assert!(soon <= 7, "{soon} notifications within five minutes");
        }
    }
}
