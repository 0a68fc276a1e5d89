//! One WebSocket from its upgrade to its end: handshake, requests in, answers and events out, pings.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gatewarden_protocol::message_reader::ReadFault;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::requests::{self, ClientFrame};
use super::wire::{self, Incoming, ReadEnd, Receiver, Sender, Socket};
use super::wording::Wording;
use crate::auth::{Admission, Attempt, FirstStep, Handshake, Peer, Refusal, TailnetLogin};
use crate::call::Call;
use crate::caller::{Caller, ConnectionId};
use crate::clock::{Chance as _, Now, SystemChance};
use crate::connection_limits::ConnectionSlot;
use crate::context::GatewayContext;
use crate::core_actor::{Admit, CallMethod, Disconnected};
use crate::outbound::{Next, Outbound, OutboundItem, Outgoing, STOPPING};

/// Largest message before the hello, in bytes: real gateways have the same limit.
const CAP_BEFORE_HELLO: usize = 64 * 1024;
/// What the listening half leaves for the speaking half before it stops to wait.
const NOTES: usize = 8;

#[derive(Debug)]
enum Ending {
    /// By a close frame of ours; without a code where it answers one that had none.
    Close(Option<u16>, String),
    Lost,
}

impl Ending {
    fn close(code: u16, reason: impl Into<String>) -> Self {
        Self::Close(Some(code), reason.into())
    }

    fn stopping() -> Self {
        Self::close(STOPPING.0, STOPPING.1)
    }
}

impl From<ReadEnd> for Ending {
    fn from(end: ReadEnd) -> Self {
        match end {
            ReadEnd::Lost => Self::Lost,
            // Real gateways give no reason here.
            ReadEnd::Fault(ReadFault::TooLarge { .. }) => Self::close(1009, ""),
            ReadEnd::Fault(ReadFault::Memory(_)) => Self::close(1013, "too many large messages at once"),
            ReadEnd::Fault(ReadFault::Protocol(fault)) => Self::close(1002, fault),
        }
    }
}

enum Note {
    Pong(Bytes),
    Ping,
    Reply(String, Box<RawValue>),
}

struct Admitted {
    caller: Arc<Caller>,
    wording: Wording,
    outgoing: Outgoing,
}

pub(super) async fn serve(
    socket: Socket,
    early: BytesMut,
    peer: Peer,
    connection: ConnectionId,
    mut slot: ConnectionSlot,
    context: Rc<GatewayContext>,
) {
    let (mut receiver, mut sender) = wire::open(socket, early, CAP_BEFORE_HELLO, context.budget.clone());
    let admitted = {
        let shaking = shake_hands(&mut receiver, &mut sender, peer, connection, &slot, &context);
        tokio::select! {
            biased;
            () = slot.replaced() => Err(Ending::Lost),
            admitted = shaking => admitted,
            () = context.draining() => Err(Ending::stopping()),
        }
    };
    let ending = match admitted {
        Ok(admitted) => {
            slot.admitted();
            receiver.set_cap(context.config().limits.max_payload);
            let ending = talk(&mut receiver, &mut sender, admitted, &context).await;
            // Should the core actor be gone, so is what it knew.
            let _ = context.core.send(Disconnected(connection)).await;
            ending
        }
        Err(ending) => ending,
    };
    drop(slot);
    match ending {
        Ending::Close(code, reason) => wire::close(receiver, sender, code, &reason).await,
        Ending::Lost => wire::drop_now(receiver, sender),
    }
}

