//! The core's children: processes are started and signalled, and their news come in as messages; deadlines of the machine
//! wake it up.

use std::time::Instant;

use actix::prelude::*;
use tokio::sync::{mpsc, watch};

use super::{CoreActor, InTurn};
use crate::clock::until;
use crate::config::GatewayConfig;
use crate::effect::{News, ProcessNews};
use crate::machine::GatewayMachine;
use crate::processes::{Launcher, owner_of};

/// News that wait for the core actor; while there are as many, the output of all children waits in its pipes.
const NEWS: usize = 256;

/// The processes of the gateway, and its alarm clock.
#[derive(Debug)]
pub(super) struct Children {
    pub(super) launcher: Launcher,
    news: Option<mpsc::Receiver<News>>,
    deadline: watch::Sender<Option<Instant>>,
}

impl Children {
    /// None yet. They are the state directory's.
    pub(super) fn new(config: &GatewayConfig) -> Self {
        let (sender, news) = mpsc::channel(NEWS);
        let (deadline, _) = watch::channel(None);
        let launcher = Launcher::new(owner_of(&config.state_dir), sender).with_room_for(config.limits.processes);
        Self { launcher, news: Some(news), deadline }
    }

    /// Passes news and deadlines on to the core actor for as long as it lives.
    pub(super) fn attend(&mut self, core: Addr<CoreActor>) {
        if let Some(mut news) = self.news.take() {
            let core = core.clone();
            actix::spawn(async move {
                while let Some(news) = news.recv().await {
                    // One at a time: the core actor's pace is theirs.
                    if core.send(ChildNews(news)).await.is_err() {
                        break;
                    }
                }
            });
        }
        let mut deadline = self.deadline.subscribe();
        actix::spawn(async move {
            loop {
                let due = *deadline.borrow_and_update();
                let changed = tokio::select! {
                    changed = deadline.changed() => changed.is_ok(),
                    () = until(due) => core.send(InTurn::new(GatewayMachine::on_time)).await.is_ok(),
                };
                if !changed {
                    break;
                }
            }
        });
    }

    /// When the machine wants to be woken. To be said after each turn.
    pub(super) fn wake_at(&self, due: Option<Instant>) {
        self.deadline.send_if_modified(|known| std::mem::replace(known, due) != due);
    }
}

#[derive(Debug, Message)]
#[rtype(result = "()")]
struct ChildNews(News);

impl Handler<ChildNews> for CoreActor {
    type Result = ();

    fn handle(&mut self, ChildNews(News { run, news }): ChildNews, _: &mut Self::Context) {
        match &news {
            ProcessNews::Started { .. } => {
                self.metrics.processes_started.inc();
                self.metrics.processes.inc();
            }
            ProcessNews::Exited { .. } => self.metrics.processes.dec(),
            _ => {}
        }
        self.turn(|machine, turn| machine.process_news(&run, news, turn));
    }
}

#[cfg(test)]
mod tests;
