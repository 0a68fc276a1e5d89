use super::*;
use crate::dialing::HttpReply;

fn reply(status: u16, content_type: Option<&str>, body: &'static str) -> HttpReply {
    HttpReply {
        status,
        content_type: content_type.map(str::to_owned),
        retry_after: None,
        date_ms: None,
        body: Bytes::from_static(body.as_bytes()).into(),
        took: Duration::from_millis(3),
    }
}

#[test]
fn a_health_document_is_known_by_its_body_and_not_by_its_status() {
    const LIVE: &str = r#"{"ok":true,"status":"live"}"#;
    let json = Some("application/json; charset=utf-8");
    assert!(read_health(&reply(200, json, LIVE)).unwrap().is_healthy);
    assert!(!read_health(&reply(503, json, LIVE)).unwrap().is_healthy);
    for (status, content_type, body) in [
        (200, Some("text/html"), "<!doctype html>"),
        (200, json, "{}"),
        (404, json, LIVE),
        (302, json, LIVE),
        (401, json, LIVE),
    ] {
        let refused = read_health(&reply(status, content_type, body)).unwrap_err();
        assert_eq!(refused.step(), "health_document", "{status} {body}");
    }
}
