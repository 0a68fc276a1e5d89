//! `config.*`: the configuration as it stands in its file and as it counts, without its secrets; and changes of it.
//!
//! A change is made in the file, on the thread of files ([`crate::config::ConfigFile`]), and told the machine as news: it takes over
//! what can count at once ([`plan`]) and says what waits for a restart.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::Method;
use crate::agents::Agent;
use crate::call::{Answer, Call, CallError, Outcome};
use crate::caller::Scope;
use crate::config::{
    Auth, Edit, EditMethod, Edited, GatewayConfig, REDACTED, Read, SCHEMA, Snapshot, argument_shown, merged, plan,
};
use crate::effect::{ConfigAsker, ConfigWish, Effect, LogLevel};
use crate::machine::GatewayMachine;
use crate::params::Params;
use crate::payload::{joined, joined_if, without_nulls};
use crate::turn::Turn;

pub(super) const METHODS: &[Method] = &[
    Method { name: "config.get", scope: Scope::Read, run: get },
    Method { name: "config.schema", scope: Scope::Read, run: config_schema },
    Method { name: "config.set", scope: Scope::Admin, run: set },
    Method { name: "config.patch", scope: Scope::Admin, run: patch },
    Method { name: "config.apply", scope: Scope::Admin, run: apply },
];
/// Most lists that one patch may replace (as in real releases).
const REPLACED: usize = 256;

fn get(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    Params::read(call, &[])?;
    if machine.configuration.has_file {
        machine.configuration.ask()?;
        turn.push(Effect::ReadConfig(ConfigWish::Show(asker(call, None))));
        return Ok(Answer::Later);
    }
    // Its configuration was given as a value: what counts is all that there is.
    let shown = shown(machine, call.caller.protocol < 4);
    let raw = serde_json::to_string_pretty(&shown).unwrap_or_default();
    let hash = hex::encode(Sha256::digest(raw.as_bytes()));
    let source = Source { exists: false, valid: true, raw: raw.into(), parsed: shown.clone(), hash };
    Ok(document(source, &shown, call.caller.protocol).into())
}

fn config_schema(_: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    Params::read(call, &[])?;
    let (schema, secrets) = &*SCHEMA;
    let hints: Map<String, Value> = secrets.iter().map(|path| (path.clone(), json!({"sensitive": true}))).collect();
    Ok(json!({
        "schema": schema,
        "uiHints": hints,
        "version": crate::COMPATIBLE_VERSION,
        "generatedAt": gatewarden_protocol::wall_time::of_millis(turn.now.wall_ms),
    })
    .into())
}

fn set(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    edit(machine, call, EditMethod::Set, &["raw", "baseHash"], turn)
}

/// What a change is said to (`sessionKey`, `deliveryContext`) and when it should restart the gateway (`restartDelayMs`) is taken
/// and passed over: this gateway never restarts by itself.
const CHANGE: &[&str] = &["raw", "baseHash", "sessionKey", "deliveryContext", "note", "restartDelayMs", "replacePaths"];

fn patch(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    edit(machine, call, EditMethod::Patch, CHANGE, turn)
}

fn apply(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    edit(machine, call, EditMethod::Apply, CHANGE.get(..6).unwrap_or_default(), turn)
}

fn edit(machine: &mut GatewayMachine, call: &Call, method: EditMethod, known: &[&str], turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, known)?;
    let edit = Edit {
        method,
        raw: params.required("raw")?.to_owned(),
        base_hash: params.name("baseHash")?.map(|hash| hash.trim().to_owned()),
        replace: params.texts("replacePaths", REPLACED)?.unwrap_or_default().into_iter().map(str::to_owned).collect(),
    };
    let note = params.text("note")?.map(str::to_owned);
    machine.configuration.ask()?;
    turn.push(Effect::ReadConfig(ConfigWish::Edit(asker(call, note), edit)));
    Ok(Answer::Later)
}

fn asker(call: &Call, note: Option<String>) -> ConfigAsker {
    ConfigAsker {
        to: call.reply_to(),
        protocol: call.caller.protocol,
        sees_paths: call.caller.holds(Scope::Admin),
        client: call.caller.client_id.clone(),
        note,
    }
}

