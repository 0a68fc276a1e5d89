//! What agents report of their use of tokens: append, sum by agent, list newest first, forget what is old.

use std::collections::BTreeMap;
use std::time::Duration;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Double};
use gatewarden_core::error::Failure;
use serde::Serialize;

use super::{ROWS_AN_INSERT, cut_text, delete_beyond, delete_some};
use crate::connection::on_either;
use crate::error::StoreError;
use crate::handle::{Db, StoreHandle, span_ms, whole};
use crate::schema::token_usage;

/// Reports in one answer.
const MAX_LISTED: usize = 1_000;
/// Agents in one answer.
const MAX_AGENTS: i64 = 10_000;
const LONGEST_TEXT: usize = 200;
const LONGEST_SESSION: usize = 512;
/// So that sums of millions of reports don't overflow.
const MAX_TOKENS: i64 = 1_000_000_000_000;
const MAX_COST: f64 = 1e12;

/// One report. Numbers outside of 0 to 10^12 are brought into that range when stored; a cost that is no such number is left
/// out.
#[derive(Debug, Clone, PartialEq, Serialize, Queryable, Selectable, Insertable)]
#[serde(rename_all = "camelCase")]
#[diesel(table_name = token_usage, treat_none_as_default_value = false)]
pub struct TokenUsage {
    /// Unix milliseconds.
    pub at_ms: i64,
    /// The agent, by name; at most 200 characters are kept, as of all texts here.
    pub agent: String,
    pub model: String,
    pub input_tokens: i64,
    pub output_tokens: i64,
    /// In US dollars, where it was reported.
    pub cost: Option<f64>,
    /// The session, where it was reported; at most 512 characters.
    pub session_key: Option<String>,
    /// How the report came: `heartbeat` or `api`.
    pub source: String,
}

impl TokenUsage {
    /// As it is stored.
    fn within_limits(&self) -> Self {
        Self {
            at_ms: self.at_ms,
            agent: cut_text(&self.agent, LONGEST_TEXT),
            model: cut_text(&self.model, LONGEST_TEXT),
            input_tokens: self.input_tokens.clamp(0, MAX_TOKENS),
            output_tokens: self.output_tokens.clamp(0, MAX_TOKENS),
            cost: self.cost.filter(|cost| (0.0..=MAX_COST).contains(cost)),
            session_key: self.session_key.as_deref().map(|text| cut_text(text, LONGEST_SESSION)),
            source: cut_text(&self.source, LONGEST_TEXT),
        }
    }
}

/// A stored report.
#[derive(Debug, Clone, PartialEq, Serialize, Queryable, Selectable)]
#[serde(rename_all = "camelCase")]
#[diesel(table_name = token_usage)]
pub struct TokenRecord {
    /// Grows with each report.
    pub id: i64,
    #[serde(flatten)]
    #[diesel(embed)]
    pub usage: TokenUsage,
}

/// What an agent used over a time; serializes to `stats` of the API.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenStats {
    pub total_tokens: i64,
    pub input_tokens: i64,
    pub output_tokens: i64,
    /// In US dollars, of the reports that named a cost.
    pub total_cost: f64,
    pub request_count: i64,
}

impl StoreHandle {
    /// How long token usage is kept: 90 days.
    pub const TOKENS_KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

    /// Appends reports, all or none.
    pub async fn append_token_usage(&self, usage: Vec<TokenUsage>) -> Result<(), Failure> {
        if usage.is_empty() {
            return Ok(());
        }
        self.write("store the token usage", move |db| {
            for chunk in usage.chunks(ROWS_AN_INSERT) {
                let rows: Vec<TokenUsage> = chunk.iter().map(TokenUsage::within_limits).collect();
                let added = diesel::insert_into(token_usage::table).values(&rows);
                on_either!(db.connection, |inner| added.execute(inner))?;
            }
            Ok(())
        })
        .await
    }

    /// What each agent used since `since_ms` (Unix milliseconds), by its name; agents without a report are not in it.
    pub async fn agent_costs(&self, since_ms: i64) -> Result<BTreeMap<String, TokenStats>, Failure> {
        self.read("sum up the token usage", move |db| by_agent(db, since_ms)).await
    }

    /// Reports newest first, not older than `since_ms`, without the `offset` newest; `limit` is 1 to 1,000.
    pub async fn list_tokens(
        &self,
        offset: usize,
        limit: usize,
        since_ms: Option<i64>,
    ) -> Result<Vec<TokenRecord>, Failure> {
        let (offset, limit) = (whole(offset), whole(limit.clamp(1, MAX_LISTED)));
        self.read("list the token usage", move |db| {
            let since = token_usage::table.filter(token_usage::at_ms.ge(since_ms.unwrap_or(i64::MIN)));
            let newest = since.order(token_usage::id.desc()).offset(offset).limit(limit);
            Ok(newest.select(TokenRecord::as_select()).load(db.connection)?)
        })
        .await
    }

    /// How many reports there are since then.
    pub async fn count_tokens(&self, since_ms: Option<i64>) -> Result<usize, Failure> {
        self.read("count the token usage", move |db| {
            let since = token_usage::table.filter(token_usage::at_ms.ge(since_ms.unwrap_or(i64::MIN)));
            let count: i64 = since.count().get_result(db.connection)?;
            Ok(usize::try_from(count).unwrap_or_default())
        })
        .await
    }

    /// Forgets reports older than `keep`; how many there were.
    pub async fn thin_tokens(&self, now_ms: i64, keep: Duration) -> Result<usize, Failure> {
        let before = now_ms.saturating_sub(span_ms(keep));
        self.write_in_turns("forget old token usage", move |db| {
            Ok(delete_some!(db, token_usage, token_usage::table.filter(token_usage::at_ms.lt(before))))
        })
        .await
    }
}

fn by_agent(db: &mut Db<'_>, since_ms: i64) -> Result<BTreeMap<String, TokenStats>, StoreError> {
    // The type of a sum differs between databases; the casts make it the same. Each row is clamped as it was when it was
    // written: a sum of what a damaged database holds must not overflow.
    let rows: Vec<(String, i64, i64, f64, i64)> = token_usage::table
        .filter(token_usage::at_ms.ge(since_ms))
        .group_by(token_usage::agent)
        .select((
            token_usage::agent,
            sql::<BigInt>(&clamped_sum("input_tokens")),
            sql::<BigInt>(&clamped_sum("output_tokens")),
            sql::<Double>("CAST(COALESCE(SUM(cost), 0) AS DOUBLE PRECISION)"),
            diesel::dsl::count_star(),
        ))
        .limit(MAX_AGENTS)
        .load(db.connection)?;
    let stats = rows.into_iter().map(|(agent, input_tokens, output_tokens, total_cost, request_count)| {
        let total_tokens = input_tokens.saturating_add(output_tokens);
        (agent, TokenStats { total_tokens, input_tokens, output_tokens, total_cost, request_count })
    });
    Ok(stats.collect())
}

fn clamped_sum(column: &str) -> String {
    format!(
        "CAST(SUM(CASE WHEN {column} > {MAX_TOKENS} THEN {MAX_TOKENS} WHEN {column} < 0 THEN 0 ELSE {column} END) AS BIGINT)"
    )
}

/// Removes some of the oldest beyond so many; 0 when there are none left.
pub(super) fn cut(db: &mut Db<'_>, most: i64) -> Result<usize, StoreError> {
    Ok(delete_beyond!(db, token_usage, most, token_usage::table))
}
