//! The desk's children: processes are started and signalled, and their news come in as messages; deadlines of the machine
//! wake it up.

use std::time::Instant;

use actix::prelude::*;
use tokio::sync::{mpsc, watch};

use super::DeskActor;
use super::messages::{News, Wake};
use crate::config::GatewayConfig;
use crate::effect::ProcessNews;
use crate::machine::GatewayMachine;
use crate::processes::{Launcher, owner_of};

/// News that wait for the desk; while there are as many, the output of all children waits in its pipes.
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
        Self { launcher: Launcher::new(owner_of(&config.state_dir), sender), news: Some(news), deadline }
    }

    /// Passes news and deadlines on to the desk for as long as it lives.
    pub(super) fn attend(&mut self, desk: Addr<DeskActor>) {
        if let Some(mut news) = self.news.take() {
            let desk = desk.clone();
            actix::spawn(async move {
                while let Some(news) = news.recv().await {
                    // One at a time: the desk's pace is theirs.
                    if desk.send(news).await.is_err() {
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
                    () = until(due) => desk.send(Wake).await.is_ok(),
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

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

impl Handler<News> for DeskActor {
    type Result = ();

    fn handle(&mut self, News { run, news }: News, _: &mut Self::Context) {
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

impl Handler<Wake> for DeskActor {
    type Result = ();

    fn handle(&mut self, _: Wake, _: &mut Self::Context) {
        self.turn(GatewayMachine::on_time);
    }
}

#[cfg(test)]
mod tests;
