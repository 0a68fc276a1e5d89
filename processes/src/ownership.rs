//! Who belongs to a child: its group, and whatever carries its tag, wherever it went. Blocking (reads `/proc`).
//!
//! A tag is a variable of the environment, which names the owner and what the child is for, and for some owners a number that the
//! kernel keeps, which survives where the environment is cleared. The number stands in the soft limit on file locks
//! (`RLIMIT_LOCKS`). The kernel hands limits down to every child, through `setsid`, double forks and set-user-id programs,
//! shows them to everybody in `/proc`, and has enforced this one in no release since 2.4.25. Whoever wants to get rid of both
//! can: they find what forks away, not an enemy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use sha2::{Digest as _, Sha256};

use crate::proc_table::{self, Process, living, own_pid};
use crate::subreaper::Leaders;

/// Between two looks at processes that are ending: they may fork meanwhile.
const LOOK: Duration = Duration::from_millis(20);
/// How often it is looked, and killed, before what is still there is left alone.
const KILL_ROUNDS: u128 = 100;
/// What all numbers have in common: no limit that anybody sets for its own sake is as high.
const NUMBERS: u64 = 1 << 62;
/// Where the owner's part stands in a number; the member's is below it.
const OWNER_PART: u32 = 32;

/// Who starts processes: an installation of the daemon, or a gateway on one state directory. It stays the same when the owner
/// is started again, so that it finds what it left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    variable: &'static str,
    id: String,
    numbered: bool,
}

impl Owner {
    /// An owner whose processes have `<id>:<member>` in this variable. The id has no colon.
    pub fn new(variable: &'static str, id: impl Into<String>) -> Self {
        Self { variable, id: id.into(), numbered: false }
    }

    /// Its processes carry a number, too. Not for what counts on its own limit of file locks.
    #[must_use]
    pub fn numbered(self) -> Self {
        Self { numbered: true, ..self }
    }

    /// The tag of all processes of one member: a gateway, a run.
    pub fn tag(&self, member: &str) -> ProcessTag {
        let value = format!("{}:{member}", self.id);
        let number = self.numbered.then(|| self.number_part() | u64::from(short_digest(&value)));
        ProcessTag { owner: self.clone(), member: member.to_owned(), value, number }
    }

    /// Every living process of its own but this one, with the member that it is of, where its environment still tells.
    pub fn processes(&self) -> Vec<(Process, Option<String>)> {
        let own = own_pid();
        let of = |process: Process| match self.member_of(process.pid) {
            Some(member) => Some((process, Some(member))),
            None => self.has_number(process.pid).then_some((process, None)),
        };
        living(|process| process.pid != own).into_iter().filter_map(of).collect()
    }

    /// Kills every process of its own at once, and whatever this process has adopted. Returns how many there were.
    pub fn end_all(&self) -> u32 {
        end(Duration::ZERO, None, || {
            let owned = self.processes().into_iter().map(|(process, _)| process);
            distinct(owned.chain(Leaders::of_this_process().adopted()))
        })
    }

    fn owns(&self, pid: i32) -> bool {
        self.has_number(pid) || self.member_of(pid).is_some()
    }

    fn member_of(&self, pid: i32) -> Option<String> {
        self.member_in(&proc_table::environ(pid)?)
    }

    /// The member that an environment (as in `/proc/PID/environ`) names.
    fn member_in(&self, environ: &[u8]) -> Option<String> {
        environ.split(|byte| *byte == 0).find_map(|variable| {
            let value = variable.strip_prefix(self.variable.as_bytes())?.strip_prefix(b"=")?;
            let member = value.strip_prefix(self.id.as_bytes())?.strip_prefix(b":")?;
            Some(String::from_utf8_lossy(member).into_owned())
        })
    }

    fn has_number(&self, pid: i32) -> bool {
        self.numbered && proc_table::lock_limit(pid).is_some_and(|number| self.is_own_number(number))
    }

    fn is_own_number(&self, number: u64) -> bool {
        number >> OWNER_PART == self.number_part() >> OWNER_PART
    }

    fn number_part(&self) -> u64 {
        NUMBERS | u64::from(short_digest(&self.id) >> 2) << OWNER_PART
    }
}

fn short_digest(text: &str) -> u32 {
    Sha256::digest(text.as_bytes()).iter().take(4).fold(0, |digest, byte| digest << 8 | u32::from(*byte))
}

