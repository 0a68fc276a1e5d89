//! Sends what jobs tell by HTTP: one task a message, given up soon after the gateway is to stop.
//!
//! A name is looked up here, and what is connected to are the addresses that were looked at: a name can't become another address in
//! between. Redirections are not followed.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use gatewarden_protocol::Secret;
use tokio::task::JoinHandle;

use super::posting::PostFault;
use super::webhook::refusal;
use crate::channels::{Fault, Http, tls_of_this_machine};
use crate::effect::{PostOrder, RunId};

/// For a name's addresses, and then for a request with its answer, as with real gateways.
const PATIENCE: Duration = Duration::from_secs(10);
/// For a connection, and then for its encryption: until then it is certain that nothing was sent.
const CONNECT: Duration = Duration::from_secs(3);
/// For what is under way when the gateway is to stop.
const LAST: Duration = Duration::from_secs(5);
/// Addresses of a name that are tried.
const MOST_ADDRESSES: usize = 2;

type Tell = Rc<dyn Fn(RunId, Result<(), PostFault>)>;

#[derive(Default)]
pub(crate) struct Poster {
    under_way: HashMap<RunId, JoinHandle<()>>,
    tell: Option<Tell>,
    /// Made for the first message that needs it.
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl fmt::Debug for Poster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poster").field("under_way", &self.under_way.len()).finish_non_exhaustive()
    }
}

impl Drop for Poster {
    fn drop(&mut self) {
        self.under_way.values().for_each(JoinHandle::abort);
    }
}

impl Poster {
    /// Whom to tell what becomes of messages: once of each.
    pub(crate) fn attend(&mut self, tell: impl Fn(RunId, Result<(), PostFault>) + 'static) {
        self.tell = Some(Rc::new(tell));
    }

    pub(crate) fn send(&mut self, order: PostOrder) {
        let Some(tell) = self.tell.clone() else { return };
        self.under_way.retain(|_, task| !task.is_finished());
        let (run, tls) = (order.run.clone(), self.tls(&order));
        let task = actix_rt::spawn(async move {
            let outcome = match tls {
                Ok(tls) => carry_out(&order, tls).await,
                Err(fault) => Err(fault),
            };
            tell(order.run, outcome);
        });
        self.under_way.insert(run, task);
    }

    /// Resolves when nothing is under way any more, or its time is over.
    pub(crate) fn finish(&mut self) -> impl Future<Output = ()> + 'static {
        let tasks = join_all(std::mem::take(&mut self.under_way).into_values());
        async move { drop(tokio::time::timeout(LAST, tasks).await) }
    }

    fn tls(&mut self, order: &PostOrder) -> Result<Option<Arc<rustls::ClientConfig>>, PostFault> {
        if !order.url.is_encrypted() {
            return Ok(None);
        }
        if self.tls.is_none() {
            self.tls = Some(tls_of_this_machine().map_err(fault_of)?);
        }
        Ok(self.tls.clone())
    }
}

async fn carry_out(order: &PostOrder, tls: Option<Arc<rustls::ClientConfig>>) -> Result<(), PostFault> {
    if let Some(why) = order.url.refusal(&order.reach) {
        return Err(PostFault::Refused(format!("not sent: {why}")));
    }
    let late = |_| PostFault::Unreached(format!("the name of its host isn't resolved in {} s", PATIENCE.as_secs()));
    let addresses = tokio::time::timeout(PATIENCE, addresses(order)).await.map_err(late)??;
    let http = Http::within(CONNECT, tls);
    let address = Secret::new(order.url.expose());
    let token = order.token.as_ref().map(|token| Secret::new(format!("Bearer {}", token.expose())));
    let mut unreached = None;
    for at in addresses.into_iter().take(MOST_ADDRESSES) {
        match http.post_at(at, &address, token.as_ref(), order.body.clone(), PATIENCE).await {
            Ok(200..=299) => return Ok(()),
            Ok(status @ 300..=399) => {
                return Err(PostFault::Refused(format!(
                    "Webhook request failed with HTTP {status}: redirections are not followed; write the address that it leads to"
                )));
            }
            Ok(status) => {
                let said = format!("Webhook request failed with HTTP {status}; the receiver's log says why");
                return Err(PostFault::Refused(said));
            }
            Err(fault) => match fault_of(fault) {
                PostFault::Unreached(said) => unreached = Some(said),
                fault => return Err(fault),
            },
        }
    }
    Err(PostFault::Unreached(unreached.unwrap_or_else(|| "its name has no address".to_owned())))
}

/// All of them are looked at: a name that also has an address of a private network is meant for there.
async fn addresses(order: &PostOrder) -> Result<Vec<SocketAddr>, PostFault> {
    let (host, port) = order.url.host();
    let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => {
            let looked_up = tokio::net::lookup_host((host.as_str(), port)).await;
            let unknown = |error| PostFault::Unreached(format!("the name of its host isn't resolved: {error}"));
            looked_up.map_err(unknown)?.collect()
        }
    };
    match found.iter().find_map(|at| refusal(&host, at.ip(), &order.reach)) {
        Some(why) => Err(PostFault::Refused(format!("not sent: {why}"))),
        None => Ok(found),
    }
}

