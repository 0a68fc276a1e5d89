//! The Model Context Protocol (MCP): what an AI assistant may ask of the daemon and do with it. One server for both ways in,
//! `gatewarden mcp` (`cli/mcp.rs`) over standard input and output, and `POST /mcp` (`http/mcp.rs`).
//!
//! A tool is a request of the REST API with the client's own key ([`tools`]): role, limits, audit log and errors are the API's. The
//! resources are the pages of `docs/` ([`pages`]).

mod order;
mod pages;
mod tools;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::LocalBoxStream;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestParams, CompleteResult, ContentBlock,
    CustomRequest, CustomResult, ErrorCode, ErrorData, GetPromptRequestParams, GetPromptResponse, Implementation,
    ListPromptsResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams, ProtocolVersion,
    ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};

pub(crate) use self::order::Ordered;
use self::tools::Following;
pub(crate) use self::tools::Toolbox;
use crate::event_stream::StreamEvent;

/// Longest text of a tool's answer, in bytes: what an assistant reads has to fit beside all else that it keeps in mind.
pub(crate) const MAX_TEXT: usize = 64 * 1024;
/// Events that are there already come at once; after so long without one there are no more.
const QUIET: Duration = Duration::from_millis(300);
/// A stream on which events keep coming is left so long after the wait that was asked for.
const OVERTIME: Duration = Duration::from_secs(5);

const INSTRUCTIONS: &str = "gatewarden supervises OpenClaw gateways, which run AI agents. Begin with fleet_status or \
    list_gateways. spawn gives a gateway work and answers at once; follow it with spawn_status, or with events_since. What a tool \
    may do depends on the role of the API key: viewer reads, operator spawns and controls, admin sees everything. \
    The resources are the daemon's documentation.";

/// A request of the REST API.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RestCall {
    pub(crate) method: &'static str,
    /// With the query.
    pub(crate) path: String,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) body: Option<Value>,
}

/// The beginning of a text, and how long all of it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    bytes: Vec<u8>,
    total: usize,
}

/// What is answered where it isn't a success.
pub(crate) type Refusal = Excerpt;

/// The REST API with one client's key. Whoever implements it gives answers of any status; a refusal is what it says to the client.
pub(crate) trait RestApi: 'static {
    /// The answer to a request.
    fn ask(&self, call: RestCall) -> impl Future<Output = Result<Excerpt, Refusal>>;

    /// A stream of events, which ends by itself after `at_most`.
    fn follow(
        &self,
        call: RestCall,
        at_most: Duration,
    ) -> impl Future<Output = Result<LocalBoxStream<'static, StreamEvent>, Refusal>>;
}

/// The server of one client.
#[derive(Debug)]
pub(crate) struct McpServer<A> {
    api: A,
    toolbox: Arc<Toolbox>,
}

impl Excerpt {
    pub(crate) fn empty() -> Self {
        Self { bytes: Vec::new(), total: 0 }
    }

    pub(crate) fn of(text: &str) -> Self {
        let mut excerpt = Self::empty();
        excerpt.take(text.as_bytes());
        excerpt
    }

    /// Takes in the next piece: what is too much is only counted.
    pub(crate) fn take(&mut self, piece: &[u8]) {
        let room = MAX_TEXT.saturating_sub(self.bytes.len());
        self.bytes.extend(piece.iter().take(room));
        self.total = self.total.saturating_add(piece.len());
    }

    /// What the assistant reads.
    fn content(&self) -> Vec<ContentBlock> {
        let mut content = vec![ContentBlock::text(String::from_utf8_lossy(&self.bytes))];
        if self.total > self.bytes.len() {
            content.push(ContentBlock::text(format!(
                "The answer has {} bytes and is cut after {MAX_TEXT}. Ask for less: with limit and offset, or for one thing by its id.",
                self.total
            )));
        }
        content
    }
}

impl<A: RestApi> McpServer<A> {
    pub(crate) fn new(api: A, toolbox: Arc<Toolbox>) -> Self {
        Self { api, toolbox }
    }

