//! Whether the supervisor should doubt its own network: when most of a fleet fails at once without any sign of its hosts, the fault is
//! more likely here. A host that answers, be it by refusing a connection, speaks for the network.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::ids::GatewayId;

/// The smallest fleet for which a mass failure says anything about ourselves.
pub(crate) const SMALLEST_FLEET: usize = 4;

/// The end or the start of a doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DoubtChange {
    /// More than half of the fleet fell silent within one heartbeat interval.
    Began {
        /// One sentence for people.
        reason: String,
    },
    /// It goes on with another count.
    Counted {
        /// One sentence for people.
        reason: String,
    },
    /// Enough gateways are back, or it lasted so long that it must be the gateways after all.
    Ended,
}

/// Watches usable gateways fail. The fleet is what was usable at the window's start: usable now, or failed within it.
#[derive(Debug, Clone)]
pub(crate) struct SelfDoubt {
    window: Duration,
    patience: Duration,
    failed: HashMap<GatewayId, Instant>,
    /// The same, the earliest first, so that what has left the window is found without a look at all.
    by_time: BTreeSet<(Instant, GatewayId)>,
    usable: usize,
    /// Those that failed and of whose hosts nothing has told yet whether they answer: of the fleet until then.
    lost: BTreeSet<GatewayId>,
    doubting_since: Option<Instant>,
    fleet_at_start: usize,
    /// How many had failed when that was last told.
    told: usize,
}

impl SelfDoubt {
    /// Doubts when more than half fails within `heartbeat_interval`; gives the doubt up after ten of them.
    pub(crate) fn new(heartbeat_interval: Duration) -> Self {
        Self {
            window: heartbeat_interval,
            patience: heartbeat_interval * 10,
            failed: HashMap::new(),
            by_time: BTreeSet::new(),
            usable: 0,
            lost: BTreeSet::new(),
            doubting_since: None,
            fleet_at_start: 0,
            told: 0,
        }
    }

    /// Whether the doubt holds.
    pub(crate) fn doubts(&self) -> bool {
        self.doubting_since.is_some()
    }

    /// A gateway became usable.
    pub(crate) fn on_usable(&mut self, now: Instant, id: GatewayId) -> Option<DoubtChange> {
        self.usable += 1;
        self.forget(id);
        self.evaluate(now)
    }

    /// A usable gateway failed; whether its host is silent is told next.
    pub(crate) fn on_lost(&mut self, now: Instant, id: GatewayId) -> Option<DoubtChange> {
        self.usable = self.usable.saturating_sub(1);
        self.forget(id);
        self.lost.insert(id);
        self.evaluate(now)
    }

    /// A gateway that failed has an answering host.
    pub(crate) fn on_answer(&mut self, now: Instant, id: GatewayId) -> Option<DoubtChange> {
        self.on_removed(now, id, false)
    }

    /// Nothing comes back from a gateway that failed.
    pub(crate) fn on_silence(&mut self, now: Instant, id: GatewayId) -> Option<DoubtChange> {
        self.forget(id);
        self.failed.insert(id, now);
        self.by_time.insert((now, id));
        self.evaluate(now)
    }

    /// A gateway was deleted; `usable` says what it was. That is no failure.
    pub(crate) fn on_removed(&mut self, now: Instant, id: GatewayId, usable: bool) -> Option<DoubtChange> {
        if usable {
            self.usable = self.usable.saturating_sub(1);
        }
        self.forget(id);
        self.evaluate(now)
    }

    fn forget(&mut self, id: GatewayId) {
        self.lost.remove(&id);
        if let Some(at) = self.failed.remove(&id) {
            self.by_time.remove(&(at, id));
        }
    }

