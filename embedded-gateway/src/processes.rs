//! Agents as operating-system processes: what may be run ([`command_templates`], pure), a task for each of them ([`launcher`]), and
//! what a gateway that crashed left running.

pub mod command_templates;
pub mod launcher;

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use gatewarden_processes::{Owner, proc_table};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub use launcher::Launcher;

/// In the environment of every child: `<state directory's id>:<run>`.
const RUN_VARIABLE: &str = "GATEWARDEN_GATEWAY_RUN";
/// What a program finds in its environment: the above, then the ids of its run, of its session (key and id) and of its agent.
pub const PROGRAM_VARIABLES: [&str; 5] =
    [RUN_VARIABLE, "GATEWARDEN_RUN_ID", "GATEWARDEN_SESSION_KEY", "GATEWARDEN_SESSION_ID", "GATEWARDEN_AGENT_ID"];
/// Most orphans that are listed.
const MAX_ORPHANS: usize = 100;
/// Ancestors of a process that are looked at.
const MAX_DESCENT: u32 = 1_000;
/// What is shown of a run's id, in characters: ids are no longer than that.
const MAX_RUN: usize = 256;

/// The owner of all processes of a state directory: the same for every gateway that is started on it.
pub fn owner_of(state_dir: &Path) -> Owner {
    let path = std::fs::canonicalize(state_dir).unwrap_or_else(|_| state_dir.to_owned());
    let digest = Sha256::digest(path.as_os_str().as_bytes());
    Owner::new(RUN_VARIABLE, hex::encode(digest.get(..8).unwrap_or_default())).numbered()
}

/// Kills every process that belongs to a state directory, and every adopted one, at once: what is left to do where a gateway
/// can't stop in order. Returns how many there were; none after an orderly stop. Blocking (reads `/proc`).
pub fn end_everything(state_dir: &Path) -> u32 {
    owner_of(state_dir).end_all()
}

/// A process of a former gateway on this state directory. It is reported, and not ended at the start: nobody asked for that, and its
/// work may be wanted. The orderly stop of a gateway ends it with all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Its id.
    pub pid: i32,
    /// Its group's: what to signal.
    pub group: i32,
    /// The program's name.
    pub program: String,
    /// The run that it was started for; `unknown` where it has cleared its environment.
    pub run: String,
}

impl Orphan {
    /// How it is shown in `health` and `status`.
    pub fn to_value(&self) -> Value {
        json!({"pid": self.pid, "group": self.group, "program": self.program, "runId": self.run})
    }

    /// What the log says.
    pub fn sentence(&self) -> String {
        format!(
            "process {} ({}) of run {} was left running by a gateway that crashed; it is not under control any more, and ends when \
             a gateway on this state directory stops. To end it now: kill -TERM -- -{}",
            self.pid, self.program, self.run, self.group
        )
    }
}

/// The orphans of a state directory, at most 100. What descends from the gateway that runs on it, by its process id, is none; at its
/// start, before anything is run, all are. Blocking (reads `/proc`).
pub fn find_orphans(state_dir: &Path, gateway: Option<u32>) -> Vec<Orphan> {
    let is_gateways = |process: &proc_table::Process| {
        let mut ancestor = Some(*process);
        // No line of descent is longer than all there are; one that is read while it changes may go round.
        for _ in 0..MAX_DESCENT {
            match ancestor {
                Some(process) if gateway == u32::try_from(process.pid).ok() => return true,
                Some(process) if process.parent > 1 => ancestor = proc_table::Process::read(process.parent),
                _ => return false,
            }
        }
        false
    };
    let orphan = |(process, run): (proc_table::Process, Option<String>)| {
        let program = proc_table::name(process.pid).unwrap_or_default();
        // Any process can name itself anything there.
        let run = run.unwrap_or_else(|| "unknown".to_owned());
        let run = run.chars().filter(|char| !char.is_control()).take(MAX_RUN).collect();
        Orphan { pid: process.pid, group: process.group, program, run }
    };
    let owned = owner_of(state_dir).processes().into_iter().filter(|(process, _)| !is_gateways(process));
    owned.map(orphan).take(MAX_ORPHANS).collect()
}
