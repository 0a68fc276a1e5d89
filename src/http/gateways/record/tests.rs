use gatewarden_actors::gateway_report::{GatewayReport, Status};
use gatewarden_actors::ids::GatewayId;
use gatewarden_api::gateway_record::{STATUSES, TRANSPORTS};

use super::*;
use crate::http::error::status_of;

const NOW_S: i64 = 1_700_000_000;

fn new(body: Value) -> Result<GatewaySpec, Failure> {
    whole(body).map(|new| new.spec)
}

fn whole(body: Value) -> Result<NewGateway, Failure> {
    new_gateway(Fields::new(body.as_object().unwrap()), &ProcessSettings::default()).map_err(|error| error.0)
}

fn changed(body: Value, present: &GatewayRecord) -> Result<GatewayChange, Failure> {
    change(Fields::new(body.as_object().unwrap()), present, &ProcessSettings::default(), NOW_S).map_err(|error| error.0)
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
    let gateway = whole(json!({"name": "a", "host": "h", "port": 1, "agents": many})).unwrap();
    assert_eq!(gateway.agents.len(), 50);
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
fn the_words_of_requests_are_those_of_records() {
    assert_eq!(STATUSES, Status::ALL.map(Status::as_str));
    assert_eq!(TRANSPORTS, Transport::ALL.map(Transport::as_str));
}

fn good_organization() -> Value {
    json!({"name": "prod", "url": "ws://gw.example:18789", "workspace_root": "/srv/w"})
}

fn with(field: &str, value: Value) -> Value {
    let mut body = good_organization();
    body[field] = value;
    body
}

fn read(body: &Value) -> Result<GatewaySpec, Failure> {
    organization_gateway(Fields::new(body.as_object().unwrap())).map_err(|error| error.0)
}

#[test]
fn an_organizations_gateway_is_read_with_the_url_as_given_and_the_token_apart() {
    let body = json!({"name": "prod", "url": "wss://gw.example/ws?token=abc", "workspace_root": " /srv/w ", "token": "tok",
        "allow_insecure_tls": true, "disable_device_pairing": 1, "unknown": 5});
    let new = read(&body).unwrap();
    assert_eq!(
        (new.host.as_str(), new.port, new.workspace_root.as_deref()),
        ("wss://gw.example/ws", 443, Some("/srv/w"))
    );
    assert_eq!(new.url_token.unwrap().expose(), "abc");
    assert_eq!(new.token.unwrap().expose(), "tok");
    assert!(new.disable_device_pairing && !new.is_primary);
    assert_eq!(new.tls, TlsTrust::None);
    let plain = read(&good_organization()).unwrap();
    assert_eq!((plain.port, plain.tls, plain.token), (18789, TlsTrust::System, None));
}

#[test]
fn a_missing_field_is_a_400_with_its_name_and_all_are_named_at_once() {
    let failure = read(&json!({})).unwrap_err();
    assert_eq!(failure.code, ErrorCode::InvalidRequest);
    for name in ["name is missing", "url is missing", "workspace_root is missing"] {
        assert!(failure.message.contains(name), "{}", failure.message);
    }
    assert_eq!(read(&with("workspace_root", Value::Null)).unwrap_err().code, ErrorCode::InvalidRequest);
}

#[test]
fn a_url_that_is_none_of_a_gateway_is_a_400() {
    for url in [
        "http://gw.example",
        "gw.example:18789",
        "ws://",
        "ws:///path",
        "wss://user:pw@gw",
        "ws://gw:0",
        "ws://gw:99999",
        "ws://a b",
        "",
        "ftp://gw",
        "ws://%41",
    ] {
        let failure = read(&with("url", json!(url))).unwrap_err();
        assert_eq!(failure.code, ErrorCode::InvalidRequest, "{url}: {}", failure.message);
        assert!(failure.message.starts_with("url "), "{url}: {}", failure.message);
    }
    assert_eq!(read(&with("url", json!(5))).unwrap_err().code, ErrorCode::InvalidRequest);
    let forbidden = read(&with("url", json!("ws://169.254.169.254:80"))).unwrap_err();
    assert_eq!(forbidden.code, ErrorCode::AddressForbidden);
    assert!(forbidden.message.starts_with("url must not be used"), "{}", forbidden.message);
}

#[test]
fn a_workspace_root_that_is_empty_or_relative_is_a_422() {
    for root in ["", "  ", "work", "./work", "~/work", "C:work", "/a\nb"] {
        let failure = read(&with("workspace_root", json!(root))).unwrap_err();
        assert_eq!(status_of(failure.code).as_u16(), 422, "{root:?}");
        assert_eq!(failure.details.unwrap()["fields"][0]["field"], "workspace_root");
    }
    for root in ["/w", "C:\\work", "D:/work", "\\\\host\\share"] {
        assert!(read(&with("workspace_root", json!(root))).is_ok(), "{root}");
    }
    let both = json!({"url": "x", "name": "prod", "workspace_root": ""});
    assert_eq!(read(&both).unwrap_err().code, ErrorCode::InvalidRequest, "what is malformed comes first");
}

#[test]
fn only_ws_and_wss_are_websocket_urls() {
    for (text, is) in [("ws://a", true), ("WSS://a:1", true), ("http://a", false), ("wss:/a", false), ("a", false)] {
        assert_eq!(is_ws_url(text), is, "{text}");
    }
}

fn of(mut body: Value) -> Result<Option<Option<ProcessSource>>, Failure> {
    body["name"] = json!("a");
    changed(body, &record("h", 1)).map(|change| change.process)
}

#[test]
fn a_unit_may_be_named_changed_and_cleared() {
    assert_eq!(of(json!({})), Ok(None));
    let unit = ProcessSource::Unit("gatewarden-gateway@a.service".into());
    assert_eq!(of(json!({"unit": "gatewarden-gateway@a"})), Ok(Some(Some(unit.clone()))));
    assert_eq!(of(json!({"unit": "gatewarden-gateway@a", "command": null})), Ok(Some(Some(unit))));
    for cleared in [json!({"unit": null}), json!({"command": ""}), json!({"unit": null, "command": null})] {
        assert_eq!(of(cleared), Ok(Some(None)));
    }
}

#[test]
fn what_may_not_be_named_is_refused_with_the_cure() {
    for (body, code, says) in [
        (json!({"unit": "ssh.service"}), ErrorCode::InvalidRequest, "processes.units"),
        (json!({"command": "rm -rf /"}), ErrorCode::InvalidRequest, "[commands.NAME]"),
        (json!({"unit": "gatewarden-gateway@a", "command": "x"}), ErrorCode::InvalidRequest, "one of them"),
        (json!({"unit": 7}), ErrorCode::InvalidRequest, "unit must be a text"),
        (json!({"unit": "user:openclaw.service"}), ErrorCode::NotImplemented, "Units of users"),
    ] {
        let failure = of(body).unwrap_err();
        assert_eq!(failure.code, code, "{failure}");
        assert!(failure.message.contains(says), "{failure}");
    }
}

fn read_tls(tls: Value) -> Result<Option<TlsTrust>, String> {
    changed(json!({ "tls": tls }), &record("h", 1)).map(|change| change.tls).map_err(|failure| failure.message)
}

#[test]
fn pins_are_taken_in_every_usual_spelling() {
    let colons = vec!["AB"; 32].join(":");
    let Ok(Some(TlsTrust::Pins { pins })) = read_tls(json!({"trust": "pins", "pins": [colons]})) else {
        panic!("refused");
    };
    assert_eq!(pins, ["ab".repeat(32)]);
}

#[test]
fn a_certificate_that_parses_is_taken() {
    let certificate = rcgen::generate_simple_self_signed(vec!["gateway.test".to_owned()]).unwrap();
    let pem = certificate.cert.pem();
    assert_eq!(read_tls(json!({"trust": "ca", "ca_pem": pem})), Ok(Some(TlsTrust::Ca { ca_pem: pem })));
}

#[test]
fn what_is_wrong_is_named() {
    for (tls, word) in [
        (json!({}), "tls.trust is missing"),
        (json!({"trust": "always"}), "tls.trust must be one of"),
        (json!({"trust": "ca"}), "tls.ca_pem is missing"),
        (json!({"trust": "ca", "ca_pem": "nonsense"}), "tls.ca_pem holds no certificate"),
        (json!({"trust": "ca", "ca_pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}), "ca_pem"),
        (json!({"trust": "pins"}), "tls.pins is missing"),
        (json!({"trust": "pins", "pins": []}), "tls.pins must have"),
        (json!({"trust": "system", "pins": [{}]}), "tls.pins must be a list of texts"),
        (json!({"trust": "system", "ca_pem": 5}), "tls.ca_pem must be a text"),
        (json!({"trust": "pins", "pins": ["abc"]}), "tls.pins[0] must be"),
        (json!("system"), "tls must be an object"),
    ] {
        assert!(read_tls(tls.clone()).unwrap_err().contains(word), "{tls}");
    }
    assert_eq!(read_tls(Value::Null), Ok(None));
}

#[test]
fn what_was_seen_in_the_future_is_refused_and_a_clock_that_is_a_little_ahead_is_not() {
    let present = record("127.0.0.1", 18_789);
    assert_eq!(changed(json!({"last_seen": NOW_S + 5}), &present).unwrap().last_seen, Some(NOW_S + 5));
    let failure = changed(json!({"last_seen": NOW_S + 3_600}), &present).unwrap_err();
    assert!(failure.message.contains("last_seen lies in the future"), "{}", failure.message);
}

#[test]
fn a_gateway_is_kept_to_a_node_of_a_possible_name_or_to_none() {
    let made = |node: Value| new(json!({"name": "a", "host": "h", "port": 1, "node": node})).map(|spec| spec.node);
    let longest = "a".repeat(63);
    for name in ["warden-b", "a.b_c", &longest] {
        assert_eq!(made(json!(name)), Ok(Some(name.to_owned())));
    }
    for name in [json!("a b"), json!("b/c"), json!("ä"), json!("a".repeat(64)), json!(5)] {
        assert!(made(name.clone()).unwrap_err().message.contains("node must"), "{name}");
    }
    let present = record("127.0.0.1", 18_789).with(|spec| spec.node = Some("warden-b".to_owned()));
    for (body, node) in [(json!({"node": null}), Some(None)), (json!({"node": ""}), Some(None)), (json!({}), None)] {
        assert_eq!(changed(body.clone(), &present).unwrap().node, node, "{body}");
    }
    let view = GatewayView::new(Arc::new(present.clone()), GatewayReport::unknown(0), false);
    assert_eq!(gateway(&view).into_request().settings.node, Some(Some("warden-b".to_owned())));
    assert!(present.dials_like(&record("127.0.0.1", 18_789)), "who holds a connection doesn't change what it is");
}

#[test]
fn a_tag_changes_with_whatever_is_set_and_with_nothing_that_is_observed() {
    let (key, before) = (Secret::new("k"), record("127.0.0.1", 18_789));
    let tag = |record: &GatewayRecord| settings_tag(record, &key);
    let mut seen = before.clone();
    (seen.observed.latency, seen.revision, seen.updated_at, seen.dialect) = (Some(5), 9, 9, Some(Dialect::Http));
    assert_eq!(tag(&seen), tag(&before));
    let changes: [fn(&mut GatewaySpec); 7] = [
        |spec| spec.token = Some(Secret::new("other")),
        |spec| spec.password = Some(Secret::new("secret")),
        |spec| spec.labels = [("a".to_owned(), "b".to_owned())].into(),
        |spec| spec.process = Some(ProcessSource::Unit("a".to_owned())),
        |spec| spec.drained = true,
        |spec| spec.is_primary = true,
        |spec| spec.node = Some("warden-b".to_owned()),
    ];
    for change in changes {
        assert_ne!(tag(&before.clone().with(change)), tag(&before));
    }
    assert_ne!(settings_tag(&before, &Secret::new("another")), tag(&before), "it tells nothing without the key");
}