fn fault_of(fault: Fault) -> PostFault {
    match fault {
        Fault::Unreached(said) => PostFault::Unreached(format!("its host isn't reached: {said}")),
        Fault::Unanswered(said) => PostFault::Unanswered(format!("whether it was taken isn't known: {said}")),
        fault => PostFault::Refused(fault.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::config::WebhookReach;
    use crate::cron::webhook::WebhookUrl;

    /// A receiver that answers each request so, and what it was sent.
    fn receiver(answer: &'static str) -> (u16, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut heard = Vec::new();
            let mut buffer = [0; 4096];
            while !heard.ends_with(b"}") {
                let count = socket.read(&mut buffer).unwrap();
                heard.extend_from_slice(&buffer[..count]);
            }
            socket.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(heard).unwrap()
        });
        (port, heard)
    }

    fn order(url: &str, hostname: &str) -> PostOrder {
        PostOrder {
            run: RunId("r".to_owned()),
            url: WebhookUrl::parse(url).unwrap(),
            body: r#"{"action":"finished"}"#.to_owned(),
            token: Some(Secret::new("tok")),
            reach: WebhookReach { hostnames: [hostname.to_owned()].into(), ..Default::default() },
        }
    }

    async fn sent(url: &str) -> Result<(), PostFault> {
        carry_out(&order(url, "127.0.0.1"), None).await
    }

    #[actix_web::test]
    async fn a_receiver_gets_the_body_with_the_token_and_any_2xx_takes_it() {
        let (port, heard) = receiver("HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(sent(&format!("http://127.0.0.1:{port}/a/b?c=d")).await, Ok(()));
        let heard = heard.join().unwrap().to_ascii_lowercase();
        assert!(heard.starts_with("post /a/b?c=d http/1.1\r\n"), "{heard}");
        for part in
            ["\r\nauthorization: bearer tok\r\n", "\r\ncontent-type: application/json\r\n", "\r\n\r\n{\"action\":"]
        {
            assert!(heard.contains(part), "{part}: {heard}");
        }
    }

    #[actix_web::test]
    async fn a_redirection_is_not_followed_and_an_error_is_told_by_its_number() {
        let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
        elsewhere.set_nonblocking(true).unwrap();
        let to = elsewhere.local_addr().unwrap();
        let answer = format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{to}/\r\ncontent-length: 0\r\n\r\n");
        let (port, _) = receiver(Box::leak(answer.into_boxed_str()));
        let said = sent(&format!("http://127.0.0.1:{port}/")).await;
        assert!(matches!(&said, Err(PostFault::Refused(said)) if said.contains("HTTP 307")), "{said:?}");
        assert!(elsewhere.accept().is_err(), "the token goes nowhere else");
        let (port, _) = receiver("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
        let said = sent(&format!("http://127.0.0.1:{port}/")).await;
        assert!(matches!(&said, Err(PostFault::Refused(said)) if said.contains("HTTP 503")), "{said:?}");
    }

    #[actix_web::test]
    async fn what_was_not_sent_is_told_from_what_may_have_been_taken() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let said = sent(&format!("http://{closed}/")).await;
        assert!(matches!(said, Err(PostFault::Unreached(_))), "{said:?}");
        let (port, _) = receiver("");
        let said = sent(&format!("http://127.0.0.1:{port}/")).await;
        assert!(matches!(said, Err(PostFault::Unanswered(_))), "{said:?}");
        let said = sent("http://no-such-host.invalid/").await;
        assert!(matches!(said, Err(PostFault::Unreached(_))), "{said:?}");
    }

    #[actix_web::test]
    async fn a_private_address_is_not_connected_to_whatever_its_name_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let said = carry_out(&order(&format!("http://127.0.0.1:{port}/"), "hooks.example.com"), None).await;
        assert!(matches!(&said, Err(PostFault::Refused(said)) if said.contains("allowedHostnames")), "{said:?}");
        // A name that is looked up: this one has an address of this machine everywhere.
        let mut order = order(&format!("http://localhost:{port}/"), "hooks.example.com");
        order.reach.hostnames.clear();
        let said = addresses(&order).await;
        assert!(matches!(&said, Err(PostFault::Refused(said)) if said.contains("localhost is")), "{said:?}");
        assert!(listener.accept().is_err());
    }

    #[actix_web::test]
    async fn what_is_under_way_when_the_gateway_stops_comes_to_its_end() {
        let told = Rc::new(std::cell::RefCell::new(Vec::new()));
        let mut poster = Poster::default();
        let hears = Rc::clone(&told);
        poster.attend(move |_, outcome| hears.borrow_mut().push(outcome));
        let (port, _) = receiver("HTTP/1.1 204 No Content\r\n\r\n");
        poster.send(order(&format!("http://127.0.0.1:{port}/"), "127.0.0.1"));
        assert!(told.borrow().is_empty());
        poster.finish().await;
        drop(poster);
        assert_eq!(*told.borrow(), [Ok(())]);
    }

    #[actix_web::test]
    async fn over_tls_the_name_is_the_one_of_the_address_whatever_is_connected_to() {
        let made = rcgen::generate_simple_self_signed(["hooks.example.com".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
        let server = server.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let server = server.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let names = Rc::new(std::cell::RefCell::new(Vec::new()));
        let heard = Rc::clone(&names);
        let serving = actix_rt::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(socket).await else { continue };
                heard.borrow_mut().extend(stream.get_ref().1.server_name().map(str::to_owned));
                let mut buffer = [0; 4096];
                let mut request = Vec::new();
                while !request.ends_with(b"}") {
                    let count = stream.read(&mut buffer).await.unwrap();
                    request.extend_from_slice(&buffer[..count]);
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            }
        });
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
        let http = Http::within(CONNECT, Some(Arc::new(client)));
        let send = |host: &str| {
            let (http, address) = (http.clone(), Secret::new(format!("https://{host}:{}/x", at.port())));
            async move { http.post_at(at, &address, None, "{}".to_owned(), PATIENCE).await }
        };
        assert_eq!(send("hooks.example.com").await, Ok(200));
        assert_eq!(*names.borrow(), ["hooks.example.com"]);
        let said = send("elsewhere.example.com").await;
        assert!(matches!(said, Err(Fault::Unreached(_))), "{said:?}");
        serving.abort();
    }
}