impl GatewayMachine {
    /// The operator has changed the configuration's file, and wants it to count.
    pub(crate) fn reload_configuration(&mut self, turn: &mut Turn<'_>) {
        turn.push(Effect::ReadConfig(ConfigWish::Reload));
    }

    /// The configuration's file was read, and changed where that was wanted.
    pub(crate) fn configuration_news(
        &mut self,
        wish: ConfigWish,
        outcome: Result<Box<Edited>, CallError>,
        turn: &mut Turn<'_>,
    ) {
        if !matches!(wish, ConfigWish::Reload) {
            self.configuration.asked = self.configuration.asked.saturating_sub(1);
        }
        match (wish, outcome) {
            (ConfigWish::Show(asker), Ok(edited)) => {
                let payload = self.configuration_shown(&edited.snapshot, &asker);
                turn.respond(&asker.to, Ok(payload));
            }
            (ConfigWish::Show(asker) | ConfigWish::Edit(asker, _), Err(error)) => turn.respond(&asker.to, Err(error)),
            (ConfigWish::Reload, Err(error)) => self.configuration_is_bad(&error, turn),
            (ConfigWish::Reload, Ok(edited)) => match self.take_over(&edited, "SIGHUP", turn) {
                Ok(_) => {}
                Err(error) => self.configuration_is_bad(&error, turn),
            },
            (ConfigWish::Edit(asker, edit), Ok(edited)) => {
                let outcome = self.edited(&edited, &asker, edit.method, turn);
                turn.respond(&asker.to, outcome);
            }
        }
    }

    fn configuration_is_bad(&mut self, error: &CallError, turn: &mut Turn<'_>) {
        let said = format!("{}; the gateway goes on with the configuration that it has", error.message);
        self.configuration.fault = Some(error.message.clone());
        turn.log(LogLevel::Error, "config", None, said);
    }

    /// From now on the file counts, as far as it can at once.
    fn take_over(&mut self, edited: &Edited, by: &str, turn: &mut Turn<'_>) -> Result<Changes, CallError> {
        let Read { config, warnings } = edited.snapshot.read.clone()?;
        let plan = plan(&self.config, config);
        let list = |keys: &[&str]| if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
        let (applied, waiting) = (list(&plan.applied), list(&plan.waiting));
        let said = format!("configuration read anew ({by}); counts at once: {applied}; waits for a restart: {waiting}");
        turn.log(LogLevel::Info, "config", None, said);
        warnings.iter().for_each(|warning| turn.log(LogLevel::Warn, "config", None, warning.as_str()));
        self.configuration.fault = None;
        self.configuration.waiting.clone_from(&plan.waiting);
        if !plan.applied.is_empty() || !edited.changed_paths.is_empty() {
            turn.audit("config.changed", json!({"by": by, "applied": plan.applied, "waiting": plan.waiting}));
            let file = edited.snapshot.path.file_name().map(|name| name.to_string_lossy().into_owned());
            let payload = json!({"path": file, "hash": edited.snapshot.hash, "ts": turn.now.wall_ms});
            turn.tell(self.subscribers.holding(Scope::Read), "config.changed", payload);
        }
        self.configure(plan.config, turn);
        Ok(Changes { applied: plan.applied, waiting: plan.waiting, warnings })
    }

