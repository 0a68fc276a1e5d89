//! `cron.*`: scheduled jobs. Parameters, answers and scopes are those of real gateways.

use gatewarden_protocol::{sessions::agent_of_key, words};
use serde_json::{Map, Value, json};

use super::Method;
use crate::call::{Call, CallError, Outcome};
use crate::caller::Scope;
use crate::cron::history::Entry;
use crate::cron::job::{Definition, Job, Status};
use crate::cron::place::Place;
use crate::cron::{file, not_found};
use crate::machine::GatewayMachine;
use crate::params::Params;
use crate::payload::{digest, joined, joined_if};
use crate::turn::Turn;

pub(super) const METHODS: &[Method] = &[
    Method { name: "cron.list", scope: Scope::Read, run: list },
    Method { name: "cron.status", scope: Scope::Read, run: status },
    Method { name: "cron.get", scope: Scope::Read, run: get },
    Method { name: "cron.runs", scope: Scope::Read, run: runs },
    Method { name: "cron.add", scope: Scope::Admin, run: add },
    Method { name: "cron.update", scope: Scope::Admin, run: update },
    Method { name: "cron.remove", scope: Scope::Admin, run: remove },
    Method { name: "cron.run", scope: Scope::Admin, run },
];

const ROWS: u64 = 50;
const MOST_ROWS: u64 = 200;
/// JSON of the rows of a page, about: so much is copied and written for one call.
const PAGE_BYTES: usize = 1024 * 1024;
const STATUSES: &[&str] = &["all", "ok", "error", "skipped", "unknown"];

/// `id`, or `jobId` as it was called before.
fn id<'a>(params: &Params<'a>) -> Result<Option<&'a str>, CallError> {
    Ok(params.name("id")?.or(params.name("jobId")?))
}

fn required_id<'a>(params: &Params<'a>) -> Result<&'a str, CallError> {
    id(params)?.ok_or_else(|| params.wrong("missing id"))
}

/// One page of rows, and what is said of the others. It ends early where the rows are large.
fn page<T>(rows: Vec<T>, bytes: impl Fn(&T) -> usize, params: &Params<'_>) -> Result<(Vec<T>, Value), CallError> {
    let limit = params.whole("limit", 1, MOST_ROWS)?.unwrap_or(ROWS);
    let offset = params.whole("offset", 0, u64::from(u32::MAX))?.unwrap_or(0);
    let (total, size) = (rows.len(), |number: u64| usize::try_from(number).unwrap_or(usize::MAX));
    let mut used = 0_usize;
    let fits = |row: &T| {
        let is_first = used == 0;
        used += bytes(row);
        is_first || used <= PAGE_BYTES
    };
    let rows: Vec<T> = rows.into_iter().skip(size(offset)).take(size(limit)).take_while(fits).collect();
    let next = size(offset).saturating_add(rows.len());
    let next = Some(next).filter(|next| *next < total && !rows.is_empty());
    let about =
        json!({"total": total, "offset": offset, "limit": limit, "hasMore": next.is_some(), "nextOffset": next});
    Ok((rows, about))
}

fn contains(query: Option<&str>, texts: &[Option<&str>]) -> bool {
    let Some(query) = query.map(|query| query.trim().to_lowercase()).filter(|query| !query.is_empty()) else {
        return true;
    };
    texts.iter().flatten().any(|text| text.to_lowercase().contains(&query))
}

