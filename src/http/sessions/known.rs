//! What gateways have told of their sessions, as published: taken without a message and without asking a gateway. Merged into one
//! list, or searched for the gateway that holds a session, which is never guessed.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::gateway_report::{Phase, SessionSnapshot, SharedSessions};
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::registry::roster::{GatewayView, RosterReader};
use gatewarden_api::pages::Page;
use gatewarden_protocol::sessions::{SessionRow, SessionStatus};
use serde_json::{Value, json};

use crate::http::gateway_calls::NamedGateway;

/// The sessions of all gateways at one moment.
pub(crate) struct KnownSessions(Vec<(Arc<GatewayView>, SharedSessions)>);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) id: GatewayId,
    pub(crate) name: &'a str,
    /// Whether its connection is up.
    pub(crate) reachable: bool,
    pub(crate) sessions: &'a SessionSnapshot,
}

impl KnownSessions {
    pub(crate) fn read(roster: &RosterReader) -> Self {
        Self(roster.slots().iter().map(|slot| (slot.view(), slot.sessions())).collect())
    }

    /// All gateways, in the order of `GET /api/gateways`.
    pub(crate) fn sources(&self) -> Vec<Source<'_>> {
        self.0
            .iter()
            .map(|(view, sessions)| Source {
                id: view.record.id,
                name: &view.record.name,
                reachable: view.report.phase == Phase::Ready,
                sessions,
            })
            .collect()
    }
}

impl Source<'_> {
    /// Unix seconds of the last news; none where nothing was ever told.
    pub(crate) fn as_of(&self) -> Option<i64> {
        (self.sessions.as_of_ms > 0).then(|| self.sessions.as_of_ms.div_euclid(1000))
    }
}

/// The gateway that a text names: by its id where one has it, else by its name.
pub(crate) fn named<'s, 'a>(sources: &'s [Source<'a>], text: &str) -> Option<&'s Source<'a>> {
    let id = text.parse().ok().map(GatewayId);
    let by_id = id.and_then(|id| sources.iter().find(|source| source.id == id));
    by_id.or_else(|| sources.iter().find(|source| source.name == text))
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) agent: Option<&'a str>,
    pub(crate) status: Option<SessionStatus>,
}

impl Wanted<'_> {
    fn takes(&self, row: &SessionRow) -> bool {
        self.agent.is_none_or(|agent| row.agent.as_deref() == Some(agent))
            && self.status.is_none_or(|status| row.status == Some(status))
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) source: &'a Source<'a>,
    pub(crate) row: &'a SessionRow,
}

/// How many rows beyond twice the page may be held before the worst are dropped.
const SLACK: usize = 1_024;

