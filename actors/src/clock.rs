//! The one seam to time and chance. Everything else in this crate is handed `now`, a wall time or a random number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time and randomness as the actors see them. Cheap to clone; clones share the random sequence.
///
/// The monotonic clock is tokio's, so a paused test clock moves it; the wall clock advances with it from a fixed start in
/// tests and is the system's otherwise.
#[derive(Clone, Debug)]
pub struct Clock {
    wall: Wall,
    random: Arc<AtomicU64>,
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
        Self { wall: Wall::System, random: Arc::new(AtomicU64::new(u64::from_le_bytes(seed))) }
    }

    /// A clock for tests: wall time follows tokio's clock from `at_start_ms`, randomness follows from `seed`.
    pub fn simulated(at_start_ms: i64, seed: u64) -> Self {
        Self {
            wall: Wall::Virtual { started: tokio::time::Instant::now(), at_start_ms },
            random: Arc::new(AtomicU64::new(seed)),
        }
    }

    /// Monotonic now; follows a paused tokio clock.
    pub fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// Wall time in milliseconds since the Unix epoch.
    pub fn wall_ms(&self) -> i64 {
        match &self.wall {
            #[expect(clippy::disallowed_methods, reason = "this is the seam")]
            Wall::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            Wall::Virtual { started, at_start_ms } => {
                at_start_ms.saturating_add(i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX))
            }
        }
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
