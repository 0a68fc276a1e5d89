//! Channels: services such as Telegram by which people reach agents.
//!
//! | file | |
//! | --- | --- |
//! | `account` | one account: what is asked of its service when, what becomes of messages and answers |
//! | `record` | what is kept of it in the state directory |
//! | `access`, `pairing`, `flood` | who is heard |
//! | `routing` | which agent and session a message is for |
//! | `splitting` | long answers in parts |
//! | `service`, `services` | the interface to a service, and what carries requests out |
//! | `http` | how services are reached |
//! | `telegram`, `discord`, `whatsapp` | the services |
//!
//! A further channel states what is its own in a file of `config/channels_section/`, beside the list there, and is a
//! [`service::Service`] in a file of its own here, which [`connect`] names. One with a webhook has a file in `http/`, too. Pages name
//! channels in `web/gateway/job_form.js` and `channels.js`. An account that isn't configured costs nothing. Without the cargo feature
//! `channels` there are no services: accounts are read, and stay off.

mod access;
mod account;
#[cfg(feature = "channels")]
mod discord;
mod flood;
mod http;
pub(crate) mod pairing;
mod record;
mod routing;
mod service;
mod services;
mod splitting;
#[cfg(feature = "channels")]
mod telegram;
#[cfg(test)]
mod tests;
#[cfg(feature = "channels")]
pub(crate) mod whatsapp;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
#[cfg(feature = "channels")]
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewarden_protocol::Secret;
use serde_json::{Value, json};

use crate::config::{ChannelAccount, ChannelKind, DEFAULT_ACCOUNT, GatewayConfig};
use crate::cron::delivery::Fate;
use crate::cron::place::{Target, WantedChat};
use crate::effect::{ChannelKey, Chat, RunId};
use crate::payload::without_nulls;
use crate::turn::Turn;
use access::may_write;
use account::{Account, Phase};
pub(crate) use http::Http;
use pairing::PairingRequest;
pub(crate) use record::{FOLDER, Record, Work};
pub(crate) use routing::{Origin, route};
pub(crate) use service::{Fault, Update};
use service::{Sent, Service};
pub use services::try_credentials;
pub(crate) use services::{ChannelNews, Services, tls_of_this_machine};

/// The service of an account's channel.
#[cfg(feature = "channels")]
fn connect(account: &ChannelAccount, http: Http, token: Secret, sent: &Sent) -> Result<Box<dyn Service>, Fault> {
    Ok(match account.kind {
        ChannelKind::Telegram => Box::new(telegram::BotApi::new(http, &account.api_root, &token)),
        ChannelKind::Discord => Box::new(discord::Discord::new(http, account, &token, Rc::clone(sent))),
        ChannelKind::WhatsApp => Box::new(whatsapp::GraphApi::new(http, account, token)),
    })
}

#[cfg(not(feature = "channels"))]
fn connect(_: &ChannelAccount, _: Http, _: Secret, _: &Sent) -> Result<Box<dyn Service>, Fault> {
    Err(Fault::Setup(crate::config::NOT_BUILT.unwrap_or_default().to_owned(), ""))
}

/// All accounts that are configured.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    accounts: BTreeMap<ChannelKey, Account>,
    /// What is kept of accounts that aren't configured now, by their files.
    kept: BTreeMap<PathBuf, Record>,
    lives: u64,
    /// Accounts that were online when that was told last.
    told_online: Vec<ChannelKey>,
    /// What became of answers of accounts that aren't configured any more, until somebody asks.
    told: Vec<(RunId, Fate)>,
}

