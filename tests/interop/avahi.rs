//! Avahi, which nobody here wrote, hears the embedded gateway announce itself, and so does the command of a real release; and the daemon finds
//! what Avahi announces. In a network, with a bus and a list of users of their own.

use serde_json::json;

use crate::support::own_network;

const SCRIPT: &str = r#"
tools=${AVAHI:?the folder that holds the files of Debian packages avahi-daemon, avahi-utils, dbus-daemon and their libraries}
# In place of the shell that runs it, so that it ends when that is ended.
avahi() { LD_LIBRARY_PATH=$(echo "$tools"/usr/lib/*-linux-gnu):$(echo "$tools"/lib/*-linux-gnu) exec "$tools/usr/$1" "${@:2}"; }
others=
mount -t tmpfs none /run
cp /etc/passwd /etc/group "$PLACE"
echo 'avahi:x:0:0::/:' >>"$PLACE/passwd" && mount --bind "$PLACE/passwd" /etc/passwd
echo 'avahi:x:0:' >>"$PLACE/group" && mount --bind "$PLACE/group" /etc/group
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=$PLACE/bus
cat >"$PLACE/bus.conf" <<END
<busconfig><type>system</type><listen>$DBUS_SYSTEM_BUS_ADDRESS</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow receive_sender="*"/></policy>
</busconfig>
END
avahi bin/dbus-daemon --config-file="$PLACE/bus.conf" --nofork >"$PLACE/bus.log" 2>&1 &
others="$others $!"
for _ in $(seq 300); do [[ -S $PLACE/bus ]] && break; sleep 0.1; done
# Avahi announces this machine too, under the name that the gateway has; its IPv6 address would be another right answer to the question.
printf '[server]\nuse-ipv4=yes\nuse-ipv6=no\n[publish]\npublish-workstation=no\npublish-aaaa-on-ipv4=no\n' >"$PLACE/avahi.conf"
avahi sbin/avahi-daemon --no-drop-root --no-chroot --no-rlimits -f "$PLACE/avahi.conf" >"$PLACE/avahi.log" 2>&1 &
others="$others $!"
"$GATEWARDEN" gateway run --config "$PLACE/gateway.json" --state-dir "$PLACE/gateway" >"$PLACE/gateway.log" 2>&1 &
others="$others $!"
heard() { avahi bin/avahi-browse --resolve --terminate --parsable _openclaw-gw._tcp 2>"$PLACE/browse.log" | grep '^=' | grep "$1"; }
for _ in $(seq 60); do if line=$(heard OpenClaw); then break; fi; sleep 0.5; done
python3 -c 'import json, sys; print(json.dumps(sys.argv[1]))' "$line"
# The command of a real release asks Avahi, too.
mkdir "$PLACE/bin"
{ echo '#!/bin/bash'; declare -p tools; declare -f avahi; echo 'avahi bin/avahi-browse "$@"'; } >"$PLACE/bin/avahi-browse"
chmod +x "$PLACE/bin/avahi-browse"
OPENCLAW_CLI_HOME=$PLACE/cli PATH=$PLACE/bin:$PATH tests/peers/openclaw cli 2026.9.6 gateway discover --timeout 10000 --json | python3 -c 'import json, sys; print(json.dumps(json.load(sys.stdin)))'
avahi bin/avahi-publish --service 'Of Avahi' _openclaw-gw._tcp 18999 role=gateway transport=gateway gatewayPort=18999 >"$PLACE/publish.log" 2>&1 &
others="$others $!"
until_total 2
"#;

#[test]
fn avahi_hears_the_embedded_gateway_and_the_daemon_finds_what_avahi_announces() {
    let config = json!({
        "gateway": {"port": 18_789, "bind": "lan", "auth": {"mode": "token", "token": "a-token-of-a-test-0123456789"}},
        "discovery": {"mdns": {"mode": "minimal"}},
        "gatewarden": {"metrics": {"enabled": false}},
    });
    let Some(said) = own_network::run(SCRIPT, &config) else { return };
    let [heard, by_command, found] = said.as_slice() else { panic!("{said:?}") };
    let fields: Vec<&str> = heard.as_str().expect("a line").split(';').collect();
    assert_eq!(fields.get(7..9), Some(&["10.9.8.7", "18789"][..]), "{heard}");
    assert!(fields.last().is_some_and(|texts| texts.contains("\"gatewayPort=18789\"")), "{heard}");
    // Paths and ports of other services are for `full` alone.
    assert!(!heard.to_string().contains("cliPath") && !heard.to_string().contains("sshPort"), "{heard}");
    let beacon = &by_command["beacons"][0];
    assert_eq!((&beacon["port"], &beacon["gatewayPort"]), (&json!(18_789), &json!(18_789)), "{by_command}");
    let gateways = found["gateways"].as_array().expect("a list");
    let of_avahi = gateways.iter().find(|gateway| gateway["address"] == "ws://10.9.8.7:18999").expect("it is found");
    assert_eq!((&of_avahi["name"], &of_avahi["tls"]), (&json!("Of Avahi"), &json!(false)), "{found}");
    assert!(gateways.iter().any(|gateway| gateway["address"] == "ws://10.9.8.7:18789"), "{found}");
}
