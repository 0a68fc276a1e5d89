//! Configuration files changed by chance: each is taken or refused with reasons that tell no secret, and what is shown of it tells
//! none either.

use std::os::unix::fs::OpenOptionsExt as _;

use super::*;
use crate::fuzzing::fuzz;

const SECRET: &str = "sh4red-s3cret";

/// The example with every key, section by section, and secrets where there may be some.
fn corpus() -> Vec<Vec<u8>> {
    let example = include_str!("../../gatewarden.example.toml");
    let keys = example.lines().map(|line| line.strip_prefix("# ").filter(|line| line.contains(" = ")).unwrap_or(line));
    let whole = keys.filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    let sections = whole.split("\n[").enumerate().map(|(place, part)| match place {
        0 => part.to_owned(),
        _ => format!("[{part}"),
    });
    let secrets = format!(
        "[auth]\napi_key = \"{SECRET}\"\n[seed]\ntoken = \"{SECRET}\"\n[[notifications]]\nname = \"ops\"\nurl = \"https://192.0.2.7/\"\n\
         secret = \"{SECRET}\"\n"
    );
    sections.chain([whole.clone(), secrets]).map(String::into_bytes).collect()
}

/// Whether a secret stands only where one may stand: elsewhere it is a value like any other.
fn keeps_secrets(value: &toml::Value) -> bool {
    match value {
        toml::Value::Table(table) => table.iter().all(|(key, value)| {
            let is_secret = matches!(key.as_str(), "api_key" | "token" | "secret") && value.is_str();
            !key.contains(SECRET) && (is_secret || keeps_secrets(value))
        }),
        toml::Value::Array(items) => items.iter().all(keeps_secrets),
        toml::Value::String(text) => !text.contains(SECRET),
        _ => true,
    }
}

#[test]
fn any_configuration_is_taken_or_refused_and_no_secret_is_told() {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("gatewarden.toml");
    let state = dir.path().join("state");
    fuzz("configuration", &corpus(), |text, _| {
        let mut options = std::fs::OpenOptions::new();
        let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&file);
        std::io::Write::write_all(&mut opened.unwrap(), text).unwrap();
        let inputs = Inputs { config_file: Some(file.clone()), state_dir: Some(state.clone()), ..Inputs::default() };
        let read = std::str::from_utf8(text).ok().and_then(|text| toml::from_str::<toml::Value>(text).ok());
        let said = match Config::load(&inputs) {
            Ok(config) => format!("{:?} {:?}", config.describe(), config.warnings),
            Err(error) => error.to_string(),
        };
        assert!(read.is_some_and(|read| !keeps_secrets(&read)) || !said.contains(SECRET), "{said}");
    });
}
