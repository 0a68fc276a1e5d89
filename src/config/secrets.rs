//! Secrets from files: systemd credentials and private files.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::keys::CREDENTIALS;
use super::layers::{Inputs, Raw, Settings, put};
use super::problem::Problem;

/// No secret is longer than this.
const MAX_SECRET: u64 = 4096;

/// Puts in what credentials and secret files say; a credential wins over a file.
pub(crate) fn put_files(inputs: &Inputs, settings: &mut Settings, problems: &mut Vec<Problem>) {
    for (path, credential) in CREDENTIALS {
        if let Some(file) = named_file(settings, path) {
            match must_be_private(&file, path).and_then(|()| read(&file, path)) {
                Ok(text) => put(settings, path, Raw::Text(text), &file.display().to_string()),
                Err(problem) => problems.push(problem),
            }
        }
        if let Some(dir) = credentials_dir(inputs) {
            let file = dir.join(credential);
            if file.exists() {
                // systemd has already made it readable for this service alone.
                match read(&file, path) {
                    Ok(text) => put(settings, path, Raw::Text(text), &format!("systemd credential {credential}")),
                    Err(problem) => problems.push(problem),
                }
            }
        }
    }
}

/// Where systemd put this service's credentials.
pub(crate) fn credentials_dir(inputs: &Inputs) -> Option<PathBuf> {
    inputs.variable("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// A file with a secret must be readable by its owner alone.
pub(crate) fn must_be_private(file: &Path, key: &str) -> Result<(), Problem> {
    let Ok(metadata) = std::fs::metadata(file) else { return Ok(()) };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Problem {
        origin: file.display().to_string(),
        key: Some(key.to_owned()),
        value: None,
        expected: format!(
            "other users may read this secret (mode {mode:04o}); run chmod 600 on the file, or pass the secret as a \
             systemd credential"
        ),
    })
}

/// The value of `auth.api_key_file` for `auth.api_key`.
fn named_file(settings: &Settings, path: &str) -> Option<PathBuf> {
    let setting = settings.get(format!("{path}_file").as_str())?;
    match &setting.raw {
        Raw::Text(file) if !file.is_empty() => Some(PathBuf::from(file)),
        _ => None,
    }
}

/// The secret in a file, without the line's end.
pub(crate) fn read(file: &Path, key: &str) -> Result<String, Problem> {
    let problem = |expected: String| Problem {
        origin: file.display().to_string(),
        key: Some(key.to_owned()),
        value: None,
        expected,
    };
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(MAX_SECRET).read_to_string(&mut text))
        .map_err(|error| problem(format!("the secret cannot be read: {error}")))?;
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.is_empty() {
        return Err(problem("the file is empty; put the secret into it, or take the file away".to_owned()));
    }
    Ok(secret.to_owned())
}
