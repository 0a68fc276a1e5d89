//! Sockets without a network, for tests of whoever holds a [`Dialer`].

use std::net::SocketAddr;

use futures_util::stream;
use tokio::sync::mpsc;

use crate::dialing::*;

/// The other end of a scripted socket.
#[derive(Debug)]
pub(crate) struct ScriptedPeer {
    /// What was sent to this peer, in order; ends when the socket is dropped.
    pub(crate) sent: mpsc::Receiver<Box<Sent>>,
    /// What this peer says; dropping it ends the socket.
    pub(crate) says: mpsc::UnboundedSender<Result<Incoming, SocketError>>,
}

impl Dialed {
    /// A socket without a network, and its other end.
    pub(crate) fn scripted() -> (Self, ScriptedPeer) {
        let (outgoing, sent, _) = Outgoing::bounded(usize::MAX);
        let (says, mut heard) = mpsc::unbounded_channel();
        let incoming = stream::poll_fn(move |context| heard.poll_recv(context));
        let dialed = Self {
            incoming: Box::pin(incoming),
            outgoing,
            frame_cap: FrameCap::before_connect(),
            timings: DialTimings::default(),
            peer: SocketAddr::from(([127, 0, 0, 1], gatewarden_protocol::address::DEFAULT_GATEWAY_PORT)),
        };
        (dialed, ScriptedPeer { sent, says })
    }
}