impl Channels {
    pub(crate) fn new(kept: BTreeMap<PathBuf, Record>, config: &GatewayConfig, turn: &mut Turn<'_>) -> Self {
        let mut channels = Self { kept, ..Self::default() };
        channels.configure(config, turn);
        channels
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// From now on these accounts count.
    pub(crate) fn configure(&mut self, config: &GatewayConfig, turn: &mut Turn<'_>) {
        let wanted: BTreeMap<ChannelKey, &ChannelAccount> = config
            .channels
            .iter()
            .map(|account| (ChannelKey { kind: account.kind, id: account.id.clone() }, account))
            .collect();
        let gone: Vec<ChannelKey> = self.accounts.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
        for key in gone {
            if let Some(mut account) = self.accounts.remove(&key) {
                account.close(Phase::Off("it isn't configured"), turn);
                account.write(turn);
                self.told.append(&mut account.told);
                self.kept.insert(Record::file(&key), account.record);
            }
        }
        for (key, settings) in wanted {
            let life = self.next_life();
            let settings = Arc::new(settings.clone());
            match self.accounts.get_mut(&key) {
                Some(account) => account.configure(settings, life, turn),
                None => {
                    let record = self.kept.remove(&Record::file(&key)).unwrap_or_default();
                    self.accounts.insert(key.clone(), Account::new(key, settings, record, life, turn));
                }
            }
        }
    }

    fn next_life(&mut self) -> u64 {
        self.lives += 1;
        self.lives
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.accounts.values().filter_map(Account::deadline).min()
    }

    /// Everything that can be done now, but for beginning runs: see [`Channels::ready`]. `fits`: there is room for the run of a
    /// message, which is taken by asking.
    pub(crate) fn advance(&mut self, mut fits: impl FnMut(&ChannelKey, &Work) -> bool, turn: &mut Turn<'_>) {
        self.accounts.values_mut().for_each(|account| account.advance(&mut fits, turn));
    }

    /// The end of a turn: each file is written once, whatever has changed.
    pub(crate) fn write(&mut self, turn: &mut Turn<'_>) {
        self.accounts.values_mut().for_each(|account| account.write(turn));
    }

    /// The messages whose runs are to begin now, and the names of those.
    pub(crate) fn ready(&self) -> Vec<(ChannelKey, Work, RunId)> {
        let of = |(key, account): (&ChannelKey, &Account)| {
            account.ready().into_iter().map(|(work, run)| (key.clone(), work, run)).collect::<Vec<_>>()
        };
        self.accounts.iter().flat_map(of).collect()
    }

    /// The runs that were begun for messages.
    pub(crate) fn running(&self) -> impl Iterator<Item = (&ChannelKey, u64, &RunId)> {
        let accounts = self.accounts.iter();
        accounts.flat_map(|(key, account)| account.running.iter().map(move |(update, run)| (key, *update, run)))
    }

    pub(crate) fn began(&mut self, key: &ChannelKey, update: u64, run: RunId) {
        if let Some(account) = self.accounts.get_mut(key) {
            account.running.insert(update, run);
        }
    }

    /// Somebody wrote to a session from a chat.
    pub(crate) fn used(&mut self, key: &ChannelKey, session: &str, chat: Chat, now_ms: i64) {
        if let Some(account) = self.accounts.get_mut(key) {
            account.record.used(session, chat, now_ms);
        }
    }

    /// The chat from which a session was written to last; else the last one of all sessions of the agent.
    pub(crate) fn last_chat(&self, agent: &str, session: Option<&str>) -> Option<Target> {
        let agent = format!("agent:{agent}:");
        let newest = |is_meant: &dyn Fn(&str) -> bool| {
            let chats = self.accounts.iter().flat_map(|(key, account)| {
                account.record.last.iter().map(move |(session, last)| (key, session.as_str(), last))
            });
            let (key, _, last) =
                chats.filter(|(_, session, _)| is_meant(session)).max_by_key(|(_, _, last)| last.at_ms)?;
            Some(Target {
                kind: Some(key.kind),
                account: Some(key.id.clone()),
                chat: WantedChat::Known(last.chat.clone()),
            })
        };
        let of_session = session.and_then(|wanted| newest(&|session| session == wanted));
        of_session.or_else(|| newest(&|session| session.starts_with(&agent)))
    }

    pub(crate) fn answer(&mut self, key: &ChannelKey, update: u64, text: &str) {
        if let Some(account) = self.accounts.get_mut(key) {
            account.answer(update, text);
        }
    }

    pub(crate) fn put_back(&mut self, wait: Duration, turn: &Turn<'_>) {
        self.accounts.values_mut().for_each(|account| account.put_back(wait, turn));
    }

    pub(crate) fn hear(&mut self, news: ChannelNews, turn: &mut Turn<'_>) {
        let ChannelNews { account, life, kind, outcome } = news;
        if let Some(account) = self.accounts.get_mut(&account) {
            account.hear(life, kind, outcome, turn);
        }
    }

    fn of_file(&mut self, file: &Path) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|(key, _)| Record::file(key) == file).map(|(_, account)| account)
    }

    /// A file is on disk as it was at a mark; without one, as it is now.
    pub(crate) fn settled(&mut self, file: &Path, mark: Option<u64>) {
        if let Some(account) = self.of_file(file) {
            account.settled(mark);
        }
    }

    pub(crate) fn unwritten(&mut self, file: &Path, error: &str, turn: &Turn<'_>) {
        if let Some(account) = self.of_file(file) {
            account.unwritten(error, turn);
        }
    }

    /// Writes a file anew. False where it is no account's.
    pub(crate) fn save_again(&mut self, file: &Path) -> bool {
        self.of_file(file).map(|account| account.save()).is_some()
    }

    /// Ends all that is under way at services.
    pub(crate) fn stop(&mut self, turn: &mut Turn<'_>) {
        let in_use = self.accounts.values_mut().filter(|account| !matches!(account.phase, Phase::Off(_)));
        in_use.for_each(|account| account.close(Phase::Off(account::STOPPING), turn));
    }

    /// Whether other accounts are online than when this was asked last.
    pub(crate) fn online_changed(&mut self) -> bool {
        let online = self.accounts.iter().filter(|(_, account)| account.is_online()).map(|(key, _)| key);
        let has_changed = !online.clone().eq(&self.told_online);
        if has_changed {
            self.told_online = online.cloned().collect();
        }
        has_changed
    }

    /// All accounts, and whether they are online.
    pub(crate) fn presence(&self) -> impl Iterator<Item = (&ChannelKey, bool)> {
        self.accounts.iter().map(|(key, account)| (key, account.is_online()))
    }

    /// The account that is meant: the one that is named, else `default`, else the only one of the channel.
    pub(crate) fn find(&self, kind: ChannelKind, id: Option<&str>) -> Option<ChannelKey> {
        let of_kind: Vec<&ChannelKey> = self.accounts.keys().filter(|key| key.kind == kind).collect();
        let wanted = id.unwrap_or(DEFAULT_ACCOUNT);
        let only = match (id, of_kind.as_slice()) {
            (None, [only]) => Some(only),
            _ => None,
        };
        let found = of_kind.iter().find(|key| key.id == wanted).or(only);
        found.map(|key| (*key).clone())
    }

    /// Connects anew. Err: why it can't.
    pub(crate) fn start(&mut self, key: &ChannelKey, turn: &mut Turn<'_>) -> Result<(), &'static str> {
        let life = self.next_life();
        self.accounts.get_mut(key).ok_or("it isn't configured")?.restart(life, turn)
    }

    pub(crate) fn close(&mut self, key: &ChannelKey, turn: &mut Turn<'_>) {
        if let Some(account) = self.accounts.get_mut(key) {
            account.close(Phase::Off("it was stopped: channels.start starts it"), turn);
        }
    }

    pub(crate) fn log_out(&mut self, key: &ChannelKey, turn: &mut Turn<'_>) {
        if let Some(account) = self.accounts.get_mut(key) {
            account.log_out(turn);
        }
    }

    /// Accounts of which strangers are let in by pairing, with those who wait.
    pub(crate) fn pairing(&self, now_ms: i64) -> Vec<(&ChannelKey, &ChannelAccount, Vec<&PairingRequest>)> {
        let pairs = |account: &&Account| account.settings.access.dm_policy == crate::config::DmPolicy::Pairing;
        let accounts = self.accounts.iter().filter(|(_, account)| pairs(account));
        accounts
            .map(|(key, account)| (key, &*account.settings, account.record.pairing.waiting(now_ms).collect()))
            .collect()
    }

    /// Lets who waits in, or forgets the request and is deaf to who made it. Err: a sentence.
    pub(crate) fn resolve(
        &mut self,
        key: &ChannelKey,
        fits: impl Fn(&PairingRequest) -> bool,
        approve: bool,
        notify: bool,
        turn: &mut Turn<'_>,
    ) -> Result<PairingRequest, String> {
        let now = turn.now.wall_ms;
        let waits = |account: &&mut Account| account.record.pairing.waiting(now).any(&fits);
        let Some(account) = self.accounts.get_mut(key).filter(waits) else {
            return Err(self.nobody_waits(key, now));
        };
        // Before the request is taken: it waits on, where it can't be granted.
        if approve && !account.record.pairing.has_room() {
            return Err("as many people are approved as an account takes: list them in allowFrom, or take an approval back, and \
                 approve this one then"
                .to_owned());
        }
        let Some(request) = account.record.pairing.take(&fits, now) else { return Err(self.nobody_waits(key, now)) };
        if approve {
            account.record.pairing.approve(&request.id);
        } else {
            account.record.pairing.dismiss(&request.id, now);
        }
        if approve && notify {
            let chat = Chat { id: request.id.clone(), thread: None };
            account.reply(chat, "You were approved. Send a message to begin.");
        }
        account.save();
        Ok(request)
    }

    /// In the words of real gateways, and who does wait.
    fn nobody_waits(&self, key: &ChannelKey, now_ms: i64) -> String {
        let waiting = self.pairing(now_ms).into_iter().filter(|(_, _, waiting)| !waiting.is_empty());
        let waiting: Vec<String> = waiting.map(|(key, _, waiting)| format!("{} at {key}", waiting.len())).collect();
        let others = if waiting.is_empty() { "nobody".to_owned() } else { waiting.join(", ") };
        format!(
            "pending DM access request no longer exists: none like this waits at {key}. Waiting: {others}. A code ends an hour after it \
             was told; `gatewarden gateway pairing list` shows those that count"
        )
    }

    /// Those who were approved, by their accounts.
    pub(crate) fn approved(&self) -> impl Iterator<Item = (&ChannelKey, &String)> {
        let accounts = self.accounts.iter();
        accounts.flat_map(|(key, account)| account.record.pairing.approved().iter().map(move |id| (key, id)))
    }

    /// Takes an approval back, and forgets what of that person's messages hasn't begun. False where there is none.
    pub(crate) fn revoke(&mut self, key: &ChannelKey, sender: &str) -> bool {
        let Some(account) = self.accounts.get_mut(key) else { return false };
        let was_approved = account.record.pairing.revoke(sender);
        if was_approved {
            account.record.waiting.retain(|work| work.begun || !work.is_direct || work.sender != sender);
            account.save();
        }
        was_approved
    }

    /// The account from which a chat can be written to, as its rules are now, and the chat. Err: a sentence.
    pub(crate) fn writable(&self, target: &Target) -> Result<(ChannelKey, Chat), String> {
        let kinds = ChannelKind::ALL.into_iter().filter(|kind| target.kind.is_none_or(|wanted| wanted == *kind));
        let mut found = kinds.filter_map(|kind| self.find(kind, target.account.as_deref()));
        let (key, other) = (found.next(), found.next());
        if let (Some(key), Some(other)) = (&key, &other) {
            return Err(format!("it may be {key} or {other}: name the channel with channel"));
        }
        let Some(key) = key else {
            let known: Vec<String> = self.accounts.keys().map(ToString::to_string).collect();
            if known.is_empty() {
                return Err(
                    "no channel is configured: add a section of channels to the configuration, or leave channel and to out"
                        .to_owned(),
                );
            }
            let kind = target.kind.map_or_else(String::new, |kind| format!("{}:", kind.id()));
            let wanted = gatewarden_protocol::words::shown(target.account.as_deref().unwrap_or(DEFAULT_ACCOUNT));
            return Err(format!(
                "no account {kind}{wanted} is configured, there are {}; add it to channels of the configuration, or name another one \
                 with accountId",
                known.join(", ")
            ));
        };
        let Some(account) = self.accounts.get(&key) else { return Err(format!("{key} isn't configured")) };
        let settings = &account.settings;
        if !settings.enabled || settings.token.is_none() {
            let why = account.out_of_use().unwrap_or_default();
            return Err(format!("{key} isn't used: {why}"));
        }
        let at = |why| format!("{key}: {why}");
        let chat = target.chat(key.kind).map_err(at)?;
        may_write(&settings.access, account.record.pairing.approved(), &chat.id).map_err(at)?;
        Ok((key, chat))
    }

    /// Has the answer of a job's run sent; its file says so before anything that follows. Err: why not.
    pub(crate) fn announce(
        &mut self,
        target: &Target,
        text: &str,
        run: &RunId,
        turn: &mut Turn<'_>,
    ) -> Result<(), String> {
        let (key, chat) = self.writable(target)?;
        let Some(account) = self.accounts.get_mut(&key) else { return Err(format!("{key} isn't configured")) };
        if let Some(why) = account.out_of_use() {
            return Err(format!("{key} isn't used: {why}"));
        }
        if !account.announce(chat, text, run) {
            return Err(format!("too many answers wait at {key} already: channels.status says why they do"));
        }
        account.save();
        account.write(turn);
        Ok(())
    }

    /// The runs of jobs whose answers wait to be sent, also of accounts that aren't configured now.
    pub(crate) fn answers_of_jobs(&self) -> Vec<RunId> {
        let records = self.accounts.values().map(|account| &account.record).chain(self.kept.values());
        records.flat_map(|record| &record.replies).filter_map(|reply| reply.run.clone().map(RunId)).collect()
    }

    /// What became of answers of jobs' runs since this was asked last.
    pub(crate) fn take_told(&mut self) -> Vec<(RunId, Fate)> {
        let mut told = std::mem::take(&mut self.told);
        self.accounts.values_mut().for_each(|account| told.append(&mut account.told));
        told
    }

    /// Rows of `channels.status`.
    pub(crate) fn rows(&self, kind: ChannelKind) -> Vec<Value> {
        self.accounts.iter().filter(|(key, _)| key.kind == kind).map(|(_, account)| row(account)).collect()
    }
}

