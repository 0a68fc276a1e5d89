//! How much memory the gateway's own process uses.

use std::fs;

/// Resident memory in bytes; none where the system doesn't tell. The kernel answers from memory: no disk is touched.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_running_process_uses_memory() {
        assert!(super::resident_bytes().is_some_and(|bytes| bytes > 100_000));
    }
}
