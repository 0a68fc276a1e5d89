//! Why a program could not be executed, as a sentence.

use std::io;
use std::path::Path;

use rustix::io::Errno;

/// The sentence for an error of the operating system. Looks at the file system to tell a missing directory from a missing
/// program, which fail alike.
pub fn reason(error: &io::Error, program: &Path, cwd: &Path) -> String {
    let (program_name, cwd_name) = (program.display(), cwd.display());
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        _ if !cwd.exists() => {
            format!(
                "working directory {cwd_name} doesn't exist: make it, or name another one in the command's workingDirs"
            )
        }
        _ if !cwd.is_dir() => format!("working directory {cwd_name} is no directory"),
        Some(Errno::NOENT) if program.exists() => {
            format!(
                "{program_name} could not be executed: the interpreter that it names in its first line doesn't exist"
            )
        }
        Some(Errno::NOENT | Errno::NOTDIR) => {
            format!("program {program_name} doesn't exist: correct the command's entry in the gateway's configuration")
        }
        Some(Errno::ACCESS | Errno::PERM) if program.is_dir() => {
            format!("{program_name} is a directory, not a program")
        }
        Some(Errno::ACCESS | Errno::PERM) => format!(
            "permission denied: {program_name} is not executable for the gateway's user (chmod +x), or {cwd_name} may not be \
             entered"
        ),
        Some(Errno::NOEXEC) => {
            format!(
                "{program_name} is not a program that this system can execute (a script needs a first line like #!/bin/sh)"
            )
        }
        Some(Errno::TXTBSY) => format!("{program_name} is just being written; try again in a moment"),
        Some(Errno::TOOBIG) => "the arguments and variables together are too long for this system".to_owned(),
        Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => {
            format!("the system has no room for another process now ({error}); end some and try again")
        }
        _ => format!("{program_name} could not be executed: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_says_what_to_change() {
        let here = Path::new("/");
        for (errno, program, cwd, says) in [
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
            let said = reason(&io::Error::from(errno), Path::new(program), Path::new(cwd));
            assert!(said.contains(says), "{said}");
        }
        assert!(reason(&io::Error::other("x"), here, here).contains('x'));
    }
}
