//! The processes of this machine, as `/proc` tells. What can't be read isn't there: processes come and go while one looks.
//! Blocking; for [`tokio::task::spawn_blocking`].

use std::fs::{self, File};
use std::io::Read as _;
use std::path::PathBuf;

/// How much of an environment is read.
const MAX_ENVIRON: u64 = 1024 * 1024;

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    /// `R`, `S`, `T` (stopped), `Z` (dead, not yet reaped), ...
    pub(super) state: char,
    /// Processor time so far, user and system, in clock ticks.
    pub(super) cpu_ticks: u64,
    /// When it started, in clock ticks since boot: with the id, this tells a process from all others since then.
    pub(super) start_ticks: u64,
    /// Resident memory in pages.
    pub(super) resident_pages: u64,
}

impl Process {
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// Reads the line of `/proc/PID/stat` (proc(5)). The program's name in it may hold spaces and brackets.
    pub(super) fn parse(stat: &str) -> Option<Self> {
        let pid = stat.split_once(' ')?.0.parse().ok()?;
        // From the third field on.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
        let id = |place: usize| fields.get(place)?.parse::<i32>().ok();
        Some(Self {
            pid,
            state: fields.first()?.chars().next()?,
            parent: id(1)?,
            group: id(2)?,
            session: id(3)?,
            cpu_ticks: number(11)?.saturating_add(number(12)?),
            start_ticks: number(19)?,
            resident_pages: number(21)?,
        })
    }

    /// One process now.
    pub(super) fn read(pid: i32) -> Option<Self> {
        let bytes = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(&String::from_utf8_lossy(&bytes))
    }
}

/// All processes. Empty where `/proc` can't be read.
pub(super) fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Process::read).collect()
}

/// The environment that a process was started with; none where it has ended or belongs to somebody else.
pub(super) fn environ(pid: i32) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/environ")).ok()?.take(MAX_ENVIRON).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The file that a process executes.
pub(super) fn program(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// The program's name, at most 15 characters. (Arguments may hold secrets and are not read.)
pub(super) fn name(pid: i32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim_end().chars().filter(|char| !char.is_control()).collect())
}

/// Which start of the machine this is.
pub(super) fn boot_id() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_confuses_nobody() {
        let line =
            "123 (a) b) (c) S 1 77 76 0 -1 4194560 1 2 3 4 50 7 5 6 20 0 9 0 8765 1000 42 18446744073709551615 1";
        let read = Process::parse(line).unwrap();
        assert_eq!((read.pid, read.parent, read.group, read.session, read.state), (123, 1, 77, 76, 'S'));
        assert_eq!((read.cpu_ticks, read.start_ticks, read.resident_pages), (57, 8765, 42));
        for bad in ["", "123", "123 (x", "x (x) S 1 2", "1 (x) S", "1 (x) S a b"] {
            assert_eq!(Process::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn this_process_is_among_all() {
        let me = i32::try_from(std::process::id()).unwrap();
        let found = all().into_iter().find(|process| process.pid == me).unwrap();
        assert!(!found.is_dead() && found.resident_pages > 0 && found.start_ticks > 0);
        assert!(environ(me).is_some() && name(me).is_some() && program(me).is_some() && boot_id().is_some());
        assert_eq!(environ(i32::MAX), None);
    }
}
