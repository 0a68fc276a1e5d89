//! One list out of the lists of all gateways: filtered, newest first, one page of it.

use std::cmp::Ordering;

use gatewarden_protocol::sessions::{SessionRow, SessionStatus};

use super::known::Source;
use crate::http::query::Page;

/// Which sessions are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Only of this agent.
    pub agent: Option<&'a str>,
    /// Only with this status.
    pub status: Option<SessionStatus>,
}

impl Wanted<'_> {
    fn takes(&self, row: &SessionRow) -> bool {
        self.agent.is_none_or(|agent| row.agent.as_deref() == Some(agent))
            && self.status.is_none_or(|status| row.status == Some(status))
    }
}

/// A session and where it is.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The gateway that holds it.
    pub source: &'a Source<'a>,
    /// What the gateway told of it.
    pub row: &'a SessionRow,
}

/// How many rows beyond twice the page may be held before the worst are dropped.
const SLACK: usize = 1_024;

/// The page, and how many sessions there are in all. Looks at each row once, copies none, holds about a page of references.
pub fn merge<'a>(sources: &'a [Source<'a>], wanted: Wanted<'_>, page: Page) -> (Vec<Found<'a>>, usize) {
    let end = page.offset.saturating_add(page.limit);
    let mut best: Vec<Found<'a>> = Vec::new();
    let mut total = 0_usize;
    for source in sources.iter().filter(|source| !source.sessions.rows.is_empty()) {
        for row in source.sessions.rows.iter().filter(|row| wanted.takes(row)) {
            total += 1;
            best.push(Found { source, row });
            if best.len() >= end.saturating_mul(2).saturating_add(SLACK) {
                keep_first(&mut best, end);
            }
        }
    }
    keep_first(&mut best, end);
    best.sort_unstable_by(order);
    (best.into_iter().skip(page.offset).collect(), total)
}

/// Drops what lies behind the first `count`, in linear time.
fn keep_first(best: &mut Vec<Found<'_>>, count: usize) {
    if count < best.len() {
        best.select_nth_unstable_by(count, order);
        best.truncate(count);
    }
}

/// Newest first; without a time last; then by key, then by gateway: the order never depends on chance.
fn order(a: &Found<'_>, b: &Found<'_>) -> Ordering {
    b.row
        .updated_at_ms
        .cmp(&a.row.updated_at_ms)
        .then_with(|| a.row.key.cmp(&b.row.key))
        .then_with(|| a.source.id.cmp(&b.source.id))
}

#[cfg(test)]
mod tests;