    async fn call(&self, name: &str, arguments: &serde_json::Map<String, Value>) -> Result<Excerpt, Refusal> {
        let (call, following) = self.toolbox.call(name, arguments).map_err(|sentence| Excerpt::of(&sentence))?;
        let said = match following {
            None => self.api.ask(call).await,
            Some(following) => self.events(call, following).await,
        };
        said.map_err(|refusal| Excerpt::of(&tools::with_tools(&String::from_utf8_lossy(&refusal.bytes))))
    }

    /// What has happened since a number, and what happens within a wait; without a number the newest one.
    async fn events(&self, call: RestCall, Following { wait, limit, is_since }: Following) -> Result<Excerpt, Refusal> {
        let at_most = wait + OVERTIME;
        let mut stream = self.api.follow(call, at_most).await?;
        let (mut events, mut last) = (Vec::new(), None);
        let collect = async {
            while events.len() < limit {
                let patience = match events.is_empty() {
                    _ if !is_since => OVERTIME,
                    true => wait.max(QUIET),
                    false => QUIET,
                };
                let Ok(Some(event)) = tokio::time::timeout(patience, stream.next()).await else {
                    return;
                };
                let id = event.id.as_deref().and_then(|id| id.parse::<u64>().ok());
                last = id.or(last);
                // The stream begins with a mere number.
                if !is_since && last.is_some() {
                    return;
                }
                if !event.name.is_empty() {
                    events.push(shown(&event, id));
                }
            }
        };
        let _ = tokio::time::timeout(at_most, collect).await;
        let more = events.len() >= limit;
        Ok(Excerpt::of(&json!({"events": events, "last_event_id": last, "more": more}).to_string()))
    }
}

/// An event with its number; one about the stream itself says only its type and data.
fn shown(event: &StreamEvent, id: Option<u64>) -> Value {
    match event.json() {
        Value::Object(mut said) if said.contains_key("type") => {
            said.insert("id".to_owned(), json!(id));
            Value::Object(said)
        }
        data => json!({"type": event.name, "id": id, "data": data}),
    }
}

impl<A: RestApi> ServerHandler for McpServer<A> {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("gatewarden", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    /// Those that begin with `initialize`.
    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(ProtocolVersion::known_up_to(&ProtocolVersion::LATEST_WITH_INITIALIZE))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.toolbox.listed()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let result = match self.call(&request.name, &arguments).await {
            Ok(said) => CallToolResult::success(said.content()),
            Err(refusal) => CallToolResult::error(refusal.content()),
        };
        Ok(result.into())
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        Err(no_method(&request.method))
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Err(no_method("prompts/list"))
    }

    async fn get_prompt(
        &self,
        _: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        Err(no_method("prompts/get"))
    }

    async fn complete(
        &self,
        _: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        Err(no_method("completion/complete"))
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(pages::listed()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        pages::read(&request.uri).map(Into::into).ok_or_else(|| {
            let sentence = format!("There is no page {}; resources/list names all of them", request.uri);
            ErrorData::resource_not_found(sentence, None)
        })
    }
}

fn no_method(name: &str) -> ErrorData {
    let there_are = "there are initialize, ping, tools/list, tools/call, resources/list and resources/read";
    ErrorData::new(ErrorCode::METHOD_NOT_FOUND, format!("There is no method {name}; {there_are}"), None)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures_util::FutureExt as _;
    use futures_util::stream;

    use super::*;

    /// Notes what it is asked for.
    #[derive(Default)]
    struct Api {
        asked: RefCell<Vec<RestCall>>,
        events: Vec<StreamEvent>,
    }

    impl RestApi for Api {
        async fn ask(&self, call: RestCall) -> Result<Excerpt, Refusal> {
            let is_allowed = call.method == "GET";
            self.asked.borrow_mut().push(call);
            if is_allowed { Ok(Excerpt::of("{}")) } else { Err(Excerpt::of("forbidden")) }
        }

        async fn follow(&self, call: RestCall, _: Duration) -> Result<LocalBoxStream<'static, StreamEvent>, Refusal> {
            self.asked.borrow_mut().push(call);
            Ok(stream::iter(self.events.clone()).chain(stream::pending()).boxed_local())
        }
    }

