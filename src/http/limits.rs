//! What callers may take: requests (GCRA with the limit as its burst, by API key, by session for controls, and by address for
//! wrong keys), entries of refusals in the audit log, and memory for bodies.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpMessage as _, HttpRequest};
use gatewarden_actors::agent_book::AgentKey;
use gatewarden_actors::clock::Clock;
use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_listener::MemoryPermit;
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use super::settings::RateLimits;

/// Beyond so many keys the idle ones are forgotten at once and not only by the regular purge.
const KEYS_BEFORE_PURGE: usize = 20_000;

/// Our clock, so that a paused test clock moves the limits too.
#[derive(Debug, Clone)]
struct LimitClock(Clock);

impl governor::clock::Clock for LimitClock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        self.0.now()
    }
}

type Limiter<K> = RateLimiter<K, DashMapStateStore<K>, LimitClock, StateInformationMiddleware>;

#[derive(Debug)]
pub(crate) struct Limit<K: Hash + Eq + Clone> {
    limiter: Limiter<K>,
    clock: LimitClock,
    burst: NonZeroU32,
    replenish: Duration,
    what: &'static str,
}

/// What a response tells of the limit that its request was counted against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LimitState {
    limit: u32,
    remaining: u32,
    /// Until the next request may pass, where this one didn't; else until the whole burst is back.
    reset: Duration,
}

impl<K: Hash + Eq + Clone> Limit<K> {
    fn new(burst: NonZeroU32, replenish: Duration, clock: &Clock, what: &'static str) -> Self {
        let clock = LimitClock(clock.clone());
        let replenish = replenish.max(Duration::from_nanos(1));
        let quota = Quota::with_period(replenish).unwrap_or(Quota::per_second(burst)).allow_burst(burst);
        let limiter = Limiter::new(quota, DashMapStateStore::default(), clock.clone());
        Self { limiter, clock, burst, replenish, what }
    }

    fn per_minute(limit: NonZeroU32, clock: &Clock, what: &'static str) -> Self {
        Self::new(limit, Duration::from_secs(60) / limit.get(), clock, what)
    }

    pub(crate) fn check(&self, key: &K) -> Counted {
        if self.limiter.len() > KEYS_BEFORE_PURGE {
            self.purge();
        }
        let limit = self.burst.get();
        match self.limiter.check_key(key) {
            Ok(snapshot) => {
                let remaining = snapshot.remaining_burst_capacity();
                let reset = self.replenish.saturating_mul(limit.saturating_sub(remaining));
                Counted { state: LimitState { limit, remaining, reset }, refusal: None }
            }
            Err(until) => {
                let wait = until.wait_time_from(self.clock.0.now());
                let seconds = wait.as_millis().div_ceil(1000).max(1);
                let failure = Failure::new(
                    ErrorCode::RateLimited,
                    format!("Too many {}; the next one may come in {seconds} s", self.what),
                )
                .with_help(
                    "Wait as long as the Retry-After header says. The limits are in the section rate_limit of the configuration.",
                )
                .with_retry_after(wait);
                Counted { state: LimitState { limit, remaining: 0, reset: wait }, refusal: Some(failure) }
            }
        }
    }

    /// Forgets keys whose burst is whole again.
    fn purge(&self) {
        self.limiter.retain_recent();
    }
}

#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) state: LimitState,
    pub(crate) refusal: Option<Failure>,
}

impl Counted {
    /// Leaves the state for the response's headers and refuses what is beyond the limit.
    pub(crate) fn settle(self, request: &HttpRequest) -> Result<(), Failure> {
        request.extensions_mut().insert(self.state);
        self.refusal.map_or(Ok(()), Err)
    }
}

impl LimitState {
    /// Adds `RateLimit-Limit`, `-Remaining` and `-Reset` (seconds).
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        let reset = u64::try_from(self.reset.as_millis().div_ceil(1000)).unwrap_or(u64::MAX);
        headers.insert(HeaderName::from_static("ratelimit-limit"), HeaderValue::from(self.limit));
        headers.insert(HeaderName::from_static("ratelimit-remaining"), HeaderValue::from(self.remaining));
        headers.insert(HeaderName::from_static("ratelimit-reset"), HeaderValue::from(reset));
    }
}

#[derive(Debug)]
pub(crate) struct Limits {
    enabled: bool,
    gateway: Limit<i64>,
    browser: Limit<String>,
    spawn: Limit<i64>,
    health: Limit<i64>,
    control: Limit<(i64, String)>,
    heartbeat: Limit<(i64, AgentKey)>,
    wrong_keys: Limit<AddressBlock>,
}

impl Limits {
    pub(crate) fn new(settings: &RateLimits, clock: &Clock) -> Self {
        Self {
            enabled: settings.enabled,
            gateway: Limit::per_minute(settings.gateway_per_minute, clock, "gateway operations with this key"),
            browser: Limit::per_minute(settings.browser_per_minute, clock, "reads with this browser session"),
            spawn: Limit::per_minute(settings.spawn_per_minute, clock, "spawns with this key"),
            health: Limit::new(NonZeroU32::MIN, settings.health_interval, clock, "manual health checks with this key"),
            control: Limit::per_minute(settings.control_per_minute, clock, "controls of this session"),
            heartbeat: Limit::per_minute(settings.gateway_per_minute, clock, "heartbeats of this agent with this key"),
            wrong_keys: Limit::per_minute(settings.wrong_keys_per_minute, clock, "attempts from this address"),
        }
    }

