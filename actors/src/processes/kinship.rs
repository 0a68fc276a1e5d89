//! Who belongs to a local process: its group, its descendants, and whatever carries its mark in the environment. Blocking
//! (reads `/proc`).

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use super::proc_table::{self, Process};

/// In the environment of everything that runs for a gateway: `<installation>:<uuid of the gateway>`.
pub(super) const MARK_VARIABLE: &str = "GATEWARDEN_LOCAL_PROCESS";
/// Between two looks at processes that are ending.
const LOOK: Duration = Duration::from_millis(50);

/// The mark of one gateway's processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark(pub(super) String);

impl Mark {
    pub(super) fn of(installation: &str, gateway_uuid: &str) -> Self {
        Self(format!("{installation}:{gateway_uuid}"))
    }

    /// Every living process that is older than this one and carries the mark of this installation, and of no gateway that is known.
    pub(super) fn strays(installation: &str, known: &[String]) -> Vec<(Process, Self)> {
        let own = own_pid();
        let prefix = format!("{MARK_VARIABLE}={installation}:");
        let mark_of = |environ: Vec<u8>| {
            let variable = environ.split(|byte| *byte == 0).find(|one| one.starts_with(prefix.as_bytes()))?;
            let uuid = String::from_utf8(variable.get(prefix.len()..)?.to_vec()).ok()?;
            (!known.contains(&uuid)).then(|| Self::of(installation, &uuid))
        };
        let since = Process::read(own).map_or(0, |own| own.start_ticks);
        let older = proc_table::all().into_iter().filter(|process| !process.is_dead() && process.start_ticks < since);
        older.filter_map(|process| Some((process, mark_of(proc_table::environ(process.pid)?)?))).collect()
    }

    /// Whether an environment (as in `/proc/PID/environ`) carries it.
    fn is_in(&self, environ: &[u8]) -> bool {
        environ.split(|byte| *byte == 0).any(|variable| {
            variable
                .strip_prefix(MARK_VARIABLE.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"="))
                .is_some_and(|value| value == self.0.as_bytes())
        })
    }

    fn is_on(&self, pid: i32) -> bool {
        proc_table::environ(pid).is_some_and(|environ| self.is_in(&environ))
    }

    /// Every living process that carries it.
    pub(super) fn carriers(&self) -> Vec<Process> {
        let own = own_pid();
        let living = proc_table::all().into_iter().filter(|process| !process.is_dead() && process.pid != own);
        living.filter(|process| self.is_on(process.pid)).collect()
    }
}

/// The group of a process, and its descendants outside of it: what its memory and processor time are the sum of.
pub(super) fn family(leader: i32) -> Vec<Process> {
    family_among(leader, &proc_table::all())
}

fn family_among(leader: i32, all: &[Process]) -> Vec<Process> {
    let mut members: BTreeSet<i32> =
        all.iter().filter(|process| process.pid == leader || process.group == leader).map(|one| one.pid).collect();
    loop {
        let before = members.len();
        members.extend(
            all.iter().filter(|process| members.contains(&process.parent)).map(|one| one.pid).collect::<Vec<_>>(),
        );
        if members.len() == before {
            break;
        }
    }
    all.iter().filter(|process| members.contains(&process.pid) && !process.is_dead()).copied().collect()
}

/// Signals the whole group of a leader that is alive or not yet reaped, and every carrier of the mark outside of it.
pub(super) fn signal_all(leader: i32, mark: &Mark, signal: Signal) {
    if let Some(group) = Pid::from_raw(leader) {
        // It fails where nobody is left, which is what is wanted.
        let _ = kill_process_group(group, signal);
    }
    for process in mark.carriers() {
        if process.group != leader {
            send(process, signal);
        }
    }
}

/// Ends every carrier of the mark and every other living member of the leader's group, politely first. The leader itself, if
/// there is one, has ended and isn't reaped yet, so that its id means nobody else. Returns how many there were.
pub(super) fn end_left_behind(leader: Option<i32>, mark: &Mark, grace: Duration) -> u32 {
    end(grace, || {
        let mut left = mark.carriers();
        if let Some(leader) = leader {
            let known: BTreeSet<i32> = left.iter().map(|process| process.pid).collect();
            left.extend(
                proc_table::all()
                    .into_iter()
                    .filter(|one| one.group == leader && !one.is_dead() && !known.contains(&one.pid)),
            );
        }
        left.retain(|process| Some(process.pid) != leader);
        left
    })
}

/// Asks each process that is left to end, once, and kills what is still there after the grace.
fn end(grace: Duration, left: impl Fn() -> Vec<Process>) -> u32 {
    let mut seen = BTreeSet::new();
    let rounds = (grace.as_millis() / LOOK.as_millis()).max(1);
    for round in 0..rounds + 40 {
        let now = left();
        if now.is_empty() {
            break;
        }
        for process in now {
            let new = seen.insert(process.pid);
            if round >= rounds {
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

/// Ends what an earlier daemon left running: the recorded process with its group, and every carrier of the mark.
pub(super) fn end_orphans(recorded: Option<&Process>, mark: &Mark, grace: Duration) -> u32 {
    // A recorded process without a readable environment is found by its id and its start alone.
    end(grace, || {
        let mut left = mark.carriers();
        let known: BTreeSet<i32> = left.iter().map(|process| process.pid).collect();
        if let Some(recorded) = recorded
            && Process::read(recorded.pid).is_some_and(|now| now.start_ticks == recorded.start_ticks)
        {
            left.extend(family(recorded.pid).into_iter().filter(|one| !known.contains(&one.pid)));
        }
        left
    })
}

/// What took the place of a process that ended by itself: an OpenClaw gateway of protocol 3 restarts as a new process in a
/// session of its own and exits with 0. It carries the mark, leads its session, runs the same program, and is the newest such.
pub(super) fn successor(former: &Process, program: Option<&Path>, mark: &Mark) -> Option<Process> {
    let carriers = mark.carriers();
    carriers
        .into_iter()
        .filter(|one| one.pid == one.session && one.pid != former.pid && one.start_ticks >= former.start_ticks)
        .filter(|one| program.is_none() || proc_table::program(one.pid).as_deref() == program)
        .max_by_key(|one| one.start_ticks)
}

/// Signals a process that is still the one that was meant: its id may have been given to another since it was read.
fn send(meant: Process, signal: Signal) {
    let Some(pid) = Pid::from_raw(meant.pid) else { return };
    if let Ok(handle) = pidfd_open(pid, PidfdFlags::empty())
        && Process::read(meant.pid).is_some_and(|now| now.start_ticks == meant.start_ticks)
    {
        // It may have ended by itself.
        let _ = pidfd_send_signal(handle, signal);
    }
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, group: i32) -> Process {
        Process { pid, parent, group, session: group, state: 'S', cpu_ticks: 0, start_ticks: 1, resident_pages: 1 }
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
    fn a_mark_is_found_whole_and_in_its_own_variable_alone() {
        let mark = Mark::of("installation", "uuid");
        let with = |text: &str| mark.is_in(text.as_bytes());
        assert!(with("A=1\0GATEWARDEN_LOCAL_PROCESS=installation:uuid\0B=2\0"));
        assert!(!with("GATEWARDEN_LOCAL_PROCESS=installation:uuid2\0"));
        assert!(!with("XGATEWARDEN_LOCAL_PROCESS=installation:uuid\0"));
        assert!(!with(""));
    }
}
