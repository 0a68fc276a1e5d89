//! What the real OpenClaw's own probe of one gateway costs. It asks one gateway each time it is run, so that there is no figure for
//! a fleet but a sum.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::measured::{mebibytes, processor_time};
use crate::resident;
use crate::support::scripted_gateway::ScriptedGateway;
use crate::support::wait::{self, Stopwatch};

const RELEASE: &str = "2026.9.6";
const TIMES: usize = 3;

/// Probes a living gateway and a black hole; the figures in words, or what is missing.
pub(crate) fn probe(live: &ScriptedGateway, hole: u16) -> Result<String, String> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    let root =
        variable("OPENCLAW_HOME").or_else(|| cache.map(|cache| cache.join("openclaw-peers"))).unwrap_or_default();
    if !root.join(RELEASE).exists() {
        return Err(format!("tests/peers/openclaw install {RELEASE} brings it (1.4 GB)"));
    }
    let (alive, dead) = (Cost::of_probing(live.port()), Cost::of_probing(hole));
    Ok(format!(
        "openclaw gateway probe ({RELEASE}), one gateway a run: a living one {alive}; a black hole {dead}. \
         1,000 gateways one after another, half of them black holes: {:.0} min, {:.0} min of processor time",
        500.0 * (alive.took + dead.took) / 60.0,
        500.0 * (alive.processor + dead.processor) / 60.0
    ))
}

/// Medians.
struct Cost {
    /// Seconds.
    took: f64,
    processor: f64,
    /// Mebibytes.
    memory: f64,
    found: bool,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { took, processor, memory, found } = self;
        let found = if *found { "reached" } else { "not reached" };
        write!(f, "{took:.1} s, {processor:.1} s of processor time, {memory:.0} MiB at most, {found}")
    }
}

impl Cost {
    fn of_probing(port: u16) -> Self {
        let runs: Vec<Self> = (0..TIMES).map(|_| Self::of_one(port)).collect();
        let median = |of: fn(&Self) -> f64| {
            let mut all: Vec<f64> = runs.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        Self {
            took: median(|run| run.took),
            processor: median(|run| run.processor),
            memory: median(|run| run.memory),
            found: runs.iter().all(|run| run.found),
        }
    }

    fn of_one(port: u16) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let said = home.path().join("said");
        let watch = Stopwatch::start();
        let mut child = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/openclaw"))
            .args(["cli", RELEASE, "gateway", "probe", "--json", "--timeout", "3000", "--token", "right", "--url"])
            .arg(format!("ws://127.0.0.1:{port}"))
            .env("OPENCLAW_CLI_HOME", home.path())
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&said).expect("a file"))
            .stderr(Stdio::null())
            .spawn()
            .expect("its script runs");
        let process = child.id();
        let mut memory = 0;
        // Not yet waited for, so that its processor time can still be read.
        wait::until("the probe ends", Duration::from_secs(120), || {
            memory = family(process).into_iter().map(resident).sum::<u64>().max(memory);
            let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
            status.contains("State:\tZ")
        });
        let (took, processor) = (watch.elapsed().as_secs_f64(), processor_time(process));
        let _ = child.wait();
        let said: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&said).expect("it said something")).unwrap_or_default();
        let memory = mebibytes(memory);
        Self { took, processor, memory, found: said["targets"][0]["connect"]["ok"] == true }
    }
}

/// A process and those that it started.
fn family(process: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    std::iter::once(process).chain(children.flat_map(family)).collect()
}