/// Challenge, first frame, hello, all within the handshake's deadline.
async fn shake_hands(
    receiver: &mut Receiver,
    sender: &mut Sender,
    peer: Peer,
    connection: ConnectionId,
    slot: &ConnectionSlot,
    context: &GatewayContext,
) -> Result<Admitted, Ending> {
    let deadline = Instant::now() + context.config().limits.handshake;
    // Real gateways hang up without a reason on who never says anything.
    let too_late = |_| Ending::close(1000, "");
    let handshake = Handshake::new(connection, peer, SystemChance.uuid());
    let challenge = raw(&handshake.challenge(&context.config(), Now::read()));
    sender.text(&Wording::of_unknown().challenge(&challenge));
    context.metrics.messages_sent.inc();
    timeout_at(deadline, sender.flush()).await.map_err(too_late)?.map_err(|_| Ending::Lost)?;
    let first = timeout_at(deadline, first_message(receiver, sender)).await.map_err(too_late)??;
    context.metrics.messages_received.inc();
    let judged = slot.judged();
    let attempt = match handshake.first_frame(&first, &context.config(), Now::read()) {
        FirstStep::Ask(attempt) => with_login(attempt, deadline, context).await,
        FirstStep::Close { code, reason } => return Err(Ending::close(code, reason)),
        FirstStep::Refuse(refusal) => {
            drop(judged);
            return Err(refuse(sender, refusal, deadline, context).await);
        }
    };
    let (outbound, outgoing) = Outbound::new(context.config().limits.max_buffered, &context.unread);
    let dialect = attempt.dialect();
    let (answer, answered) = oneshot::channel();
    context.core.send(Admit { attempt, outbound, answer }).await.map_err(|_| Ending::stopping())?;
    let admission = answered.await.map_err(|_| Ending::stopping())?;
    drop(judged);
    match admission {
        Admission::In { caller, request, hello, documented } => {
            let wording = Wording::new(dialect, documented.is_some());
            let hello = raw(&hello);
            sender.text(&match (&documented, &request) {
                (Some(documented), Some(request)) => wording.documented_hello(request, &hello, &raw(documented)),
                _ => wording.response(request.as_deref(), Ok(&hello)),
            });
            context.metrics.messages_sent.inc();
            Ok(Admitted { caller, wording, outgoing })
        }
        Admission::Refused(refusal) => Err(refuse(sender, refusal, deadline, context).await),
    }
}

/// A Tailscale login that is claimed either is confirmed, or is none.
async fn with_login(mut attempt: Box<Attempt>, deadline: Instant, context: &GatewayContext) -> Box<Attempt> {
    let mut confirmed = None;
    if let (Some(login), Some(tailscale)) = (attempt.claimed_login(), &context.tailscale)
        && context.config().tailscale.allow_logins
        && let Ok(true) = timeout_at(deadline, tailscale.confirms(attempt.peer.remote, login)).await
    {
        confirmed = Some(TailnetLogin::Confirmed(login.to_owned()));
    }
    attempt.peer.tailnet = confirmed;
    attempt
}

/// The first text or binary message. Pings before it are answered.
async fn first_message(receiver: &mut Receiver, sender: &mut Sender) -> Result<Vec<u8>, Ending> {
    loop {
        match receiver.next().await? {
            Incoming::Text(text, _) => return Ok(text.into_bytes()),
            Incoming::Binary(bytes, _) => return Ok(bytes),
            Incoming::Ping(payload) => {
                sender.pong(&payload);
                sender.flush().await.map_err(|_| Ending::Lost)?;
            }
            Incoming::Pong(_) => {}
            Incoming::Close { code, .. } => return Err(Ending::Close(code, String::new())),
        }
    }
}

async fn refuse(sender: &mut Sender, refusal: Refusal, deadline: Instant, context: &GatewayContext) -> Ending {
    let error = raw(&refusal.error.to_value());
    let wording = Wording::new(refusal.dialect, false);
    sender.text(&wording.response(refusal.request.as_deref(), Err(&error)));
    context.metrics.messages_sent.inc();
    match timeout_at(deadline, sender.flush()).await {
        Ok(Ok(())) => Ending::close(refusal.close_code, refusal.close_reason),
        _ => Ending::Lost,
    }
}

/// Both directions of an admitted connection, until one of them ends.
async fn talk(receiver: &mut Receiver, sender: &mut Sender, admitted: Admitted, context: &GatewayContext) -> Ending {
    let Admitted { caller, wording, outgoing } = admitted;
    let (notes, noted) = mpsc::channel(NOTES);
    let heard = Cell::new(true);
    let cut = outgoing.when_cut();
    tokio::select! {
        biased;
        (code, reason) = cut => Ending::close(code, reason),
        ending = speak(sender, outgoing, noted, wording, context) => ending,
        ending = listen(receiver, &caller, &notes, &heard, context) => ending,
        ending = watch(&caller, &notes, &heard, context.config().limits.ping) => ending,
    }
}

