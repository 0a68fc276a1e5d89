//! Hold-down of a gateway that bounces: it may be usable again and again, but not trusted with the primary's role.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Transitions within [`WINDOW`] that make a flapper.
pub(crate) const TRANSITIONS: usize = 5;
/// The window in which they count.
pub(crate) const WINDOW: Duration = Duration::from_secs(10 * 60);
/// The first hold-down; each further one doubles it up to [`MAX_HOLD`].
pub(crate) const FIRST_HOLD: Duration = Duration::from_secs(5 * 60);
/// The longest hold-down.
pub(crate) const MAX_HOLD: Duration = Duration::from_secs(60 * 60);

/// Counts the transitions of one gateway between usable and not. Remembers at most [`TRANSITIONS`] instants.
#[derive(Debug, Clone, Default)]
pub(crate) struct FlapDamper {
    transitions: VecDeque<Instant>,
    held_until: Option<Instant>,
    last_hold: Option<Duration>,
}

impl FlapDamper {
    /// After a restart of the daemon: the latest hold-down ends in so many ms, or ended so many ago.
    pub(crate) fn resume(now: Instant, ends_in_ms: i64, length: Duration) -> Self {
        // A clock that was set back makes no hold-down longer.
        let (length, distance) = (length.min(MAX_HOLD), Duration::from_millis(ends_in_ms.unsigned_abs()));
        let held_until = if ends_in_ms > 0 { Some(now + distance.min(length)) } else { now.checked_sub(distance) };
        Self { transitions: VecDeque::new(), held_until, last_hold: held_until.map(|_| length) }
    }

    /// The gateway became usable or ceased to be. True when this starts a new hold-down.
    pub(crate) fn on_transition(&mut self, now: Instant) -> bool {
        // A quiet spell as long as the longest hold-down makes an honest gateway of a former flapper.
        if self.held_until.is_some_and(|until| now.saturating_duration_since(until) >= MAX_HOLD) {
            self.last_hold = None;
        }
        while self.transitions.front().is_some_and(|at| now.saturating_duration_since(*at) >= WINDOW) {
            self.transitions.pop_front();
        }
        self.transitions.push_back(now);
        if self.transitions.len() < TRANSITIONS || self.is_held(now) {
            self.transitions.truncate(TRANSITIONS);
            return false;
        }
        let hold = self.last_hold.map_or(FIRST_HOLD, |last| (last * 2).min(MAX_HOLD));
        self.held_until = Some(now + hold);
        self.last_hold = Some(hold);
        self.transitions.clear();
        true
    }

    /// Whether the gateway is held down at `now`.
    pub(crate) fn is_held(&self, now: Instant) -> bool {
        self.held_until(now).is_some()
    }

    /// How long the present hold-down takes altogether; zero where there is none.
    pub(crate) fn hold(&self, now: Instant) -> Duration {
        self.last_hold.filter(|_| self.is_held(now)).unwrap_or_default()
    }

    /// When the present hold-down ends.
    pub(crate) fn held_until(&self, now: Instant) -> Option<Instant> {
        self.held_until.filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        crate::any_instant()
    }

    fn bounce(damper: &mut FlapDamper, from: Instant, times: u64) -> (Instant, bool) {
        let mut now = from;
        let mut held = false;
        for _ in 0..times {
            now += Duration::from_secs(10);
            held |= damper.on_transition(now);
        }
        (now, held)
    }

    #[test]
    fn four_transitions_are_tolerated_and_the_fifth_holds_for_five_minutes() {
        let mut damper = FlapDamper::default();
        let (now, held) = bounce(&mut damper, start(), 4);
        assert!(!held && !damper.is_held(now));
        let (now, held) = bounce(&mut damper, now, 1);
        assert!(held && damper.is_held(now));
        assert!(damper.is_held(now + FIRST_HOLD - Duration::from_secs(1)));
        assert!(!damper.is_held(now + FIRST_HOLD));
    }

    #[test]
    fn each_further_hold_doubles_up_to_an_hour() {
        let mut damper = FlapDamper::default();
        let mut now = start();
        let mut holds = Vec::new();
        for _ in 0..6 {
            let (at, held) = bounce(&mut damper, now, 5);
            assert!(held);
            let until = damper.held_until(at).unwrap();
            holds.push((until - at).as_secs() / 60);
            now = until;
        }
        assert_eq!(holds, [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn slow_transitions_never_hold() {
        let mut damper = FlapDamper::default();
        let mut now = start();
        for _ in 0..100 {
            now += Duration::from_secs(151);
            assert!(!damper.on_transition(now));
        }
    }

    #[test]
    fn a_restart_of_the_daemon_neither_ends_nor_prolongs_a_hold_down_and_the_next_one_is_longer() {
        let now = start();
        let damper = FlapDamper::resume(now, 60_000, 2 * FIRST_HOLD);
        assert_eq!(damper.held_until(now), Some(now + Duration::from_secs(60)));
        let mut over = FlapDamper::resume(now, -60_000, 2 * FIRST_HOLD);
        assert_eq!(over.held_until(now), None);
        let (at, held) = bounce(&mut over, now, 5);
        assert!(held);
        assert_eq!(over.hold(at), 4 * FIRST_HOLD);
        let set_back = FlapDamper::resume(now, 86_400_000, FIRST_HOLD);
        assert_eq!(set_back.held_until(now), Some(now + FIRST_HOLD));
        let forgiven = FlapDamper::resume(now + 2 * MAX_HOLD, -7_200_000, MAX_HOLD);
        let (at, _) = bounce(&mut forgiven.clone(), now + 2 * MAX_HOLD, 5);
        assert_eq!(forgiven.hold(at), Duration::ZERO);
    }

    #[test]
    fn a_long_quiet_spell_starts_again_at_five_minutes() {
        let mut damper = FlapDamper::default();
        let (now, _) = bounce(&mut damper, start(), 5);
        let (_, _) = bounce(&mut damper, now + FIRST_HOLD, 5);
        let later = now + Duration::from_secs(3 * 3600);
        let (at, held) = bounce(&mut damper, later, 5);
        assert!(held);
        assert_eq!(damper.held_until(at).unwrap() - at, FIRST_HOLD);
    }
}
