//! A wall clock of a process's own, which the test sets: Debian's libfaketime between the program and the C library. Uptime, waits and the
//! times of files stay the machine's.

use std::path::PathBuf;

use super::daemon::Setup;

/// One for any number of processes.
#[derive(Debug)]
pub(crate) struct WallClock {
    dir: tempfile::TempDir,
    library: String,
}

impl WallClock {
    /// One that is right. None where `$LIBFAKETIME` names no library, unless `$NEEDS_FAKETIME` says that it must.
    pub(crate) fn new() -> Option<Self> {
        let Ok(library) = std::env::var("LIBFAKETIME") else {
            assert!(std::env::var_os("NEEDS_FAKETIME").is_none(), "LIBFAKETIME names no library");
            eprintln!("SKIPPED: no libfaketime; run it by .ci/run");
            return None;
        };
        // The loader would go on without it.
        assert!(PathBuf::from(&library).is_file(), "LIBFAKETIME names {library}, which is no file");
        let clock = Self { dir: tempfile::tempdir().expect("a folder"), library };
        clock.set_days_ahead(0);
        Some(clock)
    }

    /// Sets it ahead of the right time by so many days, or behind it.
    pub(crate) fn set_days_ahead(&self, days: i64) {
        // Whole, whenever it is read.
        let next = self.dir.path().join("next");
        std::fs::write(&next, format!("{:+}\n", days * 86_400)).expect("written");
        std::fs::rename(next, self.file()).expect("in its place");
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("ahead")
    }

    /// What a process is started with that is to go by this clock.
    pub(crate) fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("LD_PRELOAD", self.library.clone()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
    }

    /// A daemon that goes by this clock.
    pub(crate) fn of(&self, setup: Setup) -> Setup {
        self.environment().iter().fold(setup, |setup, (name, value)| setup.env(name, value))
    }
}
