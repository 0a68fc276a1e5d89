//! Agents as operating-system processes: what may be run, how it is run, and that nothing is left behind.
//!
//! [`command_templates`] decides (pure). [`launcher`] runs one task a child: it starts it in a process group of its own with
//! nothing inherited, reads its output within bounds, signals the whole group, and ends what the leader leaves behind.
//! [`strays`] finds descendants that left the group, by the marks of their run ([`run_marker`]) and by their parent; [`subreaper`]
//! makes the gateway the parent of those that forked away, and reaps them. [`orphans`] finds at start what a crashed
//! gateway of the same state directory left running.
//!
//! Where `/proc` can't be read, processes that left their group aren't found; all else works.

pub mod command_templates;
pub mod launcher;
pub mod line_splitter;
pub mod not_started;
pub mod orphans;
pub mod output_budget;
pub mod proc_table;
pub mod run_marker;
pub mod strays;
pub mod subreaper;

use std::path::Path;

pub use launcher::Launcher;
pub use orphans::{Orphan, find_orphans};
pub use run_marker::StateMark;

/// Kills every process that belongs to a state directory, and every adopted one, at once: what is left to do where a gateway
/// can't stop in order. Returns how many there were; none after an orderly stop. Blocking (reads `/proc`).
pub fn end_everything(state_dir: &Path) -> u32 {
    strays::end_all(&StateMark::of(state_dir), subreaper::Leaders::of_this_process())
}
