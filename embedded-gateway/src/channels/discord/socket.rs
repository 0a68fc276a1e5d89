//! Carries out conversations with Discord's gateway, one connection after the other, until nobody listens any more.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use actix_codec::Encoder as _;
use actix_http::ws;
use awc::BoxedSocket;
use bytes::BytesMut;
use gatewarden_protocol::message_reader::{FrameSender, MessageReader, ReadFault, WsMessage};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Link;
use super::conversation::{Attempts, Conversation, Session, Step, Word};
use super::inbox::Direct;
use super::wire::{self, Next, Received};
use crate::channels::service::Fault;
use crate::clock::{Chance as _, Now, SystemChance};

/// Longest message of the gateway, in bytes. Its first one names all servers of the bot.
const LONGEST: usize = 4 * 1024 * 1024;
const FIRST_RESERVE: usize = 4 * 1024;
/// A buffer that has grown beyond this is given back.
const BUFFER: usize = 64 * 1024;
const WRITE: Duration = Duration::from_secs(10);
/// Longest that Discord can have the gateway wait.
const LONGEST_WISH: Duration = Duration::from_secs(3_600);
/// Whether a channel is a thread is asked while nothing else is heard.
const LOOK_UP: Duration = Duration::from_secs(3);
/// Direct messages that were missed are looked for in this time, while nothing else is heard: less than a heartbeat takes. What wasn't
/// found then is looked for again between other messages, after 1 s, 2 s and so on.
const CATCH_UP: Duration = Duration::from_secs(20);
const CATCH_UP_AGAIN: Duration = Duration::from_secs(1);
const LONGEST_CATCH_UP_PAUSE: Duration = Duration::from_secs(300);
/// With another code than 1000 and 1001, with which the session would end.
const LEAVE: u16 = 4_900;

/// Listens for as long as it makes sense. Dropping it ends it.
pub(super) async fn listen(link: &Link, me: &str) {
    let mut attempts = Attempts::default();
    loop {
        let (next, why) = match connected(link, me, &mut attempts).await {
            Ok(ended) => ended,
            Err(fault @ (Fault::Credentials(_) | Fault::Setup(..))) => (Next::Never, fault),
            Err(fault) => (Next::Resume, fault),
        };
        // The pauses are those of what comes next, which may be a new session.
        let next = next.with(link.inbox.session().is_some());
        if next != Next::Resume {
            link.inbox.is_at(None);
        }
        let again = attempts.ended(next, Now::read().at, chance());
        let at = match &why {
            Fault::Slow(seconds) => again.at.max(Now::read().at + Duration::from_secs(*seconds).min(LONGEST_WISH)),
            _ => again.at,
        };
        if next == Next::Never || !again.is_usual {
            link.inbox.failed(why);
        }
        if next == Next::Never {
            return;
        }
        tokio::time::sleep_until(at.into()).await;
        link.inbox.has_room().await;
    }
}

/// 0 to 1.
fn chance() -> f64 {
    let digits = SystemChance.uuid();
    let number = digits.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    f64::from(number.unwrap_or_default()) / f64::from(u32::MAX)
}

/// Makes a connection, and stays for as long as it does.
async fn connected(link: &Link, me: &str, attempts: &mut Attempts) -> Result<(Next, Fault), Fault> {
    let session = link.inbox.session();
    let address = match &session {
        Some(session) if !attempts.asks_the_way() => session.url.clone(),
        _ => {
            let way = link.rest.way().await?;
            if let (Some(seconds), true) = (way.closed_for, session.is_none()) {
                return Err(Fault::Slow(seconds));
            }
            way.url
        }
    };
    let address = wire::gateway_address(&address, link.rest.is_plain())?;
    let (io, came) = link.rest.http().socket(&address).await?;
    let mut connection = Connection {
        link,
        me,
        attempts,
        io,
        source: came,
        reader: MessageReader::new(FrameSender::Server, FIRST_RESERVE),
        talk: Conversation::new(session, Now::read().at),
        catch_up_at: None,
        catch_up_pause: CATCH_UP_AGAIN,
    };
    Ok(connection.run().await)
}

