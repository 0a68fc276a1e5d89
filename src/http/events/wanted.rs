//! What a client asks of an event stream: which types, and where to go on.

use actix_web::HttpRequest;
use gatewarden_actors::event::EventKind;

use crate::http::error::ApiError;
use crate::http::query::Query;

/// A client's wishes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Types to be sent; empty for all.
    pub(crate) kinds: Vec<EventKind>,
    /// The last event that the client saw, where it returns.
    pub(crate) last_seen: Option<u64>,
}

impl Wanted {
    /// Reads `types`, `last_event_id` and the header `Last-Event-ID`.
    pub(crate) fn read(request: &HttpRequest) -> Result<Self, ApiError> {
        let mut query = Query::parse(request.query_string());
        let kinds = kinds(&mut query);
        let by_query = query.integer("last_event_id", 0..=i64::MAX).and_then(|id| u64::try_from(id).ok());
        query.problems.into_result()?;
        // A browser that reconnects repeats the query of its first request, so the header is the newer one.
        Ok(Self { kinds, last_seen: last_event_id(request).or(by_query) })
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
        assert_eq!(wanted("", None), Ok(Wanted { kinds: Vec::new(), last_seen: None }));
        let some = wanted("types=log,gateway.status&last_event_id=17", None).unwrap();
        assert_eq!(some, Wanted { kinds: vec![EventKind::Log, EventKind::GatewayStatus], last_seen: Some(17) });
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
        assert!(wanted("last_event_id=-1", None).unwrap_err().contains("last_event_id"));
    }
}
