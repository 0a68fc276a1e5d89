//! Files that commands read and write: secrets, texts, and files that are nobody else's.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Result, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use gatewarden_protocol::Secret;
use zeroize::Zeroizing;

use super::error::CliError;

/// A key or token is one line; nothing longer is read.
const MAX_SECRET: u64 = 16 * 1024;
/// Longest text from standard input, and longest file of certificates or keys, bytes.
const MAX_TEXT: u64 = 1024 * 1024;
const MAX_PEM: u64 = 256 * 1024;

/// A secret from a file, `-` being standard input: its first line.
pub(super) fn read_secret(file: &Path) -> std::result::Result<Secret, CliError> {
    let read = if file == Path::new("-") { first_line(std::io::stdin().lock()) } else { read_secret_file(file) };
    let unreadable = |error| format!("{} holds no secret that can be read: {error}.", file.display());
    read.map_err(|error| CliError::usage(unreadable(error)))
}

pub(super) fn read_secret_file(file: &Path) -> Result<Secret> {
    first_line(File::open(file)?)
}

fn first_line(from: impl Read) -> Result<Secret> {
    let mut text = Zeroizing::new(String::new());
    from.take(MAX_SECRET).read_to_string(&mut text)?;
    let line = text.lines().next().unwrap_or_default().trim();
    let malformed = |what: &str| Err(std::io::Error::new(ErrorKind::InvalidData, what.to_owned()));
    if line.is_empty() {
        return malformed("its first line is empty");
    }
    if line.chars().any(char::is_control) {
        return malformed("its first line holds control characters");
    }
    Ok(Secret::new(line))
}

/// A text of the command line; `-` is standard input.
pub(super) fn read_text(written: &str) -> std::result::Result<String, CliError> {
    if written != "-" {
        return Ok(written.to_owned());
    }
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(MAX_TEXT)
        .read_to_string(&mut text)
        .map_err(|error| CliError::usage(format!("Standard input cannot be read: {error}.")))?;
    Ok(text.trim_end_matches('\n').to_owned())
}

pub(super) fn read_pem(file: &Path) -> Result<Zeroizing<String>> {
    let mut pem = Zeroizing::new(String::new());
    File::open(file)?.take(MAX_PEM).read_to_string(&mut pem)?;
    Ok(pem)
}

/// A new file that nobody else may read; where one is already there, that is an error.
pub(super) fn create_private(path: &Path) -> Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// The same, written and on the disk.
pub(super) fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut file = create_private(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_key_is_named_and_its_content_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        for content in ["", "\nhush", "hu\u{1b}sh"] {
            std::fs::write(&file, content).unwrap();
            let said = read_secret(&file).unwrap_err().to_string();
            assert!(said.contains("key") && !said.contains("hush") && !said.contains("sh\u{1b}"), "{said}");
        }
    }
}