    fn edited(
        &mut self,
        edited: &Edited,
        asker: &ConfigAsker,
        method: EditMethod,
        turn: &mut Turn<'_>,
    ) -> Result<Value, CallError> {
        let (name, kind) = match method {
            EditMethod::Set => ("config.set", None),
            EditMethod::Patch => ("config.patch", Some("config-patch")),
            EditMethod::Apply => ("config.apply", Some("config-apply")),
        };
        let changes = self.take_over(edited, &format!("{name} of {}", asker.client), turn)?;
        let Edited { snapshot, changed_paths, kept } = edited;
        let path = snapshot.path.display().to_string();
        let payload = json!({
            "ok": true,
            "path": path,
            "hash": snapshot.hash,
            "config": self.effective(snapshot, asker.protocol),
            "changedPaths": changed_paths,
            // Ours: what it means.
            "applied": changes.applied,
            "restartRequired": changes.waiting,
            "warnings": changes.warnings,
            "kept": kept.as_ref().map(|kept| kept.display().to_string()),
        });
        let payload = joined_if(payload, changed_paths.is_empty(), || json!({"noop": true}));
        Ok(match kind {
            None => payload,
            Some(kind) => joined(
                payload,
                json!({"sentinel": {"persisted": false, "payload": {
                    "kind": kind,
                    "status": "ok",
                    "ts": turn.now.wall_ms,
                    "message": asker.note,
                    "doctorHint": "gatewarden gateway doctor",
                    "stats": {"mode": name, "root": path, "requiresRestart": !changes.waiting.is_empty()},
                }}}),
            ),
        })
    }

    fn configuration_shown(&self, snapshot: &Snapshot, asker: &ConfigAsker) -> Value {
        let (effective, issues, warnings, unapplied) = match &snapshot.read {
            Ok(Read { config, warnings }) => {
                let plan = plan(&self.config, config.clone());
                let unapplied = json!({"reload": plan.applied, "restart": plan.waiting});
                (self.effective(snapshot, asker.protocol), json!([]), warnings.clone(), unapplied)
            }
            Err(error) => {
                let issues = error
                    .details
                    .get("issues")
                    .cloned()
                    .unwrap_or_else(|| json!([{"path": "", "message": error.message}]));
                (json!({}), issues, Vec::new(), Value::Null)
            }
        };
        let valid = snapshot.read.is_ok();
        let source = Source {
            exists: snapshot.exists,
            valid,
            raw: if valid {
                serde_json::to_string_pretty(&snapshot.shown).unwrap_or_default().into()
            } else {
                Value::Null
            },
            parsed: snapshot.shown.clone(),
            hash: snapshot.hash.clone(),
        };
        let warnings: Vec<Value> = warnings.into_iter().map(|said| json!({"path": "", "message": said})).collect();
        let counts = unapplied == json!({"reload": [], "restart": []});
        let mut document = document(source, &effective, asker.protocol);
        let path = asker.sees_paths.then(|| snapshot.path.display().to_string());
        document =
            joined(document, json!({"path": path, "issues": issues, "warnings": warnings, "unapplied": unapplied}));
        let applied_hash = || json!({"appliedConfigHash": counts.then_some(&snapshot.hash)});
        joined_if(document, asker.protocol >= 4, applied_hash)
    }

    /// What stands in the file over the defaults, as `openclaw.json` would have it: it can be sent back.
    fn effective(&self, snapshot: &Snapshot, protocol: u32) -> Value {
        let has = |pointer: &str| snapshot.shown.pointer(pointer).is_some_and(|agents| !agents.is_null());
        let listed = has("/agents/list") || (protocol < 4 && !has("/agents/entries"));
        let mut base = shown(self, listed);
        // A token of the state directory, or of the environment, isn't the file's.
        for secret in ["token", "password"] {
            if let Some(auth) = base.pointer_mut("/gateway/auth").and_then(Value::as_object_mut) {
                auth.remove(secret);
            }
        }
        merged(&base, &snapshot.shown, &Default::default())
    }
}

/// What a new configuration meant.
struct Changes {
    applied: Vec<&'static str>,
    waiting: Vec<&'static str>,
    warnings: Vec<String>,
}

/// The file, as far as it is shown.
struct Source {
    exists: bool,
    valid: bool,
    raw: Value,
    parsed: Value,
    hash: String,
}

fn document(source: Source, effective: &Value, protocol: u32) -> Value {
    let Source { exists, valid, raw, parsed, hash } = source;
    let payload = json!({
        "path": null,
        "exists": exists,
        "raw": raw,
        "parsed": parsed,
        "resolved": effective,
        "valid": valid,
        "config": effective,
        "hash": hash,
        "issues": [],
        "warnings": [],
        "legacyIssues": [],
    });
    let more = || json!({"sourceConfig": parsed, "runtimeConfig": effective, "configRevisionHash": hash, "appliedConfigHash": hash});
    joined_if(payload, protocol >= 4, more)
}

