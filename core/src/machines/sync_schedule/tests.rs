use super::*;

const INTERVAL: Duration = Duration::from_secs(900);
const SECOND: Duration = Duration::from_secs(1);

struct Run {
    schedule: SyncSchedule,
    start: Instant,
    now: Instant,
    random: f64,
}

impl Run {
    fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
        let now = Instant::now();
        Self { schedule: SyncSchedule::new(INTERVAL), start: now, now, random: 0.0 }
    }

    fn look(&mut self, gateways: &[Seen]) -> Vec<Duty> {
        self.schedule.look(self.now, gateways.iter().copied(), || {
            // Any spread will do, as long as it is one.
            self.random = (self.random + 0.377).fract();
            self.random
        })
    }

    /// Looks every second for so long, does every duty at once with success, and says what was done when.
    fn live(&mut self, gateways: &[Seen], long: Duration) -> Vec<(u64, Duty)> {
        let end = self.now + long;
        let mut done = Vec::new();
        while self.now < end {
            self.now += SECOND;
            for duty in self.look(gateways) {
                self.schedule.done(self.now, duty, true, 0.5);
                done.push(((self.now - self.start).as_secs(), duty));
            }
        }
        done
    }
}

fn usable(id: i64) -> Seen {
    Seen { id: GatewayId(id), usable: true, agents_known: true }
}

fn unusable(id: i64) -> Seen {
    Seen { usable: false, ..usable(id) }
}

fn syncs(done: &[(u64, Duty)]) -> Vec<u64> {
    done.iter().filter(|(_, duty)| matches!(duty, Duty::Sync(_))).map(|(at, _)| *at).collect()
}

#[test]
fn a_usable_gateway_is_synced_every_interval_and_an_unusable_one_never() {
    let mut run = Run::new();
    let done = run.live(&[usable(1), unusable(2)], INTERVAL * 4);
    let of = |id| done.iter().filter(|(_, duty)| *duty == Duty::Sync(GatewayId(id))).count();
    assert_eq!((of(1), of(2)), (4, 0), "{done:?}");
    let times = syncs(&done);
    assert!(times[0] <= 5, "{times:?}");
    assert!(times.windows(2).all(|pair| (810..=991).contains(&(pair[1] - pair[0]))), "{times:?}");
}

#[test]
fn a_fleet_that_connects_at_once_is_read_a_few_at_a_time() {
    let mut run = Run::new();
    let fleet: Vec<Seen> = (0..1_000).map(usable).collect();
    let done = run.live(&fleet, INTERVAL);
    let times = syncs(&done);
    assert!(times.len() >= 990, "{}", times.len());
    let busiest = times.iter().map(|at| times.iter().filter(|other| *other == at).count()).max().unwrap();
    assert!(busiest <= MAX_AT_ONCE, "{busiest} in one second");
    assert!(times.iter().max().unwrap() - times.iter().min().unwrap() > 100);
}

#[test]
fn no_more_than_the_bound_is_under_way_and_the_longest_waiting_goes_first() {
    let mut run = Run::new();
    let fleet: Vec<Seen> = (0..20).map(usable).collect();
    let first = run.look(&fleet);
    assert_eq!(first.len(), MAX_AT_ONCE);
    assert_eq!(run.look(&fleet), vec![], "no room");
    run.schedule.done(run.now, first[0], true, 0.0);
    assert_eq!(run.look(&fleet).len(), 1);
}

#[test]
fn a_gateway_under_way_is_not_started_again_and_one_that_never_ends_stops_nobody() {
    let mut run = Run::new();
    let pair = [usable(1), usable(2)];
    run.live(&pair, SECOND);
    run.now += INTERVAL;
    let both = run.look(&pair);
    assert_eq!(both.len(), 2);
    run.schedule.done(run.now, Duty::Sync(GatewayId(2)), false, 0.5);
    let mut again = 0;
    for _ in 0..3_000 {
        run.now += SECOND;
        for duty in run.look(&pair) {
            assert_eq!(duty, Duty::Sync(GatewayId(2)), "gateway 1 is still under way");
            run.schedule.done(run.now, duty, false, 0.5);
            again += 1;
        }
    }
    assert_eq!(again, 3);
}

#[test]
fn agents_are_gone_two_seconds_after_their_gateway_and_back_at_once_when_they_are_known() {
    let mut run = Run::new();
    let id = GatewayId(1);
    assert_eq!(run.live(&[usable(1)], SECOND), [(1, Duty::Present(id))]);
    assert_eq!(run.live(&[unusable(1)], SECOND), [], "a reconnect is no news");
    let first = run.live(&[usable(1)], 4 * SECOND);
    assert_eq!(first.iter().map(|(_, duty)| *duty).collect::<Vec<_>>(), [Duty::Sync(id)]);
    let gone = run.live(&[unusable(1)], Duration::from_secs(200));
    assert_eq!(gone.iter().map(|(_, duty)| *duty).collect::<Vec<_>>(), [Duty::Lost(id)], "and said once");
    let unread = Seen { agents_known: false, ..usable(1) };
    assert_eq!(run.live(&[unread], Duration::from_secs(5)), []);
    assert_eq!(run.live(&[usable(1)], SECOND).len(), 1);
}

#[test]
fn a_daemon_that_starts_beside_a_dead_gateway_says_so_after_two_seconds() {
    let mut run = Run::new();
    let gone = run.live(&[unusable(1)], Duration::from_secs(100));
    assert_eq!(gone, [(3, Duty::Lost(GatewayId(1)))]);
}

#[test]
fn word_of_presence_that_failed_is_repeated() {
    let mut run = Run::new();
    let duty = Duty::Present(GatewayId(1));
    for _ in 0..3 {
        assert_eq!(run.look(&[usable(1)]), [duty]);
        run.schedule.done(run.now, duty, false, 0.0);
    }
    assert_eq!(run.look(&[usable(1)]), [duty]);
    run.schedule.done(run.now, duty, true, 0.0);
    assert_eq!(run.look(&[usable(1)]), []);
}

#[test]
fn a_gateway_that_is_gone_is_forgotten() {
    let mut run = Run::new();
    run.live(&[usable(1), usable(2)], SECOND);
    run.look(&[usable(2)]);
    assert_eq!(run.schedule.entries.len(), 1);
    run.schedule.done(run.now, Duty::Sync(GatewayId(1)), true, 0.0);
    assert_eq!(run.schedule.entries.len(), 1);
}
