//! The files of one agent: each is read, and written where it is missing or still as it was sent before.

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_protocol::AgentRow;
use serde_json::{Value, json};

use super::{GatewayCaller, GatewayFacts, Writing, with};
use crate::templates;

/// What became of an agent's files, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FilesDone {
    pub(crate) written: Vec<String>,
    pub(crate) unchanged: Vec<String>,
    /// Left alone, since somebody else has written or changed them.
    pub(crate) kept: Vec<String>,
    /// Not taken by this release under this name, or not at all.
    pub(crate) skipped: Vec<String>,
}

impl FilesDone {
    /// Whether the gateway took none of them.
    pub(crate) fn none_taken(&self) -> bool {
        self.written.is_empty() && self.unchanged.is_empty() && self.kept.is_empty()
    }
}

/// How a request for a file ended that was not refused for good.
enum Asked {
    Reply(Value),
    /// The release doesn't take a file of this name.
    NotTaken,
    /// It has no files at all.
    Impossible,
}

/// Brings the files of one agent in line with the templates.
pub(crate) async fn write(
    gateway: &impl GatewayCaller,
    facts: &GatewayFacts,
    agent: &AgentRow,
    is_main: bool,
    writing: Writing<'_>,
) -> Result<FilesDone, Failure> {
    let files = writing.templates.files_for(is_main, &facts.for_agent(agent, is_main));
    let mut done = FilesDone::default();
    let mut files = files.into_iter();
    while let Some((name, content)) = files.next() {
        let name = name.to_owned();
        let present = match ask(gateway, "agents.files.get", json!({"agentId": agent.id, "name": name})).await? {
            Asked::Reply(reply) => reply,
            Asked::NotTaken => {
                done.skipped.push(name);
                continue;
            }
            Asked::Impossible => {
                done.skipped.push(name);
                done.skipped.extend(files.map(|(name, _)| name.to_owned()));
                return Ok(done);
            }
        };
        let file = present.get("file").unwrap_or(&present);
        let there = file.get("content").and_then(Value::as_str).unwrap_or_default();
        let is_missing = file.get("missing").and_then(Value::as_bool).unwrap_or(false) || there.trim().is_empty();
        if there == content {
            done.unchanged.push(name);
            continue;
        }
        if !is_missing && !writing.overwrite && !templates::is_unchanged(there) {
            done.kept.push(name);
            continue;
        }
        let params = json!({"agentId": agent.id, "name": name, "content": content});
        // Newer releases refuse a write over what has changed since it was read; older ones don't know the word.
        let hash = file.get("hash").and_then(Value::as_str).filter(|_| !is_missing);
        let params = with(params, "expectedHash", hash);
        match ask(gateway, "agents.files.set", params).await? {
            Asked::Reply(_) => done.written.push(name),
            Asked::NotTaken | Asked::Impossible => done.skipped.push(name),
        }
    }
    Ok(done)
}

async fn ask(gateway: &impl GatewayCaller, method: &str, params: Value) -> Result<Asked, Failure> {
    match gateway.call(method, params).await {
        Ok(reply) => Ok(Asked::Reply(reply)),
        Err(failure) if failure.code == ErrorCode::NotSupportedByGateway => Ok(Asked::Impossible),
        // Every release that was seen says it in these words, followed by the name.
        Err(failure) if failure.code == ErrorCode::GatewayRefused && failure.message.contains("unsupported file") => {
            Ok(Asked::NotTaken)
        }
        Err(failure) => Err(failure),
    }
}
