//! `channels.*`: how channels are, who is let in by them; and the way of their messages into runs and of answers back.

use std::time::Duration;

use gatewarden_protocol::wall_time;
use gatewarden_protocol::words::shown;
use serde_json::{Map, Value, json};

use super::{Method, messages};
use crate::call::{Call, CallError, Outcome};
use crate::caller::Scope;
use crate::channels::pairing::{CODE_LASTS_MS, MOST_WAITING, PairingRequest};
use crate::channels::{Origin, Work, route};
use crate::config::{ChannelKind, GatewayConfig};
use crate::effect::{ChannelKey, LogLevel, RunId};
use crate::machine::GatewayMachine;
use crate::params::Params;
use crate::payload::{digest, without_nulls};
use crate::runs::Ending;
use crate::sessions::SessionKey;
use crate::turn::Turn;

pub(super) const METHODS: &[Method] = &[
    Method { name: "channels.status", scope: Scope::Read, run: status },
    Method { name: "channels.start", scope: Scope::Admin, run: start },
    Method { name: "channels.stop", scope: Scope::Admin, run: stop },
    Method { name: "channels.logout", scope: Scope::Admin, run: logout },
    Method { name: "channels.pairing.list", scope: Scope::Pairing, run: pairing_list },
    Method { name: "channels.pairing.approve", scope: Scope::Pairing, run: pairing_approve },
    Method { name: "channels.pairing.dismiss", scope: Scope::Pairing, run: pairing_dismiss },
    Method { name: "channels.pairing.revoke", scope: Scope::Pairing, run: pairing_revoke },
];

/// What people are told who can't see the log.
const FAILED: &str = "The agent failed on this message. The gateway's log says why.";

impl GatewayMachine {
    /// After each turn: answers of runs that have ended go to where their messages came from, and what is due is done.
    pub(crate) fn attend_channels(&mut self, turn: &mut Turn<'_>) {
        for (run, fate) in self.channels.take_told() {
            self.answer_settled(&run, fate, turn);
        }
        if self.channels.is_empty() {
            return;
        }
        let answer = |(key, update, run): (&ChannelKey, u64, &RunId)| {
            let found = self.runs.get(run);
            let said = match found.map(|run| (run.state.end(), run.text())) {
                Some((None, _)) => return None,
                None => FAILED.to_owned(),
                Some((Some(end), text)) => match (&end.how, text) {
                    (Ending::Completed, "") => "The agent gave no answer.".to_owned(),
                    (Ending::Completed, text) => text.to_owned(),
                    (Ending::Failed(_), "") => FAILED.to_owned(),
                    (Ending::Failed(_), text) => format!("{text}\n\n({FAILED})"),
                    (Ending::Killed(_), _) if self.is_stopping() => {
                        "The gateway was stopped while it worked on this message. Please send it again.".to_owned()
                    }
                    (Ending::Killed(_), _) => "Work on this message was stopped at the gateway.".to_owned(),
                },
            };
            Some((key.clone(), update, said))
        };
        let answers: Vec<_> = self.channels.running().filter_map(answer).collect();
        for (key, update, said) in answers {
            self.channels.answer(&key, update, &said);
        }
        let (config, runs, default) = (&self.config, &self.runs, self.agents.default_id());
        let mut free = config.limits.processes.saturating_sub(runs.processes());
        let fits = |key: &ChannelKey, work: &Work| {
            let (agent, session) = routed(key, work, config, default);
            let Ok(session) = SessionKey::read(&session, &agent) else { return true };
            runs.has_room_behind(session.as_str(), work.text.len()).unwrap_or_else(|| {
                let is_free = free > 0;
                free = free.saturating_sub(1);
                is_free
            })
        };
        self.channels.advance(fits, turn);
        if !self.is_stopping() {
            let ready = self.channels.ready();
            // What the first of them that finds no room was told, the others would be told, too.
            let _ = ready.into_iter().try_for_each(|(key, work, run)| self.begin_work(&key, work, run, turn));
        }
        self.channels.write(turn);
        if self.channels.online_changed() {
            self.channels_changed(turn.now);
        }
    }

    /// None: there is no room.
    fn begin_work(&mut self, key: &ChannelKey, work: Work, run: RunId, turn: &mut Turn<'_>) -> Option<()> {
        let (agent, session) = routed(key, &work, &self.config, self.agents.default_id());
        let begun = SessionKey::read(&session, &agent).and_then(|session| {
            let from = format!("{}:{}", key.kind.id(), work.sender);
            messages::send_unasked(self, &agent, session, work.text, &from, Some(run.clone()), turn)
        });
        match begun {
            Ok(_) => {
                self.channels.used(key, &session, work.chat, turn.now.wall_ms);
                self.channels.began(key, work.update, run);
            }
            Err(CallError { retry_after_ms: Some(wait), .. }) => {
                self.channels.put_back(Duration::from_millis(wait), turn);
                return None;
            }
            Err(error) => {
                turn.log(
                    LogLevel::Warn,
                    &key.to_string(),
                    Some(&session),
                    format!("a message can't be worked on: {error}"),
                );
                self.channels.answer(key, work.update, FAILED);
            }
        }
        Some(())
    }
}

