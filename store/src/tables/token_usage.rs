//! Token usage: append, sum by agent, list newest first, forget what is old.

use std::collections::BTreeMap;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Double};

use crate::error::StoreError;
use crate::records::{TokenRecord, TokenStats, TokenUsage};
use crate::schema::token_usage;

/// Rows in one insert statement.
const ROWS_AN_INSERT: usize = 500;
/// Rows removed in one transaction.
const ROWS_A_CHUNK: i64 = 2_000;
/// Agents in one answer.
const MOST_AGENTS: i64 = 10_000;
const LONGEST_TEXT: usize = 200;
const LONGEST_SESSION: usize = 512;
/// So that sums of millions of reports don't overflow.
const MOST_TOKENS: i64 = 1_000_000_000_000;
const HIGHEST_COST: f64 = 1e12;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = token_usage)]
#[diesel(treat_none_as_default_value = false)]
struct Row {
    at_ms: i64,
    agent: String,
    model: String,
    input_tokens: i64,
    output_tokens: i64,
    cost: Option<f64>,
    session_key: Option<String>,
    source: String,
}

impl Row {
    fn of(usage: &TokenUsage) -> Self {
        Self {
            at_ms: usage.at_ms,
            agent: cut(&usage.agent, LONGEST_TEXT),
            model: cut(&usage.model, LONGEST_TEXT),
            input_tokens: usage.input_tokens.clamp(0, MOST_TOKENS),
            output_tokens: usage.output_tokens.clamp(0, MOST_TOKENS),
            cost: usage.cost.filter(|cost| (0.0..=HIGHEST_COST).contains(cost)),
            session_key: usage.session_key.as_deref().map(|text| cut(text, LONGEST_SESSION)),
            source: cut(&usage.source, LONGEST_TEXT),
        }
    }

    fn into_usage(self) -> TokenUsage {
        TokenUsage {
            at_ms: self.at_ms,
            agent: self.agent,
            model: self.model,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            cost: self.cost,
            session_key: self.session_key,
            source: self.source,
        }
    }
}

fn cut(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}

pub(crate) fn append(connection: &mut SqliteConnection, usage: &[TokenUsage]) -> Result<(), StoreError> {
    for chunk in usage.chunks(ROWS_AN_INSERT) {
        let rows: Vec<Row> = chunk.iter().map(Row::of).collect();
        diesel::insert_into(token_usage::table).values(&rows).execute(connection)?;
    }
    Ok(())
}

pub(crate) fn list(
    connection: &mut SqliteConnection,
    limit: i64,
    since_ms: Option<i64>,
) -> Result<Vec<TokenRecord>, StoreError> {
    let mut query = token_usage::table
        .select((token_usage::id, Row::as_select()))
        .order(token_usage::id.desc())
        .limit(limit)
        .into_boxed();
    if let Some(since) = since_ms {
        query = query.filter(token_usage::at_ms.ge(since));
    }
    let rows: Vec<(i64, Row)> = query.load(connection)?;
    Ok(rows.into_iter().map(|(id, row)| TokenRecord { id, usage: row.into_usage() }).collect())
}

pub(crate) fn by_agent(
    connection: &mut SqliteConnection,
    since_ms: i64,
) -> Result<BTreeMap<String, TokenStats>, StoreError> {
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
        .limit(MOST_AGENTS)
        .load(connection)?;
    let stats = rows.into_iter().map(|(agent, input_tokens, output_tokens, total_cost, request_count)| {
        let total_tokens = input_tokens.saturating_add(output_tokens);
        (agent, TokenStats { total_tokens, input_tokens, output_tokens, total_cost, request_count })
    });
    Ok(stats.collect())
}

fn clamped_sum(column: &str) -> String {
    format!(
        "CAST(SUM(CASE WHEN {column} > {MOST_TOKENS} THEN {MOST_TOKENS} WHEN {column} < 0 THEN 0 ELSE {column} END) AS BIGINT)"
    )
}

/// Removes some reports older than `before_ms`; 0 when there are none left.
pub(crate) fn remove(connection: &mut SqliteConnection, before_ms: i64) -> Result<usize, StoreError> {
    let ids: Vec<i64> = token_usage::table
        .filter(token_usage::at_ms.lt(before_ms))
        .select(token_usage::id)
        .limit(ROWS_A_CHUNK)
        .load(connection)?;
    Ok(diesel::delete(token_usage::table.filter(token_usage::id.eq_any(ids))).execute(connection)?)
}

/// Removes some of the oldest beyond `most`, by the newest id; 0 when there are none left.
pub(crate) fn remove_beyond(connection: &mut SqliteConnection, most: i64) -> Result<usize, StoreError> {
    let newest: Option<i64> = token_usage::table.select(diesel::dsl::max(token_usage::id)).first(connection)?;
    let Some(newest) = newest.filter(|newest| *newest > most) else { return Ok(0) };
    let ids: Vec<i64> = token_usage::table
        .filter(token_usage::id.le(newest - most))
        .select(token_usage::id)
        .limit(ROWS_A_CHUNK)
        .load(connection)?;
    Ok(diesel::delete(token_usage::table.filter(token_usage::id.eq_any(ids))).execute(connection)?)
}
