//! The way to one gateway, step by step.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use gatewarden_actors::clock::Clock;
use gatewarden_actors::dialing::channel::Reached;
use gatewarden_actors::dialing::http_probe::{HttpGateway, MAX_HEALTH_BODY};
use gatewarden_actors::dialing::login::{Login, LoginPatience, log_in};
use gatewarden_actors::dialing::read_health;
use gatewarden_actors::dialing::{
    DialFailure, DialRequest, DialStep, Dialed, Dialer as _, HttpReply, HttpRequest, MemoryAccount, NetworkDialer,
};
use gatewarden_actors::gateway_record::TlsTrust;
use gatewarden_actors::machines::connection::{HttpAnswer, HttpOperation};
use gatewarden_api::gateways::LastError;
use gatewarden_protocol::handshake::HandshakeConfig;
use gatewarden_protocol::hello::Hello;
use gatewarden_protocol::refusal::{Refusal, RefusalCode, UpgradeAnswer, classify_http_reply};
use gatewarden_protocol::{GatewayAddress, Secret};
use serde_json::json;

use super::report::{Report, StepTold};
use super::{Asker, Known};

/// Real gateways refuse signatures that are further off than this.
const CLOCK_TOLERANCE_MS: i64 = 120_000;
/// And this much is worth a remark.
const CLOCK_ODD_MS: i64 = 10_000;
/// For the gateway's goodbye.
const GOODBYE: Duration = Duration::from_millis(300);

/// What is tried.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) address: GatewayAddress,
    pub(crate) trust: TlsTrust,
    pub(crate) token: Option<Secret>,
    /// For each step.
    pub(crate) patience: Duration,
    pub(crate) known: Known,
    pub(crate) asker: Asker,
}

/// Goes as far as it gets, and tells of each step when it is done.
pub(crate) async fn go(plan: Plan, told: Option<StepTold>) -> Report {
    let way = Way {
        dialer: NetworkDialer::new(),
        memory: MemoryAccount::default(),
        clock: Clock::system(),
        subject: match &plan.known.name {
            Some(name) => format!("Gateway \"{name}\" ({})", plan.address),
            None => format!("The gateway at {}", plan.address),
        },
        plan: &plan,
    };
    let scheme = if plan.address.is_tls() { "wss" } else { "ws" };
    let mut report = Report {
        address: format!("{scheme}://{}{}", plan.address, plan.address.path()),
        name: plan.known.name.clone(),
        device_id: plan.known.device.device_id().to_owned(),
        whose: plan.known.whose,
        steps: Vec::new(),
        gateway: None,
        told,
    };
    way.go(&mut report).await;
    report.close()
}

struct Way<'a> {
    dialer: NetworkDialer,
    memory: MemoryAccount,
    clock: Clock,
    subject: String,
    plan: &'a Plan,
}