/// The configuration that counts, in the form of `openclaw.json`.
fn shown(machine: &GatewayMachine, listed: bool) -> Value {
    let config = &machine.config;
    let hooks = config.webhooks.iter().map(|hook| {
        without_nulls(json!({
            "id": hook.id,
            "path": hook.path,
            "agentId": hook.agent_id,
            "message": hook.message,
            "secret": hook.secret.as_ref().map(|_| REDACTED),
        }))
    });
    json!({
        "gateway": gateway(config),
        "agents": agents(machine, listed),
        "hooks": {"webhooks": hooks.collect::<Vec<_>>()},
        "audit": {"enabled": config.audit.enabled, "events": config.audit.events},
        "logging": {"level": config.log.level.as_str()},
        "gatewarden": {
            "logMaxBytes": config.log.max_bytes,
            "metrics": config.metrics.map_or_else(
                || json!({"enabled": false}),
                |metrics| json!({"enabled": true, "port": metrics.port, "address": metrics.address}),
            ),
            "commands": commands(config),
        },
    })
}

fn gateway(config: &GatewayConfig) -> Value {
    let (mode, secret) = match &config.auth {
        Auth::Token(_) => ("token", Some("token")),
        Auth::Password(_) => ("password", Some("password")),
        Auth::None => ("none", None),
    };
    let mut auth = json!({
        "mode": mode,
        "deviceAuth": {
            "enabled": config.device_auth.enabled,
            "requireSignature": config.device_auth.require_signature,
            "tokenTTL": config.device_auth.token_ttl.as_secs(),
            "maxDevicesPerUser": config.device_auth.max_devices_per_user,
        },
    });
    if let Some(secret) = secret {
        auth = joined(auth, json!({secret: REDACTED}));
    }
    json!({
        "mode": "local",
        "port": config.port,
        "bind": config.bind.describe(),
        "auth": auth,
        "controlUi": {
            "enabled": config.control_ui.enabled,
            "basePath": config.control_ui.base_path,
            "allowedOrigins": config.control_ui.allowed_origins,
            "requireDeviceAuth": config.control_ui.require_device_auth,
        },
        "tls": {"enabled": config.tls.is_some()},
    })
}

fn agents(machine: &GatewayMachine, listed: bool) -> Value {
    let default = machine.agents.default_id();
    let row = |agent: &Agent| {
        without_nulls(json!({
            "id": listed.then_some(&agent.id),
            "name": agent.name,
            "workspace": agent.workspace.display().to_string(),
            "model": agent.model,
            "command": agent.command,
            "acp": agent.acp.as_ref().map(|acp| json!({"program": acp.command.program.display().to_string()})),
            "default": (agent.id == default).then_some(true),
        }))
    };
    let agents = machine.agents.list();
    if !listed {
        let entries: Map<String, Value> = agents.iter().map(|agent| (agent.id.clone(), row(agent))).collect();
        return json!({"defaults": {}, "entries": entries});
    }
    json!({"defaults": {}, "list": agents.iter().map(row).collect::<Vec<_>>()})
}

/// The allow-list: which programs, and the names of what may be set. Arguments and values of the environment stay untold.
fn commands(config: &GatewayConfig) -> Value {
    let shown: Map<String, Value> = config
        .commands
        .iter()
        .map(|(name, template)| {
            let env: Map<String, Value> =
                template.env.iter().map(|(name, value)| (name.clone(), argument_shown(value).into())).collect();
            let row = without_nulls(json!({
                "program": template.program.display().to_string(),
                "args": template.args.iter().map(|text| argument_shown(text)).collect::<Vec<_>>(),
                "env": env,
                "allowedEnv": template.allowed_env,
                "jsonLines": template.json_lines,
                "timeout": template.timeout.map(|timeout| timeout.as_secs_f64()),
            }));
            (name.clone(), row)
        })
        .collect();
    Value::Object(shown)
}
