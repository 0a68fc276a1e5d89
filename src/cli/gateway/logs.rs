//! `gatewarden gateway logs`: the log's last lines, and new ones as they come.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gatewarden_embedded_gateway::effect::LogLevel;
use gatewarden_embedded_gateway::log_file::{record_for_people, record_level};

use super::super::error::CliError;
use super::super::output::print;
use super::super::{EXIT_OK, sleep};
use super::{LogsArgs, load_draft};

/// Between two looks at the file.
const LOOK: Duration = Duration::from_millis(200);
/// Most lines of `--tail`.
const MAX_TAIL: usize = 1_000_000;

/// Prints lines. With `--follow` only an error or a signal ends it.
pub(super) fn run(args: &LogsArgs) -> Result<u8, CliError> {
    let level = args.level.as_deref().map(level_of).transpose()?;
    let path = load_draft(&args.place.with_holder()?.2)?.settings().log.file.clone();
    let unreadable = |error| CliError::new(format!("{} cannot be read: {error}.", path.display()));
    let wanted = |line: &str| level.is_none_or(|least| record_level(line).is_some_and(|level| level >= least));
    let shown = |line: &str| if args.json { line.to_owned() } else { record_for_people(line) };
    let mut file = match Followed::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !args.follow => {
            let what = format!("There is no log yet at {}: no gateway has run there.", path.display());
            return Err(CliError::new(what));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Followed::nothing(&path),
        Err(error) => return Err(unreadable(error)),
    };
    let mut last = VecDeque::new();
    if args.tail > 0 {
        let mut keep = |line: String| {
            if wanted(&line) {
                if last.len() >= args.tail.min(MAX_TAIL) {
                    last.pop_front();
                }
                last.push_back(line);
            }
        };
        earlier(&path, &mut keep).and_then(|()| file.read(&mut keep)).map_err(unreadable)?;
    } else {
        file.skip().map_err(unreadable)?;
    }
    for line in &last {
        print(&shown(line));
    }
    if !args.follow {
        return Ok(EXIT_OK);
    }
    let mut out = std::io::stdout().lock();
    loop {
        let mut gone = false;
        let read = file.read(&mut |line| {
            if wanted(&line) {
                gone |= writeln!(out, "{}", shown(&line)).and_then(|()| out.flush()).is_err();
            }
        });
        if gone {
            return Ok(EXIT_OK);
        }
        read.map_err(unreadable)?;
        sleep(LOOK);
    }
}

/// The last set-aside file, so that a fresh rotation doesn't empty the view.
fn earlier(path: &Path, keep: &mut impl FnMut(String)) -> std::io::Result<()> {
    let mut name = path.to_owned().into_os_string();
    name.push(".1");
    match Followed::open(&PathBuf::from(name)) {
        Ok(mut before) => before.read(keep),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// A file that is read line by line, across rotations.
struct Followed {
    path: PathBuf,
    file: Option<BufReader<File>>,
    /// A line whose end has not been written yet.
    part: String,
}

impl Followed {
    fn nothing(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, part: String::new() }
    }

    fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Self { file: Some(BufReader::new(File::open(path)?)), ..Self::nothing(path) })
    }

    fn skip(&mut self) -> std::io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| file.seek(SeekFrom::End(0)).map(|_| ()))
    }

    /// All whole lines that are there now.
    fn read(&mut self, take: &mut impl FnMut(String)) -> std::io::Result<()> {
        self.read_to_end(take)?;
        if self.was_replaced() {
            // What was written to the old file between the two looks, first.
            self.read_to_end(take)?;
            self.file = File::open(&self.path).ok().map(BufReader::new);
            self.part.clear();
            self.read_to_end(take)?;
        }
        Ok(())
    }

    fn was_replaced(&self) -> bool {
        let Ok(there) = std::fs::metadata(&self.path) else { return false };
        let here = self.file.as_ref().and_then(|file| file.get_ref().metadata().ok());
        here.is_none_or(|here| here.ino() != there.ino() || here.dev() != there.dev())
    }

    fn read_to_end(&mut self, take: &mut impl FnMut(String)) -> std::io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut bytes = Vec::new();
        while file.read_until(b'\n', &mut bytes)? > 0 {
            self.part.push_str(&String::from_utf8_lossy(&bytes));
            bytes.clear();
            if self.part.ends_with('\n') {
                let line = std::mem::take(&mut self.part);
                take(line.trim_end_matches('\n').to_owned());
            }
        }
        Ok(())
    }
}

fn level_of(text: &str) -> Result<LogLevel, CliError> {
    match text.to_ascii_lowercase().as_str() {
        "debug" | "trace" => Ok(LogLevel::Debug),
        "info" => Ok(LogLevel::Info),
        "warn" | "warning" => Ok(LogLevel::Warn),
        "error" => Ok(LogLevel::Error),
        _ => Err(CliError::usage(format!("--level {text}: must be debug, info, warn or error"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_across_a_rotation_and_halves_wait_for_their_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "one\ntw").unwrap();
        let mut followed = Followed::open(&path).unwrap();
        let mut lines = Vec::new();
        followed.read(&mut |line| lines.push(line)).unwrap();
        assert_eq!(lines, ["one"]);
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        writeln!(file, "o").unwrap();
        std::fs::rename(&path, dir.path().join("log.1")).unwrap();
        std::fs::write(&path, "three\n").unwrap();
        followed.read(&mut |line| lines.push(line)).unwrap();
        assert_eq!(lines, ["one", "two", "three"]);
    }
}
