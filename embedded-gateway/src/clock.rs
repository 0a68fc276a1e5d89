//! The one seam to time and chance. Everything else in this crate is handed a [`Now`] or a [`Chance`].

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatewarden_protocol::Secret;
use gatewarden_protocol::steady_time::Reading;
use rustix::time::{ClockId, clock_gettime};

/// One moment, on all clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Monotonic; follows a paused tokio clock.
    pub at: Instant,
    /// Wall time in ms since the Unix epoch.
    pub wall_ms: i64,
    /// Since the machine was booted, times of suspension included, in ms.
    pub uptime_ms: i64,
}

impl Now {
    /// The moment of this call.
    pub fn read() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the seam")]
        let wall = SystemTime::now();
        let wall_ms =
            wall.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        let uptime = clock_gettime(ClockId::Boottime);
        let uptime_ms = uptime.tv_sec.saturating_mul(1_000).saturating_add(uptime.tv_nsec / 1_000_000);
        Self { at: tokio::time::Instant::now().into_std(), wall_ms, uptime_ms }
    }

    /// For the comparison of the two clocks that outlast the process.
    pub fn reading(self) -> Reading {
        Reading { wall_ms: self.wall_ms, uptime_ms: self.uptime_ms }
    }
}

/// Where names and secrets that nobody may guess come from.
pub trait Chance {
    /// A fresh UUID (version 4) in its usual text form.
    fn uuid(&mut self) -> String;
    /// A fresh secret: 32 random bytes, base64url without padding (43 characters), as real gateways' device tokens.
    fn secret(&mut self) -> Secret;
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemChance;

impl SystemChance {
    fn bytes<const N: usize>() -> [u8; N] {
        let mut bytes = [0_u8; N];
        if let Err(error) = getrandom::fill(&mut bytes) {
            // Without entropy nothing that is handed out could be trusted: better no gateway than one that can be guessed.
            tracing::error!(%error, "the operating system gives no randomness; stopping");
            std::process::abort();
        }
        bytes
    }
}

impl Chance for SystemChance {
    fn uuid(&mut self) -> String {
        uuid::Builder::from_random_bytes(Self::bytes()).into_uuid().to_string()
    }

    fn secret(&mut self) -> Secret {
        Secret::new(URL_SAFE_NO_PAD.encode(Self::bytes::<32>()))
    }
}

/// Resolves at that moment; never, where there is none.
pub(crate) async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CountingChance(pub(crate) u64);

#[cfg(test)]
impl Chance for CountingChance {
    fn uuid(&mut self) -> String {
        self.0 += 1;
        format!("00000000-0000-4000-8000-{:012}", self.0)
    }

    fn secret(&mut self) -> Secret {
        self.0 += 1;
        Secret::new(format!("secret-{:036}", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_secrets_or_ids_are_alike() {
        let mut chance = SystemChance;
        assert_ne!(chance.uuid(), chance.uuid());
        let secret = chance.secret();
        assert_eq!(secret.expose().len(), 43);
        assert_ne!(secret, chance.secret());
        let mut counted = CountingChance::default();
        assert_ne!(counted.uuid(), counted.uuid());
    }
}
