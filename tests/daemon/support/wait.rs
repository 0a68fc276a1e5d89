//! Waiting for a condition, bounded: the only place of the black-box tests that reads the clock or sleeps.

use std::time::{Duration, Instant};

/// A clock that is already running.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts one.
    #[expect(clippy::disallowed_methods, reason = "black-box tests watch a process that lives in real time")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Asks until the answer is `Ok`, every 20 ms. Panics after `limit` with the last reason.
#[expect(clippy::disallowed_methods, reason = "the one sleep of the black-box tests, between two looks at a condition")]
pub(crate) fn until_ok<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let watch = Stopwatch::start();
    loop {
        match look() {
            Ok(value) => return value,
            Err(reason) if watch.elapsed() > limit => panic!("not within {limit:?}: {what}; last seen: {reason}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Asks until the condition holds.
pub(crate) fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    until_ok(what, limit, || if holds() { Ok(()) } else { Err("it does not hold".to_owned()) });
}

/// Looks for a while and panics if the condition is ever broken: for what must not happen.
#[expect(clippy::disallowed_methods, reason = "watching that nothing happens takes time by its nature")]
pub(crate) fn holds_for(what: &str, span: Duration, mut holds: impl FnMut() -> bool) {
    let watch = Stopwatch::start();
    while watch.elapsed() < span {
        assert!(holds(), "broken after {:?}: {what}", watch.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
}
