//! The commands of [`super::messages`], in their order: each is an input of the link.

use actix::prelude::*;

use super::GatewayActor;
use super::messages::GatewayCommand;
use crate::machines::link::{CallToken, Link, ProbeToken};

impl Handler<GatewayCommand> for GatewayActor {
    type Result = ();

    fn handle(&mut self, command: GatewayCommand, ctx: &mut Self::Context) {
        match command {
            GatewayCommand::UpdateRecord(record) => self.feed(ctx, |link, moment| link.update_record(moment, record)),
            GatewayCommand::Reconnect => self.feed(ctx, Link::reconnect),
            GatewayCommand::Permit(permit) => self.feed(ctx, |link, moment| link.on_permit(moment, permit)),
            GatewayCommand::Probe { timeout, reply } => {
                let token = ProbeToken(self.next_token());
                self.probers.insert(token, reply);
                self.feed(ctx, |link, moment| link.on_probe(moment, token, timeout));
            }
            GatewayCommand::Call { method, params, timeout, reply } => {
                let token = CallToken(self.next_token());
                self.callers.insert(token, reply);
                self.feed(ctx, |link, moment| link.on_call(moment, token, &method, &params, timeout));
            }
            GatewayCommand::StartRun(start, reply) => {
                let token = CallToken(self.next_token());
                self.starters.insert(token, reply);
                self.feed(ctx, |link, moment| link.on_start_run(moment, token, start));
            }
            GatewayCommand::LookUpRun(wanted, reply) => {
                let token = CallToken(self.next_token());
                self.seekers.insert(token, reply);
                self.feed(ctx, |link, moment| link.on_look_up_run(moment, token, wanted));
            }
            GatewayCommand::Control(control, reply) => {
                let token = CallToken(self.next_token());
                self.callers.insert(token, reply);
                self.feed(ctx, |link, moment| link.on_control(moment, token, control));
            }
            GatewayCommand::WatchLogs(wish, reply) => self.let_follower_in(wish, reply, ctx),
            GatewayCommand::ShutDown(reply) => {
                self.feed(ctx, Link::shut_down);
                // Whoever only wanted it stopped doesn't wait.
                let _ = reply.send(());
                // The close frame is queued; the socket's own task writes it after this actor is gone.
                ctx.stop();
            }
        }
    }
}

/// Lets tests kill an actor as a fault would.
#[cfg(test)]
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub(crate) struct InducePanic;

#[cfg(test)]
impl Handler<InducePanic> for GatewayActor {
    type Result = ();

    fn handle(&mut self, InducePanic: InducePanic, _ctx: &mut Self::Context) {
        panic!("induced by a test");
    }
}
