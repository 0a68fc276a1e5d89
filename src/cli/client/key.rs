//! Which API key is shown to the daemon. Never one from the command line: everybody on the machine can read that.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use gatewarden_protocol::Secret;
use zeroize::Zeroizing;

use super::Trouble;
use super::place::Place;
use crate::config::{Config, Inputs};

use crate::config::API_KEY_VARIABLE as VARIABLE;
/// Where the service keeps its state.
const SERVICE_STATE: &str = "/var/lib/gatewarden";
/// A key or token is one line; nothing longer is read.
const LONGEST: u64 = 16 * 1024;

/// The named file, else the variable, else, for a daemon on this machine and for no other, its own admin key.
pub(super) fn find(
    file: Option<&Path>,
    inputs: &Inputs,
    config: Option<&Config>,
    place: &Place,
) -> Result<Secret, Trouble> {
    if let Some(file) = file {
        return read_secret(file);
    }
    if let Some(key) = inputs.variable(VARIABLE) {
        return Ok(Secret::new(key.trim()));
    }
    let cure = format!("Give a file that holds one with --key-file, or the key itself in ${VARIABLE}.");
    if !place.is_this_machine() {
        return Err(Trouble::denied(format!("No API key for {place}."), cure));
    }
    if let Some(key) = config.and_then(|config| config.api_key.clone()) {
        return Ok(key);
    }
    let places = config.map(|config| config.state_dir.clone()).into_iter().chain([PathBuf::from(SERVICE_STATE)]);
    let mut unreadable = None;
    for path in places.map(|dir| dir.join("admin.key")) {
        match read_secret_file(&path) {
            Ok(key) => return Ok(key),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => unreadable = Some(path),
            Err(_) => {}
        }
    }
    let what = match unreadable {
        Some(path) => format!("No API key for {place}: the daemon's own in {} may not be read.", path.display()),
        None => format!("No API key for {place}: no admin key lies in the state directory of a daemon."),
    };
    Err(Trouble::denied(what, cure))
}

/// A secret from a file, `-` being standard input: its first line.
pub(in crate::cli) fn read_secret(file: &Path) -> Result<Secret, Trouble> {
    let read = if file == Path::new("-") { first_line(std::io::stdin().lock()) } else { read_secret_file(file) };
    read.map_err(|error| Trouble::usage(format!("{} holds no key or token that can be read: {error}.", file.display())))
}

fn read_secret_file(file: &Path) -> std::io::Result<Secret> {
    first_line(File::open(file)?)
}

fn first_line(from: impl std::io::Read) -> std::io::Result<Secret> {
    let mut text = Zeroizing::new(String::new());
    from.take(LONGEST).read_to_string(&mut text)?;
    let line = text.lines().next().unwrap_or_default().trim();
    let malformed = |what: &str| std::io::Error::new(ErrorKind::InvalidData, what.to_owned());
    if line.is_empty() {
        return Err(malformed("its first line is empty"));
    }
    if line.chars().any(char::is_control) {
        return Err(malformed("its first line holds control characters"));
    }
    Ok(Secret::new(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(pairs: &[(&str, &str)]) -> Inputs {
        Inputs {
            environment: pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect(),
            ..Inputs::default()
        }
    }

    fn found(pairs: &[(&str, &str)], url: &str, file: Option<&Path>) -> Result<Secret, Trouble> {
        let inputs = inputs(pairs);
        let config = Config::load(&inputs).ok();
        let place = Place::find(Some(url), &inputs, config.as_ref()).unwrap();
        find(file, &inputs, config.as_ref(), &place)
    }

    const HERE: &str = "http://127.0.0.1:1";

    #[test]
    fn the_file_comes_before_the_variable_and_both_before_the_daemons_own_key() {
        let dir = tempfile::tempdir().unwrap();
        let (state, file) = (dir.path().display().to_string(), dir.path().join("key"));
        std::fs::write(&file, "of-the-file\n").unwrap();
        std::fs::write(dir.path().join("admin.key"), "of-the-daemon\n").unwrap();
        let own = [("GATEWARDEN_STATE_DIR", state.as_str())];
        let all = [own[0], ("GATEWARDEN_API_KEY", "of-the-variable")];
        assert_eq!(found(&all, HERE, Some(&file)).unwrap().expose(), "of-the-file");
        assert_eq!(found(&all, HERE, None).unwrap().expose(), "of-the-variable");
        assert_eq!(found(&own, HERE, None).unwrap().expose(), "of-the-daemon");
        assert_eq!(found(&[own[0], ("API_KEY", "configured")], HERE, None).unwrap().expose(), "configured");
    }

    #[test]
    fn the_daemons_own_key_is_sent_to_no_other_machine() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("admin.key"), "hush\n").unwrap();
        let state = dir.path().display().to_string();
        let pairs = [("GATEWARDEN_STATE_DIR", state.as_str()), ("API_KEY", "hush")];
        let trouble = found(&pairs, "http://192.0.2.7:3000", None).unwrap_err();
        assert_eq!(trouble.exit_code(), crate::cli::EXIT_DENIED);
        assert!(!trouble.to_string().contains("hush"));
    }

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
