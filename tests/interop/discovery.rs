//! A real release announces itself with its bonjour plugin, and the daemon finds it.

use serde_json::json;

use crate::support::own_network;

const SCRIPT: &str = r#"
peers=$PWD/tests/peers/openclaw
bonjour='{"gateway":{"bind":"lan"},"plugins":{"entries":{"bonjour":{"enabled":true}}},"discovery":{"mdns":{"mode":"full"}}}'
"$peers" reset 34590 >/dev/null
OPENCLAW_PEER_BIND=lan OPENCLAW_DISABLE_BONJOUR=0 "$peers" start 2026.9.6 34590 a-token-of-a-test-0123456789 "$bonjour" >&2
trap '"$peers" stop 34590; kill $daemon' EXIT
until_total 1
"#;

#[test]
fn a_real_gateway_that_announces_itself_is_found() {
    let Some(said) = own_network::run(SCRIPT, &json!({})) else { return };
    let gateway = &said[0]["gateways"][0];
    assert_eq!(gateway["address"], "ws://10.9.8.7:34590", "{said:?}");
    assert_eq!(gateway["tls"], false, "{said:?}");
}
