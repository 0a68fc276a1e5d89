use super::*;
use crate::http::error::status_of;

fn good() -> Value {
    json!({"name": "prod", "url": "ws://gw.example:18789", "workspace_root": "/srv/w"})
}

fn with(field: &str, value: Value) -> Value {
    let mut body = good();
    body[field] = value;
    body
}

fn read(body: &Value) -> Result<(GatewaySpec, String), Failure> {
    new_gateway(body.as_object().unwrap()).map_err(|error| error.0)
}

#[test]
fn a_gateway_is_read_with_the_url_as_given_and_the_token_apart() {
    let body = json!({"name": "prod", "url": "wss://gw.example/ws?token=abc", "workspace_root": " /srv/w ", "token": "tok",
        "allow_insecure_tls": true, "disable_device_pairing": 1, "unknown": 5});
    let (new, root) = read(&body).unwrap();
    assert_eq!((new.host.as_str(), new.port, root.as_str()), ("wss://gw.example/ws", 443, "/srv/w"));
    assert_eq!(new.url_token.unwrap().expose(), "abc");
    assert_eq!(new.token.unwrap().expose(), "tok");
    assert!(new.disable_device_pairing && !new.is_primary);
    assert_eq!(new.tls, TlsTrust::None);
    let (plain, _) = read(&good()).unwrap();
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