/// What all processes of one member carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessTag {
    owner: Owner,
    member: String,
    value: String,
    number: Option<u64>,
}

impl ProcessTag {
    /// The variable of the environment, and its value.
    pub fn variable(&self) -> (&'static str, &str) {
        (self.owner.variable, &self.value)
    }

    pub(crate) fn number(&self) -> Option<u64> {
        self.number
    }

    fn is_on(&self, pid: i32) -> bool {
        (self.number.is_some() && proc_table::lock_limit(pid) == self.number)
            || self.owner.member_of(pid).as_ref() == Some(&self.member)
    }

    /// Every living process that carries it, but this one.
    pub fn processes(&self) -> Vec<Process> {
        let own = own_pid();
        living(|process| process.pid != own && self.is_on(process.pid))
    }

    /// Signals the whole group of a leader that is alive or not yet reaped, and every carrier of the tag outside of it.
    pub(crate) fn signal(&self, leader: i32, signals: &[Signal]) -> Result<(), Errno> {
        let group = Pid::from_raw(leader).ok_or(Errno::SRCH)?;
        let group = signals.iter().try_for_each(|signal| kill_process_group(group, *signal));
        for process in self.processes().iter().filter(|process| process.group != leader) {
            signals.iter().for_each(|signal| send(process, *signal));
        }
        group
    }

    /// Ends what is left of a child: the members of its leader's group, every carrier of the tag, and what this process adopted
    /// and no other child can claim. The leader, if there is one, has ended and isn't reaped yet, so that its id means nobody
    /// else. Politely first, where there is a grace. Returns how many there were.
    pub(crate) fn end_left_behind(&self, leader: Option<i32>, grace: Duration) -> u32 {
        let leaders = Leaders::of_this_process();
        let is_adopted_here = |process: &Process| {
            // Whoever shed the number and the variable did so on purpose. That it is of this child is likely, and of no use to
            // the others.
            leader.is_some_and(|leader| leaders.only(leader))
                || (leaders.all_numbered() && !self.owner.owns(process.pid))
        };
        end(grace, leader, || {
            let group = leader.map(|leader| living(|process| process.group == leader)).unwrap_or_default();
            let adopted = leaders.adopted().into_iter().filter(is_adopted_here);
            let mut left = distinct(self.processes().into_iter().chain(group).chain(adopted));
            left.retain(|process| Some(process.pid) != leader);
            left
        })
    }

    /// Ends what an earlier run of the owner left: every carrier of the tag, and a process that was recorded, with its family, if
    /// it still is that one (its environment may tell nothing). Politely first. Returns how many there were.
    pub fn end_former(&self, recorded: Option<&Process>, grace: Duration) -> u32 {
        end(grace, None, || {
            let recorded = recorded.filter(|recorded| recorded.lives_on());
            let family = recorded.map(|recorded| family(recorded.pid)).unwrap_or_default();
            distinct(self.processes().into_iter().chain(family))
        })
    }

    /// What took the place of a process that ended by itself: an OpenClaw gateway of protocol 3 restarts as a new process in a
    /// session of its own and exits with 0. It carries the tag, leads its session, runs the same program, and is the newest such.
    pub(crate) fn successor(&self, former: &Process, program: Option<&Path>) -> Option<Process> {
        let carriers = self.processes().into_iter();
        carriers
            .filter(|one| one.pid == one.session && one.pid != former.pid && one.start_ticks >= former.start_ticks)
            .filter(|one| program.is_none() || proc_table::program(one.pid).as_deref() == program)
            .max_by_key(|one| one.start_ticks)
    }
}

/// The group of a process, and its descendants outside of it: what its memory and processor time are the sum of.
pub fn family(leader: i32) -> Vec<Process> {
    family_among(leader, &proc_table::all())
}

fn family_among(leader: i32, all: &[Process]) -> Vec<Process> {
    let mut members: BTreeSet<i32> =
        all.iter().filter(|process| process.pid == leader || process.group == leader).map(|one| one.pid).collect();
    loop {
        let before = members.len();
        let more: Vec<i32> = all.iter().filter(|one| members.contains(&one.parent)).map(|one| one.pid).collect();
        members.extend(more);
        if members.len() == before {
            break;
        }
    }
    all.iter().filter(|process| members.contains(&process.pid) && !process.is_dead()).copied().collect()
}

