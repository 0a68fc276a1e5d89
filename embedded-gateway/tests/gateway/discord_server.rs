//! Discord as its published documents describe it, as far as a bot needs it that reads and writes messages: the API and the gateway on one
//! port of this machine. It misbehaves as it is told. Also for tests of other crates.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

pub(crate) const BOT_TOKEN: &str = "MTIzNDU2Nzg5.nobody.may-see-this-token";
/// The bot.
pub(crate) const ME: &str = "666";

/// How a request is answered.
#[derive(Clone)]
pub(crate) enum Answer {
    Json(u16, Value),
    /// These bytes, and the end of the connection.
    Bytes(&'static str),
    /// The message is taken, and the answer lost.
    Lost,
}

/// How a connection to the gateway goes, once the bot has said who it is.
#[derive(Clone, Copy)]
pub(crate) enum Talk {
    Close(u16),
    /// This instead of an answer.
    Says(&'static str),
    /// It is let in, and its heartbeats aren't answered.
    Deaf,
}

#[derive(Default)]
pub(crate) struct State {
    /// What comes first, by a part of the path.
    pub(crate) answers: VecDeque<(&'static str, Answer)>,
    pub(crate) talks: VecDeque<Talk>,
    /// Method, path and body of each request.
    pub(crate) asked: Vec<(String, Value)>,
    /// What the bot said to the gateway.
    pub(crate) heard: Vec<Value>,
    /// Messages that were made: channel and text.
    pub(crate) made: Vec<(String, String)>,
    nonces: BTreeSet<String>,
    events: Vec<(u64, Value)>,
    seq: u64,
    /// Messages of the channel 77.
    pub(crate) history: Vec<Value>,
}

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) root: String,
    state: Arc<Mutex<State>>,
    /// How often something changed, and how often connections were cut.
    changes: Arc<watch::Sender<(u64, u64)>>,
}

impl Server {
    /// Must be called within a runtime.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let root = format!("http://{}/api/v10", listener.local_addr().unwrap());
        let server = Self { root, state: Arc::default(), changes: Arc::new(watch::Sender::new((0, 0))) };
        let shared = server.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(shared.clone().serve(socket));
            }
        });
        server
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The gateway sends a message of somebody.
    pub(crate) fn says(&self, message: Value) {
        let seq = self.next_seq();
        self.state().events.push((seq, json!({"op": 0, "t": "MESSAGE_CREATE", "s": seq, "d": message})));
        self.changes.send_modify(|(changes, _)| *changes += 1);
    }

    /// All connections to the gateway break.
    pub(crate) fn cut(&self) {
        self.changes.send_modify(|(_, cuts)| *cuts += 1);
    }

    /// The texts that were written to a channel.
    pub(crate) fn written_to(&self, channel: &str) -> Vec<String> {
        self.state().made.iter().filter(|(to, _)| to == channel).map(|(_, text)| text.clone()).collect()
    }

    /// How often the bot said something of this kind.
    pub(crate) fn heard(&self, op: u64) -> Vec<Value> {
        self.state().heard.iter().filter(|said| said["op"] == op).cloned().collect()
    }

    fn next_seq(&self) -> u64 {
        let mut state = self.state();
        state.seq += 1;
        state.seq
    }

    async fn serve(self, mut socket: TcpStream) {
        let mut start = [0_u8; 12];
        while socket.peek(&mut start).await.is_ok_and(|count| count > 0 && count < start.len()) {
            tokio::task::yield_now().await;
        }
        if start.starts_with(b"GET /socket") || start.starts_with(b"GET /?v=10") {
            if let Ok(socket) = tokio_tungstenite::accept_async(socket).await {
                self.talk(socket).await;
            }
            return;
        }
        let Some((path, is_bot, body)) = read_request(&mut socket).await else { return };
        let bytes = match self.answer(&path, is_bot, body) {
            Answer::Json(204, _) => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            Answer::Json(status, body) => {
                let body = body.to_string();
                format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            }
            Answer::Bytes(bytes) => bytes.to_owned(),
            Answer::Lost => return,
        };
        let _ = socket.write_all(bytes.as_bytes()).await;
        let _ = socket.shutdown().await;
    }

    fn answer(&self, path: &str, is_bot: bool, body: Value) -> Answer {
        let mut state = self.state();
        state.asked.push((path.to_owned(), body.clone()));
        let at = state.answers.iter().position(|(part, _)| path.contains(part));
        let first = at.and_then(|at| state.answers.remove(at)).map(|(_, answer)| answer);
        if let Some(answer @ (Answer::Json(..) | Answer::Bytes(_))) = first {
            return answer;
        }
        if !is_bot {
            return Answer::Json(401, json!({"message": "401: Unauthorized", "code": 0}));
        }
        let answer = match path.split_once(' ').unwrap_or_default() {
            ("GET", "/users/@me") => json!({"id": ME, "username": "TestBot", "bot": true}),
            ("GET", "/gateway/bot") => {
                let url = self.root.replace("http:", "ws:").replace("/api/v10", "");
                json!({"url": url, "shards": 1, "session_start_limit": {"total": 1000, "remaining": 999, "max_concurrency": 1}})
            }
            ("POST", "/users/@me/channels") => {
                json!({"id": "77", "type": 1, "recipients": [{"id": body["recipient_id"]}]})
            }
            ("POST", rest) if rest.ends_with("/typing") => return Answer::Json(204, json!(null)),
            ("POST", rest) if rest.ends_with("/messages") => {
                let channel = rest.split('/').nth(2).unwrap().to_owned();
                let nonce = body["nonce"].as_str().unwrap().to_owned();
                assert!(body["enforce_nonce"] == true && nonce.len() <= 25, "{body}");
                assert!(body["content"].as_str().unwrap().chars().count() <= 2_000);
                if state.nonces.insert(nonce) {
                    // The bot is told of its own messages, too.
                    state.seq += 1;
                    let (seq, id) = (state.seq, format!("{}", 9_000_000 + state.made.len()));
                    let told = as_the_bot(&id, &channel, body["nonce"].clone());
                    state.events.push((seq, json!({"op": 0, "t": "MESSAGE_CREATE", "s": seq, "d": told})));
                    state.made.push((channel, body["content"].as_str().unwrap().to_owned()));
                    self.changes.send_modify(|(changes, _)| *changes += 1);
                }
                json!({"id": "1", "channel_id": "77"})
            }
            ("GET", rest) if rest.starts_with("/channels/77/messages?after=") => {
                let after: u64 = rest.split(['=', '&']).nth(1).unwrap().parse().unwrap();
                let number = |message: &Value| message["id"].as_str().unwrap().parse::<u64>().unwrap();
                state.history.iter().rev().filter(|message| number(message) > after).cloned().collect()
            }
            ("GET", "/channels/711") => json!({"id": "711", "type": 11, "parent_id": "710", "guild_id": "900"}),
            // The bot is in another server, too.
            ("GET", rest) if rest.starts_with("/channels/8") => {
                json!({"id": rest.split('/').nth(2), "type": 0, "guild_id": "901"})
            }
            ("GET", rest) if rest.starts_with("/channels/") => {
                json!({"id": rest.split('/').nth(2), "type": 0, "guild_id": "900"})
            }
            _ => return Answer::Json(404, json!({"message": "404: Not Found", "code": 0})),
        };
        if matches!(first, Some(Answer::Lost)) { Answer::Lost } else { Answer::Json(200, answer) }
    }

    async fn talk(&self, mut socket: WebSocketStream<TcpStream>) {
        let mut changes = self.changes.subscribe();
        let cuts = changes.borrow_and_update().1;
        let talk = self.state().talks.pop_front();
        let every = if matches!(talk, Some(Talk::Deaf)) { 200 } else { 40_000 };
        let text = |said: Value| Message::Text(said.to_string().into());
        let _ = socket.send(text(json!({"op": 10, "s": null, "t": null, "d": {"heartbeat_interval": every}}))).await;
        // The last event that was sent; none before it is let in.
        let mut sent: Option<u64> = None;
        loop {
            let due: Vec<(u64, Value)> = match sent {
                Some(sent) => self.state().events.iter().filter(|(seq, _)| *seq > sent).cloned().collect(),
                None => Vec::new(),
            };
            for (seq, event) in due {
                let _ = socket.send(text(event)).await;
                sent = Some(seq);
            }
            let said = tokio::select! {
                said = socket.next() => match said {
                    Some(Ok(Message::Text(said))) => serde_json::from_str::<Value>(&said).unwrap(),
                    Some(Ok(_)) => continue,
                    _ => return,
                },
                _ = changes.changed() => {
                    if changes.borrow_and_update().1 > cuts { return }
                    continue;
                }
            };
            self.state().heard.push(said.clone());
            let (op, d) = (said["op"].as_u64().unwrap(), &said["d"]);
            let is_deaf = matches!(talk, Some(Talk::Deaf));
            match (op, talk) {
                (1, _) if is_deaf => {}
                (1, _) => drop(socket.send(text(json!({"op": 11}))).await),
                (2 | 6, Some(Talk::Close(code))) => {
                    let frame = CloseFrame { code: code.into(), reason: "as it was told".into() };
                    let _ = socket.close(Some(frame)).await;
                }
                (2 | 6, Some(Talk::Says(said))) => drop(socket.send(Message::Text(said.into())).await),
                (2 | 6, _) if d["token"] != BOT_TOKEN => {
                    let _ = socket
                        .close(Some(CloseFrame { code: 4004.into(), reason: "Authentication failed.".into() }))
                        .await;
                }
                (2, _) => {
                    let seq = self.next_seq();
                    sent = Some(seq);
                    let url = self.root.replace("http:", "ws:").replace("/api/v10", "/socket");
                    let session = format!("session-{seq}");
                    let ready = json!({"v": 10, "user": {"id": ME}, "session_id": session, "resume_gateway_url": url});
                    let _ = socket.send(text(json!({"op": 0, "t": "READY", "s": seq, "d": ready}))).await;
                }
                (6, _) => {
                    let seq = d["seq"].as_u64().unwrap();
                    let missed: Vec<(u64, Value)> =
                        self.state().events.iter().filter(|(number, _)| *number > seq).cloned().collect();
                    let last = missed.last().map_or(seq, |(seq, _)| *seq);
                    for (_, event) in missed {
                        let _ = socket.send(text(event)).await;
                    }
                    let _ = socket.send(text(json!({"op": 0, "t": "RESUMED", "s": last, "d": {}}))).await;
                    sent = Some(last);
                }
                _ => {}
            }
        }
    }
}

