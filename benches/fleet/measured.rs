//! The daemon that is measured, and the machine that it and its benchmark run on.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::support::daemon::Setup;

/// Tells the second incarnation of this process from the first.
const LIMITED: &str = "GATEWARDEN_BENCH_HAS_FILES";
/// Of the kernel's clock for processor times.
const TICKS_A_SECOND: f64 = 100.0;

/// Starts this process again where it may not have enough open files: a thousand gateways in it are more than a shell usually allows,
/// and ten thousand clients need three times as many. Where the hard limit is lower, all that it allows.
pub(crate) fn with_many_files() {
    if std::env::var_os(LIMITED).is_some() {
        return;
    }
    let own = std::env::current_exe().expect("its own path");
    let error = Command::new("sh")
        .args(["-c", "ulimit -n 65536 2>/dev/null || ulimit -n $(ulimit -Hn); exec \"$0\" \"$@\""])
        .arg(own)
        .args(std::env::args_os().skip(1))
        .env(LIMITED, "1")
        .exec();
    panic!("sh does not run: {error}");
}

/// How busy the machine is, to be said beside a figure.
pub(crate) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

/// The defaults of a real installation, but for the log and the limits.
pub(crate) fn setup() -> Setup {
    let mut setup = Setup::new().env("GATEWARDEN_LOG__LEVEL", "warn");
    for key in [
        "HEARTBEAT_INTERVAL",
        "PROBE_TIMEOUT",
        "BACKOFF",
        "DIAL_TIMEOUT",
        "CHALLENGE_TIMEOUT",
        "KNOWN_CHALLENGE_TIMEOUT",
        "CONNECT_TIMEOUT",
        "BLOCKED_RECHECK",
        "DEGRADED_LATENCY",
    ] {
        setup = setup.without(&format!("GATEWARDEN_GATEWAY__{key}"));
    }
    setup
}

pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

/// Seconds of processor time that a process has used, and those of its children that have ended.
pub(crate) fn processor_time(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    let (_, fields) = stat.rsplit_once(") ").expect("the program's name ends");
    let ticks =
        |index: usize| fields.split(' ').nth(index).and_then(|text| text.parse::<f64>().ok()).expect("a number");
    (11..15).map(ticks).sum::<f64>() / TICKS_A_SECOND
}
