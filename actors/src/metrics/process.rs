//! What the operating system says about the process, read at each rendering. Absent where `/proc` is.

use super::exposition::Exposition;

/// The process's memory and start.
pub(super) fn render(started_ms: i64, out: &mut Exposition) {
    let resident = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| resident_bytes(&status));
    if let Some(bytes) = resident {
        out.gauges("process_resident_memory_bytes", "Resident memory size in bytes.", [(vec![], bytes)]);
    }
    if started_ms > 0 {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit a double exactly")]
        let seconds = started_ms as f64 / 1000.0;
        out.gauges(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            [(vec![], seconds)],
        );
    }
}

/// `VmRSS` of `/proc/self/status`, which is given in kB.
fn resident_bytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u32 = line.split_whitespace().next()?.parse().ok()?;
    Some(f64::from(kib) * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t   1024 kB\nThreads:\t2\n"), Some(1_048_576.0));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
    }
}
