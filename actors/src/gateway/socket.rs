//! The socket of the present attempt: opened, read, closed. What an older one still says carries its epoch, and the link
//! ignores it.

use actix::prelude::*;
use futures_util::StreamExt as _;
use futures_util::stream;

use super::GatewayActor;
use crate::dialing::{DialFailure, DialRequest, Dialed, FrameCap, Held, Incoming, Outgoing, SocketError};
use crate::machines::link::{CallToken, Epoch};

/// What is open, or being opened.
#[derive(Default)]
pub(super) struct Socket {
    under_way: Option<(Epoch, SpawnHandle)>,
    open: Option<Open>,
}

struct Open {
    epoch: Epoch,
    outgoing: Outgoing,
    frame_cap: FrameCap,
    reader: SpawnHandle,
}

/// What a socket says, with its epoch; `None` is its end.
struct Heard {
    epoch: Epoch,
    item: Option<Result<Incoming, SocketError>>,
}

impl GatewayActor {
    pub(super) fn dial(&mut self, epoch: Epoch, request: DialRequest, ctx: &mut Context<Self>) {
        let dialing = self.dialer.dial(request, &self.memory).into_actor(self).map(move |outcome, actor, ctx| {
            actor.dialed(epoch, outcome, ctx);
        });
        let handle = ctx.spawn(dialing);
        self.socket.under_way = Some((epoch, handle));
    }

    fn dialed(&mut self, epoch: Epoch, outcome: Result<Dialed, DialFailure>, ctx: &mut Context<Self>) {
        if self.socket.under_way.as_ref().is_some_and(|(waiting, _)| *waiting == epoch) {
            self.socket.under_way = None;
        }
        match outcome {
            Err(failure) => self.feed(ctx, |link, moment| link.on_dial_failed(moment, epoch, &failure)),
            Ok(dialed) => {
                if self.feed(ctx, |link, moment| link.on_dialed(moment, epoch)) {
                    self.open(epoch, dialed, ctx);
                }
            }
        }
    }

    fn open(&mut self, epoch: Epoch, dialed: Dialed, ctx: &mut Context<Self>) {
        let Dialed { incoming, outgoing, frame_cap, .. } = dialed;
        let heard = incoming
            .map(move |item| Heard { epoch, item: Some(item) })
            .chain(stream::once(async move { Heard { epoch, item: None } }));
        let reader = ctx.add_stream(heard);
        self.socket.open = Some(Open { epoch, outgoing, frame_cap, reader });
    }

    /// Queues something; a queue that takes nothing more means that the socket is of no use.
    pub(super) fn send(&mut self, epoch: Epoch, push: impl FnOnce(&Outgoing) -> Result<(), SocketError>) {
        let Some(open) = self.socket.open.as_ref().filter(|open| open.epoch == epoch) else { return };
        if let Err(error) = push(&open.outgoing) {
            // Its effects are carried out by the loop that called us.
            let moment = super::moment_of(&self.clock);
            self.link.on_socket_error(moment, epoch, &error);
        }
    }

    /// Queues the frame that starts a run. A frame that isn't queued has certainly not left, which the link must know.
    pub(super) fn send_run(&mut self, epoch: Epoch, call: CallToken, text: String) {
        let queued = match self.socket.open.as_ref().filter(|open| open.epoch == epoch) {
            Some(open) => open.outgoing.try_send_text(text),
            None => Err(SocketError::Closed),
        };
        if let Err(error) = queued {
            let moment = super::moment_of(&self.clock);
            self.link.on_run_unsent(moment, call);
            self.link.on_socket_error(moment, epoch, &error);
        }
    }

    fn message(&mut self, epoch: Epoch, message: Held<impl AsRef<[u8]>>, ctx: &mut Context<Self>) {
        let (content, permit) = message.into_parts();
        self.feed_decoding(ctx, permit, |link, moment, meter| {
            link.on_message(moment, epoch, content.as_ref(), meter);
            drop(content);
            meter.keep_values();
        });
    }

    pub(super) fn raise_cap(&mut self, epoch: Epoch, bytes: usize) {
        if let Some(open) = self.socket.open.as_ref().filter(|open| open.epoch == epoch) {
            open.frame_cap.set(bytes);
        }
    }

    /// Says goodbye and lets go of the socket, or gives up the dial; what is queued is still written.
    pub(super) fn close(&mut self, epoch: Epoch, code: u16, reason: &'static str, ctx: &mut Context<Self>) {
        if let Some((_, handle)) = self.socket.under_way.take_if(|(waiting, _)| *waiting == epoch) {
            ctx.cancel_future(handle);
        }
        if let Some(open) = self.socket.open.take_if(|open| open.epoch == epoch) {
            // A peer that is gone hears no goodbye.
            let _ = open.outgoing.close(code, reason);
            ctx.cancel_future(open.reader);
        }
        self.forget_http(epoch, ctx);
    }
}

impl StreamHandler<Heard> for GatewayActor {
    fn handle(&mut self, Heard { epoch, item }: Heard, ctx: &mut Self::Context) {
        let item = match item {
            Some(Ok(Incoming::Text(text))) => return self.message(epoch, text, ctx),
            Some(Ok(Incoming::Binary(bytes))) => return self.message(epoch, bytes, ctx),
            other => other,
        };
        self.feed(ctx, |link, moment| match item {
            None | Some(Ok(Incoming::Text(_) | Incoming::Binary(_))) => link.on_closed(moment, epoch, None, ""),
            Some(Ok(Incoming::Ping(payload))) => link.on_ping(moment, epoch, payload),
            Some(Ok(Incoming::Pong(payload))) => link.on_pong(moment, epoch, &payload),
            Some(Ok(Incoming::Close { code, reason })) => link.on_closed(moment, epoch, code.or(Some(1005)), &reason),
            Some(Err(error)) => link.on_socket_error(moment, epoch, &error),
        });
    }

    /// The end of one socket is not the end of the actor.
    fn finished(&mut self, _ctx: &mut Self::Context) {}
}
