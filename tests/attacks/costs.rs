//! What a process takes, as the kernel says.

use std::time::Duration;

/// A process that is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured(pub(crate) u32);

pub(crate) const MIB: u64 = 1024 * 1024;

impl Measured {
    fn status(self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel says so");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") * 1024
    }

    /// Resident memory, bytes.
    pub(crate) fn memory(self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most resident memory that it ever had, bytes.
    pub(crate) fn peak_memory(self) -> u64 {
        self.status("VmHWM:")
    }

    /// Processor time since its start.
    pub(crate) fn processor_time(self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).expect("the process runs");
        let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
        let ticks =
            |at: usize| fields.split(' ').nth(at).and_then(|field| field.parse::<u64>().ok()).expect("a number");
        // Fields 14 and 15 of the whole line, in hundredths of a second.
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// Open descriptors.
    pub(crate) fn descriptors(self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.0)).expect("the process runs").count()
    }
}
