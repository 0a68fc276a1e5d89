//! A network namespace of a test's own, with a bridge as its only network: what is sent to all reaches nobody else.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;

use super::ports::{OWN_NETWORK, is_alone};

/// Runs in the namespace before each script; the machine is 10.9.8.7 there. `ask` looks for gateways, `until_total` until there are so
/// many, and prints them.
const PREPARED: &str = r#"
set -e
ip link set lo up
ip link add net type bridge && ip addr add 10.9.8.7/24 dev net && ip link set net up && ip route add default dev net
"$GATEWARDEN" serve --state-dir "$PLACE/state" --listen 127.0.0.1:3999 >"$PLACE/daemon.log" 2>&1 &
daemon=$!
trap 'kill $daemon $others 2>/dev/null || true' EXIT
ask() { "$GATEWARDEN" discover --state-dir "$PLACE/state" --url http://127.0.0.1:3999 --timeout 1500 "$@"; }
until_total() {
  for _ in $(seq 60); do
    if found=$(ask --json 2>&1) && [[ $found == *"\"total\":$1"* ]]; then echo "$found"; return; fi
  done
  echo "never $1 gateways, but: $found"; cat "$PLACE"/*.log; exit 1
}
"#;

/// Whether the test of this name runs in a namespace of its own, where the machine is 10.9.8.7, too. Where it doesn't, it is run again in
/// one, which has to succeed.
pub(crate) fn is_inside(test: &str) -> bool {
    if is_alone() {
        return true;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: a namespace with a PostgreSQL in it needs root");
        return false;
    }
    if let Some(mut unshare) = unshare() {
        let script = "ip link set lo up && ip addr add 10.9.8.7/32 dev lo && exec \"$0\" --exact \"$1\" --nocapture";
        let this = std::env::current_exe().expect("its own path");
        let run = unshare.args(["bash", "-c", script]).arg(this).arg(test).env(OWN_NETWORK, "1").status();
        assert!(run.expect("bash runs").success(), "{test} failed in its namespace");
    }
    false
}

/// What the script printed, a JSON value a line; none where this system gives no namespaces to a test, unless
/// `$NEEDS_NETWORKS` says that it must. Its folder is `$PLACE`, with the
/// configuration of an embedded gateway as `gateway.json`.
pub(crate) fn run(script: &str, config: &Value) -> Option<Vec<Value>> {
    let mut unshare = unshare()?;
    let place = tempfile::tempdir().expect("a folder");
    let file = place.path().join("gateway.json");
    std::fs::write(&file, config.to_string()).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("private");
    let said = unshare
        .args(["bash", "-c", &format!("{PREPARED}{script}")])
        .env("GATEWARDEN", env!("CARGO_BIN_EXE_gatewarden"))
        .env("PLACE", place.path())
        .output()
        .expect("bash runs");
    let text = String::from_utf8_lossy(&said.stdout);
    let lines: Option<Vec<Value>> = text.lines().map(|line| serde_json::from_str(line).ok()).collect();
    let told = String::from_utf8_lossy(&said.stderr);
    Some(lines.filter(|_| said.status.success()).unwrap_or_else(|| panic!("{text}\n{told}")))
}

fn unshare() -> Option<Command> {
    let mut unshare = Command::new("unshare");
    // A script may put files of its own over the system's.
    unshare.args(["--net", "--mount"]);
    if !rustix::process::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    let mut tried = Command::new("unshare");
    tried.args(unshare.get_args()).args(["ip", "link", "add", "net", "type", "bridge"]);
    let tried = tried.output();
    if !tried.as_ref().is_ok_and(|tried| tried.status.success()) {
        assert!(std::env::var_os("NEEDS_NETWORKS").is_none(), "no network namespaces here: {tried:?}");
        println!("skipped: no network namespaces here (unshare, ip)");
        return None;
    }
    Some(unshare)
}
