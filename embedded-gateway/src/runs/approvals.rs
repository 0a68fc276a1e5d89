//! What agents want to do and operators are asked for: the events `exec.approval.requested` and `exec.approval.resolved` of real
//! gateways, and what waits for a decision.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::run::Run;
use super::{Parts, Runs, log, shown};
use crate::caller::Scope;
use crate::effect::{Effect, LogLevel, Question, RunId};
use crate::subscribers::Subscribers;
use crate::turn::Turn;

/// As long as real gateways wait.
const LIFETIME: Duration = Duration::from_secs(1_800);
/// That wait, of all runs together.
const WAITING: usize = 256;

/// What waits for a decision, by its id.
#[derive(Debug, Default)]
pub(super) struct Approvals(BTreeMap<String, Approval>);

#[derive(Debug)]
struct Approval {
    run: RunId,
    question: u64,
    row: Value,
    expires_at: Instant,
}

impl Approvals {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.values().map(|approval| approval.expires_at).min()
    }

    /// Asks all operators who may decide. Denied at once where too much waits already.
    pub(super) fn ask(&mut self, run: &Run, question: &Question, parts: &Parts<'_>, turn: &mut Turn<'_>) {
        if self.0.len() >= WAITING {
            let said =
                format!("\"{}\" was denied: {WAITING} wishes of agents wait for a decision already", question.title);
            log(run, LogLevel::Warn, said, json!({"runId": run.id.0}), turn);
            turn.push(Effect::Decide { run: run.id.clone(), question: question.number, allow: false });
            return;
        }
        let id = turn.uuid();
        let lifetime_ms = i64::try_from(LIFETIME.as_millis()).unwrap_or(i64::MAX);
        let row = json!({
            "id": id,
            "request": {
                "command": question.title,
                "commandPreview": question.input,
                "cwd": question.cwd,
                "host": "gateway",
                "ask": "always",
                "allowedDecisions": ["allow-once", "deny"],
                "agentId": run.agent_id,
                "sessionKey": run.session_key,
                "sessionId": run.session_id,
                "runId": run.id.0,
                "toolCallId": question.tool_call,
            },
            "createdAtMs": turn.now.wall_ms,
            "expiresAtMs": turn.now.wall_ms.saturating_add(lifetime_ms),
        });
        let said = format!("agent \"{}\" asks for \"{}\" (exec.approval {id})", run.agent_id, question.title);
        log(run, LogLevel::Info, said, json!({"runId": run.id.0, "approvalId": id}), turn);
        turn.tell(parts.subscribers.holding(Scope::Approvals), "exec.approval.requested", row.clone());
        let expires_at = turn.now.at + LIFETIME;
        self.0.insert(id, Approval { run: run.id.clone(), question: question.number, row, expires_at });
    }

    /// Decides. `by` is none where nobody did. False where it doesn't wait.
    fn resolve(
        &mut self,
        id: &str,
        allow: bool,
        by: Option<&str>,
        subscribers: &Subscribers,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Some(approval) = self.0.remove(id) else { return false };
        turn.push(Effect::Decide { run: approval.run, question: approval.question, allow });
        let decision = if allow { "allow-once" } else { "deny" };
        let payload = json!({
            "id": id,
            "decision": decision,
            "resolvedBy": by,
            "ts": turn.now.wall_ms,
            "request": approval.row.get("request"),
        });
        turn.tell(subscribers.holding(Scope::Approvals), "exec.approval.resolved", payload);
        true
    }

    /// A run has ended: nobody needs to decide any more.
    pub(super) fn forget(&mut self, run: &RunId, subscribers: &Subscribers, turn: &mut Turn<'_>) {
        self.deny(|approval| approval.run == *run, subscribers, turn);
    }

    pub(super) fn on_time(&mut self, subscribers: &Subscribers, turn: &mut Turn<'_>) {
        let now = turn.now.at;
        self.deny(|approval| approval.expires_at <= now, subscribers, turn);
    }

    fn deny(&mut self, which: impl Fn(&Approval) -> bool, subscribers: &Subscribers, turn: &mut Turn<'_>) {
        let ids = self.0.iter().filter(|(_, approval)| which(approval)).map(|(id, _)| id.clone());
        for id in ids.collect::<Vec<_>>() {
            self.resolve(&id, false, None, subscribers, turn);
        }
    }
}

impl Runs {
    /// What waits for a decision, the oldest first: as the event told it.
    pub(crate) fn approvals(&self) -> Vec<&Value> {
        let mut waiting: Vec<&Approval> = self.approvals.0.values().collect();
        waiting.sort_by_key(|approval| approval.expires_at);
        waiting.into_iter().map(|approval| &approval.row).collect()
    }

    pub(crate) fn approval(&self, id: &str) -> Option<&Value> {
        self.approvals.0.get(id).map(|approval| &approval.row)
    }

    /// An operator has decided. False where nothing of this id waits.
    pub(crate) fn decide(&mut self, id: &str, allow: bool, by: &str, parts: &Parts<'_>, turn: &mut Turn<'_>) -> bool {
        let run = self.approvals.0.get(id).map(|approval| approval.run.clone());
        let decided = self.approvals.resolve(id, allow, Some(by), parts.subscribers, turn);
        if let Some(run) = run.and_then(|run| self.by_id.get(&run)) {
            let said = format!("exec.approval {id} was {} by {}", if allow { "allowed" } else { "denied" }, shown(by));
            log(run, LogLevel::Info, said, json!({"runId": run.id.0, "approvalId": id}), turn);
        }
        decided
    }
}
