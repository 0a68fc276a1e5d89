//! Starting a child: what it is given, what it is kept from, and why it could not be executed.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tokio::process::Child;
use tokio::sync::mpsc;

use crate::ownership::ProcessTag;
use crate::subreaper::Leaders;

/// What to start, and how it is looked after.
pub struct Launch {
    /// Program, arguments and environment. The tag, the directory and the streams are set here.
    pub command: Command,
    /// What everything of it carries.
    pub tag: ProcessTag,
    /// Where it runs.
    pub directory: Directory,
    /// What it reads.
    pub input: Input,
    /// Its standard error is read like its output; else it is this process's own.
    pub captures_stderr: bool,
    /// It leads a group from its first moment on. One that makes a session of its own must not.
    pub leads_group: bool,
    /// Most open files. More than this process itself may have is not to be had.
    pub open_files: Option<u64>,
    /// Most memory, in bytes of address space.
    pub memory: Option<u64>,
    /// Longest line that is passed on; the rest of it is dropped.
    pub max_line_bytes: usize,
    /// How fast its output is passed on.
    pub output_rate: OutputRate,
    /// It is told to end after this.
    pub timeout: Option<Duration>,
    /// It is killed so long after it was told to end; none: only when it is ordered.
    pub kill_after: Option<Duration>,
    /// How long what it leaves behind may take to end when asked, and it itself when nobody orders any more.
    pub left_behind_grace: Duration,
    /// A process that takes its place when it exits with 0 counts as it.
    pub follows_restarts: bool,
}

/// A working directory.
#[derive(Debug, Clone)]
pub enum Directory {
    /// This process's own.
    Inherited,
    /// This one.
    At(PathBuf),
    /// This one, which is made where it is missing.
    Made(PathBuf),
    /// This one, which no link may lead elsewhere.
    WithoutLinks(PathBuf),
}

impl Directory {
    fn path(&self) -> &Path {
        match self {
            Self::Inherited => Path::new("/"),
            Self::At(path) | Self::Made(path) | Self::WithoutLinks(path) => path,
        }
    }
}

/// What a child reads from standard input.
#[derive(Debug)]
pub enum Input {
    /// Nothing.
    Empty,
    /// This, then the end.
    Text(String),
    /// What comes from this queue, then the end.
    Queue(mpsc::Receiver<String>),
    /// Nothing, and the end comes when this process ends, in whatever way.
    Lifeline,
}

/// How fast output is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputRate {
    /// Some MiB a second: a child that writes more waits.
    Paced,
    /// So many bytes a second: what exceeds them is dropped and counted.
    Dropping(u64),
}

impl Launch {
    /// A command with no input and no limits.
    pub fn new(command: Command, tag: ProcessTag) -> Self {
        Self {
            command,
            tag,
            directory: Directory::Inherited,
            input: Input::Empty,
            captures_stderr: true,
            leads_group: true,
            open_files: None,
            memory: None,
            max_line_bytes: 4 * 1024,
            output_rate: OutputRate::Paced,
            timeout: None,
            kill_after: None,
            left_behind_grace: Duration::ZERO,
            follows_restarts: false,
        }
    }

    /// Executes it. Blocking: waits for the execution. The error is a sentence that says what to change.
    pub(crate) fn start(&mut self) -> Result<(Child, i32), String> {
        let held = self.enter_directory()?;
        if let Some(directory) = held.as_ref().map(by_descriptor) {
            self.command.current_dir(directory);
        }
        let (variable, value) = self.tag.variable();
        self.command
            .env(variable, value)
            .stdin(if matches!(self.input, Input::Empty) { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(if self.captures_stderr { Stdio::piped() } else { Stdio::inherit() });
        let mut command = tokio::process::Command::from(std::mem::replace(&mut self.command, Command::new("/")));
        command.kill_on_drop(true);
        if self.leads_group {
            command.process_group(0);
        }
        let started = Leaders::of_this_process().start(self.tag.number(), || {
            let child = command.spawn()?;
            let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
            self.limit(pid);
            Ok((child, pid))
        });
        let program = command.as_std().get_program();
        started.map_err(|error| not_started(&error, Path::new(program), self.directory.path()))
    }

    /// What was looked at is held open and entered by its descriptor, so that nobody can put a link there in between.
    fn enter_directory(&mut self) -> Result<Option<File>, String> {
        match &self.directory {
            Directory::Inherited => return Ok(None),
            Directory::At(_) => {}
            Directory::Made(path) => {
                // A failure shows when the directory is entered.
                let _ = DirBuilder::new().recursive(true).mode(0o700).create(path);
            }
            Directory::WithoutLinks(path) => {
                let held = hold(path).ok();
                let real = match &held {
                    Some(held) => std::fs::read_link(by_descriptor(held)),
                    None => std::fs::canonicalize(path),
                };
                if let Some(real) = real.ok().filter(|real| real != path) {
                    let (asked, real) = (path.display(), real.display());
                    return Err(format!(
                        "working directory {asked} leads to {real} by a link: name that one, and allow it in the command's \
                         workingDirs"
                    ));
                }
                if held.is_some() {
                    return Ok(held);
                }
            }
        }
        self.command.current_dir(self.directory.path());
        Ok(None)
    }

    /// Puts the bounds on a process that was just started. What it does in its very first moment comes before them: bounds can be
    /// put on it before its program is executed only between fork and exec, where nothing safe can be run.
    fn limit(&self, pid: i32) {
        for (resource, most) in [(Resource::Nofile, self.open_files), (Resource::As, self.memory)] {
            let Some(most) = most else { continue };
            // The file system's and the machine's own bounds stay.
            let highest = getrlimit(resource).maximum.map_or(most, |highest| most.min(highest));
            let bound = Rlimit { current: Some(highest), maximum: Some(highest) };
            if let Some(pid) = Pid::from_raw(pid)
                && let Err(error) = prlimit(Some(pid), resource, bound)
            {
                tracing::warn!(%error, pid = pid.as_raw_nonzero().get(), ?resource, "a process could not be limited");
            }
        }
    }
}

/// A directory held open: it stays the same whatever its path leads to later. (The program doesn't inherit it.)
fn hold(dir: &Path) -> io::Result<File> {
    let flags = (OFlags::PATH | OFlags::DIRECTORY).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(dir)
}

/// The path of what is held: a link to it, made by the kernel.
fn by_descriptor(held: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()))
}