    pub(crate) fn gateway_operation(&self, key: i64) -> Option<Counted> {
        self.enabled.then(|| self.gateway.check(&key))
    }

    pub(crate) fn browser_read(&self, session: &str) -> Option<Counted> {
        self.enabled.then(|| self.browser.check(&session.to_owned()))
    }

    pub(crate) fn spawn(&self, key: i64) -> Option<Counted> {
        self.enabled.then(|| self.spawn.check(&key))
    }

    pub(crate) fn health_check(&self, key: i64) -> Option<Counted> {
        self.enabled.then(|| self.health.check(&key))
    }

    /// Counts a control of a session, whoever asks for it; `None` where limits are off.
    pub(crate) fn session_control(&self, gateway: i64, session_key: &str) -> Option<Counted> {
        self.enabled.then(|| self.control.check(&(gateway, session_key.to_owned())))
    }

    pub(crate) fn heartbeat(&self, key: i64, agent: &AgentKey) -> Option<Counted> {
        self.enabled.then(|| self.heartbeat.check(&(key, agent.clone())))
    }

    /// Counts a wrong key from an address. Right keys are never counted, so nobody is locked out by somebody else's tries.
    pub(crate) fn wrong_key(&self, address: Option<IpAddr>) -> Counted {
        let mut counted = self.wrong_keys.check(&AddressBlock::of(address));
        if let Some(failure) = &mut counted.refusal {
            failure.message = "Too many wrong API keys from this address; a right key works at once".to_owned();
            failure.help =
                Some("Check the key that your client sends; Retry-After says when the next try counts.".to_owned());
        }
        counted
    }

    /// Forgets what no longer limits anybody. To be called every minute or so.
    pub(crate) fn purge(&self) {
        self.gateway.purge();
        self.browser.purge();
        self.spawn.purge();
        self.health.purge();
        self.control.purge();
        self.heartbeat.purge();
        self.wrong_keys.purge();
    }
}

/// An IPv4 address, or an IPv6 /64: one customer's network, within which addresses cost nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct AddressBlock(Option<IpAddr>);

impl AddressBlock {
    /// The block of an address; addresses that nobody knows are one.
    pub(crate) fn of(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        }))
    }
}

/// Without a bound on refusals in the audit log, whoever reaches the port could fill the disk without a key, one 401 after the
/// other. This many of one source in one window; what is beyond is only counted.
const MAX_REFUSALS_OF_ONE: u32 = 30;
/// Refusals of all in one window.
const MAX_REFUSALS: u32 = 600;
const REFUSAL_WINDOW: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum RefusedCaller {
    Key(i64),
    Address(AddressBlock),
}

#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    admitted: u32,
    /// Bounded, since only what is admitted is counted here.
    by_source: HashMap<RefusedCaller, u32>,
    left_out: u64,
}

impl Refusals {
    /// Whether one more may have an entry of its own.
    pub(super) fn admit(&self, source: RefusedCaller, now: Instant) -> bool {
        self.with(|window| {
            if window.began.is_none_or(|began| now.saturating_duration_since(began) >= REFUSAL_WINDOW) {
                window.began = Some(now);
                window.admitted = 0;
                window.by_source.clear();
            }
            let of_source = window.by_source.get(&source).copied().unwrap_or(0);
            if of_source >= MAX_REFUSALS_OF_ONE || window.admitted >= MAX_REFUSALS {
                window.left_out += 1;
                return false;
            }
            window.admitted += 1;
            window.by_source.insert(source, of_source + 1);
            true
        })
    }

    /// How many had none since the last call.
    pub(crate) fn take_left_out(&self) -> u64 {
        self.with(|window| std::mem::take(&mut window.left_out))
    }

