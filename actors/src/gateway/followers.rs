//! Followers of the gateway's log: lets them in, hands them what the connection says, and notices when they are gone.

use std::collections::HashMap;
use std::sync::Arc;

use actix::prelude::*;

use super::{GatewayActor, Reply};
use crate::error::Failure;
use crate::log_watch::{LogBegin, LogDelivery, LogFeed, LogRequest, LogSubscription, pair};
use crate::machines::connection::LogNews;
use crate::machines::log_tail::{Begin, POLL_LIMIT, WatchToken};
use crate::metrics::Metrics;

/// Who follows, and who wants to.
#[derive(Default)]
pub(super) struct Followers {
    feeds: HashMap<WatchToken, LogFeed>,
    joining: HashMap<WatchToken, (LogRequest, Reply<Result<LogSubscription, Failure>>)>,
}

impl GatewayActor {
    /// It follows once the first entries are there.
    pub(super) fn let_follower_in(
        &mut self,
        request: LogRequest,
        reply: Reply<Result<LogSubscription, Failure>>,
        ctx: &mut Context<Self>,
    ) {
        let watch = WatchToken(self.next_token());
        self.drop_gone_followers();
        self.followers.joining.insert(watch, (request, reply));
        let begin = match (request.begin, request.level) {
            (LogBegin::Now, _) => Begin::Now,
            (LogBegin::After(cursor), _) => Begin::After(cursor),
            (LogBegin::Newest(newest), None) => Begin::Newest(newest),
            // The gateway counts lines of all levels, so a filtered read asks for more.
            (LogBegin::Newest(_), Some(_)) => Begin::Newest(POLL_LIMIT),
        };
        self.feed(ctx, |connection, moment| connection.watch_logs(moment, watch, begin));
    }

    /// Before anything is asked on behalf of followers: are they still there?
    pub(super) fn drop_gone_followers(&mut self) {
        let Followers { feeds, joining } = &mut self.followers;
        let gone = feeds.extract_if(|_, feed| !feed.is_read()).map(|(watch, _)| watch);
        let mut gone: Vec<WatchToken> = gone.collect();
        gone.extend(joining.extract_if(|_, (_, answer)| answer.is_closed()).map(|(watch, _)| watch));
        for watch in gone {
            self.tell_connection(|connection, _| connection.unwatch_logs(watch));
        }
    }
}

impl Followers {
    pub(super) fn tell(&mut self, news: LogNews, metrics: &Arc<Metrics>) {
        match news {
            LogNews::Welcome { watch, entries, cursor, gap } => {
                let Some((request, answer)) = self.joining.remove(&watch) else { return };
                let (feed, subscription) = pair(request, metrics, &entries, cursor, gap);
                self.feeds.insert(watch, feed);
                // Whoever didn't wait for it drops it, and is found to be gone at the next look.
                let _ = answer.send(Ok(subscription));
            }
            LogNews::Refused(watch, failure) => {
                let _ = self.joining.remove(&watch).map(|(_, answer)| answer.send(Err(failure)));
            }
            LogNews::Entries { entries, cursor, known } => {
                for (watch, feed) in &self.feeds {
                    let known = known.iter().find(|(who, _)| who == watch).map_or(0, |(_, known)| *known);
                    if let Some(fresh) = entries.get(known..).filter(|fresh| !fresh.is_empty()) {
                        feed.entries(fresh, cursor);
                    }
                }
            }
            LogNews::Gap(gap) => self.notify(&LogDelivery::Gap(gap)),
            LogNews::Interrupted => self.notify(&LogDelivery::Interrupted),
            LogNews::Resumed => self.notify(&LogDelivery::Resumed),
            LogNews::Over(failure) => {
                self.notify(&LogDelivery::Over(failure));
                self.feeds.clear();
            }
        }
    }

    fn notify(&self, notice: &LogDelivery) {
        self.feeds.values().for_each(|feed| feed.notice(notice.clone()));
    }
}