fn distinct(processes: impl Iterator<Item = Process>) -> Vec<Process> {
    processes.map(|process| (process.pid, process)).collect::<BTreeMap<_, _>>().into_values().collect()
}

/// Asks each process that is left to end, once, and kills what is still there after the grace, with the group.
fn end(grace: Duration, group: Option<i32>, left: impl Fn() -> Vec<Process>) -> u32 {
    let mut seen = BTreeSet::new();
    let polite_rounds = grace.as_millis() / LOOK.as_millis();
    for round in 0..polite_rounds + KILL_ROUNDS {
        let now = left();
        let kill = round >= polite_rounds;
        if kill && let Some(group) = group.and_then(Pid::from_raw) {
            // Also where `/proc` tells nothing. It fails where nobody is left, which is what is wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
        if now.is_empty() {
            break;
        }
        for process in &now {
            let new = seen.insert(process.pid);
            if kill {
                send(process, Signal::KILL);
            } else if new {
                send(process, Signal::TERM);
                // A stopped process takes no other signal.
                send(process, Signal::CONT);
            }
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "on a thread for blocking work, between two looks at other processes"
        )]
        std::thread::sleep(LOOK);
    }
    u32::try_from(seen.len()).unwrap_or(u32::MAX)
}

/// Signals a process that is still the one that was meant: its id may have been given to another since it was read.
fn send(meant: &Process, signal: Signal) {
    let Some(pid) = Pid::from_raw(meant.pid) else { return };
    if let Ok(handle) = pidfd_open(pid, PidfdFlags::empty())
        && Process::read(meant.pid).is_some_and(|now| now.start_ticks == meant.start_ticks)
    {
        // It may have ended by itself.
        let _ = pidfd_send_signal(handle, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, group: i32) -> Process {
        Process { pid, parent, group, session: group, state: 'S', ..Process::default() }
    }

    #[test]
    fn a_family_is_the_group_and_all_descendants_wherever_they_went() {
        let dead = Process { state: 'Z', ..process(14, 10, 10) };
        let all = [
            process(1, 0, 1),
            process(10, 1, 10),
            process(11, 10, 10),
            process(12, 11, 12),
            process(13, 12, 13),
            dead,
            process(15, 1, 10),
            process(20, 1, 20),
        ];
        let pids: Vec<i32> = family_among(10, &all).iter().map(|one| one.pid).collect();
        assert_eq!(pids, [10, 11, 12, 13, 15]);
    }

    #[test]
    fn a_member_is_found_in_the_environment_of_its_own_owner_alone() {
        let (mine, other) = (Owner::new("THE_TAG", "a"), Owner::new("THE_TAG", "b"));
        let tag = mine.tag("spawn-1:x");
        assert_eq!(tag.variable(), ("THE_TAG", "a:spawn-1:x"));
        let environ = b"A=1\0THE_TAG=a:spawn-1:x\0B=2\0";
        assert_eq!(mine.member_in(environ).as_deref(), Some("spawn-1:x"));
        assert_eq!(other.member_in(environ), None);
        for foreign in [&b""[..], b"XTHE_TAG=a:r\0", b"THE_TAG_2=a:r\0", b"THE_TAG=a", b"THE_TAG=aa:r"] {
            assert_eq!(mine.member_in(foreign), None);
        }
    }

    #[test]
    fn numbers_tell_members_and_owners_apart() {
        let (mine, other) = (Owner::new("THE_TAG", "a").numbered(), Owner::new("THE_TAG", "b").numbered());
        let number = |owner: &Owner, member: &str| owner.tag(member).number().unwrap();
        assert_eq!(number(&mine, "one"), number(&mine, "one"));
        assert_ne!(number(&mine, "one"), number(&mine, "two"));
        assert!(mine.is_own_number(number(&mine, "one")) && mine.is_own_number(number(&mine, "two")));
        assert!(!mine.is_own_number(number(&other, "one")));
        for ordinary in [0, 1024, NUMBERS, u64::MAX, i64::MAX.unsigned_abs()] {
            assert!(!mine.is_own_number(ordinary), "{ordinary}");
        }
        assert_eq!(Owner::new("THE_TAG", "a").tag("one").number(), None);
    }
}
