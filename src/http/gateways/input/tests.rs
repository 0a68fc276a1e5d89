use gatewarden_actors::gateway_record::TlsTrust;
use serde_json::json;

use super::*;

fn new(body: Value) -> Result<GatewaySpec, Failure> {
    new_gateway(body.as_object().unwrap()).map(|new| new.spec).map_err(|error| error.0)
}

fn changed(body: Value, present: &GatewayRecord) -> Result<GatewayChange, Failure> {
    change(body.as_object().unwrap(), present).map_err(|error| error.0)
}

fn record(host: &str, port: u16) -> GatewayRecord {
    let new = GatewaySpec { token: Some(Secret::new("secret")), ..GatewaySpec::at("prod", host, port) };
    GatewayRecord { revision: 1, ..new.into_record(GatewayId(1), "u", 0) }
}

#[test]
fn the_documented_example_is_taken() {
    let gateway = new(json!({
        "name": "production", "host": "gateway.prod.example.com", "port": 18789,
        "token": "your-gateway-auth-token", "is_primary": false
    }))
    .unwrap();
    assert_eq!((gateway.name.as_str(), gateway.port), ("production", 18789));
    assert_eq!(gateway.token, Some(Secret::new("your-gateway-auth-token")));
    assert_eq!(gateway.tls, TlsTrust::System);
}

#[test]
fn all_offending_fields_are_named_at_once() {
    let failure = new(json!({"name": "", "host": 5, "port": 0, "labels": {"a": 1}, "priority": "high"})).unwrap_err();
    for field in ["name", "host", "port", "labels", "priority"] {
        assert!(failure.message.contains(field), "{field}: {}", failure.message);
    }
    for (host, port) in [("user:secret@gw.example.com", json!("x")), ("", json!(70_000)), ("a b", json!(1.5))] {
        let failure = new(json!({"name": "a", "host": host, "port": port})).unwrap_err();
        assert!(failure.message.contains("host") && failure.message.contains("port"), "{host}: {}", failure.message);
    }
    let failure = new(json!({"name": "a", "host": "gw.example.com", "port": "x"})).unwrap_err();
    assert!(!failure.message.contains("host"), "a good host is no offender: {}", failure.message);
    let failure = new(json!({})).unwrap_err();
    for field in ["name is missing", "host is missing", "port is missing"] {
        assert!(failure.message.contains(field), "{field}: {}", failure.message);
    }
}

#[test]
fn a_url_brings_its_own_port_and_hides_its_token() {
    let gateway = new(json!({"name": "a", "host": "wss://gw.example.com/sub?token=t0p"})).unwrap();
    assert_eq!(gateway.port, 443);
    assert_eq!(gateway.host, "wss://gw.example.com/sub");
    assert_eq!(gateway.url_token, Some(Secret::new("t0p")));
    assert_eq!(new(json!({"name": "a", "host": "ws://gw.example.com:9000", "port": 1})).unwrap().port, 9000);
}

#[test]
fn a_forbidden_address_has_its_own_code_unless_more_is_wrong() {
    let failure = new(json!({"name": "a", "host": "169.254.169.254", "port": 80})).unwrap_err();
    assert_eq!(failure.code, ErrorCode::AddressForbidden);
    let failure = new(json!({"name": "", "host": "169.254.169.254", "port": 80})).unwrap_err();
    assert_eq!(failure.code, ErrorCode::InvalidRequest);
    assert!(failure.message.contains("host") && failure.message.contains("name"));
}

#[test]
fn agents_are_read_and_more_than_fifty_are_left_aside() {
    let many: Vec<Value> = (0..60).map(|number| json!({"name": format!("a{number}")})).collect();
    let body = json!({"name": "a", "host": "h", "port": 1, "agents": many});
    assert_eq!(new_gateway(body.as_object().unwrap()).map_err(|error| error.0).unwrap().agents.len(), 50);
    let failure = new(json!({"name": "a", "host": "h", "port": 1, "agents": [{"role": "x"}, "y"]})).unwrap_err();
    assert!(failure.message.contains("agents[0].name is missing"), "{}", failure.message);
    assert!(failure.message.contains("agents[1] must be an object"), "{}", failure.message);
}

