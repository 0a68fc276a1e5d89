//! The embedded gateway writes the zone of its domain, Debian's NSD serves a copy, and the daemon finds the gateway by its resolver. All of it
//! in a network of its own, in which this machine is 100.64.0.7 of a tailnet.

use serde_json::json;

use crate::support::own_network;

const SCRIPT: &str = r#"
ip addr add 100.64.0.7/24 dev net
touch "$PLACE/resolv.conf" && mount --bind "$PLACE/resolv.conf" /etc/resolv.conf
"$GATEWARDEN" gateway run --config "$PLACE/gateway.json" --state-dir "$PLACE/gateway" >"$PLACE/gateway.log" 2>&1 &
others=$!
written=$PLACE/gateway/dns/openclaw.internal.db
zone=$PLACE/openclaw.internal.db
for _ in $(seq 600); do [[ -e $written ]] && break; sleep 0.1; done
install -m 644 "$written" "$zone"
cat >"$PLACE/nsd.conf" <<END
server:
  ip-address: 100.64.0.7
  username: ""
  chroot: ""
  database: ""
  server-count: 1
  pidfile: "$PLACE/nsd.pid"
  xfrdfile: "$PLACE/xfrd.state"
  zonelistfile: "$PLACE/zone.list"
  xfrdir: "$PLACE"
  zonesdir: "$PLACE"
remote-control:
  control-enable: no
zone:
  name: openclaw.internal
  zonefile: "$zone"
END
tools=${NSD:?the folder that holds the files of Debian package nsd}
LD_LIBRARY_PATH=$(echo "$tools"/usr/lib/*-linux-gnu) "$tools/usr/sbin/nsd" -d -c "$PLACE/nsd.conf" >"$PLACE/nsd.log" 2>&1 &
others="$others $!"
echo 'nameserver 100.64.0.7' >"$PLACE/resolv.conf"
ask() { "$GATEWARDEN" discover --state-dir "$PLACE/state" --url http://127.0.0.1:3999 --domain "$domain" "$@"; }
domain=openclaw.internal
until_total 1
ask --register --json
# A resolver that is not there is passed over.
printf 'nameserver 10.9.8.99\nnameserver 100.64.0.7\n' >"$PLACE/resolv.conf"
ask --timeout 10000 --json
# One that doesn't answer for a domain says so.
domain=another.internal
ask --json 2>"$PLACE/refused" && exit 1
cat "$PLACE/refused"
"#;

#[test]
fn a_gateway_is_found_by_the_zone_that_it_writes() {
    let config = json!({
        "gateway": {
            "port": 18_789, "bind": "tailnet", "auth": {"mode": "token", "token": "a-token-of-a-test-0123456789"},
            "tls": {"enabled": true, "autoGenerate": true},
        },
        "discovery": {"wideArea": {"enabled": true, "domain": "openclaw.internal"}},
        "gatewarden": {"metrics": {"enabled": false}},
    });
    let Some(said) = own_network::run(SCRIPT, &config) else { return };
    let [found, added, again, refused] = said.as_slice() else { panic!("{said:?}") };
    let gateway = &found["gateways"][0];
    assert_eq!((&gateway["address"], &gateway["tls"]), (&json!("wss://100.64.0.7:18789"), &json!(true)), "{found}");
    assert_eq!(gateway["tls_sha256"].as_str().map(str::len), Some(64), "{found}");
    assert!(gateway["host"].as_str().is_some_and(|host| host.ends_with(".openclaw.internal")), "{found}");
    assert_eq!(added["gateway"]["host"], "wss://100.64.0.7:18789", "{added}");
    assert_eq!(again["gateways"][0]["gateway_id"], added["gateway"]["id"], "{again}");
    assert_eq!(refused["code"], "unavailable", "{refused}");
    assert!(refused["error"].as_str().is_some_and(|said| said.contains("another.internal")), "{refused}");
}
