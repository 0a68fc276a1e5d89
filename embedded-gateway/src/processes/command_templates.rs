//! The allow-list: what a caller may have run, decided from the configured templates alone. No IO: that the program and
//! the directories exist is found out when the process is started.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::call::CallError;
use crate::config::forbidden_env::{is_env_name, is_forbidden_env};
use crate::config::{AcpAgent, ArgumentPattern, CommandTemplate, Permissions};

/// Most arguments and variables that a caller may give.
const MAX_ITEMS: usize = 64;
/// Longest argument or value, in bytes.
const MAX_ITEM: usize = 32 * 1024;
/// What programs find others with where the template sets no `PATH`. Nothing is inherited from the gateway.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What a caller asks for (document 002, "Spawn Agents").
#[derive(Debug, Clone, Copy, Default)]
pub struct SpawnWish<'a> {
    /// An entry's name, or its program's path or file name.
    pub command: &'a str,
    /// Arguments after those that the entry always passes.
    pub args: &'a [String],
    /// Variables besides those that the entry always sets.
    pub env: Option<&'a BTreeMap<String, String>>,
    /// A directory; none: the entry's first one.
    pub cwd: Option<&'a str>,
}

/// What may be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedCommand {
    /// The entry's name.
    pub template: String,
    /// Absolute path.
    pub program: PathBuf,
    /// Those that the entry always passes.
    pub args: Vec<String>,
    /// Those that the caller adds.
    pub further_args: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// None where neither the caller nor the entry names a directory.
    pub cwd: Option<PathBuf>,
    /// Standard output is read as JSON lines.
    pub json_lines: bool,
    /// Ended after this.
    pub timeout: Option<Duration>,
    /// It speaks ACP: what it may do, and how long it is kept between two prompts.
    pub acp: Option<(Permissions, Duration)>,
}

/// What a run wants of its program, where it takes such a thing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    /// `{{model}}`
    pub model: Option<String>,
    /// `{{thinking}}`
    pub thinking: Option<String>,
}

impl Wishes {
    /// Names of the placeholders, and what each stands for.
    fn by_placeholder(&self) -> [(&'static str, Option<&str>); 2] {
        [("{{model}}", self.model.as_deref()), ("{{thinking}}", self.thinking.as_deref())]
    }

    /// As a program finds them in its environment.
    pub fn variables(&self) -> impl Iterator<Item = (String, String)> {
        let named = [("OPENCLAW_MODEL", &self.model), ("OPENCLAW_THINKING", &self.thinking)];
        named.into_iter().filter_map(|(name, wish)| Some((name.to_owned(), wish.as_ref()?.replace('\0', ""))))
    }

    /// A text with its placeholders filled in; none where it names one that stands for nothing.
    fn fill(&self, text: &str) -> Result<Option<String>, CallError> {
        let mut filled = text.to_owned();
        for (placeholder, wish) in self.by_placeholder() {
            if !text.contains(placeholder) {
                continue;
            }
            let Some(wish) = wish else { return Ok(None) };
            let is_option = text.starts_with(placeholder) && wish.starts_with('-');
            if is_option || wish.len() > 256 || wish.chars().any(char::is_control) {
                return Err(CallError::invalid(format!(
                    "{} can't be passed on as {placeholder}: it must not begin with \"-\", have control characters or be longer than \
                     256 bytes",
                    shown(wish)
                )));
            }
            filled = filled.replace(placeholder, wish);
        }
        Ok(Some(filled))
    }
}

/// Arguments and environment of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilledCommand {
    /// All arguments.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// The entry names `{{model}}`.
    pub takes_model: bool,
}

impl AllowedCommand {
    /// What the entry passes on of a run's wishes. Arguments and variables that name one which isn't there are left out.
    pub fn filled(self, wishes: &Wishes) -> Result<FilledCommand, CallError> {
        let takes_model = self.args.iter().chain(self.env.values()).any(|text| text.contains("{{model}}"));
        let args = self.args.iter().filter_map(|arg| wishes.fill(arg).transpose());
        let args = args.chain(self.further_args.into_iter().map(Ok)).collect::<Result<_, _>>()?;
        let env = self.env.into_iter().filter_map(|(name, text)| {
            let filled = wishes.fill(&text).transpose()?;
            Some(filled.map(|text| (name, text)))
        });
        Ok(FilledCommand { args, env: env.collect::<Result<_, _>>()?, takes_model })
    }
}

