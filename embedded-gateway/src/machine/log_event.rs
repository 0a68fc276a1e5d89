//! The `log` event: what the log gets, as it is told to those who may read (document 002, "Log Entry").

use std::sync::Arc;

use serde_json::json;

use super::GatewayMachine;
use crate::caller::Scope;
use crate::clock::Now;
use crate::effect::{Effect, LogLine};

impl GatewayMachine {
    /// The event for a line; none where nobody listens, or the line is below the configured level.
    pub(crate) fn log_event(&mut self, line: &LogLine, now: Now) -> Option<Effect> {
        if line.level < self.config.log.level {
            return None;
        }
        let to = self.subscribers.holding(Scope::Read);
        if to.is_empty() {
            return None;
        }
        self.logged += 1;
        let payload = json!({
            "id": format!("log-{}", self.logged),
            "timestamp": now.wall_ms,
            "level": line.level.as_str(),
            "source": line.source,
            "session": line.session,
            "message": line.message,
            "extra": line.extra,
        });
        Some(Effect::Tell { to, event: "log".to_owned(), payload: Arc::new(payload) })
    }
}
