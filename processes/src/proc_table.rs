//! The processes of this machine, as `/proc` tells. What can't be read isn't there: processes come and go while one looks.
//! Blocking; for [`tokio::task::spawn_blocking`].

use std::fs::{self, File};
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

/// How much of an environment is read; the tag comes early.
const MAX_ENVIRON: u64 = 1024 * 1024;

/// One process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's id.
    pub parent: i32,
    /// Its group's id, which is that of the group's leader.
    pub group: i32,
    /// Its session's id, which is that of the session's leader.
    pub session: i32,
    /// `R`, `S`, `T` (stopped), `Z` (dead, not yet reaped), ...
    pub state: char,
    /// Processor time so far, user and system, in clock ticks.
    pub cpu_ticks: u64,
    /// When it started, in clock ticks since boot: with the id, this tells a process from all others since then.
    pub start_ticks: u64,
    /// How many threads it has.
    pub threads: u64,
    /// Address space that it uses.
    pub virtual_bytes: u64,
    /// Resident memory in pages.
    pub resident_pages: u64,
}

impl Process {
    /// Whether it has ended and only waits to be reaped.
    pub fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// Processor time so far, user and system.
    pub fn cpu_time(&self) -> Duration {
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Duration::from_millis(self.cpu_ticks.saturating_mul(1000) / per_second)
    }

    /// Resident memory.
    pub fn resident_bytes(&self) -> u64 {
        self.resident_pages.saturating_mul(u64::try_from(rustix::param::page_size()).unwrap_or(4096))
    }

    /// Whether it still lives: its id may have been given to another process since it was read.
    pub fn lives_on(&self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.start_ticks == self.start_ticks && !now.is_dead())
    }

    /// Reads the line of `/proc/PID/stat` (proc(5)). The program's name in it may hold spaces and brackets.
    fn parse(stat: &str) -> Option<Self> {
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
            threads: number(17)?,
            start_ticks: number(19)?,
            virtual_bytes: number(20)?,
            resident_pages: number(21)?,
        })
    }

    /// One process now.
    pub fn read(pid: i32) -> Option<Self> {
        let bytes = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(&String::from_utf8_lossy(&bytes))
    }

    /// This process.
    pub fn own() -> Option<Self> {
        Self::read(own_pid())
    }
}

/// All processes. Empty where `/proc` can't be read.
pub fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Process::read).collect()
}

/// All that haven't ended, and that one wants.
pub(crate) fn living(wanted: impl Fn(&Process) -> bool) -> Vec<Process> {
    all().into_iter().filter(|process| !process.is_dead() && wanted(process)).collect()
}

/// The children of this process: from its threads' lists where the kernel offers them, else from all processes.
pub(crate) fn children() -> Vec<Process> {
    let lists = fs::read_dir("/proc/self/task").map(|threads| {
        threads.flatten().map(|thread| fs::read_to_string(thread.path().join("children"))).collect::<Vec<_>>()
    });
    let own = own_pid();
    match lists {
        Ok(lists) if lists.iter().any(Result::is_ok) => lists
            .iter()
            .flatten()
            .flat_map(|list| list.split_ascii_whitespace())
            .filter_map(|pid| Process::read(pid.parse().ok()?))
            .collect(),
        _ => all().into_iter().filter(|process| process.parent == own).collect(),
    }
}

pub(crate) fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// The environment that a process was started with; none where it has ended or belongs to somebody else.
pub fn environ(pid: i32) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/environ")).ok()?.take(MAX_ENVIRON).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The soft limit on file locks that a process runs under; none where there is none, or where that can't be read.
pub(crate) fn lock_limit(pid: i32) -> Option<u64> {
    soft_limit(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?, "Max file locks")
}

fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()?.parse().ok()
}

/// The file that a process executes.
pub fn program(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// The program's name, at most 15 characters. (Arguments may hold secrets and are not read.)
pub fn name(pid: i32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim_end().chars().filter(|char| !char.is_control()).collect())
}

/// Which start of the machine this is.
pub fn boot_id() -> Option<String> {
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
        assert_eq!((read.threads, read.virtual_bytes), (9, 1000));
        for bad in ["", "123", "123 (x", "x (x) S 1 2", "1 (x) S", "1 (x) S a b"] {
            assert_eq!(Process::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_soft_limit_is_the_first_number_behind_its_name() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max file locks            4611686018427387905  unlimited            locks     \n\
                      Max nice priority         unlimited            0                              \n";
        assert_eq!(soft_limit(limits, "Max file locks"), Some(4_611_686_018_427_387_905));
        assert_eq!(soft_limit(limits, "Max nice priority"), None);
        assert_eq!(soft_limit(limits, "Max cpu time"), None);
        assert_eq!(lock_limit(i32::MAX), None);
    }

    #[test]
    fn this_process_is_among_all() {
        let me = own_pid();
        let found = all().into_iter().find(|process| process.pid == me).unwrap();
        assert!(!found.is_dead() && found.lives_on() && found.resident_pages > 0 && found.start_ticks > 0);
        assert!(environ(me).is_some() && name(me).is_some() && program(me).is_some() && boot_id().is_some());
        assert_eq!((environ(i32::MAX), Process::read(i32::MAX)), (None, None));
    }
}