/// Checks a wish against the allow-list. The refusal says what isn't allowed and which setting would allow it.
pub fn allow(commands: &BTreeMap<String, CommandTemplate>, wish: SpawnWish<'_>) -> Result<AllowedCommand, CallError> {
    if let Some((name, template)) = commands.get_key_value(wish.command) {
        return fill(name, template, wish);
    }
    let mut same_program = commands.iter().filter(|(_, template)| is_program(template, wish.command));
    let Some((name, template)) = same_program.next() else { return Err(unknown(commands, wish.command)) };
    let first = fill(name, template, wish);
    if first.is_ok() {
        return first;
    }
    // Several entries may run one program with different arguments: whichever allows this.
    same_program.find_map(|(name, template)| fill(name, template, wish).ok()).map_or(first, Ok)
}

/// Whether a command means this entry by its program's path or file name.
fn is_program(template: &CommandTemplate, command: &str) -> bool {
    template.program.to_str() == Some(command)
        || template.program.file_name().and_then(|name| name.to_str()) == Some(command)
}

/// What an agent that speaks ACP is started with; the caller may choose its directory, where the configuration lets it.
pub fn allow_acp(agent_id: &str, agent: &AcpAgent, cwd: Option<&str>) -> Result<AllowedCommand, CallError> {
    let place = format!("agents.entries.{agent_id}.acp");
    let allowed = fill_at(&place, agent_id, &agent.command, SpawnWish { cwd, ..SpawnWish::default() })?;
    Ok(AllowedCommand { acp: Some((agent.permissions, agent.idle_timeout)), ..allowed })
}

fn fill(name: &str, template: &CommandTemplate, wish: SpawnWish<'_>) -> Result<AllowedCommand, CallError> {
    fill_at(&format!("gatewarden.commands.{name}"), name, template, wish)
}

fn fill_at(
    place: &str,
    name: &str,
    template: &CommandTemplate,
    wish: SpawnWish<'_>,
) -> Result<AllowedCommand, CallError> {
    let further_args = allowed_args(name, template, wish.args)?;
    let mut env = BTreeMap::from([("PATH".to_owned(), DEFAULT_PATH.to_owned())]);
    env.extend(template.env.clone());
    env.extend(allowed_env(name, template, wish.env)?);
    let cwd = match wish.cwd {
        Some(cwd) => Some(allowed_cwd(place, name, template, cwd)?),
        None => template.working_dirs.first().cloned(),
    };
    Ok(AllowedCommand {
        template: name.to_owned(),
        program: template.program.clone(),
        args: template.args.clone(),
        further_args,
        env,
        cwd,
        json_lines: template.json_lines,
        timeout: template.timeout,
        acp: None,
    })
}

fn allowed_args(name: &str, template: &CommandTemplate, args: &[String]) -> Result<Vec<String>, CallError> {
    let setting = format!("gatewarden.commands.{name}.allowedArgs");
    let most = template.allowed_args.len().min(MAX_ITEMS);
    if args.len() > most {
        let may = if most == 0 { "none is allowed".to_owned() } else { format!("at most {most} may be given") };
        let message = format!("arguments given to command \"{name}\": {}, and {may}", args.len());
        return Err(refused(&message, &setting, "a pattern for each"));
    }
    for (position, (arg, pattern)) in args.iter().zip(&template.allowed_args).enumerate() {
        if !matches(pattern, arg) {
            let message = format!(
                "argument {} of command \"{name}\", {}, is not allowed: it must be {}",
                position + 1,
                shown(arg),
                described(pattern)
            );
            return Err(refused(&message, &setting, "a pattern that it fits"));
        }
    }
    Ok(args.to_vec())
}

/// Whether an argument is what a pattern allows.
pub fn matches(pattern: &ArgumentPattern, arg: &str) -> bool {
    if arg.len() > MAX_ITEM || arg.contains('\0') {
        return false;
    }
    match pattern {
        ArgumentPattern::Exact(exact) => arg == exact,
        ArgumentPattern::OneOf(words) => words.iter().any(|word| word == arg),
        ArgumentPattern::Word => {
            (1..=128).contains(&arg.len())
                && !arg.starts_with('-')
                && !arg.chars().all(|char| char == '.')
                && arg.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-'))
        }
        ArgumentPattern::Number => (1..=18).contains(&arg.len()) && arg.bytes().all(|byte| byte.is_ascii_digit()),
        ArgumentPattern::Text(most) => arg.len() <= *most && !arg.starts_with('-'),
    }
}

