//! The state directory: made for its owner alone, and nobody else's to change. Who can write in it can put links, tokens and
//! devices of his own there. And files in it, which are never seen half written.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, metadata, set_permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Many users write there on purpose (the sticky bit).
const SHARED: u32 = 0o1000;

/// Makes the directory where there is none (0700). One that is there must belong to this user or to root; others lose the
/// right to write in it.
///
/// # Errors
/// It can't be made, or is another user's.
pub(crate) fn make_private(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let found = metadata(dir)?;
    let own = rustix::process::geteuid().as_raw();
    if found.uid() != own && (found.uid() != 0 || found.mode() & WRITABLE_BY_OTHERS != 0) {
        let why = format!(
            "{} belongs to another user (id {}), who could change what the gateway keeps in it; chown it to the gateway's user \
             (id {own}), or choose another",
            dir.display(),
            found.uid()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    if found.uid() == own && found.mode() & WRITABLE_BY_OTHERS != 0 {
        if found.mode() & SHARED != 0 {
            let why =
                format!("{} is a directory that all users share, such as /tmp; choose one below it", dir.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        set_permissions(dir, Permissions::from_mode(found.mode() & 0o7777 & !WRITABLE_BY_OTHERS))?;
    }
    Ok(())
}

/// Writes beside the file, syncs, and renames over it: either the old or the new content is there, also after a crash. The file is
/// its owner's alone (0600), and no link is followed; its folder is made where there is none (0700).
///
/// # Errors
/// It can't be written. Where only its folder couldn't be synced, the new content is there.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with_mode(path, bytes, 0o600)
}

/// The same for a file that others may read, too.
pub(crate) fn replace_with_mode(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    make_folder(path)?;
    let beside = beside(path);
    let written = write_new(&beside, bytes, mode).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // What a crash left behind. Never written through: it could be a link.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Named so that no loader takes it for a real one.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.is_dir() => DirBuilder::new().recursive(true).mode(0o700).create(folder),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_lose_the_right_to_write_and_what_is_private_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| metadata(path).unwrap().mode() & 0o7777;
        let fresh = dir.path().join("a/b");
        make_private(&fresh).unwrap();
        assert_eq!((mode(&fresh), mode(&dir.path().join("a"))), (0o700, 0o700));
        for (before, after) in [(0o777, 0o755), (0o775, 0o755), (0o750, 0o750)] {
            set_permissions(&fresh, Permissions::from_mode(before)).unwrap();
            make_private(&fresh).unwrap();
            assert_eq!(mode(&fresh), after, "{before:o}");
        }
        set_permissions(&fresh, Permissions::from_mode(0o1777)).unwrap();
        assert!(make_private(&fresh).unwrap_err().to_string().contains("share"));
        assert_eq!(mode(&fresh), 0o1777, "it is left as it is");
        assert!(make_private(Path::new("/dev/null/x")).is_err());
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        if !rustix::process::geteuid().is_root() {
            // Only root can make one; for everybody else the shared directory of root is one.
            assert!(make_private(&std::env::temp_dir()).is_err());
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(dir.path(), Some(65_534), None).unwrap();
        let said = make_private(dir.path()).unwrap_err().to_string();
        assert!(said.contains("another user (id 65534)") && said.contains("chown"), "{said}");
    }
}