    fn server(events: Vec<StreamEvent>) -> McpServer<Api> {
        let document = serde_json::to_value(crate::http::openapi()).unwrap();
        McpServer::new(Api { events, ..Api::default() }, Arc::new(Toolbox::of(&document)))
    }

    fn call(server: &McpServer<Api>, name: &str, arguments: Value) -> Result<String, String> {
        let said = server.call(name, arguments.as_object().unwrap()).now_or_never().unwrap();
        let text = |said: Excerpt| String::from_utf8(said.bytes).unwrap();
        said.map(text).map_err(text)
    }

    #[test]
    fn a_tool_is_a_request_of_the_rest_api() {
        let server = server(Vec::new());
        call(&server, "spawn_status", json!({"id": "a/b c?"})).unwrap();
        call(&server, "list_sessions", json!({"agent": "x&y", "limit": 5})).unwrap();
        call(&server, "spawn", json!({"task": "look", "idempotency_key": "k"})).unwrap_err();
        let asked = server.api.asked.borrow();
        assert_eq!(asked[0].path, "/api/spawn/a%2Fb%20c%3F");
        assert_eq!(asked[1].path, "/api/sessions?agent=x%26y&limit=5");
        assert_eq!((asked[2].method, asked[2].path.as_str()), ("POST", "/api/spawn"));
        assert_eq!(asked[2].body, Some(json!({"task": "look"})));
        assert_eq!(asked[2].idempotency_key.as_deref(), Some("k"));
    }

    #[test]
    fn what_the_api_says_to_a_refused_request_is_the_error_of_the_tool() {
        assert_eq!(call(&server(Vec::new()), "spawn", json!({"task": "look"})).unwrap_err(), "forbidden");
    }

    #[test]
    fn a_long_answer_is_cut_and_says_so() {
        let long = Excerpt::of(&"x".repeat(MAX_TEXT + 1));
        assert_eq!(long.content().len(), 2);
        assert_eq!(long.bytes.len(), MAX_TEXT);
        assert_eq!(Excerpt::of(&"x".repeat(MAX_TEXT)).content().len(), 1);
    }

    #[actix_web::test]
    async fn events_come_with_their_numbers_and_the_last_one_to_go_on_from() {
        tokio::time::pause();
        let event = |id: u64| StreamEvent {
            name: "gateway.status".to_owned(),
            id: Some(id.to_string()),
            text: json!({"type": "gateway.status", "ts": 1, "data": {}}).to_string(),
        };
        let begin = StreamEvent { id: Some("6".to_owned()), ..StreamEvent::default() };
        let server = server(vec![begin, event(7), event(8), event(9)]);
        let ask = async |arguments: Value| -> Value {
            let said = server.call("events_since", arguments.as_object().unwrap()).await.unwrap();
            serde_json::from_slice(&said.bytes).unwrap()
        };
        let all = ask(json!({"last_event_id": 6})).await;
        assert_eq!((all["events"].as_array().unwrap().len(), &all["more"]), (3, &json!(false)));
        assert_eq!(all["last_event_id"], 9);
        assert_eq!(all["events"][0]["id"], 7);
        let some = ask(json!({"last_event_id": 6, "max_events": 2})).await;
        assert_eq!((&some["last_event_id"], &some["more"]), (&json!(8), &json!(true)));
        assert_eq!(server.api.asked.borrow()[0].path, "/api/events?last_event_id=6");
        let newest = ask(json!({"wait_seconds": 20})).await;
        assert_eq!(newest, json!({"events": [], "last_event_id": 6, "more": false}), "nothing that is past or to come");
    }
}