#[test]
fn a_control_character_in_a_text_is_refused() {
    for body in [
        json!({"name": "a\u{0}b", "host": "h", "port": 1}),
        json!({"name": "a\nb", "host": "h", "port": 1}),
        json!({"name": "a", "host": "h\u{0}", "port": 1}),
        json!({"name": "a", "host": "h", "port": 1, "token": "a\r\nb"}),
        json!({"name": "a", "host": "h", "port": 1, "labels": {"k\u{7}": "v"}}),
    ] {
        assert_eq!(new(body).unwrap_err().code, ErrorCode::InvalidRequest);
    }
}

#[test]
fn a_change_leaves_what_it_does_not_name() {
    let change = changed(json!({"id": 1, "name": "new", "is_primary": 1}), &record("h", 1)).unwrap();
    assert_eq!(
        change,
        GatewayChange { name: Some("new".to_owned()), is_primary: Some(true), ..GatewayChange::default() }
    );
    assert!(changed(json!({"id": 1, "unknown": 5}), &record("h", 1)).unwrap().is_empty());
}

#[test]
fn a_token_is_set_cleared_or_left() {
    let present = record("h", 1);
    let token = |body| changed(body, &present).unwrap().token;
    assert_eq!(token(json!({"token": "new"})), Some(Some(Secret::new("new"))));
    assert_eq!(token(json!({"token": ""})), Some(None));
    assert_eq!(token(json!({"token": null})), Some(None));
    assert_eq!(token(json!({"token": "--------"})), None);
    assert_eq!(token(json!({})), None);
}

#[test]
fn a_new_host_decides_port_and_url_token_anew() {
    let change = changed(json!({"host": "other"}), &record("h", 7000)).unwrap();
    assert_eq!((change.host.as_deref(), change.port, change.url_token), (Some("other"), Some(7000), Some(None)));
    let change = changed(json!({"host": "https://other"}), &record("h", 7000)).unwrap();
    assert_eq!(change.port, Some(443));
}

#[test]
fn a_port_that_the_url_overrules_is_refused() {
    let failure = changed(json!({"port": 9000}), &record("wss://h:8443", 8443)).unwrap_err();
    assert!(failure.message.contains("8443"), "{}", failure.message);
    assert_eq!(changed(json!({"port": 9000}), &record("h", 1)).unwrap().port, Some(9000));
}

#[test]
fn an_external_observation_is_read() {
    let body =
        json!({"status": "offline", "last_seen": 1_700_000_000, "latency": 12, "sessions_count": 3, "agents_count": 2});
    let change = changed(body, &record("h", 1)).unwrap();
    assert_eq!(change.status.as_deref(), Some("offline"));
    assert_eq!((change.last_seen, change.latency), (Some(1_700_000_000), Some(12)));
    assert!(
        changed(json!({"status": "great"}), &record("h", 1)).unwrap_err().message.contains("status must be one of")
    );
}

#[test]
fn an_id_comes_from_the_body_or_the_query() {
    let body = |value: Value| value.as_object().cloned().unwrap();
    assert_eq!(id_of_body_or_query(Some(&body(json!({"id": 2}))), "").unwrap(), GatewayId(2));
    assert_eq!(id_of_body_or_query(None, "id=3").unwrap(), GatewayId(3));
    for (given, query) in
        [(None, ""), (Some(body(json!({}))), ""), (Some(body(json!({"id": "2"}))), ""), (None, "id=x")]
    {
        let failure = id_of_body_or_query(given.as_ref(), query).unwrap_err().0;
        assert_eq!(failure.code, ErrorCode::InvalidRequest, "{query}");
    }
    assert!(id_of_body_or_query(Some(&body(json!({"id": -1}))), "").unwrap_err().0.message.contains("positive"));
}
