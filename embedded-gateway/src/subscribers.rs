//! Who listens: the connections after their hello, what they subscribed to, and who gets which event.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::caller::{Caller, ConnectionId, Scope};

#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    listeners: BTreeMap<ConnectionId, Listener>,
}

#[derive(Debug)]
struct Listener {
    caller: Arc<Caller>,
    all_sessions: bool,
    session_messages: BTreeSet<String>,
}

impl Subscribers {
    pub(crate) fn join(&mut self, caller: Arc<Caller>) {
        self.listeners
            .insert(caller.connection, Listener { caller, all_sessions: false, session_messages: BTreeSet::new() });
    }

    pub(crate) fn leave(&mut self, connection: ConnectionId) -> Option<Arc<Caller>> {
        self.listeners.remove(&connection).map(|listener| listener.caller)
    }

    pub(crate) fn len(&self) -> usize {
        self.listeners.len()
    }

    pub(crate) fn callers(&self) -> impl Iterator<Item = &Arc<Caller>> {
        self.listeners.values().map(|listener| &listener.caller)
    }

    pub(crate) fn caller(&self, connection: ConnectionId) -> Option<&Arc<Caller>> {
        self.listeners.get(&connection).map(|listener| &listener.caller)
    }

    pub(crate) fn holding(&self, scope: Scope) -> Vec<ConnectionId> {
        self.those(|listener| listener.caller.holds(scope))
    }

    fn those(&self, wanted: impl Fn(&Listener) -> bool) -> Vec<ConnectionId> {
        let wanted = self.listeners.iter().filter(|(_, listener)| wanted(listener));
        wanted.map(|(connection, _)| *connection).collect()
    }

    pub(crate) fn follow_sessions(&mut self, connection: ConnectionId, follow: bool) -> bool {
        self.listeners.get_mut(&connection).map(|listener| listener.all_sessions = follow).is_some()
    }

    /// Those who follow all sessions (`sessions.changed`).
    pub(crate) fn session_followers(&self) -> Vec<ConnectionId> {
        self.those(|listener| listener.all_sessions && listener.caller.holds(Scope::Read))
    }

    /// `sessions.messages.subscribe` and `.unsubscribe`. At most `most` keys a connection; false where that is exceeded.
    pub(crate) fn follow_messages(&mut self, connection: ConnectionId, key: &str, follow: bool, most: usize) -> bool {
        let Some(listener) = self.listeners.get_mut(&connection) else { return false };
        if !follow {
            listener.session_messages.remove(key);
            return true;
        }
        if listener.session_messages.len() >= most && !listener.session_messages.contains(key) {
            return false;
        }
        listener.session_messages.insert(key.to_owned());
        true
    }

    /// Those who follow the messages of one session (`session.message`), or all sessions.
    pub(crate) fn message_followers(&self, key: &str) -> Vec<ConnectionId> {
        self.those(|listener| {
            listener.caller.holds(Scope::Read) && (listener.all_sessions || listener.session_messages.contains(key))
        })
    }
}
