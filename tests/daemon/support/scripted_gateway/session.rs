//! One connection of a scripted gateway, from the request's head to its end.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{broadcast, mpsc};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::behaviour::{Behaviour, Fault, Form, Replies, Step};
use super::record::{Attempt, Head};
use super::refusals::{Refusal, refusal};
use super::websocket::{Incoming, Wire};
use super::{Command, Shared, admission, agents, answers, lock, runs};

/// Ends the connection's task: the wire is gone or its story is over.
struct Over;

impl From<std::io::Error> for Over {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

/// Counts a connection as open, or as ready, for as long as it is.
struct Counted<'a>(&'a Shared, bool);

impl<'a> Counted<'a> {
    fn new(shared: &'a Shared, ready: bool) -> Self {
        shared.note(|record| if ready { record.ready += 1 } else { record.open += 1 });
        Self(shared, ready)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.note(|record| if self.1 { record.ready -= 1 } else { record.open -= 1 });
    }
}

pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _open = Counted::new(&shared, false);
    let _ = stream.set_nodelay(true);
    let pace = shared.behaviour().pace;
    let _ = Connection { wire: Some(Wire::new(stream, pace)), shared: &shared }.run().await;
}

struct Connection<'a> {
    wire: Option<Wire>,
    shared: &'a Arc<Shared>,
}

