//! What the operating system says about the process, read at each rendering. Absent where `/proc` is.

use super::exposition::Exposition;
use super::{as_f64, catalogue, seconds};

/// The kernel counts processor time for programs in hundredths of a second, on every machine that we run on.
const TICKS_A_SECOND: f64 = 100.0;

/// The process's processor time, memory, threads, files and start.
pub(super) fn render(started_ms: i64, out: &mut Exposition) {
    let one = |value: f64| [(vec![], value)];
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    if let Some(spent) = processor_seconds(&read("stat")) {
        out.seconds(&catalogue::PROCESS_CPU, one(spent));
    }
    let status = read("status");
    let figure = |name: &str| figure(&status, name);
    if let Some(kib) = figure("VmRSS:") {
        out.gauges(&catalogue::PROCESS_MEMORY, one(kib * 1024.0));
    }
    if let Some(kib) = figure("VmSize:") {
        out.gauges(&catalogue::PROCESS_VIRTUAL, one(kib * 1024.0));
    }
    if let Some(threads) = figure("Threads:") {
        out.gauges(&catalogue::PROCESS_THREADS, one(threads));
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        // The directory itself is open while it is read.
        out.gauges(&catalogue::PROCESS_FDS, one(as_f64(files.count().saturating_sub(1))));
    }
    if let Some(most) = most_open_files(&read("limits")) {
        out.gauges(&catalogue::PROCESS_MAX_FDS, one(most));
    }
    if started_ms > 0 {
        out.gauges(&catalogue::PROCESS_START, one(seconds(started_ms)));
    }
}

/// The first number of a line of `/proc/self/status`; sizes are given in kB.
fn figure(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u32 = line.split_whitespace().next()?.parse().ok()?;
    Some(f64::from(number))
}

/// User and system time of `/proc/self/stat`: fields 14 and 15, counted behind the command, which may hold anything.
fn processor_seconds(stat: &str) -> Option<f64> {
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some((f64::from(ticks()?) + f64::from(ticks()?)) / TICKS_A_SECOND)
}

/// The soft limit of `/proc/self/limits`; none where it is unlimited.
fn most_open_files(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    Some(f64::from(line.split_whitespace().next()?.parse::<u32>().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_lines_that_name_them() {
        let status = "Name:\tx\nVmSize:\t   2048 kB\nVmRSS:\t   1024 kB\nThreads:\t2\n";
        assert_eq!(figure(status, "VmRSS:"), Some(1024.0));
        assert_eq!(figure(status, "Threads:"), Some(2.0));
        assert_eq!(figure(status, "VmSwap:"), None);
    }

    #[test]
    fn processor_time_is_found_behind_any_command() {
        let stat = "77 (a b) c) S 1 77 77 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 9 0 1 2 3";
        assert_eq!(processor_seconds(stat), Some(3.0));
        assert_eq!(processor_seconds(""), None);
    }

    #[test]
    fn the_soft_limit_of_open_files_is_read() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n";
        assert_eq!(most_open_files(limits), Some(1024.0));
        assert_eq!(most_open_files("Max open files unlimited unlimited files\n"), None);
    }
}