fn row(account: &Account) -> Value {
    let settings = &account.settings;
    let off = match account.phase {
        Phase::Off(why) => Some(why),
        _ => None,
    };
    let trouble = account.trouble.as_ref();
    let state = match account.phase {
        Phase::Off(_) => "stopped",
        Phase::Blocked => "blocked",
        _ if account.is_online() => "healthy",
        _ => "disconnected",
    };
    let bot = account.me.as_ref().map(|me| json!({"id": me.id, "username": me.name}));
    without_nulls(json!({
        "accountId": settings.id,
        "name": settings.name,
        "enabled": settings.enabled,
        "configured": settings.token.is_some(),
        "running": matches!(account.phase, Phase::Connecting | Phase::Online),
        "connected": account.is_online(),
        "connectedSince": account.connected_since_ms,
        "lastConnectedAt": account.connected_since_ms,
        "healthState": state,
        "lastError": trouble.map(|trouble| trouble.said.as_str()).or(off.filter(|_| settings.enabled)),
        "lastErrorAt": trouble.map(|trouble| trouble.at_ms),
        "fix": trouble.map(|trouble| trouble.cure),
        "lastStartAt": account.last_start_ms,
        "lastInboundAt": account.last_inbound_ms,
        "lastOutboundAt": account.last_outbound_ms,
        "activeRuns": account.running.len(),
        "waitingMessages": account.record.waiting.len(),
        "waitingAnswers": account.record.replies.len(),
        "mode": settings.kind.channel().mode,
        "dmPolicy": settings.access.dm_policy.as_str(),
        "allowFrom": settings.access.allow_from,
        "tokenSource": settings.token_source,
        "bot": bot,
    }))
}