/// Reads requests and hands them to the core actor, one at a time: a flood slows its sender down and nobody else.
async fn listen(
    receiver: &mut Receiver,
    caller: &Arc<Caller>,
    notes: &mpsc::Sender<Note>,
    heard: &Cell<bool>,
    context: &GatewayContext,
) -> Ending {
    loop {
        let incoming = match receiver.next().await {
            Ok(incoming) => incoming,
            Err(end) => return end.into(),
        };
        heard.set(true);
        let note = match incoming {
            Incoming::Pong(_) => continue,
            Incoming::Close { code, .. } => return Ending::Close(code, String::new()),
            Incoming::Ping(payload) => Note::Pong(payload),
            message @ (Incoming::Text(..) | Incoming::Binary(..)) => {
                context.metrics.messages_received.inc();
                let frame = match &message {
                    Incoming::Text(text, _) => requests::read(caller.dialect, text.as_bytes()),
                    Incoming::Binary(bytes, _) => requests::read(caller.dialect, bytes),
                    _ => None,
                };
                drop(message);
                receiver.trim();
                match frame {
                    // Real gateways pass over it, too.
                    None => continue,
                    Some(ClientFrame::Malformed { id, error }) => Note::Reply(id, raw(&error.to_value())),
                    Some(ClientFrame::Request { id, method, params }) => {
                        let call = Call { caller: Arc::clone(caller), request: id, method, params };
                        if context.core.send(CallMethod(call)).await.is_err() {
                            return Ending::stopping();
                        }
                        continue;
                    }
                }
            }
        };
        if notes.send(note).await.is_err() {
            return Ending::Lost;
        }
    }
}

async fn speak(
    sender: &mut Sender,
    mut outgoing: Outgoing,
    mut noted: mpsc::Receiver<Note>,
    mut wording: Wording,
    context: &GatewayContext,
) -> Ending {
    loop {
        if sender.flush().await.is_err() {
            return Ending::Lost;
        }
        let mut next = tokio::select! {
            biased;
            note = noted.recv() => {
                match note {
                    Some(Note::Pong(payload)) => sender.pong(&payload),
                    Some(Note::Ping) => sender.ping(),
                    Some(Note::Reply(id, error)) => {
                        sender.text(&wording.response(Some(&id), Err(&error)));
                        context.metrics.messages_sent.inc();
                    }
                    None => return Ending::Lost,
                }
                continue;
            }
            next = outgoing.next() => match next {
                Some(next) => Some(next),
                // The core actor is gone.
                None => return Ending::stopping(),
            },
        };
        while let Some(present) = next {
            let (item, share) = match present {
                Next::Send(item, share) => (item, share),
                Next::Close(code, reason) => return Ending::close(code, reason),
            };
            sender.text(&match item {
                OutboundItem::Response { request, outcome } => {
                    wording.response(request.as_deref(), outcome.as_deref().map_err(AsRef::as_ref))
                }
                OutboundItem::Event { name, payload, presence_version } => {
                    wording.event(&name, &payload, presence_version)
                }
            });
            sender.keep_until_written(share);
            context.metrics.messages_sent.inc();
            next = if sender.has_room() { outgoing.next_waiting() } else { None };
        }
    }
}

/// Pings, and finds out a client that doesn't answer.
async fn watch(caller: &Caller, notes: &mpsc::Sender<Note>, heard: &Cell<bool>, every: Duration) -> Ending {
    loop {
        tokio::time::sleep(every).await;
        if !heard.replace(false) {
            tracing::warn!(
                client_id = caller.client_id.as_str(),
                device_id = caller.device_id.as_deref(),
                missed_pongs = 1,
                "Heartbeat timeout"
            );
            return Ending::Lost;
        }
        // Where the queue is full, the client has pings enough to answer.
        let _ = notes.try_send(Note::Ping);
    }
}

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