fn list(machine: &mut GatewayMachine, call: &Call, _: &mut Turn<'_>) -> Outcome {
    let params = Params::read(
        call,
        &[
            "sessionKey",
            "includeDisabled",
            "limit",
            "offset",
            "query",
            "enabled",
            "scheduleKind",
            "lastRunStatus",
            "trigger",
            "sortBy",
            "sortDir",
            "agentId",
            "compact",
            "includeDeliveryPreviews",
        ],
    )?;
    let default = machine.agents.default_id();
    let everyone = params.flag("includeDisabled")?.unwrap_or(false);
    let enabled = params.one_of("enabled", &["all", "enabled", "disabled"])?;
    let enabled = enabled.unwrap_or(if everyone { "all" } else { "enabled" });
    let kind = params.one_of("scheduleKind", &["all", "at", "every", "cron", "on-exit", "stream"])?.unwrap_or("all");
    let last = params.one_of("lastRunStatus", STATUSES)?.unwrap_or("all");
    let trigger = params.one_of("trigger", &["all", "conditional", "unconditional"])?.unwrap_or("all");
    let (agent, session, query) = (params.name("agentId")?, params.name("sessionKey")?, params.text("query")?);
    let wanted = |job: &&Job| {
        let definition = &job.definition;
        let of_session = |key: &str| definition.session(&job.id, default).is_ok_and(|session| session.as_str() == key);
        (enabled == "all" || (enabled == "enabled") == definition.enabled)
            && (kind == "all" || kind == definition.schedule.kind())
            && (last == "all" || last == job.state.last_run_status.map_or("unknown", Status::as_str))
            && trigger != "conditional"
            && agent.is_none_or(|agent| agent == definition.agent(default))
            && session.is_none_or(of_session)
            && contains(query, &[Some(&definition.name), definition.description.as_deref(), Some(&job.id)])
    };
    let mut jobs: Vec<&Job> = machine.cron.jobs().filter(wanted).collect();
    match params.one_of("sortBy", &["nextRunAtMs", "updatedAtMs", "name"])?.unwrap_or("nextRunAtMs") {
        "name" => jobs.sort_by_cached_key(|job| job.definition.name.to_lowercase()),
        "updatedAtMs" => jobs.sort_by_key(|job| job.updated_at_ms),
        _ => jobs.sort_by_key(|job| job.state.next_run_at_ms.unwrap_or(i64::MAX)),
    }
    if params.one_of("sortDir", &["asc", "desc"])? == Some("desc") {
        jobs.reverse();
    }
    let snapshot = snapshot_of(&jobs);
    let (jobs, about) = page(jobs, |job| job.bytes(), &params)?;
    let row = |job: &&Job| joined(job.to_value(), json!({"effectiveAgentId": job.definition.agent(default)}));
    let rows: Vec<Value> = jobs.iter().map(row).collect();
    let compact = params.flag("compact")?.unwrap_or(false);
    let previews = !compact && params.flag("includeDeliveryPreviews")?.unwrap_or(true);
    let preview = |job: &&Job| (job.id.clone(), preview(machine, &job.definition));
    let answer = joined(about, json!({"jobs": rows, "snapshotRevision": snapshot}));
    Ok(joined_if(answer, previews, || json!({"deliveryPreviews": jobs.iter().map(preview).collect::<Map<_, _>>()}))
        .into())
}

/// By which a client knows that its pages are of one list: which jobs there are, in which order.
fn snapshot_of(jobs: &[&Job]) -> String {
    format!("sha256:{}", digest(jobs.iter().map(|job| job.id.as_str()).collect::<String>()))
}

fn status(machine: &mut GatewayMachine, call: &Call, _: &mut Turn<'_>) -> Outcome {
    Params::read(call, &[])?;
    // Where things lie on the host is for administrators.
    let path = if call.caller.holds(Scope::Admin) {
        machine.config.state_dir.join(file::FILE).display().to_string()
    } else {
        file::FILE.to_owned()
    };
    Ok(joined(machine.cron.status(), json!({"storePath": path})).into())
}

fn get(machine: &mut GatewayMachine, call: &Call, _: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["id", "jobId"])?;
    let id = required_id(&params)?;
    // In the words by which the command knows that a name is no id.
    let unknown = || CallError { message: format!("cron job not found: {}", words::shown(id)), ..not_found(id) };
    Ok(machine.cron.get(id).ok_or_else(unknown)?.to_value().into())
}

fn runs(machine: &mut GatewayMachine, call: &Call, _: &mut Turn<'_>) -> Outcome {
    let params = Params::read(
        call,
        &[
            "agentId",
            "scope",
            "id",
            "jobId",
            "runId",
            "limit",
            "offset",
            "statuses",
            "status",
            "deliveryStatuses",
            "deliveryStatus",
            "query",
            "sortDir",
        ],
    )?;
    let job = id(&params)?;
    let job = match params.one_of("scope", &["job", "all"])? {
        Some("all") => None,
        Some(_) => Some(required_id(&params)?),
        None => job,
    };
    if let Some(id) = job.filter(|id| machine.cron.get(id).is_none() && !machine.cron.history().has(id)) {
        return Err(not_found(id));
    }
    let (run, agent, query) = (params.name("runId")?, params.name("agentId")?, params.text("query")?);
    let status = params.one_of("status", STATUSES)?.filter(|status| *status != "all");
    let statuses = params.texts("statuses", 3)?;
    let delivery = params.name("deliveryStatus")?;
    let deliveries = params.texts("deliveryStatuses", 4)?;
    let wanted = |entry: &&Entry| {
        let of = entry.status().as_str();
        let delivered = entry.delivery_status();
        job.is_none_or(|job| job == entry.job_id)
            && run.is_none_or(|run| run == entry.run_id)
            && agent.is_none_or(|agent| entry.session_key.as_deref().and_then(agent_of_key).as_deref() == Some(agent))
            && status.is_none_or(|status| status == of)
            && statuses.as_ref().is_none_or(|statuses| statuses.contains(&of))
            && delivery.is_none_or(|delivery| delivery == delivered)
            && deliveries.as_ref().is_none_or(|deliveries| deliveries.contains(&delivered))
            && contains(query, &[entry.summary.as_deref(), entry.error.as_deref(), Some(&entry.job_name)])
    };
    let history = machine.cron.history().iter();
    let entries: Vec<&Entry> = match params.one_of("sortDir", &["asc", "desc"])? {
        Some("asc") => history.filter(wanted).collect(),
        _ => history.rev().filter(wanted).collect(),
    };
    let (entries, about) = page(entries, |entry| entry.weight(), &params)?;
    Ok(joined(about, json!({"entries": entries.into_iter().map(Entry::to_value).collect::<Vec<_>>()})).into())
}

