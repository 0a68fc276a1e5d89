//! Section `log`.

use super::reading::Reader;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// To the journal where standard error is one, for people on a terminal, else JSON.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
    /// To the journal with fields of its own.
    Journald,
}

/// Log lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// How they are written.
    pub format: LogFormat,
    /// Which ones: a level, or a list such as `info,gatewarden_actors=debug`. Normalised; always valid.
    pub filter: String,
}

/// Settings of the log.
pub(super) fn settings(reader: &mut Reader<'_>) -> LogSettings {
    LogSettings {
        format: reader.parsed("log.format", LogFormat::Auto, |text| match text {
            "auto" => Ok(LogFormat::Auto),
            "pretty" => Ok(LogFormat::Pretty),
            "json" => Ok(LogFormat::Json),
            "journald" => Ok(LogFormat::Journald),
            _ => Err("must be auto, pretty, json or journald".to_owned()),
        }),
        filter: {
            let directives = reader.list("log.level");
            match normalised(&directives) {
                Ok(filter) => filter,
                Err(expected) => {
                    reader.wrong("log.level", expected);
                    String::new()
                }
            }
        },
    }
}

/// Checked here because the filter's own reader takes any word for a target and then logs that target in full.
fn normalised(directives: &[String]) -> Result<String, String> {
    let mut written = Vec::new();
    for directive in directives {
        match directive.rsplit_once('=') {
            Some((target, level)) if is_target(target) => written.push(format!("{target}={}", level_of(level)?)),
            Some((target, _)) => return Err(format!("{target:?} is not a target such as gatewarden_actors::gateway")),
            None => written.push(level_of(directive)?.to_owned()),
        }
    }
    if written.is_empty() {
        return Err(EXPECTED.to_owned());
    }
    Ok(written.join(","))
}

const EXPECTED: &str =
    "must be error, warn, info, debug, trace or off, also by target, such as info,gatewarden_actors=debug";

fn level_of(text: &str) -> Result<&'static str, String> {
    match text.to_ascii_lowercase().as_str() {
        "error" => Ok("error"),
        "warn" | "warning" => Ok("warn"),
        "info" => Ok("info"),
        "debug" => Ok("debug"),
        "trace" => Ok("trace"),
        "off" => Ok("off"),
        _ => Err(EXPECTED.to_owned()),
    }
}

fn is_target(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte))
}