/// The agent and the session that a message is for.
fn routed(key: &ChannelKey, work: &Work, config: &GatewayConfig, default: &str) -> (String, String) {
    let Work { is_direct, sender, chat, guild, .. } = work;
    let (is_direct, guild) = (*is_direct, guild.as_ref());
    let origin = Origin { kind: key.kind, account: &key.id, is_direct, sender, chat, guild };
    route(origin, &config.bindings, config.dm_scope, default)
}

fn status(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["probe", "timeoutMs", "channel"])?;
    let only = params.name("channel")?.map(named).transpose()?;
    let mut answer = json!({
        "ts": turn.now.wall_ms,
        "channelOrder": [],
        "channelLabels": {},
        "channelDetailLabels": {},
        "channelSystemImages": {},
        "channelMeta": [],
        "channels": {},
        "channelAccounts": {},
        "channelDefaultAccountId": {},
    });
    let mut put = |name: &str, id: &str, value: Value| {
        match answer.get_mut(name) {
            Some(Value::Object(fields)) => drop(fields.insert(id.to_owned(), value)),
            Some(Value::Array(items)) => items.push(value),
            _ => {}
        };
    };
    for kind in ChannelKind::ALL.into_iter().filter(|kind| only.is_none_or(|only| only == *kind)) {
        let rows = machine.channels.rows(kind);
        let Some(default) = machine
            .channels
            .find(kind, None)
            .map(|key| key.id)
            .or_else(|| rows.first().and_then(|row| row.get("accountId")?.as_str()).map(str::to_owned))
        else {
            continue;
        };
        let id = kind.id();
        let meant = rows.iter().find(|row| row.get("accountId").and_then(Value::as_str) == Some(&default));
        put("channelOrder", id, id.into());
        put("channelLabels", id, kind.label().into());
        put("channelDetailLabels", id, kind.label().into());
        put("channelMeta", id, json!({"id": id, "label": kind.label(), "detailLabel": kind.label()}));
        put("channels", id, meant.cloned().unwrap_or_default());
        put("channelDefaultAccountId", id, default.into());
        put("channelAccounts", id, rows.into());
    }
    Ok(answer.into())
}

fn named(id: &str) -> Result<ChannelKind, CallError> {
    ChannelKind::named(id).ok_or_else(|| {
        let known = ChannelKind::ALL.map(ChannelKind::id).join(", ");
        CallError::invalid(format!(
            "unknown channel: {}; this gateway has {known}",
            id.chars().take(64).collect::<String>()
        ))
    })
}

/// The account that a call names.
fn account(machine: &GatewayMachine, params: &Params<'_>) -> Result<ChannelKey, CallError> {
    let kind = named(params.required("channel")?)?;
    let id = params.name("accountId")?;
    machine.channels.find(kind, id).ok_or_else(|| {
        let which = id.map_or_else(|| "no account".to_owned(), |_| "no such account".to_owned());
        CallError::invalid(format!("channels.{} has {which}; channels.status names those that there are", kind.id()))
    })
}

fn start(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let key = account(machine, &Params::read(call, &["channel", "accountId"])?)?;
    machine.channels.start(&key, turn).map_err(|why| CallError::invalid(format!("{key} isn't started: {why}")))?;
    turn.log(LogLevel::Info, &key.to_string(), None, format!("started by {}", call.caller.client_id));
    Ok(json!({"channel": key.kind.id(), "accountId": key.id, "started": true}).into())
}

fn stop(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let key = account(machine, &Params::read(call, &["channel", "accountId"])?)?;
    machine.channels.close(&key, turn);
    turn.log(LogLevel::Info, &key.to_string(), None, format!("stopped by {}", call.caller.client_id));
    Ok(json!({"channel": key.kind.id(), "accountId": key.id, "stopped": true}).into())
}

/// The token stays where it is configured, and isn't used until `channels.start`, or until it is another one.
fn logout(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let key = account(machine, &Params::read(call, &["channel", "accountId"])?)?;
    machine.channels.log_out(&key, turn);
    turn.log(LogLevel::Info, &key.to_string(), None, format!("logged out by {}", call.caller.client_id));
    Ok(json!({"channel": key.kind.id(), "accountId": key.id, "cleared": false, "loggedOut": true}).into())
}

