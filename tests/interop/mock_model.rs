//! A model of our own for real gateways: an OpenAI-compatible chat-completions endpoint on loopback that answers at once, or
//! streams word by word for as long as it is listened to.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

/// A task with these words is answered slowly, word by word; any other at once.
pub(crate) const SLOW_TASK: &str = "count very slowly to a thousand";
/// What it says to any other task.
pub(crate) const QUICK_ANSWER: &str = "the mock model says hello";

/// Between two words of a slow answer.
const BETWEEN_WORDS: Duration = Duration::from_millis(100);
/// A slow answer that nobody cancels ends after two minutes.
const WORDS: usize = 1_200;

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// It is being given.
    Flowing,
    /// The gateway hung up before its end.
    Cancelled,
    /// It was given to its end.
    Finished,
}

/// A running model. Its threads end with the process; each answer is bounded.
#[derive(Debug)]
pub(crate) struct MockModel {
    port: u16,
    slow: Arc<Mutex<Vec<Stream>>>,
    tasks: Arc<Mutex<Vec<String>>>,
}

impl MockModel {
    /// Starts one on a free port.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let port = listener.local_addr().expect("an address").port();
        let slow: Arc<Mutex<Vec<Stream>>> = Arc::default();
        let tasks: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = (Arc::clone(&slow), Arc::clone(&tasks));
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (slow, tasks) = seen.clone();
                // one that hangs up early is what the tests want
                std::thread::spawn(move || drop(serve(connection, &slow, &tasks)));
            }
        });
        Self { port, slow, tasks }
    }

    /// What a gateway's `openclaw.json` needs so that all its agents use this model.
    pub(crate) fn gateway_config(&self) -> Value {
        let model = json!({
            "id": "m1", "name": "Mock", "reasoning": false, "input": ["text"], "contextWindow": 128_000, "maxTokens": 8_192,
            "cost": { "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0 },
        });
        let provider = json!({
            "baseUrl": format!("http://127.0.0.1:{}/v1", self.port),
            "apiKey": "key-of-the-mock-model", "api": "openai-completions", "models": [model],
        });
        json!({
            "models": { "mode": "replace", "providers": { "mock": provider } },
            "agents": { "defaults": { "model": { "primary": "mock/m1" } } },
        })
    }

    /// What became of the slow answers so far, in the order in which they were asked for.
    pub(crate) fn slow_streams(&self) -> Vec<Stream> {
        locked(&self.slow).clone()
    }

    /// What it was asked last in each request so far: the task, with whatever a release puts around it.
    pub(crate) fn tasks(&self) -> Vec<String> {
        locked(&self.tasks).clone()
    }
}

fn locked<T>(list: &Mutex<Vec<T>>) -> std::sync::MutexGuard<'_, Vec<T>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the user said in a request since the model's last answer.
fn task_of(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let messages = body["messages"].as_array().cloned().unwrap_or_default();
    let last = messages.iter().rev().take_while(|message| message["role"] != "assistant");
    last.filter(|message| message["role"] == "user").map(|message| message["content"].to_string()).collect()
}

/// One request a connection.
fn serve(mut connection: TcpStream, slow: &Mutex<Vec<Stream>>, tasks: &Mutex<Vec<String>>) -> io::Result<()> {
    let (first, body) = read_request(&connection)?;
    if !first.starts_with("POST /v1/chat/completions ") {
        let body = json!({ "object": "list", "data": [{ "id": "m1", "object": "model" }] }).to_string();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        return write!(connection, "{head}Connection: close\r\n\r\n{body}");
    }
    // It was asked, also where its asker has hung up by now.
    locked(tasks).push(task_of(&body));
    write!(connection, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")?;
    // with the prompt and whatever a release puts around it
    if !body.contains(SLOW_TASK) {
        word(&mut connection, QUICK_ANSWER)?;
        return end(&mut connection);
    }
    let number = {
        let mut streams = locked(slow);
        streams.push(Stream::Flowing);
        streams.len() - 1
    };
    let given = stream_slowly(&mut connection);
    locked(slow)[number] = if given.is_ok() { Stream::Finished } else { Stream::Cancelled };
    given
}

/// Word after word until the other end hangs up: waiting for that is the pause between two.
fn stream_slowly(connection: &mut TcpStream) -> io::Result<()> {
    connection.set_read_timeout(Some(BETWEEN_WORDS))?;
    for number in 0..WORDS {
        word(connection, &format!("word{number} "))?;
        match connection.read(&mut [0; 64]) {
            Ok(0) => return Err(ErrorKind::ConnectionAborted.into()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    end(connection)
}

fn read_request(connection: &TcpStream) -> io::Result<(String, String)> {
    connection.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new(connection);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((first, String::from_utf8_lossy(&body).into_owned()))
}

fn chunk(connection: &mut TcpStream, chunk: &Value) -> io::Result<()> {
    write!(connection, "data: {chunk}\n\n")
}

fn word(connection: &mut TcpStream, text: &str) -> io::Result<()> {
    let delta = json!({ "index": 0, "delta": { "role": "assistant", "content": text }, "finish_reason": null });
    chunk(connection, &said(json!([delta])))
}

fn end(connection: &mut TcpStream) -> io::Result<()> {
    chunk(connection, &said(json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }])))?;
    let mut usage = said(json!([]));
    usage["usage"] = json!({ "prompt_tokens": 1_100, "completion_tokens": 7, "total_tokens": 1_107 });
    chunk(connection, &usage)?;
    write!(connection, "data: [DONE]\n\n")
}

fn said(choices: Value) -> Value {
    json!({ "id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m1", "choices": choices })
}