impl Connection<'_> {
    fn wire(&mut self) -> &mut Wire {
        self.wire.as_mut().expect("the wire is taken only when the connection is over")
    }

    fn behaviour(&self) -> Behaviour {
        self.shared.behaviour()
    }

    async fn run(mut self) -> Result<(), Over> {
        self.step(Step::Accept).await?;
        let head = Head::parse(&self.wire().head().await?);
        self.shared.note(|record| record.heads.push(head.clone()));
        self.step(Step::Upgrade).await?;
        let behaviour = self.behaviour();
        let socketless = matches!(behaviour.form, Form::Http | Form::WebServer | Form::Redirect(_));
        if !head.is_upgrade() || socketless {
            return self.answer_http(&behaviour, &head).await;
        }
        let accept = derive_accept_key(head.header("sec-websocket-key").unwrap_or_default().as_bytes());
        let switch = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        self.wire().write(switch.as_bytes()).await?;
        let shared = self.shared;
        // Whoever sees the client online may send commands: that is before this task goes on behind the hello.
        let commands = shared.commands();
        if behaviour.form == Form::Rpc {
            self.authenticate_rpc(&behaviour).await?;
        } else {
            self.handshake(&behaviour).await?;
        }
        let _ready = Counted::new(shared, true);
        self.step(Step::Ready).await?;
        self.talk(commands).await
    }

    async fn answer_http(&mut self, behaviour: &Behaviour, head: &Head) -> Result<(), Over> {
        let length = head.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        let _body = self.wire().body(length).await?;
        let bearer = head.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let response = match &behaviour.form {
            Form::Redirect(place) => {
                format!("HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            }
            Form::Http if head.is_upgrade() => {
                "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()
            }
            _ => {
                let (status, kind, body) = answers::http(behaviour, &head.method, &head.path, bearer);
                format!(
                    "HTTP/1.1 {status} Answer\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                )
            }
        };
        self.wire().write(response.as_bytes()).await?;
        self.wire().end().await?;
        Ok(())
    }

    async fn handshake(&mut self, behaviour: &Behaviour) -> Result<(), Over> {
        self.step(Step::Challenge).await?;
        let nonce = self.shared.next_nonce();
        let now_ms = self.shared.wall_ms();
        self.wire().text(&answers::challenge(behaviour, &nonce, now_ms).to_string()).await?;
        self.step(Step::Connect).await?;
        let request = self.next_request().await?;
        self.step(Step::Hello).await?;
        let (id, params) = (request["id"].clone(), request["params"].clone());
        let issued = self.shared.issued();
        let context = admission::Context { nonce: &nonce, now_ms: self.shared.wall_ms(), issued: &issued };
        let verdict = match &behaviour.refusal {
            Some(refused) => Err(refused.clone()),
            None if request["method"] != "connect" => Err(Refusal {
                error: json!({"code": "INVALID_REQUEST", "message": "invalid handshake: first request must be connect"}),
                code: 1008,
                reason: "invalid handshake: first request must be connect".to_owned(),
            }),
            None => admission::admit(behaviour, &params, &context).map_err(|case| refusal(&behaviour.form, case)),
        };
        self.note_attempt(&params, verdict.as_ref().err());
        if let Err(refused) = verdict {
            let reply = json!({"type": "res", "id": id, "ok": false, "error": refused.error});
            self.wire().text(&reply.to_string()).await?;
            self.wire().close(refused.code, &refused.reason).await?;
            return Err(Over);
        }
        let token = behaviour
            .issues_device_tokens
            .then(|| params["device"]["id"].as_str().map(|device| self.shared.device_token(device)))
            .flatten();
        let hello = answers::hello(behaviour, &id, &params, token.as_deref(), now_ms).to_string();
        match behaviour.hello_pieces {
            Some(piece) => self.wire().fragmented(&hello, piece).await?,
            None => self.wire().text(&hello).await?,
        }
        Ok(())
    }

    async fn authenticate_rpc(&mut self, behaviour: &Behaviour) -> Result<(), Over> {
        self.step(Step::Connect).await?;
        let request = self.next_request().await?;
        self.step(Step::Hello).await?;
        let params = request["params"].clone();
        let offered = params["token"].as_str().or_else(|| params["password"].as_str());
        let good = request["method"] == "auth" && behaviour.token.as_deref().is_none_or(|token| offered == Some(token));
        let refused = behaviour.refusal.clone().or_else(|| {
            (!good).then(|| Refusal {
                error: json!({"code": "unauthorized", "message": "unauthorized: invalid token"}),
                code: 1008,
                reason: "unauthorized".to_owned(),
            })
        });
        self.note_attempt(&params, refused.as_ref());
        let answer = match &refused {
            Some(refused) => Err(refused.error.clone()),
            None => Ok(json!({"ok": true})),
        };
        let reply = answers::reply(&Form::Rpc, &request["id"], answer);
        self.wire().text(&reply.to_string()).await?;
        if let Some(refused) = refused {
            self.wire().close(refused.code, &refused.reason).await?;
            return Err(Over);
        }
        Ok(())
    }

    fn note_attempt(&self, params: &Value, refused: Option<&Refusal>) {
        let refused_as = refused.map(|refused| {
            let error = &refused.error;
            error["details"]["code"].as_str().or_else(|| error["message"].as_str()).unwrap_or("refused").to_owned()
        });
        let attempt =
            Attempt { at: self.shared.now(), accepted: refused.is_none(), refused_as, params: params.clone() };
        self.shared.note(|record| record.attempts.push(attempt));
    }

    /// The next message as JSON; pings are answered on the way.
    async fn next_request(&mut self) -> Result<Value, Over> {
        loop {
            let incoming = self.wire().next().await;
            self.shared.thawed().await;
            match incoming {
                Incoming::Message(bytes) => return serde_json::from_slice(&bytes).map_err(|_| Over),
                Incoming::Ping(payload) if self.behaviour().pongs => self.wire().pong(&payload).await?,
                Incoming::Ping(_) | Incoming::Pong => {}
                Incoming::Close(code, reason) => {
                    self.shared.note(|record| record.closes.push((code, reason)));
                    return Err(Over);
                }
                Incoming::End => return Err(Over),
            }
        }
    }

    /// Requests, events and faults until the connection ends.
    async fn talk(&mut self, mut commands: broadcast::Receiver<Command>) -> Result<(), Over> {
        let mut held: Option<Value> = None;
        let (outbox, mut inbox) = mpsc::unbounded_channel();
        lock(&self.shared.peers).push(outbox.clone());
        let beat = self.behaviour().ping_every.unwrap_or(Duration::from_secs(86_400));
        let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + beat, beat);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut unanswered = 0;
        loop {
            let reads = self.behaviour().reads;
            let flush = if held.is_some() { Duration::from_millis(300) } else { Duration::from_secs(86_400) };
            tokio::select! {
                incoming = self.wire.as_mut().expect("in use").next(), if reads => {
                    self.shared.thawed().await;
                    match incoming {
                        Incoming::Message(bytes) => self.on_message(&bytes, &mut held, &outbox).await?,
                        Incoming::Ping(payload) => {
                            self.shared.note(|record| record.pings += 1);
                            if self.behaviour().pongs {
                                self.wire().pong(&payload).await?;
                            }
                        }
                        Incoming::Pong => {
                            unanswered = 0;
                            self.shared.note(|record| record.pongs += 1);
                        }
                        Incoming::Close(code, reason) => {
                            self.shared.note(|record| record.closes.push((code, reason.clone())));
                            let _ = self.wire().close(code.unwrap_or(1000), &reason).await;
                            return Err(Over);
                        }
                        Incoming::End => return Err(Over),
                    }
                }
                Some(text) = inbox.recv() => {
                    self.shared.thawed().await;
                    self.wire().text(&text).await?;
                }
                command = commands.recv() => {
                    self.shared.thawed().await;
                    self.on_command(command).await?;
                }
                _ = ping.tick() => {
                    if unanswered == 5 {
                        return Err(Over);
                    }
                    unanswered += 1;
                    self.wire().ping().await?;
                }
                () = tokio::time::sleep(flush) => {
                    if let Some(reply) = held.take() {
                        self.wire().text(&reply.to_string()).await?;
                    }
                }
            }
        }
    }

    async fn on_command(&mut self, command: Result<Command, broadcast::error::RecvError>) -> Result<(), Over> {
        match command {
            Ok(Command::Send(text)) => self.wire().text(&text).await?,
            Ok(Command::Raw(bytes)) => self.wire().write(&bytes).await?,
            Ok(Command::Close(code, reason)) => {
                self.wire().close(code, &reason).await?;
                return Err(Over);
            }
            Ok(Command::Reset) => {
                if let Some(wire) = self.wire.take() {
                    wire.reset();
                }
                return Err(Over);
            }
            // a connection that missed commands because it was busy just goes on
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return Err(Over),
        }
        Ok(())
    }

    async fn on_message(
        &mut self,
        bytes: &[u8],
        held: &mut Option<Value>,
        outbox: &mpsc::UnboundedSender<String>,
    ) -> Result<(), Over> {
        // text that is not JSON is ignored silently after the hello, as real gateways do
        let Ok(request) = serde_json::from_slice::<Value>(bytes) else { return Ok(()) };
        let method = request["method"].as_str().unwrap_or_default().to_owned();
        self.shared.note(|record| record.requests.push((method.clone(), request["params"].clone())));
        self.step(Step::Request).await?;
        let behaviour = self.behaviour();
        let answer = match runs::take(self.shared, &behaviour, &request, outbox) {
            Some(None) => return Ok(()),
            Some(Some(answer)) => answer,
            None => agents::take(self.shared, &behaviour, &request)
                .unwrap_or_else(|| answers::answer(&behaviour, &method, &request["params"], self.shared.wall_ms())),
        };
        if behaviour.restarts_on_create && method == "agents.create" {
            self.wire().close(1012, "service restart").await?;
            return Err(Over);
        }
        let reply = answers::reply(&behaviour.form, &request["id"], answer);
        match behaviour.replies {
            Replies::Normal => self.wire().text(&reply.to_string()).await?,
            Replies::WrongId => {
                let mut wrong = reply;
                wrong["id"] = json!("nobody-asked-this");
                self.wire().text(&wrong.to_string()).await?;
            }
            Replies::Twice => {
                self.wire().text(&reply.to_string()).await?;
                self.wire().text(&reply.to_string()).await?;
            }
            Replies::Reversed => match held.take() {
                None => *held = Some(reply),
                Some(earlier) => {
                    self.wire().text(&reply.to_string()).await?;
                    self.wire().text(&earlier.to_string()).await?;
                }
            },
            Replies::Never => {}
            Replies::Late(wait) => {
                tokio::time::sleep(wait).await;
                self.wire().text(&reply.to_string()).await?;
            }
        }
        Ok(())
    }

    /// Waits while the gateway is frozen, then lets the fault of this step strike.
    async fn step(&mut self, step: Step) -> Result<(), Over> {
        self.shared.thawed().await;
        let behaviour = self.behaviour();
        self.wire().pace = behaviour.pace;
        match behaviour.fault_at(step) {
            None => Ok(()),
            Some(fault) => self.strike(fault).await,
        }
    }

    async fn strike(&mut self, fault: Fault) -> Result<(), Over> {
        let half = || {
            let mut bytes = vec![0x81, 126, 0x10, 0x00];
            bytes.extend_from_slice(&[b'{'; 512]);
            bytes
        };
        let resets = matches!(fault, Fault::Reset | Fault::ResetMidFrame);
        match fault {
            Fault::Silence => std::future::pending().await,
            Fault::End => self.wire().end().await?,
            Fault::Reset => {}
            Fault::Close(code, reason) => self.wire().close(code, &reason).await?,
            Fault::Garbage => {
                self.wire().write(b"\xff\xfe\x00 no protocol that anyone knows \x83\x7f\r\n\r\n").await?;
                self.wire().end().await?;
            }
            Fault::NotJson => {
                self.wire().text("<this is not JSON>").await?;
                return Ok(());
            }
            Fault::Truncated => {
                self.wire().write(&half()).await?;
                self.wire().end().await?;
            }
            Fault::ResetMidFrame => {
                self.wire().write(&half()).await?;
                // the client must get the half before the reset overtakes it
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Fault::Announced(length) => {
                self.wire().announce(length).await?;
                std::future::pending::<()>().await;
            }
            Fault::Giant(length) => {
                let text =
                    format!("{{\"type\":\"event\",\"event\":\"padding\",\"payload\":\"{}\"}}", "x".repeat(length));
                self.wire().text(&text).await?;
                return Ok(());
            }
        }
        if resets && let Some(wire) = self.wire.take() {
            wire.reset();
        }
        Err(Over)
    }
}
