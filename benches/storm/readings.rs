//! What the daemon holds, as the kernel and its own metrics say.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::measured::mebibytes;
use crate::support::daemon::Daemon;

/// What is back where it was once everything is at rest.
pub(crate) const BACK_AT_REST: [&str; 8] = [
    "gatewarden_spawns_open",
    "gatewarden_gateway_memory_bytes",
    "gatewarden_registry_mailbox_messages",
    "gatewarden_http_connections",
    "gatewarden_http_unread_bytes",
    "gatewarden_log_watchers",
    "gatewarden_store_queue_jobs",
    "gatewarden_self_doubt",
];
/// What never happens.
pub(crate) const NEVER: [&str; 4] = [
    "gatewarden_panics_total",
    "gatewarden_actor_restarts_total",
    "gatewarden_store_failures_total",
    "gatewarden_log_lines_lost_total",
];
/// What else is told.
const TOLD: [&str; 3] = ["gatewarden_gateway_up", "gatewarden_spawns_total", "gatewarden_reconnects_total"];

#[derive(Debug)]
pub(crate) struct Reading {
    /// Since the storm began.
    pub(crate) at: Duration,
    /// Resident, bytes: what it allocated. Pages of its program and its database come and go as the kernel likes.
    pub(crate) memory: u64,
    /// The same with these.
    resident: u64,
    pub(crate) files: usize,
    pub(crate) threads: usize,
    /// Series on the metrics page: what the daemon keeps by gateway, method and code.
    series: usize,
    /// Sums over all series of a family.
    families: BTreeMap<String, f64>,
}

impl Reading {
    pub(crate) fn of(daemon: &Daemon, at: Duration) -> Self {
        let entries =
            |what: &str| std::fs::read_dir(format!("/proc/{}/{what}", daemon.pid())).expect("it runs").count();
        let memory = daemon.kernel_says("RssAnon:");
        let (resident, files, threads) = (daemon.memory(), entries("fd"), entries("task"));
        let page = daemon.metrics();
        let mut families = BTreeMap::new();
        let mut series = 0;
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            series += 1;
            let family = name.split('{').next().unwrap_or(name);
            if BACK_AT_REST.iter().chain(&NEVER).chain(&TOLD).any(|one| *one == family) {
                *families.entry(family.to_owned()).or_default() += value.parse::<f64>().expect("a number");
            }
        }
        Self { at, memory, resident, files, threads, series, families }
    }

    pub(crate) fn gauge(&self, name: &str) -> f64 {
        self.families.get(name).copied().unwrap_or(0.0)
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory, resident, files, threads, series, .. } = self;
        let (memory, resident) = (mebibytes(*memory), mebibytes(*resident));
        write!(f, "{memory:.1} MiB ({resident:.1} resident), {files} files, {threads} threads, {series} series")?;
        for (name, value) in &self.families {
            let short = name.trim_start_matches("gatewarden_");
            // Quiet ones need no room.
            if *value != 0.0 {
                write!(f, ", {short} {value}")?;
            }
        }
        Ok(())
    }
}

/// How memory grows over these readings (least squares), KiB a minute, and the standard error of that.
pub(crate) fn slope(readings: &[Reading]) -> (f64, f64) {
    let points: Vec<(f64, f64)> =
        readings.iter().map(|one| (one.at.as_secs_f64() / 60.0, one.memory as f64 / 1024.0)).collect();
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let slope = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / spread;
    let rest: f64 = points.iter().map(|(x, y)| (y - mean_y - slope * (x - mean_x)).powi(2)).sum();
    (slope, (rest / (count - 2.0) / spread).sqrt())
}
