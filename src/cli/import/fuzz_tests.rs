//! Files to import, changed by chance: each gives gateways that a daemon could be asked to register, or a reason that tells no secret.

use std::io::Write as _;

use gatewarden_api::gateway_record::NewGatewayBody;
use gatewarden_api::request::{self, Request as _};

use super::{Kind, sources};
use crate::fuzzing::fuzz;

const SECRET: &str = "sh4red-s3cret";

fn corpus() -> Vec<Vec<u8>> {
    let json = format!(
        "{{ // a comment\n gateway: {{ mode: 'local', port: 18790, bind: 'custom', customBindHost: '192.0.2.7', tls: {{ enabled: true }},\n\
         auth: {{ mode: 'token', token: '{SECRET}' }}, remote: {{ url: 'wss://far.example/x', password: '{SECRET}',\n\
         token: {{ source: 'file', id: '/x' }}, tlsFingerprint: 'SHA256:AB:CD' }}, }}, agents: {{ list: [] }} }}"
    );
    let list = format!(
        "[[gateways]]\nname = \"a\"\nhost = \"192.0.2.7\"\nport = 18789\ntoken = \"{SECRET}\"\npriority = 3\n[gateways.labels]\nsite = \"x\"\n"
    );
    let rows = format!(
        "{{\"gateways\":[{{\"name\":\"a\",\"url\":\"wss://b.example\",\"password\":\"{SECRET}\",\"is_primary\":1,\
         \"tls\":{{\"trust\":\"pins\",\"pins\":[\"{}\"]}},\"status\":\"online\"}}]}}",
        "ab".repeat(32)
    );
    [json, list, rows].map(String::into_bytes).into()
}

#[test]
fn any_file_gives_gateways_that_are_sent_as_they_were_read_or_a_reason_without_secrets() {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("openclaw.json");
    fuzz("import", &corpus(), |text, _| {
        std::fs::File::create(&file).unwrap().write_all(text).unwrap();
        for kind in [Kind::Auto, Kind::Openclaw, Kind::List] {
            match sources::read(&file, kind) {
                Err(error) => assert!(!error.to_string().contains(SECRET), "{error}"),
                Ok(found) => {
                    for body in found.iter().filter_map(|wanted| wanted.body.as_ref().ok()) {
                        let sent = body.json();
                        let mut open = sent.as_object().unwrap().clone();
                        open.retain(|field, _| !matches!(field.as_str(), "token" | "password"));
                        let in_place = !serde_json::Value::Object(open).to_string().contains(SECRET);
                        assert!(!in_place || !format!("{body:?}").contains(SECRET));
                        // What a daemon refuses of it, it refuses without secrets.
                        match request::read::<NewGatewayBody>(sent.as_object().unwrap()) {
                            Ok(again) => assert_eq!(&again, body, "{sent}"),
                            Err(problems) => {
                                assert!(!in_place || !problems.sentence().contains(SECRET), "{problems:?}")
                            }
                        }
                    }
                }
            }
        }
    });
}