/// Method and path, whether it has the right token, and the body.
async fn read_request(socket: &mut TcpStream) -> Option<(String, bool, Value)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let field = |name: &str| {
                head.lines().find_map(|line| {
                    let (found, value) = line.split_once(':')?;
                    found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
                })
            };
            let length = field("content-length").and_then(|length| length.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                let mut words = head.split(' ');
                let (method, path) = (words.next()?, words.next()?.strip_prefix("/api/v10")?);
                let is_named = field("user-agent").is_some_and(|name| name.starts_with("DiscordBot ("));
                let is_bot = is_named && field("authorization") == Some(format!("Bot {BOT_TOKEN}"));
                return Some((format!("{method} {path}"), is_bot, serde_json::from_str(body).unwrap_or_default()));
            }
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// A message that some program wrote as the bot.
pub(crate) fn as_the_bot(id: &str, channel: &str, nonce: Value) -> Value {
    json!({"id": id, "type": 0, "channel_id": channel, "content": "an answer", "nonce": nonce,
        "author": {"id": ME, "username": "TestBot", "bot": true}})
}

/// A direct message, in the channel 77.
pub(crate) fn direct(id: u64, sender: &str, text: &str) -> Value {
    json!({"id": id.to_string(), "type": 0, "channel_id": "77", "content": text, "attachments": [], "mentions": [],
        "author": {"id": sender, "username": "person"}})
}

/// A message in a channel of the server 900.
pub(crate) fn in_guild(id: u64, channel: &str, sender: &str, text: &str) -> Value {
    let mut message = direct(id, sender, text);
    message["channel_id"] = channel.into();
    message["guild_id"] = "900".into();
    message["member"] = json!({"roles": ["50"]});
    if text.contains("<@666>") {
        message["mentions"] = json!([{"id": ME}]);
    }
    message
}
