//! The variable by which a process is known as a run's, wherever it went.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::effect::RunId;

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

    /// The run that an environment (as in `/proc/PID/environ`) names, where it is of this state directory.
    pub fn run_in(&self, environ: &[u8]) -> Option<RunId> {
        environ.split(|byte| *byte == 0).find_map(|variable| {
            let value = variable.strip_prefix(RUN_VARIABLE.as_bytes())?.strip_prefix(b"=")?;
            let run = value.strip_prefix(self.0.as_bytes())?.strip_prefix(b":")?;
            Some(RunId(String::from_utf8_lossy(run).into_owned()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