fn described(pattern: &ArgumentPattern) -> String {
    match pattern {
        ArgumentPattern::Exact(exact) => format!("exactly {}", shown(exact)),
        ArgumentPattern::OneOf(words) => {
            format!("one of {}", words.iter().take(20).map(|word| shown(word)).collect::<Vec<_>>().join(", "))
        }
        ArgumentPattern::Word => {
            "a word (letters, digits, \".\", \"_\", \"-\", not starting with \"-\", at most 128 characters)".to_owned()
        }
        ArgumentPattern::Number => "a number of at most 18 digits".to_owned(),
        ArgumentPattern::Text(most) => format!("a text of at most {most} bytes that doesn't start with \"-\""),
    }
}

fn allowed_env(
    name: &str,
    template: &CommandTemplate,
    env: Option<&BTreeMap<String, String>>,
) -> Result<BTreeMap<String, String>, CallError> {
    let Some(env) = env else { return Ok(BTreeMap::new()) };
    let setting = format!("gatewarden.commands.{name}.allowedEnv");
    if env.len() > MAX_ITEMS {
        let message =
            format!("{} variables were given to command \"{name}\", at most {MAX_ITEMS} are allowed", env.len());
        return Err(CallError::invalid(message));
    }
    for (variable, value) in env {
        if !is_env_name(variable) {
            return Err(CallError::invalid(format!("{} is no name of an environment variable", shown(variable))));
        }
        if is_forbidden_env(variable) {
            let message = format!(
                "environment variable {variable} may not be set by callers: it can make a program run other code. Where it \
                 must have a value, set it in gatewarden.commands.{name}.env"
            );
            return Err(CallError::forbidden(message).with_details(json!({"code": "ENV_FORBIDDEN", "name": variable})));
        }
        if !template.allowed_env.contains(variable) {
            let message = format!("environment variable {variable} is not allowed for command \"{name}\"");
            return Err(refused(&message, &setting, "its name"));
        }
        if value.len() > MAX_ITEM || value.contains('\0') {
            let message =
                format!("the value of environment variable {variable} is longer than {MAX_ITEM} bytes or has a NUL");
            return Err(CallError::invalid(message));
        }
    }
    Ok(env.clone())
}

fn allowed_cwd(place: &str, name: &str, template: &CommandTemplate, cwd: &str) -> Result<PathBuf, CallError> {
    let setting = format!("{place}.workingDirs");
    if cwd.len() > 4096 || cwd.contains('\0') || !is_plain(cwd) {
        let message = format!(
            "working directory {} must be an absolute path without \".\", \"..\" and double slashes",
            shown(cwd)
        );
        return Err(CallError::invalid(message));
    }
    let path = Path::new(cwd.trim_end_matches('/'));
    let path = if path.as_os_str().is_empty() { Path::new("/") } else { path };
    if template.working_dirs.iter().any(|allowed| path.starts_with(allowed)) {
        return Ok(path.to_owned());
    }
    let message = format!("working directory {} is not allowed for command \"{name}\"", shown(cwd));
    Err(refused(&message, &setting, "it or a directory above it"))
}

fn is_plain(path: &str) -> bool {
    let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    // `Path` drops "." and double slashes silently: what was written must be what is meant.
    let written = path.trim_end_matches('/').split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
    path.starts_with('/') && written && Path::new(path).components().all(plain)
}

fn unknown(commands: &BTreeMap<String, CommandTemplate>, command: &str) -> CallError {
    let names = commands.keys().take(20).map(String::as_str).collect::<Vec<_>>().join(", ");
    let has = if names.is_empty() { "it has none".to_owned() } else { format!("it has: {names}") };
    let message = format!(
        "command {} is not allowed: no entry of gatewarden.commands in the gateway's configuration has this name or program ({has})",
        shown(command)
    );
    refused(&message, "gatewarden.commands", "an entry for it")
}

fn refused(message: &str, setting: &str, what: &str) -> CallError {
    CallError::forbidden(format!("{message}. To allow it, add {what} to {setting} in the gateway's configuration"))
        .with_details(json!({"code": "COMMAND_NOT_ALLOWED", "setting": setting}))
}

/// A caller's word in quotes, short and without control characters.
fn shown(text: &str) -> String {
    let mut short: String =
        text.chars().take(100).map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect();
    if text.chars().nth(100).is_some() {
        short.push('\u{2026}');
    }
    format!("\"{short}\"")
}

#[cfg(test)]
mod tests;