/// The page, and how many sessions there are in all. Looks at each row once, copies none, holds about a page of references.
pub(crate) fn merge<'a>(sources: &'a [Source<'a>], wanted: Wanted<'_>, page: Page) -> (Vec<Found<'a>>, usize) {
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

/// So many gateways are named in a failure, however many there are.
const MAX_NAMED: usize = 20;

/// Finds the gateway that holds a session of this key; `only` where the caller names the gateway.
///
/// A named gateway that has not told its whole list is taken at the caller's word: it judges for itself. Failures name gateways by
/// `id_of`, as the caller has to name one.
pub(crate) fn holder(
    sources: &[Source<'_>],
    key: &str,
    only: Option<GatewayId>,
    id_of: impl Fn(GatewayId) -> Value,
) -> Result<NamedGateway, Failure> {
    if let Some(id) = only {
        let source = sources.iter().find(|source| source.id == id).ok_or_else(|| Failure::gateway_not_found(id))?;
        if holds(source, key) || !source.sessions.complete {
            return Ok(named_gateway(source));
        }
        return Err(not_found(format!("Gateway \"{}\" holds no session \"{key}\"", source.name)));
    }
    let holding: Vec<&Source<'_>> = sources.iter().filter(|source| holds(source, key)).collect();
    match holding.as_slice() {
        [one] => Ok(named_gateway(one)),
        [] => Err(nowhere(sources, key, id_of)),
        several => Err(ambiguous(several, key, id_of)),
    }
}

fn holds(source: &Source<'_>, key: &str) -> bool {
    source.sessions.rows.iter().any(|row| row.key == key)
}

fn named_gateway(source: &Source<'_>) -> NamedGateway {
    NamedGateway { id: source.id, name: source.name.to_owned() }
}

fn not_found(sentence: String) -> Failure {
    Failure::new(ErrorCode::SessionNotFound, sentence)
        .with_help("GET /api/sessions lists the sessions that are known; a new one appears within a second or two.")
}

fn nowhere(sources: &[Source<'_>], key: &str, id_of: impl Fn(GatewayId) -> Value) -> Failure {
    let untold: Vec<&Source<'_>> = sources.iter().filter(|source| !source.sessions.complete).collect();
    let failure = not_found(format!("No gateway holds a session \"{key}\""));
    if untold.is_empty() {
        return failure;
    }
    let gateways: Vec<_> =
        untold.iter().take(MAX_NAMED).map(|source| json!({"id": id_of(source.id), "name": source.name})).collect();
    failure
        .with_help(
            "Not every gateway has told its sessions: details.not_listed names some. Where you know that one of them holds it, \
             name it with gateway_id.",
        )
        .with_details(json!({"not_listed": gateways, "not_listed_count": untold.len()}))
        .with_retry_after(Duration::from_secs(2))
}

fn ambiguous(several: &[&Source<'_>], key: &str, id_of: impl Fn(GatewayId) -> Value) -> Failure {
    let told = |id: GatewayId| match id_of(id) {
        Value::String(id) => id,
        id => id.to_string(),
    };
    let named = several.iter().take(MAX_NAMED);
    let names: Vec<String> =
        named.clone().map(|source| format!("\"{}\" (id {})", source.name, told(source.id))).collect();
    let more = several.len().saturating_sub(MAX_NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let gateways: Vec<_> = named.map(|source| json!({"id": id_of(source.id), "name": source.name})).collect();
    Failure::new(
        ErrorCode::SessionAmbiguous,
        format!("{} gateways hold a session \"{key}\": {}{more}", several.len(), names.join(", ")),
    )
    .with_help("Say which one with gateway_id.")
    .with_details(json!({ "gateways": gateways }))
}

#[cfg(test)]
mod merge_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use gatewarden_actors::gateway_report::SessionSnapshot;
    use gatewarden_protocol::sessions::SessionRow;

    fn snapshot(keys: &[&str], complete: bool) -> SessionSnapshot {
        let rows = keys
            .iter()
            .map(|key| SessionRow { key: (*key).to_owned(), ..SessionRow::default() })
            .map(std::sync::Arc::new)
            .collect();
        SessionSnapshot { rows, as_of_ms: 1, complete }
    }

    fn looked_for(snapshots: &[SessionSnapshot], key: &str, only: Option<i64>) -> Result<i64, Failure> {
        let names = ["zero", "one", "two", "three"];
        let sources: Vec<_> = snapshots
            .iter()
            .zip(1_usize..)
            .map(|(sessions, number)| Source {
                id: GatewayId(i64::try_from(number).unwrap()),
                name: names[number % names.len()],
                reachable: number == 1,
                sessions,
            })
            .collect();
        holder(&sources, key, only.map(GatewayId), |id| json!(id)).map(|holder| holder.id.0)
    }

    #[test]
    fn the_one_gateway_that_holds_it_is_found_reachable_or_not() {
        let snapshots = [snapshot(&["a"], true), snapshot(&["b", "c"], true), snapshot(&[], false)];
        assert_eq!(looked_for(&snapshots, "a", None), Ok(1));
        assert_eq!(looked_for(&snapshots, "c", None), Ok(2));
        assert_eq!(looked_for(&snapshots, "c", Some(2)), Ok(2));
    }

    #[test]
    fn a_key_that_two_gateways_hold_is_never_guessed() {
        let snapshots =
            [snapshot(&["agent:main:main"], true), snapshot(&["agent:main:main"], true), snapshot(&[], true)];
        let failure = looked_for(&snapshots, "agent:main:main", None).unwrap_err();
        assert_eq!(failure.code, ErrorCode::SessionAmbiguous);
        assert!(failure.message.contains("\"one\" (id 1), \"two\" (id 2)"), "{failure}");
        assert_eq!(failure.details.unwrap()["gateways"][1], json!({"id": 2, "name": "two"}));
        assert_eq!(looked_for(&snapshots, "agent:main:main", Some(2)), Ok(2));
        let elsewhere = looked_for(&snapshots, "agent:main:main", Some(3)).unwrap_err();
        assert_eq!(elsewhere.code, ErrorCode::SessionNotFound, "it is not sent to a gateway that does not hold it");
    }

    #[test]
    fn a_key_that_nobody_holds_is_not_found_and_says_who_has_not_told() {
        let told = [snapshot(&["a"], true)];
        let failure = looked_for(&told, "x", None).unwrap_err();
        assert_eq!((failure.code, failure.details), (ErrorCode::SessionNotFound, None));
        let untold = [snapshot(&["a"], true), snapshot(&[], false)];
        let failure = looked_for(&untold, "x", None).unwrap_err();
        assert_eq!(failure.code, ErrorCode::SessionNotFound);
        assert_eq!(failure.details.unwrap()["not_listed"], json!([{"id": 2, "name": "two"}]));
        assert_eq!(looked_for(&untold, "x", Some(2)), Ok(2), "a named gateway that has not told judges for itself");
        assert_eq!(looked_for(&untold, "x", Some(1)).unwrap_err().code, ErrorCode::SessionNotFound);
        assert_eq!(looked_for(&untold, "a", Some(9)).unwrap_err().code, ErrorCode::GatewayNotFound);
    }

    #[test]
    fn a_failure_names_a_bounded_number_of_gateways() {
        let many: Vec<_> = (0..500).map(|_| snapshot(&["k"], true)).collect();
        let failure = looked_for(&many, "k", None).unwrap_err();
        assert!(failure.message.contains("500 gateways") && failure.message.ends_with("and 480 more"), "{failure}");
        assert_eq!(failure.details.unwrap()["gateways"].as_array().unwrap().len(), MAX_NAMED);
    }
}