impl Way<'_> {
    async fn go(&self, report: &mut Report) {
        if !self.network(report).await {
            return;
        }
        let health = self.http(report).await;
        let dialed = self.dialer.dial(self.dial_request(), &self.memory).await;
        let date_ahead = health.as_ref().ok().and_then(|(reply, at_ms)| Some(reply.date_ms? - at_ms));
        match dialed {
            Ok(dialed) => {
                report.ok("upgrade", "it opens a WebSocket", dialed.timings.upgrade);
                let login = self.log_in(dialed).await;
                self.handshake(report, &login);
                self.clocks(report, login.clock_ahead_ms.or(date_ahead));
            }
            Err(failure) => {
                self.no_socket(report, &failure, health.ok().map(|(reply, _)| reply)).await;
                // The time of something that is no gateway is nobody's concern.
                if report.gateway.is_some() {
                    self.clocks(report, date_ahead);
                }
            }
        }
    }

    fn problem(&self, refusal: &Refusal) -> LastError {
        let help = match (self.plan.asker, refusal.code) {
            (Asker::CommandLine, RefusalCode::TokenMismatch | RefusalCode::TokenMissing) => {
                "The token is gateway.auth.token in the gateway's openclaw.json. Give it with --token-file FILE or in \
                 $OPENCLAW_GATEWAY_TOKEN; `gatewarden gateways update NAME --token-file FILE` stores it in the daemon."
                    .to_owned()
            }
            _ => refusal.help(),
        };
        LastError { code: refusal.code.as_str().to_owned(), message: refusal.about(&self.subject), help }
    }

    fn dial_problem(&self, failure: &DialFailure) -> LastError {
        let refusal = match failure.classify(false) {
            UpgradeAnswer::TryHttp(refusal) | UpgradeAnswer::Refused(refusal) => refusal,
        };
        let mut problem = self.problem(&refusal);
        if let DialFailure::TlsNotTrusted { presented_sha256: Some(sha256), .. } = failure {
            let (pin, authority) = match self.plan.asker {
                Asker::CommandLine => (
                    format!(
                        "check again with --pin {sha256}, and give the same option to `gatewarden gateways add` or `update`"
                    ),
                    "with --ca FILE",
                ),
                Asker::Request => (format!("trust its SHA-256 {sha256} and no other (tls, pins)"), "(tls, ca_pem)"),
            };
            problem.help = format!(
                "If this is the right gateway, pin its certificate: {pin}. Or name its certificate authority {authority}. A \
                 certificate for another name or past its date must be renewed on the gateway."
            );
        }
        problem
    }

    /// Name, connection, encryption. False where the way ends.
    async fn network(&self, report: &mut Report) -> bool {
        let Plan { address, trust, patience, .. } = self.plan;
        let (reached, outcome) = self.dialer.reach(address, trust, *patience).await;
        let failed = outcome.as_ref().err().map(|failure| (failure.step(), self.dial_problem(failure)));
        let fails = |report: &mut Report, step: DialStep, name: &'static str| match &failed {
            Some((at, problem)) if *at == step => {
                report.failed(name, problem.clone());
                true
            }
            _ => false,
        };
        if fails(report, DialStep::Resolve, "dns") {
            return false;
        }
        match address.ip() {
            Some(_) => report.skipped("dns", "it is an address: there is nothing to look up"),
            None => report.ok("dns", format!("{} is {}", address.host(), list(&reached)), reached.timings.resolve),
        }
        if fails(report, DialStep::Connect, "tcp") {
            return false;
        }
        let peer = reached.peer.map(|peer| peer.to_string()).unwrap_or_default();
        report.ok("tcp", format!("{peer} takes the connection"), reached.timings.connect);
        if !address.is_tls() {
            report.skipped("tls", "not used: what is said can be read on the way");
            return true;
        }
        if fails(report, DialStep::Tls, "tls") {
            return false;
        }
        let sha256 = reached.certificate_sha256.unwrap_or_default();
        match trust {
            TlsTrust::None => {
                report.odd(
                    "tls",
                    format!("encrypted, but nobody is trusted in particular; its certificate has the SHA-256 {sha256}"),
                );
            }
            trust => {
                let by = match trust {
                    TlsTrust::Ca { .. } => "the given authority",
                    TlsTrust::Pins { .. } => "its pin",
                    _ => "an authority of this machine",
                };
                report.ok("tls", format!("trusted by {by}; SHA-256 {sha256}"), reached.timings.tls);
            }
        }
        true
    }

    /// `GET /health`: what answers, and at what time of its clock (with ours).
    async fn http(&self, report: &mut Report) -> Result<(HttpReply, i64), DialFailure> {
        let Plan { address, trust, patience, .. } = self.plan;
        let request = HttpRequest::get(address.clone(), trust.clone(), "/health", *patience, MAX_HEALTH_BODY);
        let outcome = self.dialer.http(request, &self.memory).await;
        let at_ms = self.clock.wall_ms();
        match &outcome {
            Ok(reply) => match read_health(reply) {
                Ok(health) if health.is_healthy => {
                    report.ok("http", "GET /health gives a health document: it is well", Some(reply.took));
                }
                Ok(_) => report.odd("http", "GET /health gives a health document, by which it is not well"),
                Err(_) => report.ok(
                    "http",
                    format!("GET /health gives HTTP {} and {}", reply.status, kind_of(reply)),
                    Some(reply.took),
                ),
            },
            Err(failure) => report.odd("http", format!("GET /health: {failure}")),
        }
        outcome.map(|reply| (reply, at_ms))
    }

    fn dial_request(&self) -> DialRequest {
        let Plan { address, trust, patience, .. } = self.plan;
        DialRequest { address: address.clone(), tls: trust.clone(), timeout: *patience, origin: None }
    }

    async fn log_in(&self, mut dialed: Dialed) -> Login {
        let Plan { known, token, patience, .. } = self.plan;
        let mut config = HandshakeConfig::with_device(Arc::clone(&known.device), env!("CARGO_PKG_VERSION"), "check");
        config.shared_token.clone_from(token);
        config.password.clone_from(&known.password);
        config.device_token.clone_from(&known.device_token);
        let patience = LoginPatience { challenge: *patience, login: *patience };
        let login = log_in(&mut dialed, config, patience, &self.clock).await;
        // Both sides say goodbye, so that nothing in the gateway's log looks like a crash.
        let _ = dialed.outgoing.close(1000, "check done");
        let rest = async { while let Some(Ok(_)) = dialed.incoming.next().await {} };
        let _ = tokio::time::timeout(GOODBYE, rest).await;
        login
    }

    fn handshake(&self, report: &mut Report, login: &Login) {
        match &login.outcome {
            Err(refusal) => report.failed("handshake", self.problem(refusal)),
            Ok(hello) => {
                let version =
                    hello.version.as_deref().map(|version| format!("release {version}, ")).unwrap_or_default();
                let protocol = hello.protocol.map(|protocol| format!(" {protocol}")).unwrap_or_default();
                let detail = format!("lets us in: {version}dialect {}{protocol}", hello.dialect.as_str());
                report.ok("handshake", detail, Some(login.took));
                report.gateway = Some(json!({
                    "version": hello.version,
                    "dialect": hello.dialect.as_str(),
                    "protocol": hello.protocol,
                    "scopes": hello.scopes,
                    "uptime_ms": hello.uptime_ms,
                }));
                self.scopes(report, hello);
            }
        }
    }

    fn scopes(&self, report: &mut Report, hello: &Hello) {
        if let Some(scope) = hello.missing_scope() {
            let mut refusal = Refusal::new(RefusalCode::MissingScope, "");
            refusal.missing_scope = Some(scope);
            report.failed("scopes", self.problem(&refusal));
            return;
        }
        match &hello.scopes {
            Some(scopes) if hello.scopes_are_effective => report.ok("scopes", scopes.join(", "), None),
            _ => report.skipped("scopes", "this release does not tell which scopes a connection has"),
        }
    }

    fn clocks(&self, report: &mut Report, ahead_ms: Option<i64>) {
        let Some(ahead_ms) = ahead_ms else {
            report.skipped("clock", "it does not tell its time");
            return;
        };
        let off = ahead_ms.saturating_abs();
        let side = if ahead_ms < 0 { "behind" } else { "ahead of" };
        let span = span_of(off);
        if off > CLOCK_TOLERANCE_MS {
            report.failed("clock", LastError {
                code: "clock_skew".to_owned(),
                message: format!("The clock of {} is {span} {side} this machine's.", lower(&self.subject)),
                help: "Find out which of the two is wrong (`timedatectl` shows whether a machine keeps its time by NTP) and set it: \
                       gateways refuse logins whose signature is more than two minutes off."
                    .to_owned(),
            });
        } else if off > CLOCK_ODD_MS {
            report.odd("clock", format!("{span} {side} this machine's"));
        } else {
            report.ok("clock", format!("{span} {side} this machine's"), None);
        }
    }

    /// No WebSocket: a gateway that speaks plain HTTP, one behind TLS, or no gateway.
    async fn no_socket(&self, report: &mut Report, failure: &DialFailure, health: Option<HttpReply>) {
        let document = health.as_ref().is_some_and(|reply| read_health(reply).is_ok());
        if document && matches!(failure.classify(false), UpgradeAnswer::TryHttp(_)) {
            report.skipped("upgrade", "it has no WebSocket: it speaks plain HTTP");
            self.http_login(report).await;
            return;
        }
        if let Some(problem) = self.encrypted_after_all(failure).await {
            report.failed("upgrade", problem);
            return;
        }
        let mut problem = self.dial_problem(failure);
        if let (Some(reply), "not_a_gateway") = (&health, problem.code.as_str()) {
            problem.message = format!(
                "What answers at {} is a web server and no gateway: it gives {} for its health and no WebSocket ({failure}).",
                self.plan.address,
                kind_of(reply)
            );
        }
        report.failed("upgrade", problem);
    }

    /// A port that speaks TLS doesn't answer plain requests.
    async fn encrypted_after_all(&self, failure: &DialFailure) -> Option<LastError> {
        let Plan { address, patience, .. } = self.plan;
        let odd = matches!(
            failure,
            DialFailure::NotHttp { .. }
                | DialFailure::NotWebSocket { .. }
                | DialFailure::Reset { .. }
                | DialFailure::Other { .. }
                | DialFailure::UpgradeRefused { status: 400 | 426, .. }
                | DialFailure::Timeout { .. }
        );
        if address.is_tls() || !odd {
            return None;
        }
        let wss = format!("wss://{address}{}", address.path());
        let encrypted = GatewayAddress::parse(&wss, None).ok()?.address;
        let (_, outcome) = self.dialer.reach(&encrypted, &TlsTrust::None, *patience).await;
        outcome.ok().map(|()| LastError {
            code: "tls_expected".to_owned(),
            message: format!("What answers at {address} speaks TLS, and was spoken to without."),
            help: format!("Give the address as {wss}."),
        })
    }

    /// Whether a gateway that speaks plain HTTP takes the token.
    async fn http_login(&self, report: &mut Report) {
        let Plan { address, trust, token, patience, .. } = self.plan;
        let dialer = Arc::new(self.dialer.clone());
        let opened =
            HttpGateway::open(dialer, address.clone(), trust.clone(), token.clone(), *patience, self.memory.clone())
                .await;
        let reply = match opened {
            Ok((gateway, _)) => match gateway.ask(HttpOperation::Sessions, *patience).await {
                HttpAnswer::Reply(reply) => reply,
                HttpAnswer::Health(_) => return,
            },
            Err(failure) => {
                let refusal = Refusal::new(RefusalCode::NotAGateway, &failure.to_string());
                report.failed("handshake", self.problem(&refusal));
                return;
            }
        };
        match reply {
            Ok(reply) if reply.status == 200 => {
                report.ok("handshake", "it takes the token, over HTTP", Some(reply.took));
                report.skipped("scopes", "there are none over HTTP");
                report.gateway = Some(json!({"dialect": "http"}));
            }
            // The daemon connects to it all the same.
            Ok(reply) if matches!(reply.status, 404 | 405 | 501) => {
                let status = reply.status;
                report.odd(
                    "handshake",
                    format!("HTTP {status} to GET /sessions: it has a health document and no more, and may be any web server; whether it takes the token is not known"),
                );
                report.skipped("scopes", "there are none over HTTP");
                report.gateway = Some(json!({"dialect": "http"}));
            }
            Ok(reply) => {
                let seconds = reply.retry_after.map(|after| after.as_secs());
                let refusal = classify_http_reply(reply.status, seconds, &reply.body, token.is_some());
                report.failed("handshake", self.problem(&refusal));
            }
            Err(failure) => report.failed("handshake", self.dial_problem(&failure)),
        }
    }
}

fn list(reached: &Reached) -> String {
    reached.resolved.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ")
}

fn kind_of(reply: &HttpReply) -> String {
    match &reply.content_type {
        Some(kind) => format!("{} ({} bytes)", kind.split(';').next().unwrap_or_default().trim(), reply.body.len()),
        None => format!("{} bytes of no named type", reply.body.len()),
    }
}

fn lower(subject: &str) -> String {
    subject.strip_prefix("The ").map_or_else(|| subject.to_owned(), |rest| format!("the {rest}"))
}

fn span_of(ms: i64) -> String {
    match ms {
        0..=999 => format!("{ms} ms"),
        1_000..=119_999 => format!("{} s", ms / 1000),
        _ => format!("{} min", (ms + 30_000) / 60_000),
    }
}
