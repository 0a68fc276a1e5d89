//! A file that lines are appended to, within a bound of its size. A disk that is full costs lines, never the process; it is said
//! on standard error and, once there is room again, in the file itself.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::{Lost, Sink, standard_error};

/// How a file is kept.
#[derive(Debug, Clone)]
pub struct Keeping {
    /// The file.
    pub file: PathBuf,
    /// Size at which it is set aside, in bytes.
    pub max_bytes: u64,
    /// How many set-aside files are kept (`.1` is the newest).
    pub kept: u32,
    /// Synced to disk whenever nothing waits.
    pub sync: bool,
    /// How it is said that lines were lost.
    pub lost: Lost,
}

/// The file and its predecessors.
#[derive(Debug)]
pub(crate) struct KeptFile {
    keeping: Keeping,
    file: File,
    size: u64,
    in_trouble: bool,
}

impl KeptFile {
    pub(crate) fn open(keeping: Keeping) -> std::io::Result<Self> {
        if let Some(dir) = keeping.file.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let file = open_for_append(&keeping.file)?;
        let size = file.metadata()?.len();
        Ok(Self { keeping, file, size, in_trouble: false })
    }

    fn begin(&mut self) {
        if let Ok(fresh) = Self::open(self.keeping.clone()) {
            *self = Self { in_trouble: self.in_trouble, ..fresh };
        }
    }

    fn set_aside(&mut self) {
        let numbered = |number: u32| {
            let mut name = self.keeping.file.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..self.keeping.kept).rev() {
            let _ = std::fs::rename(numbered(number), numbered(number + 1));
        }
        let moved = if self.keeping.kept == 0 {
            std::fs::remove_file(&self.keeping.file)
        } else {
            std::fs::rename(&self.keeping.file, numbered(1))
        };
        if moved.is_ok() {
            self.begin();
        }
    }
}

impl Sink for KeptFile {
    /// Somebody may have moved the file away (logrotate does): then a new one is begun.
    fn look_after(&mut self) {
        let same = match (std::fs::metadata(&self.keeping.file), self.file.metadata()) {
            (Ok(there), Ok(here)) => there.ino() == here.ino() && there.dev() == here.dev(),
            _ => false,
        };
        if !same {
            self.begin();
        }
    }

    fn append(&mut self, line: &[u8]) -> bool {
        let bytes = line.len() as u64 + 1;
        if self.size > 0 && self.size + bytes > self.keeping.max_bytes {
            self.set_aside();
        }
        let written = self.file.write_all(&[line, b"\n"].concat());
        match written {
            Ok(()) => {
                self.size += bytes;
                if std::mem::take(&mut self.in_trouble) {
                    complain(&format!("{} can be written again", self.keeping.file.display()));
                }
                true
            }
            Err(error) => {
                // A part of the line may be there; what follows begins on a line of its own.
                let _ = self.file.set_len(self.size);
                if !std::mem::replace(&mut self.in_trouble, true) {
                    complain(&format!(
                        "{} cannot be written: {error}. The gateway goes on; lines are lost until there is room.",
                        self.keeping.file.display()
                    ));
                }
                false
            }
        }
    }

    fn sync(&mut self) {
        if self.keeping.sync {
            let _ = self.file.sync_data();
        }
    }
}

fn open_for_append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Where the log itself can't be written, this is the last place to say something.
fn complain(text: &str) {
    if let Some(standard_error) = standard_error() {
        standard_error.write(format!("gatewarden gateway: {text}"));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::*;
    use crate::{LineWriter, MAX_WAITING};

    const SOON: Duration = Duration::from_secs(20);

    fn keeping(file: &Path, max_bytes: u64) -> Keeping {
        Keeping {
            file: file.to_owned(),
            max_bytes,
            kept: 2,
            sync: true,
            lost: Lost::Line(|lost| format!("lost {lost}")),
        }
    }

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn lines_are_appended_in_order_to_a_private_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("logs/gateway.log");
        for round in ["a", "b"] {
            let writer = LineWriter::open(keeping(&file, 1 << 20)).unwrap();
            (0..3).for_each(|number| writer.write(format!("{round}{number}")));
            assert!(writer.flush(SOON));
        }
        assert_eq!(text(&file), "a0\na1\na2\nb0\nb1\nb2\n");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn a_file_that_is_full_is_set_aside_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        let writer = LineWriter::open(keeping(&file, 10)).unwrap();
        (0..7).for_each(|number| writer.write(format!("line{number}")));
        assert!(writer.flush(SOON));
        assert_eq!(text(&file), "line6\n");
        assert_eq!(text(&dir.path().join("log.1")), "line5\n");
        assert_eq!(text(&dir.path().join("log.2")), "line4\n");
        assert!(!dir.path().join("log.3").exists());
    }

    #[test]
    fn a_file_that_somebody_moved_away_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        let writer = LineWriter::open(keeping(&file, 1 << 20)).unwrap();
        writer.write("old".to_owned());
        assert!(writer.flush(SOON));
        std::fs::rename(&file, dir.path().join("moved")).unwrap();
        writer.write("new".to_owned());
        assert!(writer.flush(SOON));
        assert_eq!(text(&file), "new\n");
    }

    #[test]
    fn a_full_disk_costs_lines_that_are_counted() {
        // /dev/full takes nothing; the rename that would set it aside fails too, and nothing panics.
        let full = Path::new("/dev/full");
        let mut kept = KeptFile {
            keeping: keeping(full, 1 << 20),
            file: OpenOptions::new().append(true).open(full).unwrap(),
            size: 0,
            in_trouble: false,
        };
        assert!(!kept.append(b"x") && kept.in_trouble);
        let dir = tempfile::tempdir().unwrap();
        kept.file = open_for_append(&dir.path().join("log")).unwrap();
        assert!(kept.append(b"y") && !kept.in_trouble);
    }

    #[test]
    fn more_than_may_wait_is_dropped_and_said() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        let writer = LineWriter::open(keeping(&file, 1 << 30)).unwrap();
        writer.shared.waiting.store(MAX_WAITING, Ordering::Relaxed);
        writer.write("too much".to_owned());
        writer.shared.waiting.store(0, Ordering::Relaxed);
        writer.write("fits".to_owned());
        assert!(writer.flush(SOON));
        assert_eq!(text(&file), "lost 1\nfits\n");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(LineWriter::open(keeping(&dir.path().join("file/log"), 10)).is_err());
    }
}
