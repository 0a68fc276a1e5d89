use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::tests::fixture::LoginAttempt;

/// A change of the parameters, and the sentence that it leads to.
type Fault = (fn(&mut Value), &'static str);

fn valid() -> Value {
    LoginAttempt::default().params("nonce-1", 1_000)
}

fn sentence(error: CallError) -> String {
    error.message.strip_prefix("invalid connect params: ").expect("the method is named").to_owned()
}

fn refused(protocol: u32, edit: impl FnOnce(&mut Value)) -> String {
    let mut params = valid();
    edit(&mut params);
    sentence(read(&params, protocol).expect_err("should be refused"))
}

#[test]
fn everything_that_real_clients_send_is_taken() {
    let mut params = valid();
    params["client"]["deviceFamily"] = "Linux".into();
    params["client"]["modelIdentifier"] = "x64".into();
    params["client"]["instanceId"] = "x1".into();
    params["client"]["buildId"] = "b".into();
    params["client"]["timeZone"] = "UTC".into();
    params["commands"] = json!(["a"]);
    params["permissions"] = json!({"x": true});
    params["pathEnv"] = "/bin".into();
    params["locale"] = "en".into();
    params["userAgent"] = "probe".into();
    params["auth"]["bootstrapToken"] = "b".into();
    params["deviceToken"] = "cached".into();
    let read = read(&params, 4).unwrap();
    assert_eq!(read.client.device_family.as_deref(), Some("Linux"));
    assert_eq!(read.credentials.documented_device_token, Some(Secret::new("cached")));
    assert_eq!(read.scopes.len(), 3);
}

#[test]
fn what_is_left_out_has_its_default() {
    let params = json!({"minProtocol": 3, "maxProtocol": 4,
        "client": {"id": "cli", "mode": "cli", "version": "1", "platform": "linux"}});
    let read = read(&params, 4).unwrap();
    assert_eq!((read.role, read.scopes.len(), read.device), (Some(Role::Operator), 0, None));
    assert_eq!(read.credentials, Credentials::default());
}

#[test]
fn the_first_fault_is_named_with_its_place() {
    let root = |value: Value| sentence(read(&value, 4).unwrap_err());
    assert_eq!(root(json!(null)), "at root: must be object");
    assert_eq!(root(json!([])), "at root: must be object");
    assert_eq!(root(json!({})), "at root: must have required property 'minProtocol'");
    let cases: [Fault; 16] = [
        (|p| p["minProtocol"] = "3".into(), "at /minProtocol: must be integer"),
        (|p| p["maxProtocol"] = 0.into(), "at /maxProtocol: must be >= 1"),
        (|p| p["minProtocol"] = (-1).into(), "at /minProtocol: must be integer"),
        (|p| p["client"] = "cli".into(), "at /client: must be object"),
        (|p| p["client"]["nick"] = "x".into(), "at /client: unexpected property 'nick'"),
        (|p| p["client"]["version"] = 1.into(), "at /client/version: must be string"),
        (|p| p["client"]["version"] = "".into(), "at /client/version: must NOT have fewer than 1 characters"),
        (|p| p["client"]["mode"] = "operator".into(), "at /client/mode: must be equal to one of the allowed values"),
        (
            |p| p["client"]["displayName"] = "x".repeat(257).into(),
            "at /client/displayName: must NOT have more than 256 characters",
        ),
        (|p| p["auth"] = "token".into(), "at /auth: must be object"),
        (|p| p["auth"]["key"] = "x".into(), "at /auth: unexpected property 'key'"),
        (|p| p["auth"]["token"] = 7.into(), "at /auth/token: must be string"),
        (|p| p["device"]["signedAt"] = "now".into(), "at /device/signedAt: must be integer"),
        (|p| p["device"]["extra"] = 1.into(), "at /device: unexpected property 'extra'"),
        (|p| p["scopes"] = "operator.admin".into(), "at /scopes: must be array"),
        (|p| p["scopes"] = json!(["a", 1]), "at /scopes/1: must be string"),
    ];
    for (edit, sentence) in cases {
        assert_eq!(refused(4, edit), sentence);
    }
    assert_eq!(refused(4, |p| p["scopes"] = vec!["s"; 257].into()), "at /scopes: must NOT have more than 256 items");
}

#[test]
fn protocol_3_knows_fewer_clients_and_fields() {
    for id in IDS_OF_4 {
        refused(3, |p| p["client"]["id"] = (*id).into());
    }
    assert_eq!(refused(3, |p| p["client"]["buildId"] = "b".into()), "at /client: unexpected property 'buildId'");
    for id in IDS_OF_3 {
        for mode in MODES_OF_3 {
            let mut params = valid();
            params["client"]["id"] = (*id).into();
            params["client"]["mode"] = (*mode).into();
            read(&params, 3).unwrap();
        }
    }
}

#[test]
fn debug_shows_no_credential() {
    let shown = format!("{:?}", read(&valid(), 4).unwrap());
    assert!(!shown.contains(crate::tests::fixture::SHARED));
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_value_in_any_place_breaks_the_reader(
        place in prop::sample::select(vec!["/minProtocol", "/client", "/client/id", "/role", "/scopes", "/auth", "/device", "/device/nonce", "/permissions"]),
        value in json_value(),
        protocol in 1_u32..6,
    ) {
        let mut params = valid();
        if let Some(slot) = params.pointer_mut(place) {
            *slot = value;
        } else {
            params["permissions"] = value;
        }
        if let Err(error) = read(&params, protocol) {
            let sentence = sentence(error);
            prop_assert!(sentence.starts_with("at "), "{}", sentence);
        }
    }
}
