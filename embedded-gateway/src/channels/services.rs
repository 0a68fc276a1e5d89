//! Carries out what the machine wants of services: one task a request, given up with its account.

use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::http::Http;
use super::service::{Fault, Reply, RequestKind, Sent, Service, Update};
use crate::config::ChannelAccount;
use crate::effect::{ChannelKey, ChannelOrder, ChannelRequest};

/// What came of a request.
#[derive(Debug)]
pub(crate) struct ChannelNews {
    pub account: ChannelKey,
    pub life: u64,
    pub kind: RequestKind,
    pub outcome: Result<Reply, Fault>,
}

type Tell = Rc<dyn Fn(ChannelNews)>;

/// The ways to all accounts that are used.
#[derive(Default)]
pub(crate) struct Services {
    open: HashMap<ChannelKey, Opened>,
    tell: Option<Tell>,
    /// Made by the first account that needs it.
    tls: Option<Arc<rustls::ClientConfig>>,
    sent: Sent,
}

struct Opened {
    service: Result<Box<dyn Service>, Fault>,
    under_way: HashMap<RequestKind, JoinHandle<()>>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.under_way.values().for_each(JoinHandle::abort);
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("open", &self.open.keys()).finish_non_exhaustive()
    }
}

impl Services {
    /// Whom to tell what comes of requests: at most one piece of news for each.
    pub(crate) fn attend(&mut self, tell: impl Fn(ChannelNews) + 'static) {
        self.tell = Some(Rc::new(tell));
    }

    pub(crate) fn carry_out(&mut self, account: ChannelKey, order: ChannelOrder) {
        match order {
            ChannelOrder::Open(settings) => {
                let service = self.service(&settings);
                self.open.insert(account, Opened { service, under_way: HashMap::new() });
            }
            ChannelOrder::Configure(settings) => {
                if let Some(Opened { service: Ok(service), .. }) = self.open.get(&account) {
                    service.configure(&settings);
                }
            }
            ChannelOrder::Close => {
                self.open.remove(&account);
                if self.open.is_empty() {
                    self.tls = None;
                }
            }
            ChannelOrder::Ask { life, request } => self.ask(account, life, request),
        }
    }

    /// What came for an account by the gateway's own HTTP. `stored` is told when it is on disk, and dropped where it isn't taken.
    pub(crate) fn receive(&self, account: &ChannelKey, updates: Vec<Update>, stored: oneshot::Sender<()>) {
        if let Some(Opened { service: Ok(service), .. }) = self.open.get(account) {
            service.receive(updates, stored);
        }
    }

    fn ask(&mut self, account: ChannelKey, life: u64, request: ChannelRequest) {
        let (Some(opened), Some(tell)) = (self.open.get_mut(&account), self.tell.clone()) else { return };
        let kind = RequestKind::of(&request);
        let asked = match &opened.service {
            Ok(service) => Ok(service.perform(request)),
            Err(fault) => Err(fault.clone()),
        };
        let task = actix_rt::spawn(async move {
            let outcome = match asked {
                Ok(asked) => asked.await,
                Err(fault) => Err(fault),
            };
            tell(ChannelNews { account, life, kind, outcome });
        });
        opened.under_way.insert(kind, task);
    }

    fn service(&mut self, account: &ChannelAccount) -> Result<Box<dyn Service>, Fault> {
        let tls = match &self.tls {
            _ if !account.api_root.starts_with("https:") => None,
            Some(tls) => Some(Arc::clone(tls)),
            None => Some(tls_of_this_machine()?),
        };
        self.tls = tls.clone().or(self.tls.take());
        open(account, Http::new(tls), &self.sent)
    }
}

fn open(account: &ChannelAccount, http: Http, sent: &Sent) -> Result<Box<dyn Service>, Fault> {
    let token = account.token.clone().ok_or_else(|| Fault::Credentials("there is none".to_owned()))?;
    super::connect(account, http, token, sent)
}

/// Asks an account's service whether its token is accepted: the bot's name. For a look at the configuration without a gateway.
///
/// # Errors
/// Why it isn't known, or isn't so, and what helps.
pub async fn try_credentials(account: &ChannelAccount) -> Result<String, (String, &'static str)> {
    let asked = async {
        let tls = account.api_root.starts_with("https:").then(tls_of_this_machine).transpose()?;
        match open(account, Http::new(tls), &Sent::default())?.perform(ChannelRequest::Identify).await? {
            Reply::Identity(me) => Ok(me.name),
            _ => Err(Fault::Trouble("it answers something else than it was asked".to_owned())),
        }
    };
    asked.await.map_err(|fault: Fault| (fault.to_string(), fault.cure(account.kind)))
}

/// Trusts what the machine trusts.
pub(crate) fn tls_of_this_machine() -> Result<Arc<rustls::ClientConfig>, Fault> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let said = "this machine has no certificate authorities installed; SSL_CERT_FILE can name some";
        return Err(Fault::Unreached(said.to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::Unreached(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