/// Why a program could not be executed, and what to change. Looks at the file system to tell a missing directory from a missing
/// program, which fail alike.
fn not_started(error: &io::Error, program: &Path, directory: &Path) -> String {
    let (name, at) = (program.display(), directory.display());
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        _ if !directory.exists() => {
            format!("working directory {at} doesn't exist: make it, or name another one for the command")
        }
        _ if !directory.is_dir() => format!("working directory {at} is no directory"),
        Some(Errno::NOENT) if program.exists() => {
            format!("{name} could not be executed: the interpreter that it names in its first line doesn't exist")
        }
        Some(Errno::NOENT | Errno::NOTDIR) => {
            format!("program {name} doesn't exist: correct the command's entry in the configuration")
        }
        Some(Errno::ACCESS | Errno::PERM) if program.is_dir() => format!("{name} is a directory, not a program"),
        Some(Errno::ACCESS | Errno::PERM) => format!(
            "permission denied: {name} is not executable for the user that starts it (chmod +x), or {at} may not be entered"
        ),
        Some(Errno::NOEXEC) => {
            format!("{name} is not a program that this system can execute (a script needs a first line like #!/bin/sh)")
        }
        Some(Errno::TXTBSY) => format!("{name} is just being written; try again in a moment"),
        Some(Errno::TOOBIG) => "the arguments and variables together are too long for this system".to_owned(),
        Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => {
            format!("the system has no room for another process now ({error}); end some and try again")
        }
        _ => format!("{name} could not be executed: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_says_what_to_change() {
        let here = Path::new("/");
        for (errno, program, directory, says) in [
            (Errno::NOENT, "/bin/sh", "/nowhere/at/all", "working directory /nowhere/at/all doesn't exist"),
            (Errno::NOTDIR, "/bin/sh", "/bin/sh", "is no directory"),
            (Errno::NOENT, "/nowhere/program", "/", "program /nowhere/program doesn't exist"),
            (Errno::NOENT, "/bin/sh", "/", "interpreter"),
            (Errno::ACCESS, "/", "/", "is a directory"),
            (Errno::ACCESS, "/bin/sh", "/", "chmod +x"),
            (Errno::NOEXEC, "/bin/sh", "/", "#!/bin/sh"),
            (Errno::AGAIN, "/bin/sh", "/", "no room"),
            (Errno::TOOBIG, "/bin/sh", "/", "too long"),
            (Errno::IO, "/bin/sh", "/", "could not be executed"),
        ] {
            let said = not_started(&io::Error::from(errno), Path::new(program), Path::new(directory));
            assert!(said.contains(says), "{said}");
        }
        assert!(not_started(&io::Error::other("x"), here, here).contains('x'));
    }

    #[test]
    fn a_directory_that_is_held_is_entered_even_if_a_link_takes_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        let (asked, moved) = (root.join("asked"), root.join("moved"));
        std::fs::create_dir(&asked).unwrap();
        let held = hold(&asked).unwrap();
        std::fs::rename(&asked, &moved).unwrap();
        std::os::unix::fs::symlink("/", &asked).unwrap();
        assert_eq!(std::fs::canonicalize(by_descriptor(&held)).unwrap(), moved);
        assert!(hold(&root.join("gone")).is_err());
    }
}
