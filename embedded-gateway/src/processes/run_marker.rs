//! The two marks by which a process is known as a run's, wherever it went: a variable of its environment, which names the run,
//! and a number that the kernel keeps, which survives where the environment is cleared.
//!
//! The number stands in the soft limit on file locks (`RLIMIT_LOCKS`). The kernel hands limits down to every child, through
//! `setsid`, double forks and set-user-id programs, shows them to everybody in `/proc`, and has enforced this one in no
//! release since 2.4.25. Whoever wants to get rid of both marks can: they find what forks away, not an enemy.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::effect::RunId;

/// What all numbers have in common: no limit that anybody sets for its own sake is as high.
const NUMBERS: u64 = 1 << 62;
/// Where the part of the state directory stands in a number; the run's is below it.
const STATE_PART: u32 = 32;

/// In the environment of every child: `<state id>:<run>`.
pub const RUN_VARIABLE: &str = "GATEWARDEN_GATEWAY_RUN";

/// Which state directory a process belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateMark(String);

impl StateMark {
    /// The mark of a state directory: the same for every gateway that is started on it.
    pub fn of(state_dir: &Path) -> Self {
        let path = std::fs::canonicalize(state_dir).unwrap_or_else(|_| state_dir.to_owned());
        let digest = Sha256::digest(path.as_os_str().as_bytes());
        Self(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    /// The variable's value for a run.
    pub fn value(&self, run: &RunId) -> String {
        format!("{}:{}", self.0, run.0)
    }

    /// The number of a run. Other runs of the same state directory have another one.
    pub fn number(&self, run: &RunId) -> u64 {
        self.state_part() | u64::from(short_digest(&self.value(run)))
    }

    /// Whether a number is of a run of this state directory.
    pub fn is_own(&self, number: u64) -> bool {
        number >> STATE_PART == self.state_part() >> STATE_PART
    }

    fn state_part(&self) -> u64 {
        NUMBERS | u64::from(short_digest(&self.0) >> 2) << STATE_PART
    }

    /// The run that an environment (as in `/proc/PID/environ`) names, where it is of this state directory.
    pub fn run_in(&self, environ: &[u8]) -> Option<RunId> {
        environ.split(|byte| *byte == 0).find_map(|variable| {
            let value = variable.strip_prefix(RUN_VARIABLE.as_bytes())?.strip_prefix(b"=")?;
            let run = value.strip_prefix(self.0.as_bytes())?.strip_prefix(b":")?;
            Some(RunId(String::from_utf8_lossy(run).into_owned()))
        })
    }
}

fn short_digest(text: &str) -> u32 {
    Sha256::digest(text.as_bytes()).iter().take(4).fold(0, |digest, byte| digest << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_tell_runs_and_state_directories_apart() {
        let (mine, other) = (StateMark::of(Path::new("/a")), StateMark::of(Path::new("/b")));
        let (one, two) = (RunId("one".into()), RunId("two".into()));
        assert_eq!(mine.number(&one), mine.number(&one));
        assert_ne!(mine.number(&one), mine.number(&two));
        assert!(mine.is_own(mine.number(&one)) && mine.is_own(mine.number(&two)));
        assert!(!mine.is_own(other.number(&one)));
        for ordinary in [0, 1024, NUMBERS, u64::MAX, i64::MAX.unsigned_abs()] {
            assert!(!mine.is_own(ordinary), "{ordinary}");
        }
    }

    #[test]
    fn a_run_is_found_in_the_environment_of_its_own_state_directory_alone() {
        let (mine, other) = (StateMark::of(Path::new("/a")), StateMark::of(Path::new("/b")));
        let run = RunId("spawn-1:x".into());
        let environ = format!("A=1\0{RUN_VARIABLE}={}\0B=2\0", mine.value(&run));
        assert_eq!(mine.run_in(environ.as_bytes()), Some(run));
        assert_eq!(other.run_in(environ.as_bytes()), None);
        assert_eq!(mine.run_in(b""), None);
        assert_eq!(mine.run_in(format!("X{environ}").as_bytes()).map(|run| run.0), Some("spawn-1:x".into()));
        assert_eq!(mine.run_in(format!("{RUN_VARIABLE}_2={}", mine.value(&RunId("r".into()))).as_bytes()), None);
    }
}
