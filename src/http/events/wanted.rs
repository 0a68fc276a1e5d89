//! What a client asks of an event stream: which types, and where to go on.

use std::sync::Arc;

use actix_web::HttpRequest;
use gatewarden_actors::event::EventKind;
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::log_relay::MAX_GATEWAYS;

use crate::http::error::ApiError;
use crate::http::query::Query;

/// A client's wishes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Types to be sent; empty for all but log entries.
    pub(crate) kinds: Vec<EventKind>,
    /// The last event that the client saw, where it returns.
    pub(crate) last_seen: Option<u64>,
    /// Gateways whose log entries are wanted; none for all.
    pub(crate) logs_of: Option<Arc<[GatewayId]>>,
}

impl Wanted {
    /// Reads `types`, `gateway_id`, `last_event_id` and the header `Last-Event-ID`.
    pub(crate) fn read(request: &HttpRequest) -> Result<Self, ApiError> {
        let mut query = Query::parse(request.query_string());
        let kinds = kinds(&mut query);
        let logs_of = gateways(&mut query);
        let by_query = query.integer("last_event_id", 0..=i64::MAX).and_then(|id| u64::try_from(id).ok());
        query.problems.into_result()?;
        // A browser that reconnects repeats the query of its first request, so the header is the newer one.
        Ok(Self { kinds, last_seen: last_event_id(request).or(by_query), logs_of })
    }
}

fn kinds(query: &mut Query) -> Vec<EventKind> {
    let Some(names) = query.value("types").map(str::to_owned) else {
        return Vec::new();
    };
    let mut kinds = Vec::new();
    for name in names.split(',').map(str::trim) {
        match EventKind::from_name(name) {
            Some(kind) => kinds.push(kind),
            None => {
                let shown: String = name.chars().filter(|character| !character.is_control()).take(60).collect();
                let known = EventKind::ALL.map(EventKind::as_str).join(", ");
                query
                    .problems
                    .add("types", format!("types names \"{shown}\", which is no type of event; there are {known}"));
                break;
            }
        }
    }
    kinds
}

fn gateways(query: &mut Query) -> Option<Arc<[GatewayId]>> {
    let ids = query.value("gateway_id")?;
    let ids: Option<Vec<GatewayId>> =
        ids.split(',').map(|id| id.trim().parse().ok().filter(|id| *id > 0).map(GatewayId)).collect();
    let ids = ids.filter(|ids| ids.len() <= MAX_GATEWAYS);
    if ids.is_none() {
        query.problems.add("gateway_id", format!("gateway_id must be up to {MAX_GATEWAYS} ids, separated by commas"));
    }
    ids.map(Arc::from)
}

/// What a browser keeps may be of another server; an id that isn't ours is answered like one that is too old, because a
/// browser takes an error for final.
fn last_event_id(request: &HttpRequest) -> Option<u64> {
    let value = request.headers().get("last-event-id")?;
    let text = value.to_str().unwrap_or("?").trim();
    (!text.is_empty()).then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn wanted(query: &str, header: Option<&str>) -> Result<Wanted, String> {
        let mut request = TestRequest::default().uri(&format!("/api/events?{query}"));
        if let Some(header) = header {
            request = request.insert_header(("last-event-id", header));
        }
        Wanted::read(&request.to_http_request()).map_err(|error| error.0.message)
    }

    #[test]
    fn types_and_the_last_id_are_read() {
        assert_eq!(wanted("", None), Ok(Wanted { kinds: Vec::new(), last_seen: None, logs_of: None }));
        let some = wanted("types=log,gateway.status&last_event_id=17&gateway_id=3,5", None).unwrap();
        let logs_of: Option<Arc<[GatewayId]>> = Some(Arc::from([GatewayId(3), GatewayId(5)]));
        assert_eq!(
            some,
            Wanted { kinds: vec![EventKind::Log, EventKind::GatewayStatus], last_seen: Some(17), logs_of }
        );
    }

    #[test]
    fn the_header_comes_before_the_query_and_nonsense_in_it_is_an_id_that_nobody_has() {
        assert_eq!(wanted("last_event_id=1", Some("5")).unwrap().last_seen, Some(5));
        assert_eq!(wanted("last_event_id=1", Some("")).unwrap().last_seen, Some(1));
        assert_eq!(wanted("", Some("abc")).unwrap().last_seen, Some(u64::MAX));
        assert_eq!(wanted("", Some("-1")).unwrap().last_seen, Some(u64::MAX));
    }

    #[test]
    fn what_is_wrong_in_the_query_is_named() {
        assert!(wanted("types=log,gateway.statuss", None).unwrap_err().contains("\"gateway.statuss\""));
        assert!(wanted("types=log,", None).unwrap_err().contains("\"\""));
        assert!(wanted("last_event_id=undefined", None).unwrap_err().contains("last_event_id"));
        for ids in ["x", "0", "1,,2", "-1", &"1,".repeat(64)] {
            assert!(wanted(&format!("gateway_id={ids}"), None).unwrap_err().contains("gateway_id"), "{ids}");
        }
        assert!(wanted("last_event_id=-1", None).unwrap_err().contains("last_event_id"));
    }
}
