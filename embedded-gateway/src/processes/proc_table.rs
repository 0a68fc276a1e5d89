//! The processes of this machine, as `/proc` tells. What can't be read isn't there: processes come and go while one looks.

use std::fs::{self, File};
use std::io::Read as _;

/// How much of an environment is read; the gateway's own variable comes early.
const MAX_ENVIRON: u64 = 1024 * 1024;

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Its group's.
    pub group: i32,
    /// `R`, `S`, `T` (stopped), `Z` (dead, not yet reaped), ...
    pub state: char,
}

impl Process {
    /// Whether it has ended and only waits to be reaped.
    pub fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// Reads the line of `/proc/PID/stat`. The program's name in it may hold spaces and brackets.
    pub fn parse(stat: &str) -> Option<Self> {
        let pid = stat.split_once(' ')?.0.parse().ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        Some(Self { pid, parent, group, state })
    }

    /// One process now.
    pub fn read(pid: i32) -> Option<Self> {
        let bytes = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(&String::from_utf8_lossy(&bytes))
    }
}

/// All processes. Empty where `/proc` can't be read.
pub fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Process::read).collect()
}

/// The environment that a process was started with; none where it has ended or belongs to somebody else.
pub fn environ(pid: i32) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/environ")).ok()?.take(MAX_ENVIRON).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The soft limit on file locks that a process runs under; none where there is none, or where that can't be read.
pub fn lock_limit(pid: i32) -> Option<u64> {
    soft_limit(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?, "Max file locks")
}

fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()?.parse().ok()
}

/// The program's name, at most 15 characters. (Arguments may hold secrets and are not read.)
pub fn name(pid: i32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim_end().chars().filter(|char| !char.is_control()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_confuses_nobody() {
        let read = Process::parse("123 (a) b) (c) S 1 77 77 0 -1 4194560").unwrap();
        assert_eq!(read, Process { pid: 123, parent: 1, group: 77, state: 'S' });
        assert!(!read.is_dead());
        for bad in ["", "123", "123 (x", "x (x) S 1 2", "1 (x) S", "1 (x) S 1", "1 (x) S a b"] {
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
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(all().iter().any(|process| process.pid == me && !process.is_dead()));
        assert!(environ(me).is_some() && name(me).is_some());
        assert_eq!(environ(i32::MAX), None);
        assert_eq!(Process::read(i32::MAX), None);
    }
}
