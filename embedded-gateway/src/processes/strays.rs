//! Descendants of a run that its leader left behind, in its group or outside of it. Blocking (reads `/proc`).

use std::collections::BTreeSet;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use super::proc_table::{self, Process};
use super::run_marker::StateMark;
use super::subreaper::Leaders;
use crate::effect::RunId;

/// How often it is looked again while processes are being ended: they may fork meanwhile.
const ROUNDS: usize = 20;

/// Whose processes are meant.
#[derive(Debug, Clone)]
pub struct Descendants {
    /// Of which gateway.
    pub mark: StateMark,
    /// Of which run.
    pub run: RunId,
    /// The leader's id, which is the group's too.
    pub leader: i32,
}

impl Descendants {
    /// Those outside of the group, known by one of their marks.
    pub fn outside(&self) -> Vec<i32> {
        proc_table::all()
            .into_iter()
            .filter(|process| !process.is_dead() && process.group != self.leader && process.pid != self.leader)
            .filter(|process| self.is_marked(process.pid))
            .map(|process| process.pid)
            .collect()
    }

    /// Sends a signal to those outside of the group.
    pub fn signal_outside(&self, signal: Signal) {
        for pid in self.outside() {
            send(pid, signal, || self.is_marked(pid));
        }
    }

    /// Ends what is left after the leader has ended and before it is reaped (so that its id can't mean another group).
    /// Returns how many there were.
    pub fn end_left_behind(&self, leaders: &Leaders) -> u32 {
        let mut ended = BTreeSet::new();
        for _ in 0..ROUNDS {
            let group = Pid::from_raw(self.leader);
            let members = living(|process| process.group == self.leader && process.pid != self.leader);
            if let Some(group) = group {
                // Also where `/proc` tells nothing. It fails where nobody is left, which is what is wanted.
                let _ = kill_process_group(group, Signal::KILL);
            }
            let outside = self.outside();
            for pid in &outside {
                send(*pid, Signal::KILL, || self.is_marked(*pid));
            }
            let adopted = if leaders.only(self.leader) {
                end_adopted(leaders, |_| true)
            } else if leaders.all_numbered() {
                // Whoever shed both marks did so on purpose. That it is of this run is likely, and of no use to the others.
                end_adopted(leaders, |pid| !is_of(&self.mark, pid))
            } else {
                Vec::new()
            };
            if members.is_empty() && outside.is_empty() && adopted.is_empty() {
                break;
            }
            ended.extend(members.into_iter().chain(outside).chain(adopted));
            std::thread::yield_now();
        }
        u32::try_from(ended.len()).unwrap_or(u32::MAX)
    }

    fn is_marked(&self, pid: i32) -> bool {
        proc_table::lock_limit(pid) == Some(self.mark.number(&self.run))
            || proc_table::environ(pid).and_then(|environ| self.mark.run_in(&environ)).as_ref() == Some(&self.run)
    }
}

/// Ends everything of a gateway that is stopping. Returns how many processes there were.
pub fn end_all(mark: &StateMark, leaders: &Leaders) -> u32 {
    let mine = |pid: i32| is_of(mark, pid);
    let own = own_pid();
    let mut ended = BTreeSet::new();
    for _ in 0..ROUNDS {
        let marked = living(|process| process.pid != own && mine(process.pid));
        for pid in &marked {
            send(*pid, Signal::KILL, || mine(*pid));
        }
        let adopted = end_adopted(leaders, |_| true);
        if marked.is_empty() && adopted.is_empty() {
            break;
        }
        ended.extend(marked.into_iter().chain(adopted));
        std::thread::yield_now();
    }
    u32::try_from(ended.len()).unwrap_or(u32::MAX)
}

/// Whether a process has a mark of any run of a state directory.
fn is_of(mark: &StateMark, pid: i32) -> bool {
    proc_table::lock_limit(pid).is_some_and(|number| mark.is_own(number))
        || proc_table::environ(pid).and_then(|environ| mark.run_in(&environ)).is_some()
}

/// Ends those of the children that nobody here started, which are descendants that forked away.
fn end_adopted(leaders: &Leaders, wanted: impl Fn(i32) -> bool) -> Vec<i32> {
    if !leaders.adopts() {
        return Vec::new();
    }
    let own = own_pid();
    let is_adopted = |process: &Process| process.parent == own && !leaders.contains(process.pid) && wanted(process.pid);
    let adopted = living(is_adopted);
    for pid in &adopted {
        send(*pid, Signal::KILL, || Process::read(*pid).is_some_and(|process| is_adopted(&process)));
    }
    adopted
}

fn living(wanted: impl Fn(&Process) -> bool) -> Vec<i32> {
    let all = proc_table::all();
    all.iter().filter(|process| !process.is_dead() && wanted(process)).map(|process| process.pid).collect()
}

/// Signals a process that is still the one that was meant: its id may have been given to another since it was read.
fn send(pid: i32, signal: Signal, is_meant: impl Fn() -> bool) {
    let Some(pid) = Pid::from_raw(pid) else { return };
    if let Ok(handle) = pidfd_open(pid, PidfdFlags::empty())
        && is_meant()
    {
        // It may have ended by itself.
        let _ = pidfd_send_signal(handle, signal);
    }
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}
