//! From flags, environment and file to a checked configuration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gatewarden_protocol::Secret;
use serde_json::Value;

use super::gateway_section::{self, Credential};
use super::inputs::{ConfigError, Inputs, Problem};
use super::section::{Findings, Others, Section, set};
use super::token_file::{TokenFile, TokenFileError};
use super::{
    Auth, GatewayConfig, agents_section, channels_section, cron_section, network_section, other_sections, written,
};
use crate::clock::{Chance, SystemChance};

/// A checked configuration whose token may still have to be made. Nothing has been written yet.
#[derive(Debug, Clone)]
pub struct Draft {
    config: GatewayConfig,
    token_file: Option<TokenFile>,
    /// Paths of values in the file that may be shown.
    pub(super) plain: BTreeSet<String>,
    /// Odd, and no reason not to start: to be logged.
    pub warnings: Vec<String>,
}

impl Draft {
    /// Everything but the shared credential, which this value may not know.
    pub fn settings(&self) -> &GatewayConfig {
        &self.config
    }

    /// `gateway-token` of the state directory, where the credential is kept there.
    pub fn token_file(&self) -> Option<&Path> {
        self.token_file.as_ref().map(TokenFile::path)
    }

    /// What clients show: the configured credential, or the token of the first start. None where there is nothing to show
    /// yet.
    ///
    /// # Errors
    /// The token file can't be read, or isn't private.
    pub fn credential(&self) -> Result<Option<Secret>, TokenFileError> {
        match (&self.token_file, &self.config.auth) {
            (Some(file), _) => file.read(),
            (None, Auth::Token(secret) | Auth::Password(secret)) => Ok(Some(secret.clone())),
            (None, Auth::None) => Ok(None),
        }
    }

    /// The whole configuration. Makes the token at the first start: call it with the state directory's lock in hand.
    ///
    /// # Errors
    /// The token file can't be read or made, or isn't private.
    pub fn settle(self) -> Result<GatewayConfig, TokenFileError> {
        let mut config = self.config;
        if let Some(file) = self.token_file {
            config.auth = Auth::Token(file.load_or_create(&mut SystemChance)?);
        }
        Ok(config)
    }
}

/// Reads and checks everything. Touches nothing but the files that it reads.
///
/// # Errors
/// Every unknown key of sections that are ours and every wrong value, with its place.
pub fn load(inputs: &Inputs) -> Result<Draft, ConfigError> {
    let found = inputs.file().and_then(|file| Ok((file, inputs.state_directory()?)));
    let (file, state_dir) = found.map_err(|problem| ConfigError { problems: vec![problem] })?;
    let tree = match &file {
        None => Value::Null,
        Some(path) => written::read(path)
            .map_err(|cure| ConfigError { problems: vec![Problem::of(&path.display().to_string(), None, cure)] })?,
    };
    read_tree(inputs, file, &tree, state_dir)
}

/// Checks a file's tree, together with flags and environment.
pub(super) fn read_tree(
    inputs: &Inputs,
    file: Option<PathBuf>,
    tree: &Value,
    state_dir: PathBuf,
) -> Result<Draft, ConfigError> {
    let origin = file.as_ref().map_or_else(|| "defaults".to_owned(), |path| path.display().to_string());
    let findings = Findings::new(inputs, origin);
    // Nobody knows this secret: should it ever be used by mistake, it lets nobody in.
    let mut config = GatewayConfig::defaults(state_dir, Auth::Token(SystemChance.secret()));
    let credential = read_all(&findings, tree, &mut config);
    if let Some(path) = &file {
        gateway_section::check_privacy(&findings, path, findings.has_secret.get());
    }
    from_outside(&findings, &mut config);
    let auth = match &credential {
        Credential::Known(auth) => Some(auth),
        Credential::TokenFile => None,
    };
    gateway_section::check_exposure(&findings, &config, auth);
    network_section::check(&findings, &config, auth);
    check_whole(&findings, &config);
    let ignored = findings.ignored.into_inner();
    let mut warnings = findings.warnings.into_inner();
    if !ignored.is_empty() {
        let keys = ignored.join(", ");
        warnings.push(format!("keys of OpenClaw that mean nothing to this gateway were passed over: {keys}"));
    }
    let problems = findings.problems.into_inner();
    if !problems.is_empty() {
        return Err(ConfigError { problems });
    }
    let token_file = match credential {
        Credential::Known(auth) => {
            config.auth = auth;
            None
        }
        Credential::TokenFile => Some(TokenFile::of(&config.state_dir)),
    };
    config.file = file;
    Ok(Draft { config, token_file, warnings, plain: findings.plain.into_inner() })
}