fn fields(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn add(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let mut fields = fields(&call.params);
    let session = fields.remove("sessionKey");
    let session = session_of(&fields, session.as_ref(), &call.method)?;
    let definition = Definition::read(&call.method, fields, session.as_deref())?;
    check_agent(machine, &definition)?;
    check_places(machine, &definition, &[])?;
    let preview = preview(machine, &definition);
    let job = machine.cron.add(definition, &machine.subscribers, turn)?.to_value();
    Ok(joined(job, json!({"deliveryPreview": preview})).into())
}

/// The session that `current` stands for. For anything else a session's key would say where answers go, which nobody does here.
fn session_of(fields: &Map<String, Value>, key: Option<&Value>, method: &str) -> Result<Option<String>, CallError> {
    match key.filter(|key| !key.is_null()) {
        None => Ok(None),
        Some(Value::String(key)) if fields.get("sessionTarget").is_some_and(|target| target == "current") => {
            Ok(Some(key.clone()))
        }
        Some(_) => Err(CallError::invalid(format!(
            "invalid {method} params: at /sessionKey: only counts with sessionTarget current; write sessionTarget session:KEY"
        ))),
    }
}

fn preview(machine: &GatewayMachine, definition: &Definition) -> Value {
    definition.delivery_preview(|place| machine.reachable(place, definition))
}

/// What is told has somewhere to go; what was right when it was written, `before`, doesn't stand in the way of other changes. Which
/// chat is the last one is seen when there is something to tell.
fn check_places(machine: &GatewayMachine, definition: &Definition, before: &[Place]) -> Result<(), CallError> {
    let places = definition.told_at();
    for place in places.iter().filter(|place| **place != Place::Last && !before.contains(place)) {
        let found = machine.reachable(place, definition);
        found.map_err(|why| CallError::invalid(format!("delivery: {why}")))?;
    }
    Ok(())
}

fn check_agent(machine: &GatewayMachine, definition: &Definition) -> Result<(), CallError> {
    let session = definition.session("", machine.agents.default_id())?;
    let agent = machine.agents.resolve(Some(&session.agent()))?;
    if definition.agent_id.as_ref().is_some_and(|named| *named != agent.id) {
        return Err(CallError::invalid(format!("session key {session} isn't of the job's agent")));
    }
    Ok(())
}

fn update(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["id", "jobId", "patch", "expectedConfigRevision"])?;
    let id = required_id(&params)?;
    let patch = params.value("patch").and_then(Value::as_object).ok_or_else(|| params.missing("patch"))?;
    let job = machine.cron.get(id).ok_or_else(|| not_found(id))?;
    let actual = job.definition.revision();
    if let Some(expected) = params.name("expectedConfigRevision")?.filter(|expected| *expected != actual) {
        let said =
            "cron job definition no longer matches the loaded version; review the latest version before retrying";
        return Err(CallError::invalid(said).with_details(json!({
            "code": "CRON_JOB_CHANGED",
            "expectedConfigRevision": expected,
            "actualConfigRevision": actual,
        })));
    }
    let mut patch = patch.clone();
    let session = patch.remove("sessionKey");
    let session = session_of(&patch, session.as_ref(), &call.method)?;
    let definition = job.definition.patched(&call.method, &patch, session.as_deref())?;
    check_agent(machine, &definition)?;
    check_places(machine, &definition, &job.definition.told_at())?;
    Ok(machine.cron.update(id, definition, &machine.subscribers, turn)?.to_value().into())
}

fn remove(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["id", "jobId"])?;
    Ok(machine.remove_job(required_id(&params)?, turn)?.into())
}

fn run(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["id", "jobId", "mode", "expectedProcessInstanceId"])?;
    let id = required_id(&params)?;
    let mode = params.one_of("mode", &["due", "force", "if-enabled"])?.unwrap_or("force");
    if params.name("expectedProcessInstanceId")?.is_some_and(|expected| expected != machine.boot_id) {
        return Err(params.wrong("Gateway process changed after preflight"));
    }
    let job = machine.cron.get(id).ok_or_else(|| not_found(id))?;
    let reason = match mode {
        _ if job.state.running_at_ms.is_some() => Some("already-running"),
        "due" if !job.is_due(turn.now.wall_ms) => Some("not-due"),
        "if-enabled" if !job.definition.enabled => Some("disabled"),
        _ => None,
    };
    let about = match reason {
        Some(reason) => json!({"ok": true, "ran": false, "reason": reason}),
        None => json!({"ok": true, "enqueued": true, "runId": machine.run_job_now(id, turn).0}),
    };
    Ok(joined(about, json!({"processInstanceId": machine.boot_id})).into())
}