struct Connection<'a> {
    link: &'a Link,
    me: &'a str,
    attempts: &'a mut Attempts,
    io: BoxedSocket,
    source: BytesMut,
    reader: MessageReader<()>,
    talk: Conversation,
    /// When missed messages are looked for again, and the pause after that.
    catch_up_at: Option<Instant>,
    catch_up_pause: Duration,
}

impl Connection<'_> {
    async fn run(&mut self) -> (Next, Fault) {
        loop {
            let steps = match self.next_steps().await {
                Some(steps) => steps,
                // A ping, or bytes of something that isn't whole yet.
                None => continue,
            };
            for step in steps {
                if let Some(ended) = self.take(step).await {
                    return ended;
                }
            }
        }
    }

    /// What comes of the next thing that happens.
    async fn next_steps(&mut self) -> Option<Vec<Step>> {
        // Also where there is always something to read.
        let due = self.talk.on_time(Now::read().at);
        if !due.is_empty() {
            return Some(due);
        }
        if self.catch_up_at.is_some_and(|at| Now::read().at >= at) {
            self.catch_up().await;
        }
        let read = self.reader.read(&mut self.source, LONGEST, |_, _| Ok::<(), Infallible>(()));
        let message = match read {
            Ok(Some(message)) => message,
            Ok(None) => return self.wait().await,
            Err(fault) => {
                let said = match fault {
                    ReadFault::TooLarge { .. } => "what its gateway says is too long",
                    _ => "what its gateway says is no WebSocket",
                };
                return Some(self.talk.end(Next::Resume, Fault::Trouble(said.to_owned())));
            }
        };
        let now = Now::read().at;
        match message {
            WsMessage::Text(text, _) => Some(self.talk.hear(&text, now, chance())),
            WsMessage::Binary(..) => Some(self.talk.hear("", now, 0.0)),
            WsMessage::Ping(payload) => {
                self.write(ws::Message::Pong(payload)).await.err().map(|why| self.talk.end(Next::Resume, why))
            }
            WsMessage::Pong(_) => None,
            WsMessage::Close { code, reason } => Some(self.talk.closed(code, &reason)),
        }
    }

    /// For bytes, or for the time at which something is due.
    async fn wait(&mut self) -> Option<Vec<Step>> {
        if self.source.is_empty() && self.source.capacity() > BUFFER {
            self.source = BytesMut::new();
        }
        let deadlines = [self.talk.deadline(), self.catch_up_at];
        let at: Instant = deadlines.into_iter().flatten().min().unwrap_or_else(|| Now::read().at);
        tokio::select! {
            read = self.io.read_buf(&mut self.source) => match read {
                Ok(0) => Some(self.talk.end(Next::Resume, Fault::Trouble("its gateway ended the connection".to_owned()))),
                Ok(_) => None,
                Err(error) => {
                    Some(self.talk.end(Next::Resume, Fault::Trouble(format!("the connection to its gateway broke: {error}"))))
                }
            },
            () = tokio::time::sleep_until(at.into()) => Some(self.talk.on_time(Now::read().at)),
        }
    }

    /// Some: it is over.
    async fn take(&mut self, step: Step) -> Option<(Next, Fault)> {
        let written = match step {
            Step::Say(word) => self.say(word).await,
            Step::Open { is_new } => {
                self.attempts.opened(Now::read().at);
                if is_new {
                    self.link.inbox.has_missed();
                }
                self.catch_up().await;
                self.link.inbox.is_at(self.talk.session.clone());
                self.link.inbox.opened();
                Ok(())
            }
            Step::Message(message) => {
                self.receive(&message).await;
                if self.link.inbox.is_full() {
                    // Discord keeps it meanwhile, and sends it where the session is gone on with.
                    let why = Fault::Trouble("more messages came than can be worked on".to_owned());
                    return Some(self.leave(Next::Resume, why).await);
                }
                Ok(())
            }
            Step::End { next, why } => return Some(self.leave(next, why).await),
        };
        match written {
            Ok(()) => {
                self.note();
                None
            }
            Err(why) => Some((Next::Resume, why)),
        }
    }

    /// What the conversation has come to.
    fn note(&self) {
        if self.talk.session.is_some() {
            self.link.inbox.is_at(self.talk.session.clone());
        }
    }

    async fn leave(&mut self, next: Next, why: Fault) -> (Next, Fault) {
        self.note();
        // The peer sees the end either way once the connection is dropped.
        let _ = self.write(ws::Message::Close(Some(ws::CloseCode::from(LEAVE).into()))).await;
        (next, why)
    }

    async fn receive(&mut self, message: &Value) {
        // Of what was missed a gateway that was killed may have sent some.
        if self.talk.is_open() && wire::is_of_another(message, self.me, |nonce| self.link.rest.has_sent(nonce)) {
            self.link.other.notify_one();
        }
        let seq = self.talk.session.as_ref().map(|session: &Session| session.seq);
        let Some(mut received) = wire::received(message, self.me) else { return };
        let is_thread = received.is_thread;
        let may_be_heard = self.link.inbox.may_be_heard(&received.update);
        let guild = received.update.message.as_mut().and_then(|message| message.guild.as_mut());
        if let Some(guild) = guild.filter(|_| is_thread != Some(false)) {
            // What the rules refuse wherever it is costs no request.
            let found = match may_be_heard {
                true => self.link.rest.channel_within(&received.channel, LOOK_UP).await,
                false => None,
            };
            guild.is_unsure = found.is_none();
            guild.parent = found.and_then(|found| found.parent);
        }
        self.link.inbox.put(received, seq);
    }

    /// A new session has nothing of what came before it: direct messages can be fetched.
    async fn catch_up(&mut self) {
        let until = Now::read().at + CATCH_UP;
        // Of those that have to wait the longest, since Discord's limits count for many requests.
        let mut pause: Option<Duration> = None;
        for direct in self.link.inbox.missed() {
            loop {
                let fault = match tokio::time::timeout_at(until.into(), self.fetch(&direct)).await {
                    Ok(Ok(())) => break,
                    Ok(Err(Fault::Refused(_))) => break self.link.inbox.fetched(&direct.channel, Vec::new()),
                    Ok(Err(fault)) => Some(fault),
                    Err(_) => None,
                };
                let wish = match fault {
                    Some(Fault::Slow(seconds)) => Duration::from_secs(seconds).min(LONGEST_WISH),
                    _ => Duration::ZERO,
                };
                let left = until.saturating_duration_since(Now::read().at);
                if wish.is_zero() || wish > left {
                    pause = pause.max(Some(wish.max(self.catch_up_pause)));
                    break;
                }
                tokio::time::sleep(wish).await;
            }
        }
        self.catch_up_at = pause.map(|pause| Now::read().at + pause);
        self.catch_up_pause = match pause {
            Some(_) => (self.catch_up_pause * 2).min(LONGEST_CATCH_UP_PAUSE),
            None => CATCH_UP_AGAIN,
        };
    }

    /// What was missed of a direct chat, as soon as there is room for it.
    async fn fetch(&self, direct: &Direct) -> Result<(), Fault> {
        let Some(last) = direct.missed_after else { return Ok(()) };
        let messages = self.link.rest.messages_after(&direct.channel, last).await?;
        let received = messages.iter().filter_map(|message| wire::received(message, self.me));
        let missed: Vec<Received> =
            received.filter(|received| received.update.id > last && received.channel == direct.channel).collect();
        self.link.inbox.has_room().await;
        self.link.inbox.fetched(&direct.channel, missed);
        Ok(())
    }

    async fn say(&mut self, word: Word) -> Result<(), Fault> {
        let token = self.link.rest.token().expose();
        let said = match word {
            Word::Identify => {
                self.attempts.identified(Now::read().at);
                wire::identify(token, self.link.with_content)
            }
            Word::Resume { session, seq } => wire::resume(token, &session, seq),
            Word::Heartbeat(seq) => wire::heartbeat(seq),
        };
        self.write(ws::Message::Text(said.to_string().into())).await
    }

    async fn write(&mut self, message: ws::Message) -> Result<(), Fault> {
        let mut bytes = BytesMut::new();
        let unsent = || Fault::Trouble("nothing can be said to its gateway any more".to_owned());
        ws::Codec::new().client_mode().encode(message, &mut bytes).map_err(|_| unsent())?;
        let written = async {
            self.io.write_all(&bytes).await?;
            self.io.flush().await
        };
        match tokio::time::timeout(WRITE, written).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(unsent()),
        }
    }
}
