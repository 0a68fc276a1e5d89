//! The one seam to time and chance. Everything else in this crate is handed `now`, a wall time or a random number.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use gatewarden_protocol::steady_time::{Gap, Reading, SteadyTime};
use rustix::time::{ClockId, clock_gettime};

/// Time and randomness as the actors see them. Cheap to clone; clones share the random sequence and what is known of the wall
/// clock's jumps.
///
/// The monotonic clock is tokio's, so a paused test clock moves it; the wall clock advances with it from a fixed start in
/// tests and is the system's otherwise.
#[derive(Clone, Debug)]
pub struct Clock {
    wall: Wall,
    random: Arc<AtomicU64>,
    /// None where nobody watches the wall clock, as in the commands: then it is believed.
    steady: Arc<ArcSwapOption<SteadyTime>>,
    woke: Arc<ArcSwapOption<Woke>>,
    /// By how much the wall clock that counts is ahead of this machine's.
    ahead_ms: Arc<AtomicI64>,
}

/// The end of a time in which this program got none, as whoever asked first after it found it.
#[derive(Debug)]
struct Woke {
    /// Uptime of the last look before.
    looked_ms: i64,
    at: Instant,
}

#[derive(Clone, Debug)]
enum Wall {
    System,
    Virtual { started: tokio::time::Instant, at_start_ms: i64 },
}

impl Clock {
    /// The clock of a running daemon, seeded from the operating system.
    pub fn system() -> Self {
        let mut seed = [0_u8; 8];
        // Without entropy the jitter is merely predictable; keys are drawn elsewhere and do fail.
        let _ = getrandom::fill(&mut seed);
        Self {
            wall: Wall::System,
            random: Arc::new(AtomicU64::new(u64::from_le_bytes(seed))),
            steady: Arc::default(),
            woke: Arc::default(),
            ahead_ms: Arc::default(),
        }
    }

    /// A clock of this machine that goes by the wall time of another one: see [`Self::set_wall`].
    #[must_use]
    pub fn for_another(&self) -> Self {
        let ahead_ms = Arc::new(AtomicI64::new(self.ahead_ms.load(Ordering::Relaxed)));
        Self { ahead_ms, steady: Arc::default(), woke: Arc::default(), ..self.clone() }
    }

    /// Sets the wall time, for all clones. This machine's own clock stays as it is.
    pub fn set_wall(&self, wall_ms: i64) {
        self.jump(wall_ms.saturating_sub(self.wall_ms()));
    }

    /// A clock for tests: wall time follows tokio's clock from `at_start_ms`, randomness follows from `seed`.
    pub fn simulated(at_start_ms: i64, seed: u64) -> Self {
        Self {
            wall: Wall::Virtual { started: tokio::time::Instant::now(), at_start_ms },
            random: Arc::new(AtomicU64::new(seed)),
            steady: Arc::default(),
            woke: Arc::default(),
            ahead_ms: Arc::default(),
        }
    }

    /// Sets the wall clock ahead, or back, for all clones.
    pub fn jump(&self, by_ms: i64) {
        self.ahead_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// Monotonic now; follows a paused tokio clock.
    pub fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// Wall time in milliseconds since the Unix epoch.
    pub fn wall_ms(&self) -> i64 {
        let of_machine = match &self.wall {
            #[expect(clippy::disallowed_methods, reason = "this is the seam")]
            Wall::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            Wall::Virtual { started, at_start_ms } => {
                at_start_ms.saturating_add(i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX))
            }
        };
        of_machine.saturating_add(self.ahead_ms.load(Ordering::Relaxed))
    }

    /// Milliseconds of a clock that never jumps, and goes on while the machine is suspended.
    pub fn uptime_ms(&self) -> i64 {
        match &self.wall {
            Wall::System => {
                // Unlike the monotonic clock of the standard library this one goes on while the machine is suspended.
                let uptime = clock_gettime(ClockId::Boottime);
                uptime.tv_sec.saturating_mul(1_000).saturating_add(uptime.tv_nsec / 1_000_000)
            }
            Wall::Virtual { started, .. } => i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX),
        }
    }

    fn reading(&self) -> Reading {
        Reading { wall_ms: self.wall_ms(), uptime_ms: self.uptime_ms() }
    }

    /// From now on the wall clock's jumps are known, those since `stored` was stored included. Answers the one meanwhile, in ms,
    /// where that is worth a word. `is_shared`: what is stored may be of another machine.
    pub fn watch(&self, stored: Option<&str>, boot: &str, is_shared: bool) -> Option<i64> {
        let (steady, jump) = SteadyTime::resume(stored, boot, is_shared, self.reading());
        self.steady.store(Some(Arc::new(steady)));
        jump
    }

    /// Compares the clocks; by how many ms the wall clock jumped since the last time, where it did. For the one who watches, and
    /// meant to look again after `every`: where that took much longer, nothing was observed meanwhile.
    pub fn look(&self, every: Duration) -> Option<i64> {
        // Whoever asks later can't see it any more.
        let _ = self.woke(every);
        let mut steady = SteadyTime::clone(&*self.steady.load_full()?);
        let jump = steady.look_again(self.reading(), i64::try_from(every.as_millis()).unwrap_or(i64::MAX));
        self.steady.store(Some(Arc::new(steady)));
        jump
    }

    /// When this program last came back from a time in which nothing was observed, found here or by [`Self::look`] (`every` as
    /// there). None where it never was away.
    pub fn woke(&self, every: Duration) -> Option<Instant> {
        if let Some(looked_ms) = self.steady.load().as_ref().and_then(|steady| {
            let within_ms = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
            steady.unseen_since_ms(self.reading(), within_ms)
        }) {
            let woke = Arc::new(Woke { looked_ms, at: self.now() });
            // The first who asks is right for all: what began since then began after it.
            self.woke.rcu(|known| match known {
                Some(known) if known.looked_ms == looked_ms => Some(Arc::clone(known)),
                _ => Some(Arc::clone(&woke)),
            });
        }
        self.woke.load().as_ref().map(|woke| woke.at)
    }

    /// The newest times in which nothing was observed, oldest first: the daemon was not running, or frozen.
    pub fn gaps(&self) -> Vec<Gap> {
        self.steady.load().as_ref().map(|steady| steady.gaps().collect()).unwrap_or_default()
    }

    /// What is known of the wall clock, for [`Self::watch`] of the next run.
    pub fn stored(&self) -> Option<String> {
        self.steady.load().as_ref().map(|steady| steady.stored())
    }

    /// The wall time by which what is kept for `kept` is too old or not: behind [`Self::wall_ms`] for as long after a jump ahead.
    /// Whatever deletes by age asks for this.
    pub fn judged_ms(&self, kept: Duration) -> i64 {
        match &*self.steady.load() {
            Some(steady) => steady.judged_ms(self.reading(), kept),
            None => self.wall_ms(),
        }
    }

    /// The wall time by which credentials expire: never before a time that was reached beyond doubt, so that a clock that is
    /// put back revives none.
    pub fn expiry_ms(&self) -> i64 {
        self.wall_ms().max(self.steady.load().as_ref().map_or(i64::MIN, |steady| steady.reached_ms()))
    }

    /// A number in `[0, 1)` for jitter. Not for keys, nonces or tokens.
    pub fn random_unit(&self) -> f64 {
        // SplitMix64: one atomic add per draw, good enough to spread reconnects.
        let state = self.random.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed).wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
        let unit = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
        unit
    }

    /// Milliseconds of a duration, saturating.
    pub fn millis(duration: Duration) -> u64 {
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
    }
}
