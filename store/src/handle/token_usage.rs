//! Token usage: append, sum, list, forget what is old.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{StoreHandle, span_ms, whole};
use crate::records::{TokenRecord, TokenStats, TokenUsage};
use crate::tables::token_usage;
use gatewarden_core::error::Failure;

/// Reports in one answer.
const MOST_LISTED: usize = 1_000;

impl StoreHandle {
    /// How long token usage is kept: 90 days.
    pub const TOKENS_KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

    /// Appends reports, all or none.
    pub async fn append_token_usage(&self, usage: Vec<TokenUsage>) -> Result<(), Failure> {
        if usage.is_empty() {
            return Ok(());
        }
        self.write("store the token usage", move |connection, _| token_usage::append(connection, &usage)).await
    }

    /// What each agent used since `since_ms` (Unix milliseconds), by its name; agents without a report are not in it.
    pub async fn agent_costs(&self, since_ms: i64) -> Result<BTreeMap<String, TokenStats>, Failure> {
        self.read("sum up the token usage", move |connection, _| token_usage::by_agent(connection, since_ms)).await
    }

    /// Reports newest first, not older than `since_ms`; `limit` is 1 to 1,000.
    pub async fn list_tokens(&self, limit: usize, since_ms: Option<i64>) -> Result<Vec<TokenRecord>, Failure> {
        let limit = whole(limit.clamp(1, MOST_LISTED));
        self.read("list the token usage", move |connection, _| token_usage::list(connection, limit, since_ms)).await
    }

    /// Forgets reports older than `keep`; how many there were.
    pub async fn thin_tokens(&self, now_ms: i64, keep: Duration) -> Result<usize, Failure> {
        let before = now_ms.saturating_sub(span_ms(keep));
        self.write_in_turns("forget old token usage", move |connection| token_usage::remove(connection, before)).await
    }
}
