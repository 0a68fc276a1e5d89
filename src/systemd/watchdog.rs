//! When the watchdog may be fed.

use std::time::Duration;

/// Who has answered since the watchdog was last fed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Feeding {
    registry: bool,
    store: bool,
}

impl Feeding {
    /// The registry worked through its mailbox.
    pub fn on_registry_answer(&mut self) {
        self.registry = true;
    }

    /// All threads of the store are alive.
    pub fn on_store_answer(&mut self) {
        self.store = true;
    }

    /// Whether to feed now. If so, both must answer anew before the next time.
    pub fn take(&mut self) -> bool {
        let both = self.registry && self.store;
        if both {
            *self = Self::default();
        }
        both
    }

    /// Who has not answered yet, for the log.
    pub fn missing(&self) -> &'static str {
        match (self.registry, self.store) {
            (false, false) => "registry and store",
            (false, true) => "registry",
            (true, false) => "store",
            (true, true) => "nobody",
        }
    }
}

/// How often to ask: a third of the time after which the service manager gives up, so that one late answer costs nothing.
pub fn feed_interval(timeout: Duration) -> Duration {
    (timeout / 3).max(Duration::from_millis(10))
}
