//! Gateways that announce themselves in a network, and the daemon that looks for them.

use serde_json::json;

use super::support::own_network;

const SCRIPT: &str = r#"
"$GATEWARDEN" gateway run --config "$PLACE/gateway.json" --state-dir "$PLACE/gateway" >"$PLACE/gateway.log" 2>&1 &
others=$!
until_total 1
ask --register --json
ask --json
ask --register --json
kill $others
wait $others || true
until_total 0
"#;

#[test]
fn a_gateway_that_announces_itself_is_found_and_registered_once_and_gone_when_it_ends() {
    let config = json!({
        "gateway": {
            "port": 18_789, "bind": "lan", "auth": {"mode": "token", "token": "a-token-of-a-test-0123456789"},
            "tls": {"enabled": true, "autoGenerate": true},
        },
        "discovery": {"mdns": {"mode": "minimal"}},
        "gatewarden": {"metrics": {"enabled": false}},
    });
    let Some(said) = own_network::run(SCRIPT, &config) else { return };
    let [found, added, again, gone] = said.as_slice() else { panic!("{said:?}") };
    let gateway = &found["gateways"][0];
    assert_eq!(gateway["address"], "wss://10.9.8.7:18789", "{found}");
    assert_eq!(gateway["tls_sha256"].as_str().map(str::len), Some(64), "{found}");
    assert_eq!((&gateway["already_registered"], &gateway["gateway_id"]), (&json!(false), &json!(null)), "{found}");
    assert_eq!(added["gateway"]["host"], "wss://10.9.8.7:18789", "{added}");
    // Nothing is registered a second time: between `again` and `gone` nothing was printed.
    assert_eq!(again["gateways"][0]["gateway_id"], added["gateway"]["id"], "{again}");
    assert_eq!(gone["gateways"], json!([]), "it says goodbye: {gone}");
}
