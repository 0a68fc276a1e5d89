//! The dialer that really dials.

use std::sync::Arc;
use std::time::Duration;

use actix_http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, USER_AGENT};
use actix_http::{ConnectionType, Method};
use bytes::{Bytes, BytesMut};
use futures_util::future::{FutureExt, LocalBoxFuture};
use gatewarden_protocol::GatewayAddress;
use tokio::time::{Instant, timeout_at};

use super::Held;
use super::channel::{self, Reached};
use super::exchange::{Body, exchange, request_head, set_header};
use super::failure::{DialFailure, DialStep};
use super::memory_budget::{COUNTED_FROM, MemoryAccount, MemoryBudget};
use super::resolver::Resolver;
use super::socket::{FrameCap, open_halves};
use super::tls::TlsConfigs;
use super::upgrade::upgrade;
use super::{DialRequest, Dialed, Dialer, HttpMethod, HttpReply, HttpRequest};
use crate::gateway_record::TlsTrust;

/// Dials over the network. One for the whole process: clones share the system's certificate authorities, the memory budget
/// and the limit on name lookups. Its futures must run within an actix system.
#[derive(Debug, Clone)]
pub struct NetworkDialer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    resolver: Resolver,
    configs: TlsConfigs,
    memory: MemoryBudget,
}

impl NetworkDialer {
    /// A dialer with the system's resolver and certificate authorities (read at the first TLS dial).
    #[expect(clippy::new_without_default, reason = "one for the process, made where it is meant")]
    pub fn new() -> Self {
        Self::with_memory(MemoryBudget::default())
    }

    /// The same, with a memory budget for all that it reaches.
    pub fn with_memory(memory: MemoryBudget) -> Self {
        Self::with_parts(Resolver::system(), TlsConfigs::new(), memory)
    }

    pub(super) fn with_parts(resolver: Resolver, configs: TlsConfigs, memory: MemoryBudget) -> Self {
        Self { shared: Arc::new(Shared { resolver, configs, memory }) }
    }

    /// Goes the way to a gateway as far as TLS, and says how far it was gone. Ends within `timeout`; sends nothing after it.
    ///
    /// # Errors
    /// Beside what was reached: the step that failed.
    pub async fn reach(
        &self,
        address: &GatewayAddress,
        trust: &TlsTrust,
        timeout: Duration,
    ) -> (Reached, Result<(), DialFailure>) {
        let Shared { resolver, configs, .. } = &*self.shared;
        let deadline = Instant::now() + timeout;
        let mut reached = Reached::default();
        let outcome = channel::open_noting(resolver, configs, address, trust, deadline, &mut reached).await;
        (reached, outcome.map(drop))
    }

    async fn open_socket(self, request: DialRequest, memory: MemoryAccount) -> Result<Dialed, DialFailure> {
        let Shared { resolver, configs, .. } = &*self.shared;
        let deadline = Instant::now() + request.timeout;
        let channel = channel::open(resolver, configs, &request.address, &request.tls, deadline).await?;
        let mut timings = channel.timings;
        let started = Instant::now();
        let upgraded = upgrade(channel.wire, &request.address, request.origin.as_deref());
        let late = |_| DialFailure::Timeout { step: DialStep::Upgrade };
        let (io, first) = timeout_at(deadline, upgraded).await.map_err(late)??;
        timings.upgrade = Some(started.elapsed());
        let frame_cap = FrameCap::before_connect();
        let (incoming, outgoing) = open_halves(io, first, frame_cap.clone(), &memory);
        Ok(Dialed { incoming: Box::pin(incoming), outgoing, frame_cap, timings, peer: channel.peer })
    }

    async fn request(self, request: HttpRequest, memory: MemoryAccount) -> Result<HttpReply, DialFailure> {
        let Shared { resolver, configs, .. } = &*self.shared;
        let step = DialStep::Request;
        let started = Instant::now();
        let deadline = started + request.timeout;
        let channel = channel::open(resolver, configs, &request.address, &request.tls, deadline).await?;
        let mut head = request_head(
            match request.method {
                HttpMethod::Get => Method::GET,
                HttpMethod::Post => Method::POST,
            },
            &request.address,
            &request.path,
            step,
        )?;
        set_header(&mut head, ACCEPT, "application/json", step)?;
        set_header(&mut head, USER_AGENT, "gatewarden", step)?;
        if let Some(token) = request.bearer() {
            set_header(&mut head, AUTHORIZATION, &format!("Bearer {}", token.expose()), step)?;
        }
        if request.body.is_some() {
            set_header(&mut head, CONTENT_TYPE, "application/json", step)?;
        }
        for (name, value) in &request.headers {
            let name = HeaderName::try_from(*name)
                .map_err(|_| DialFailure::Other { step, reason: format!("{name} is no name of a header") })?;
            set_header(&mut head, name, value, step)?;
        }
        head.set_connection_type(ConnectionType::Close);
        let answered = async {
            let answer = exchange(Box::new(channel.wire), head, request.body).await?;
            let (status, content_type, retry_after, date_ms) =
                (answer.head.status.as_u16(), answer.content_type(), answer.retry_after(), answer.date_ms());
            let body = whole_body(answer.into_body(), request.max_body, &memory).await?;
            Ok(HttpReply { status, content_type, retry_after, date_ms, body, took: started.elapsed() })
        };
        timeout_at(deadline, answered).await.map_err(|_| DialFailure::Timeout { step })?
    }
}

async fn whole_body(mut body: Body, limit: usize, memory: &MemoryAccount) -> Result<Held<Bytes>, DialFailure> {
    let mut whole = BytesMut::new();
    let mut permit = None;
    while let Some(part) = body.next().await? {
        if whole.len() + part.len() > limit {
            return Err(DialFailure::ReplyTooLarge { limit });
        }
        let needed = whole.len() + part.len();
        if needed > whole.capacity() {
            let room = needed.max(whole.capacity() * 2).min(limit);
            if room > COUNTED_FROM {
                let permit = permit.get_or_insert_with(|| memory.permit());
                permit.grow_to(room).map_err(DialFailure::OutOfMemory)?;
            }
            whole.reserve(room - whole.len());
        }
        whole.extend_from_slice(&part);
    }
    Ok(Held::new(whole.freeze(), permit))
}

impl Dialer for NetworkDialer {
    fn dial(
        &self,
        request: DialRequest,
        memory: &MemoryAccount,
    ) -> LocalBoxFuture<'static, Result<Dialed, DialFailure>> {
        self.clone().open_socket(request, memory.clone()).boxed_local()
    }

    fn http(
        &self,
        request: HttpRequest,
        memory: &MemoryAccount,
    ) -> LocalBoxFuture<'static, Result<HttpReply, DialFailure>> {
        self.clone().request(request, memory.clone()).boxed_local()
    }

    fn memory(&self) -> MemoryBudget {
        self.shared.memory.clone()
    }
}
