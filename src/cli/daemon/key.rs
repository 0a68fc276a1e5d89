//! Which API key is shown to the daemon. Never one from the command line: everybody on the machine can read that.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use gatewarden_protocol::Secret;

use super::endpoint::Endpoint;
use crate::cli::EXIT_DENIED;
use crate::cli::error::CliError;
use crate::cli::files::{read_secret, read_secret_file};
use crate::config::{API_KEY_VARIABLE, Config, Inputs};

/// Where the service keeps its state.
const SERVICE_STATE: &str = "/var/lib/gatewarden";

/// The named file, else the variable, else, for a daemon on this machine and for no other, its own admin key.
pub(super) fn find(
    file: Option<&Path>,
    inputs: &Inputs,
    config: Option<&Config>,
    endpoint: &Endpoint,
) -> Result<Secret, CliError> {
    if let Some(file) = file {
        return read_secret(file);
    }
    if let Some(key) = inputs.variable(API_KEY_VARIABLE) {
        return Ok(Secret::new(key.trim()));
    }
    let denied = |what: String| {
        let cure = format!("Give a file that holds one with --key-file, or the key itself in ${API_KEY_VARIABLE}.");
        CliError::coded(EXIT_DENIED, format!("No API key for {endpoint}{what}.")).cure(cure)
    };
    if !endpoint.is_this_machine() {
        return Err(denied(String::new()));
    }
    if let Some(key) = config.and_then(|config| config.api_key.clone()) {
        return Ok(key);
    }
    let places = config.map(|config| config.state_dir.clone()).into_iter().chain([PathBuf::from(SERVICE_STATE)]);
    let mut reason = ": no admin key lies in the state directory of a daemon".to_owned();
    for path in places.map(|dir| dir.join("admin.key")) {
        match read_secret_file(&path) {
            Ok(key) => return Ok(key),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                reason = format!(": the daemon's own in {} may not be read", path.display());
            }
            Err(_) => {}
        }
    }
    Err(denied(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pairs: &[(&str, &str)], url: &str, file: Option<&Path>) -> Result<Secret, CliError> {
        let inputs = Inputs {
            environment: pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect(),
            ..Inputs::default()
        };
        let config = Config::load(&inputs).ok();
        let endpoint = Endpoint::find(Some(url), &inputs, config.as_ref()).unwrap();
        find(file, &inputs, config.as_ref(), &endpoint)
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
        let error = found(&pairs, "http://192.0.2.7:3000", None).unwrap_err();
        assert_eq!(error.exit_code, EXIT_DENIED);
        assert!(!error.to_string().contains("hush"));
    }
}