    /// When the doubt is given up.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.doubting_since.map(|since| since + self.patience)
    }

    /// The deadline may have passed.
    pub(crate) fn on_deadline(&mut self, now: Instant) -> Option<DoubtChange> {
        self.evaluate(now)
    }

    fn fleet(&self) -> usize {
        self.usable + self.lost.len() + self.failed.len()
    }

    fn reason(&self) -> String {
        let (failed, fleet) = (self.failed.len(), self.fleet_at_start.max(self.fleet()));
        format!("{failed} of {fleet} gateways gave no answer at once: this host's own network may be at fault")
    }

    fn evaluate(&mut self, now: Instant) -> Option<DoubtChange> {
        match self.doubting_since {
            None => {
                let window = self.window;
                while let Some((at, id)) = self.by_time.first().copied()
                    && now.saturating_duration_since(at) >= window
                {
                    self.forget(id);
                }
                let fleet = self.fleet();
                if fleet < SMALLEST_FLEET || self.failed.len() * 2 <= fleet {
                    return None;
                }
                self.doubting_since = Some(now);
                self.fleet_at_start = fleet;
                self.told = self.failed.len();
                Some(DoubtChange::Began { reason: self.reason() })
            }
            Some(since) => {
                let over = now.saturating_duration_since(since) >= self.patience;
                if !over && self.failed.len() * 2 > self.fleet_at_start {
                    let told = std::mem::replace(&mut self.told, self.failed.len());
                    return (told != self.told).then(|| DoubtChange::Counted { reason: self.reason() });
                }
                self.doubting_since = None;
                self.failed.clear();
                self.by_time.clear();
                Some(DoubtChange::Ended)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: Duration = Duration::from_secs(30);

    fn fleet(size: i64) -> (SelfDoubt, Instant) {
        let now = crate::any_instant();
        let mut doubt = SelfDoubt::new(HEARTBEAT);
        for id in 1..=size {
            assert_eq!(doubt.on_usable(now, GatewayId(id)), None);
        }
        (doubt, now)
    }

    fn fails(doubt: &mut SelfDoubt, now: Instant, id: GatewayId) -> Option<DoubtChange> {
        assert_eq!(doubt.on_lost(now, id), None);
        doubt.on_silence(now, id)
    }

    #[test]
    fn hosts_that_answer_raise_no_doubt_and_end_one() {
        let (mut doubt, now) = fleet(4);
        for id in 1..=4 {
            assert_eq!(doubt.on_lost(now, GatewayId(id)), None);
            assert_eq!(doubt.on_answer(now, GatewayId(id)), None);
        }
        let (mut doubt, now) = fleet(4);
        for id in 1..=3 {
            fails(&mut doubt, now, GatewayId(id));
        }
        assert!(doubt.doubts());
        assert_eq!(doubt.on_answer(now, GatewayId(1)), Some(DoubtChange::Ended));
    }

    #[test]
    fn the_count_follows_what_fails_and_returns() {
        let (mut doubt, now) = fleet(8);
        let reason = |change: Option<DoubtChange>| match change {
            Some(DoubtChange::Began { reason } | DoubtChange::Counted { reason }) => reason,
            other => panic!("{other:?}"),
        };
        for id in 1..=4 {
            assert_eq!(fails(&mut doubt, now, GatewayId(id)), None);
        }
        assert!(reason(fails(&mut doubt, now, GatewayId(5))).starts_with("5 of 8 "));
        assert!(reason(fails(&mut doubt, now, GatewayId(6))).starts_with("6 of 8 "));
        assert!(reason(doubt.on_usable(now, GatewayId(6))).starts_with("5 of 8 "));
    }

    #[test]
    fn more_than_half_of_four_within_an_interval_raises_the_doubt_once() {
        let (mut doubt, now) = fleet(4);
        assert_eq!(fails(&mut doubt, now, GatewayId(1)), None);
        assert_eq!(fails(&mut doubt, now + Duration::from_secs(5), GatewayId(2)), None);
        assert!(matches!(
            fails(&mut doubt, now + Duration::from_secs(29), GatewayId(3)),
            Some(DoubtChange::Began { .. })
        ));
        assert!(matches!(
            fails(&mut doubt, now + Duration::from_secs(29), GatewayId(4)),
            Some(DoubtChange::Counted { .. })
        ));
        assert!(doubt.doubts());
    }

    #[test]
    fn a_small_fleet_never_raises_it() {
        let (mut doubt, now) = fleet(3);
        for id in 1..=3 {
            assert_eq!(fails(&mut doubt, now, GatewayId(id)), None);
        }
    }

    #[test]
    fn failures_spread_over_time_never_raise_it() {
        let (mut doubt, mut now) = fleet(6);
        for id in 1..=6 {
            now += HEARTBEAT;
            assert_eq!(fails(&mut doubt, now, GatewayId(id)), None);
        }
    }

    #[test]
    fn it_ends_when_half_are_back() {
        let (mut doubt, now) = fleet(4);
        for id in 1..=3 {
            fails(&mut doubt, now, GatewayId(id));
        }
        assert_eq!(doubt.on_usable(now + Duration::from_secs(60), GatewayId(1)), Some(DoubtChange::Ended));
        assert!(!doubt.doubts());
    }

    #[test]
    fn it_is_given_up_after_ten_intervals() {
        let (mut doubt, now) = fleet(4);
        for id in 1..=3 {
            fails(&mut doubt, now, GatewayId(id));
        }
        let deadline = doubt.next_deadline().unwrap();
        assert_eq!(doubt.on_deadline(deadline - Duration::from_millis(1)), None);
        assert_eq!(doubt.on_deadline(deadline), Some(DoubtChange::Ended));
        assert_eq!(doubt.next_deadline(), None);
    }

    #[test]
    fn deleting_gateways_is_no_failure() {
        let (mut doubt, now) = fleet(6);
        for id in 1..=6 {
            assert_eq!(doubt.on_removed(now, GatewayId(id), true), None);
        }
    }
}
