//! Whether a store thread is alive, told without the database.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The pulse of one thread, written by that thread and read by the watchdog's ping.
#[derive(Debug)]
pub(super) struct Pulse {
    base: Instant,
    /// Milliseconds from `base` to the start of the present job, plus one; 0 while idle.
    busy_since: AtomicU64,
    /// Milliseconds from `base` to the end of the last job, plus one; 0 before there was one.
    done_at: AtomicU64,
    gone: AtomicBool,
}

/// What a pulse says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    /// Waits for a job; the last one ended this long ago, if there was one.
    Idle(Option<Duration>),
    /// In a job for this long.
    Busy(Duration),
    /// The thread has ended.
    Gone,
}

impl Pulse {
    pub(super) fn new(base: Instant) -> Self {
        Self { base, busy_since: AtomicU64::new(0), done_at: AtomicU64::new(0), gone: AtomicBool::new(false) }
    }

    pub(super) fn job_starts(&self, now: Instant) {
        self.busy_since.store(self.mark(now), Ordering::Release);
    }

    pub(super) fn job_ends(&self, now: Instant) {
        self.done_at.store(self.mark(now), Ordering::Release);
        self.busy_since.store(0, Ordering::Release);
    }

    fn mark(&self, now: Instant) -> u64 {
        let since = u64::try_from(now.saturating_duration_since(self.base).as_millis()).unwrap_or(u64::MAX);
        since.saturating_add(1)
    }

    /// How long ago a mark was made; `None` for 0.
    fn ago(&self, mark: u64, now: Instant) -> Option<Duration> {
        let at = Duration::from_millis(mark.checked_sub(1)?);
        Some(now.saturating_duration_since(self.base).saturating_sub(at))
    }

    pub(super) fn thread_ends(&self) {
        self.gone.store(true, Ordering::Release);
    }

    pub(super) fn beat(&self, now: Instant) -> Beat {
        if self.gone.load(Ordering::Acquire) {
            return Beat::Gone;
        }
        match self.ago(self.busy_since.load(Ordering::Acquire), now) {
            Some(busy) => Beat::Busy(busy),
            None => Beat::Idle(self.ago(self.done_at.load(Ordering::Acquire), now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_tells_idle_busy_and_gone_apart() {
        let base = gatewarden_clock::clock::Clock::system().now();
        let after = |seconds| base + Duration::from_secs(seconds);
        let pulse = Pulse::new(base);
        assert_eq!(pulse.beat(after(5)), Beat::Idle(None));
        pulse.job_starts(base);
        assert_eq!(pulse.beat(base), Beat::Busy(Duration::ZERO));
        assert_eq!(pulse.beat(after(70)), Beat::Busy(Duration::from_secs(70)));
        pulse.job_ends(after(71));
        assert_eq!(pulse.beat(after(71)), Beat::Idle(Some(Duration::ZERO)));
        assert_eq!(pulse.beat(after(74)), Beat::Idle(Some(Duration::from_secs(3))));
        pulse.job_starts(after(72));
        pulse.thread_ends();
        assert_eq!(pulse.beat(after(73)), Beat::Gone);
    }
}
