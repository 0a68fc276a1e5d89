//! What is remembered of a process that the daemon started for a gateway.

/// A local process as stored: enough to find it again, and to tell it from a later one with its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalProcess {
    /// Whether it shall run: false once an operator stopped it.
    pub wanted: bool,
    /// The process, while there is one.
    pub pid: Option<i32>,
    /// When it started, in clock ticks since the machine's start.
    pub start_ticks: Option<u64>,
    /// Which start of the machine.
    pub boot_id: Option<String>,
}
