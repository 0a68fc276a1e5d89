//! The order of messages over a connection that lasts: `initialize` first, and once. `rmcp` takes a second one, breaks off where
//! something else than a request comes before, and speaks of a later version of the protocol to who asks too early.

use rmcp::RoleServer;
use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, ErrorCode, ErrorData, GetMeta as _, RequestId, ServerJsonRpcMessage,
};
use rmcp::transport::Transport;

/// A transport that answers what is out of order itself, and passes on the rest.
#[derive(Debug)]
pub(crate) struct Ordered<T> {
    inner: T,
    has_begun: bool,
}

enum Verdict {
    Pass,
    Ignore,
    Refuse(RequestId, ErrorData),
}

impl<T> Ordered<T> {
    pub(crate) fn over(inner: T) -> Self {
        Self { inner, has_begun: false }
    }

    fn judge(&mut self, message: &ClientJsonRpcMessage) -> Verdict {
        let ClientJsonRpcMessage::Request(asked) = message else {
            // Nobody asked the client anything, and a notification has no answer.
            return if self.has_begun { Verdict::Pass } else { Verdict::Ignore };
        };
        let (code, sentence) = match &asked.request {
            ClientRequest::PingRequest(_) => return Verdict::Pass,
            ClientRequest::InitializeRequest(_) if self.has_begun => {
                (ErrorCode::INVALID_REQUEST, "initialize was answered already, and comes once")
            }
            ClientRequest::InitializeRequest(_) => {
                self.has_begun = true;
                return Verdict::Pass;
            }
            ClientRequest::CustomRequest(request) if request.method == "initialize" => {
                (ErrorCode::INVALID_PARAMS, "initialize needs protocolVersion, capabilities and clientInfo")
            }
            _ if self.has_begun => return Verdict::Pass,
            // Of a version without initialize: such clients are told which versions there are.
            request if request.get_meta().protocol_version().is_some() => return Verdict::Pass,
            _ => (ErrorCode::INVALID_REQUEST, "The first request must be initialize"),
        };
        Verdict::Refuse(asked.id.clone(), ErrorData::new(code, sentence, None))
    }
}

impl<T: Transport<RoleServer>> Transport<RoleServer> for Ordered<T> {
    type Error = T::Error;

    fn send(&mut self, item: ServerJsonRpcMessage) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.inner.send(item)
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            let message = self.inner.receive().await?;
            match self.judge(&message) {
                Verdict::Pass => return Some(message),
                Verdict::Ignore => {}
                // Who can't be written to is gone, which the next read says.
                Verdict::Refuse(id, error) => drop(self.inner.send(ServerJsonRpcMessage::error(error, Some(id))).await),
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.inner.close().await
    }
}
