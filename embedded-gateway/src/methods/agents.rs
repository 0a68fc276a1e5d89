//! `agents.*`: the agents and the files of their workspaces.

use std::path::PathBuf;

use serde_json::json;

use super::Method;
use crate::agents::{Agent, AgentFields, FILE_BYTES, not_found, workspace_file};
use crate::call::{Answer, Call, CallError, Outcome};
use crate::caller::Scope;
use crate::effect::{DiskQuery, Effect, Workspace};
use crate::machine::GatewayMachine;
use crate::params::Params;
use crate::payload::joined_if;
use crate::turn::Turn;

pub(super) const METHODS: &[Method] = &[
    Method { name: "agents.list", scope: Scope::Read, run: list },
    Method { name: "agents.create", scope: Scope::Admin, run: create },
    Method { name: "agents.update", scope: Scope::Admin, run: update },
    Method { name: "agents.delete", scope: Scope::Admin, run: delete },
    Method { name: "agents.files.list", scope: Scope::Read, run: files_list },
    Method { name: "agents.files.get", scope: Scope::Read, run: files_get },
    Method { name: "agents.files.set", scope: Scope::Admin, run: files_set },
];

fn list(machine: &mut GatewayMachine, call: &Call, _: &mut Turn<'_>) -> Outcome {
    Params::read(call, &[])?;
    let protocol = call.caller.protocol;
    let agents: Vec<_> = machine.agents.list().iter().map(|agent| agent.row(protocol)).collect();
    let payload = json!({
        "defaultId": machine.agents.default_id(),
        "mainKey": "main",
        "scope": "per-sender",
        "agents": agents,
    });
    let payload = joined_if(payload, protocol >= 4, || json!({"ownership": "explicit", "selectionRequired": false}));
    Ok(payload.into())
}

fn fields(params: &Params<'_>) -> Result<AgentFields, CallError> {
    let owned = |name: &str| params.name(name).map(|text| text.map(str::to_owned));
    Ok(AgentFields {
        name: owned("name")?,
        workspace: owned("workspace")?.map(PathBuf::from),
        model: owned("model")?,
        emoji: owned("emoji")?,
        avatar: owned("avatar")?,
    })
}

fn create(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["name", "workspace", "model", "emoji", "avatar"])?;
    params.required("name")?;
    let agent = machine.agents.create(fields(&params)?, turn)?;
    tell_changed(machine, turn);
    Ok(json!({
        "ok": true,
        "agentId": agent.id,
        "name": agent.name,
        "workspace": agent.workspace.display().to_string(),
    })
    .into())
}

fn update(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["agentId", "name", "workspace", "model", "emoji", "avatar"])?;
    let agent = machine.agents.update(params.required("agentId")?, fields(&params)?, turn)?;
    tell_changed(machine, turn);
    Ok(json!({"ok": true, "agentId": agent.id}).into())
}

fn delete(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["agentId", "deleteFiles"])?;
    params.flag("deleteFiles")?;
    let agent = machine.agents.delete(params.required("agentId")?, turn)?;
    tell_changed(machine, turn);
    // Files are never deleted over the wire: what an agent wrote stays on its host.
    Ok(json!({"ok": true, "agentId": agent.id, "removedBindings": 0, "removed": [], "filesDeleted": false}).into())
}

/// `config.changed`, as real gateways of protocol 4 say it after a change of the agents.
fn tell_changed(machine: &GatewayMachine, turn: &mut Turn<'_>) {
    let readers = machine.subscribers.holding(Scope::Read);
    turn.tell(readers, "config.changed", json!({"path": crate::agents::FILE, "ts": turn.now.wall_ms}));
}

fn files_list(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["agentId"])?;
    let workspace = workspace(machine, call, &params)?;
    turn.push(Effect::Disk { to: call.reply_to(), query: DiskQuery::WorkspaceList(workspace) });
    Ok(Answer::Later)
}

fn files_get(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["agentId", "name"])?;
    let workspace = workspace(machine, call, &params)?;
    let name = file_name(&params)?;
    turn.push(Effect::Disk { to: call.reply_to(), query: DiskQuery::WorkspaceGet { workspace, name } });
    Ok(Answer::Later)
}

fn files_set(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["agentId", "name", "content", "expectedHash"])?;
    let workspace = workspace(machine, call, &params)?;
    let name = file_name(&params)?;
    let content = params.text("content")?.ok_or_else(|| params.missing("content"))?.to_owned();
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > FILE_BYTES {
        return Err(CallError::invalid(format!("{name} is too large: at most {FILE_BYTES} bytes")));
    }
    let expected_hash = params.name("expectedHash")?.map(str::to_owned);
    let query = DiskQuery::WorkspaceSet { workspace, name, content, expected_hash };
    turn.push(Effect::Disk { to: call.reply_to(), query });
    Ok(Answer::Later)
}

fn file_name(params: &Params<'_>) -> Result<&'static str, CallError> {
    let given = params.required("name")?;
    workspace_file(given).ok_or_else(|| {
        let given: String = given.chars().filter(|character| !character.is_control()).take(80).collect();
        CallError::invalid(format!("unsupported file \"{given}\""))
    })
}

fn workspace(machine: &GatewayMachine, call: &Call, params: &Params<'_>) -> Result<Workspace, CallError> {
    let id = params.required("agentId")?;
    let Some(Agent { id, workspace, created_at, .. }) = machine.agents.find(id) else {
        return Err(if call.caller.protocol >= 4 { not_found(id) } else { CallError::invalid("unknown agent id") });
    };
    let below = created_at.map(|_| machine.config.state_dir.join("workspaces"));
    Ok(Workspace { agent: id, folder: workspace, below })
}