fn pairing_list(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["channel", "accountId"])?;
    let kind = params.name("channel")?.map(named).transpose()?;
    let id = params.name("accountId")?;
    let is_meant = |key: &ChannelKey| kind.is_none_or(|kind| kind == key.kind) && id.is_none_or(|id| id == key.id);
    let (mut accounts, mut requests) = (Vec::new(), Vec::new());
    for (key, settings, waiting) in machine.channels.pairing(turn.now.wall_ms) {
        if !is_meant(key) {
            continue;
        }
        let whose = json!({
            "channel": key.kind.id(),
            "channelLabel": key.kind.label(),
            "accountId": key.id,
            "accountLabel": settings.name,
            "notifySupported": true,
        });
        accounts.push(without_nulls(whose.clone()));
        requests.extend(waiting.into_iter().map(|request| request_row(key, request, &whose)));
    }
    let approved = machine.channels.approved().filter(|(key, _)| is_meant(key));
    let approved: Vec<Value> = approved
        .map(|(key, sender)| json!({"channel": key.kind.id(), "accountId": key.id, "senderId": sender}))
        .collect();
    Ok(json!({
        "accounts": accounts,
        "requests": requests,
        "approved": approved,
        "commandOwnerConfigured": false,
        "limits": {"pendingPerAccount": MOST_WAITING, "ttlMs": CODE_LASTS_MS},
    })
    .into())
}

fn request_row(key: &ChannelKey, request: &PairingRequest, whose: &Value) -> Value {
    let mut row: Map<String, Value> = whose.as_object().cloned().unwrap_or_default();
    let time = |ms: i64| -> Value { wall_time::of_millis(ms).into() };
    row.extend([
        ("requestId".to_owned(), request_id(key, request).into()),
        ("code".to_owned(), request.code.as_str().into()),
        ("senderId".to_owned(), request.id.as_str().into()),
        ("senderLabel".to_owned(), format!("{}UserId", key.kind.id()).into()),
        ("metadata".to_owned(), json!({"name": request.name})),
        ("createdAt".to_owned(), time(request.created_at)),
        ("lastSeenAt".to_owned(), time(request.last_seen_at)),
        ("expiresAt".to_owned(), time(request.created_at.saturating_add(CODE_LASTS_MS))),
    ]);
    without_nulls(Value::Object(row))
}

/// Names a request without being its code.
fn request_id(key: &ChannelKey, request: &PairingRequest) -> String {
    digest(format!("{key}\0{}\0{}", request.id, request.created_at))
}

fn pairing_approve(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["channel", "accountId", "requestId", "code", "notify", "bootstrapCommandOwner"])?;
    // Nobody gives what they don't have: who is approved writes to agents.
    if !call.caller.holds(Scope::Write) {
        return Err(CallError::missing_scope(Scope::Write));
    }
    let notify = params.flag("notify")? == Some(true);
    // There are no owners here.
    let wants_owner = params.flag("bootstrapCommandOwner")? == Some(true);
    let (key, request) = resolve(machine, &params, true, notify, turn)?;
    told(&key, &request.id, "approved", call, turn);
    Ok(json!({
        "requestId": request_id(&key, &request),
        "senderId": request.id,
        "notification": if notify { "sent" } else { "not-requested" },
        "commandOwnerBootstrap": if wants_owner { "unavailable" } else { "not-requested" },
    })
    .into())
}

fn pairing_dismiss(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["channel", "accountId", "requestId", "code"])?;
    let (key, request) = resolve(machine, &params, false, false, turn)?;
    Ok(json!({"requestId": request_id(&key, &request), "senderId": request.id}).into())
}

/// Takes an approval back: the person is a stranger again.
fn pairing_revoke(machine: &mut GatewayMachine, call: &Call, turn: &mut Turn<'_>) -> Outcome {
    let params = Params::read(call, &["channel", "accountId", "senderId"])?;
    let (key, sender) = (account(machine, &params)?, params.required("senderId")?);
    if !machine.channels.revoke(&key, sender) {
        let said = format!("{} isn't approved at {key}; channels.pairing.list names those who are", shown(sender));
        return Err(CallError::invalid(said));
    }
    told(&key, sender, "revoked", call, turn);
    Ok(json!({"channel": key.kind.id(), "accountId": key.id, "senderId": sender}).into())
}

/// Says in audit and log who did what to a person's approval.
fn told(key: &ChannelKey, sender: &str, done: &str, call: &Call, turn: &mut Turn<'_>) {
    let by = &call.caller.client_id;
    let more = json!({"channel": key.kind.id(), "accountId": key.id, "senderId": sender, "by": by});
    turn.audit(if done == "revoked" { "channel.pairing_revoked" } else { "channel.pairing_approved" }, more);
    turn.log(LogLevel::Info, &key.to_string(), None, format!("{} was {done} by {by}", shown(sender)));
}

/// By the request's id, as real gateways, or by its code.
fn resolve(
    machine: &mut GatewayMachine,
    params: &Params<'_>,
    approve: bool,
    notify: bool,
    turn: &mut Turn<'_>,
) -> Result<(ChannelKey, PairingRequest), CallError> {
    let key = account(machine, params)?;
    let code = params.name("code")?.map(str::to_uppercase);
    let id = if code.is_some() { None } else { Some(params.required("requestId")?) };
    let fits = |request: &PairingRequest| match (&code, id) {
        (Some(code), _) => request.code == *code,
        (None, id) => id == Some(request_id(&key, request).as_str()),
    };
    let request = machine.channels.resolve(&key, fits, approve, notify, turn).map_err(CallError::invalid)?;
    Ok((key, request))
}