    /// It is held for a few moves only and nothing in there panics, so poison carries no meaning.
    fn with<T>(&self, action: impl FnOnce(&mut Window) -> T) -> T {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Bytes of all bodies of those who have shown a good key: each one's own limit times their number would be far too much.
pub(crate) const BODY_MEMORY: usize = 64 * 1024 * 1024;
/// When to try again.
const BODY_WAIT: Duration = Duration::from_secs(5);

/// Holds so many bytes of a body in all.
pub(crate) fn hold(permit: &mut MemoryPermit, bytes: usize) -> Result<(), Failure> {
    permit.grow_to(bytes).then_some(()).ok_or_else(|| {
        Failure::new(ErrorCode::Unavailable, "Too many requests are sending their bodies at this moment")
            .with_help("Wait as long as the Retry-After header says.")
            .with_retry_after(BODY_WAIT)
    })
}

#[cfg(test)]
mod tests {
    use gatewarden_listener::MemoryBudget;

    use super::*;

    fn limits(settings: RateLimits) -> Limits {
        Limits::new(&settings, &Clock::simulated(0, 1))
    }

    #[actix_web::test]
    async fn the_burst_is_the_limit_and_comes_back_with_time() {
        tokio::time::pause();
        let limits = limits(RateLimits { gateway_per_minute: NonZeroU32::new(3).unwrap(), ..RateLimits::default() });
        for remaining in [2, 1, 0] {
            assert_eq!(limits.gateway_operation(1).unwrap().state.remaining, remaining);
        }
        let counted = limits.gateway_operation(1).unwrap();
        assert_eq!(counted.state.limit, 3);
        assert!(counted.refusal.unwrap().retry_after.unwrap() <= Duration::from_secs(20));
        assert!(limits.gateway_operation(2).unwrap().refusal.is_none(), "another key has its own count");
        tokio::time::sleep(Duration::from_millis(20_100)).await;
        assert!(limits.gateway_operation(1).unwrap().refusal.is_none());
        assert!(limits.gateway_operation(1).unwrap().refusal.is_some());
    }

    #[actix_web::test]
    async fn one_manual_health_check_passes_in_ten_seconds() {
        tokio::time::pause();
        let limits = limits(RateLimits::default());
        assert!(limits.health_check(1).unwrap().refusal.is_none());
        assert!(limits.health_check(1).unwrap().refusal.is_some());
        tokio::time::sleep(Duration::from_millis(10_050)).await;
        assert!(limits.health_check(1).unwrap().refusal.is_none());
    }

    #[actix_web::test]
    async fn controls_are_counted_by_session_and_gateway_and_forgotten_with_time() {
        tokio::time::pause();
        let limits = limits(RateLimits::default());
        let refused = (0..12).filter(|_| limits.session_control(1, "main").unwrap().refusal.is_some()).count();
        assert_eq!(refused, 2, "ten a minute");
        let failure = limits.session_control(1, "main").unwrap().refusal.unwrap();
        assert!(failure.message.contains("controls of this session"), "{failure}");
        assert!(
            limits.session_control(2, "main").unwrap().refusal.is_none(),
            "on another gateway it is another session"
        );
        assert!(limits.session_control(1, "other").unwrap().refusal.is_none());
        assert_eq!(limits.control.limiter.len(), 3);
        tokio::time::sleep(Duration::from_secs(70)).await;
        limits.purge();
        assert_eq!(limits.control.limiter.len(), 0);
        assert!(limits.session_control(1, "main").unwrap().refusal.is_none());
    }

    #[actix_web::test]
    async fn switched_off_only_the_limit_on_wrong_keys_stays() {
        tokio::time::pause();
        let limits = limits(RateLimits { enabled: false, ..RateLimits::default() });
        assert!(limits.gateway_operation(1).is_none());
        assert!(limits.health_check(1).is_none());
        let address = Some("192.0.2.1".parse().unwrap());
        let refused = (0..20).filter(|_| limits.wrong_key(address).refusal.is_some()).count();
        assert_eq!(refused, 15, "five a minute");
        assert!(limits.wrong_key(Some("192.0.2.2".parse().unwrap())).refusal.is_none());
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let first = AddressBlock::of(Some("2001:db8::1".parse().unwrap()));
        assert_eq!(first, AddressBlock::of(Some("2001:db8::ffff:1".parse().unwrap())));
        assert_ne!(first, AddressBlock::of(Some("2001:db8:0:1::1".parse().unwrap())));
    }

    #[test]
    fn one_source_leaves_so_many_entries_and_does_not_use_up_those_of_others() {
        let refusals = Refusals::default();
        let now = Clock::simulated(0, 1).now();
        let admitted = |key, at| (0..100).filter(|_| refusals.admit(RefusedCaller::Key(key), at)).count();
        assert_eq!(admitted(1, now), 30);
        assert_eq!(admitted(2, now), 30);
        assert_eq!(refusals.take_left_out(), 140);
        assert_eq!(refusals.take_left_out(), 0);
        assert_eq!(admitted(1, now + Duration::from_secs(59)), 0);
        assert_eq!(admitted(1, now + Duration::from_secs(60)), 30);
    }

    #[test]
    fn all_sources_together_are_bounded_too() {
        let refusals = Refusals::default();
        let now = Clock::simulated(0, 1).now();
        let admitted = (0..10_000).filter(|key| refusals.admit(RefusedCaller::Key(*key), now)).count();
        assert_eq!(admitted, 600);
        assert_eq!(refusals.take_left_out(), 9_400);
    }

    #[test]
    fn permits_share_the_budget_and_give_it_back_when_dropped() {
        let budget = MemoryBudget::new(100);
        let (mut one, mut other) = (budget.empty_permit(), budget.empty_permit());
        assert!(hold(&mut one, 60).is_ok() && hold(&mut one, 50).is_ok());
        assert_eq!(hold(&mut other, 41).unwrap_err().code, ErrorCode::Unavailable);
        assert!(hold(&mut other, 40).is_ok());
        drop(one);
        assert!(hold(&mut other, 100).is_ok());
    }
}