/// Reads every key of a tree.
pub(super) fn read_all(findings: &Findings<'_>, tree: &Value, config: &mut GatewayConfig) -> Credential {
    let root = Section::open(findings, Some(tree), "");
    if let Some(include) = root.value("$include") {
        let cure = "is not supported; write the settings of this gateway into this file";
        root.wrong("$include", Some(include), cure);
    }
    // Which editor's schema the file follows, and notes that real OpenClaw writes for itself.
    let _ = (root.value("$schema"), root.value("meta"));
    let credential = gateway_section::read(&root, config);
    other_sections::webhooks(&root, config);
    other_sections::audit(&root, &mut config.audit);
    other_sections::logging(&root, &mut config.log);
    cron_section::cron(&root, &mut config.cron);
    network_section::discovery(&root, config);
    let ours = root.section("gatewarden");
    other_sections::ours(&ours, config);
    agents_section::commands(&ours, config);
    ours.close(Others::RefusedBut(""));
    agents_section::agents(&root, config);
    channels_section::channels(&root, config);
    channels_section::bindings(&root, config);
    channels_section::session(&root, config);
    root.close(Others::Ignored);
    credential
}

fn from_outside(findings: &Findings<'_>, config: &mut GatewayConfig) {
    let inputs = findings.inputs;
    if let Some(level) = inputs.variable("LOG_LEVEL") {
        let cure = |cure: &str| Problem {
            origin: "the environment".to_owned(),
            key: Some("LOG_LEVEL".to_owned()),
            value: Some(Value::from(level).to_string()),
            cure: cure.to_owned(),
        };
        outside(findings, &mut config.log.level, other_sections::parse_level(level).map_err(cure));
    }
    if let Some(text) = inputs.variable("OPENCLAW_GATEWAY_PORT") {
        let cure = |_| Problem::of("OPENCLAW_GATEWAY_PORT", None, format!("{text:?} must be a port from 0 to 65535"));
        outside(findings, &mut config.port, text.parse().map_err(cure));
    }
    set(&mut config.port, inputs.port);
    config.tailscale.folders =
        inputs.environment.get("PATH").map(|path| std::env::split_paths(path).collect()).unwrap_or_default();
    if let Some(text) = &inputs.bind {
        let cure = |cure| Problem::of("--bind", None, format!("{text:?} {cure}"));
        outside(findings, &mut config.bind, gateway_section::parse_bind(text).map_err(cure));
    }
}

fn outside<T>(findings: &Findings<'_>, field: &mut T, read: Result<T, Problem>) {
    match read {
        Ok(read) => *field = read,
        Err(problem) => findings.problems.borrow_mut().push(problem),
    }
}

fn check_whole(findings: &Findings<'_>, config: &GatewayConfig) {
    if let Some(metrics) = config.metrics
        && metrics.port == config.port
        && config.port != 0
    {
        let cure = "is the gateway's own port; choose another, or write gatewarden.metrics.enabled: false";
        findings.wrong("gatewarden.metrics.port", Some(&metrics.port.into()), cure);
    }
    for (at, binding) in config.bindings.iter().enumerate() {
        if !config.agents.contains_key(&binding.agent_id) {
            findings.warn(format!(
                "bindings[{at}].agentId: no agent {:?} is configured; messages for it aren't answered until one is",
                binding.agent_id
            ));
        }
    }
    for (at, webhook) in config.webhooks.iter().enumerate() {
        match (&webhook.secret, config.bind.is_loopback()) {
            (Some(_), _) => {}
            (None, true) => findings.warn(format!(
                "hooks.webhooks[{at}].secret is not set: every program on this machine may call {}, and nobody else",
                webhook.path
            )),
            (None, false) => findings.wrong(
                &format!("hooks.webhooks[{at}].secret"),
                None,
                "is missing: this gateway listens beyond loopback, where a webhook without a secret would let anybody run the \
                agent; write secret or secretFile (make one with `openssl rand -hex 24`), or bind loopback",
            ),
        }
        if !config.agents.contains_key(&webhook.agent_id) {
            findings.warn(format!(
                "hooks.webhooks[{at}].agentId: no agent {:?} is configured; calls of {} fail until one is",
                webhook.agent_id, webhook.path
            ));
        }
    }
}
