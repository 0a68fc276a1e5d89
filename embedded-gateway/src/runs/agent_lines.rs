//! What an agent says on standard output: one JSON object a line (see docs/embedded-gateway-agents.md, "Agents that speak JSON
//! lines"). Anything else is a line for the log.

use serde_json::{Map, Value};

use crate::sessions::Usage;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AgentLine {
    Delta(String),
    Text(String),
    Thinking(String),
    ToolStart {
        name: String,
        id: Option<String>,
        args: Value,
    },
    ToolResult {
        name: Option<String>,
        id: Option<String>,
        result: Value,
        is_error: bool,
    },
    /// Tokens used since the last such line.
    Usage {
        usage: Usage,
        model: Option<String>,
    },
    Done {
        /// The whole answer, where it wasn't said before.
        text: Option<String>,
    },
    Error(String),
    Log,
}

impl AgentLine {
    pub(crate) fn read(line: &str) -> Self {
        match serde_json::from_str::<Value>(line) {
            Ok(Value::Object(fields)) => Self::of(&fields).unwrap_or(Self::Log),
            _ => Self::Log,
        }
    }

    fn of(fields: &Map<String, Value>) -> Option<Self> {
        Some(match text(fields, &["type"])?.as_str() {
            "text" => match text(fields, &["delta"]) {
                Some(delta) => Self::Delta(delta),
                None => Self::Text(text(fields, &["text"])?),
            },
            "thinking" => Self::Thinking(text(fields, &["delta", "text", "thinking"])?),
            "tool_start" => Self::ToolStart {
                name: text(fields, &["name"])?,
                id: text(fields, &["id", "toolCallId"]),
                args: fields.get("args").cloned().unwrap_or_default(),
            },
            "tool_result" => Self::ToolResult {
                name: text(fields, &["name"]),
                id: text(fields, &["id", "toolCallId"]),
                result: ["result", "output", "text"]
                    .iter()
                    .find_map(|name| fields.get(*name))
                    .cloned()
                    .unwrap_or_default(),
                is_error: fields.get("isError").and_then(Value::as_bool).unwrap_or(false),
            },
            "usage" => Self::Usage {
                usage: Usage {
                    input: count(fields, "input").unwrap_or(0),
                    output: count(fields, "output").unwrap_or(0),
                    context: count(fields, "context"),
                    window: count(fields, "window"),
                    cost_usd: fields.get("costUsd").and_then(Value::as_f64).filter(|cost| *cost >= 0.0),
                },
                model: text(fields, &["model"]).filter(|model| !model.is_empty()),
            },
            "done" => Self::Done { text: text(fields, &["text"]) },
            "error" => {
                Self::Error(text(fields, &["message", "error"]).unwrap_or_else(|| "it gave no reason".to_owned()))
            }
            _ => return None,
        })
    }
}

fn text(fields: &Map<String, Value>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| fields.get(*name)?.as_str()).map(str::to_owned)
}

fn count(fields: &Map<String, Value>, name: &str) -> Option<u64> {
    fields.get(name).and_then(Value::as_u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_of_line_is_read() {
        for (line, expected) in [
            (r#"{"type":"text","delta":"wo"}"#, AgentLine::Delta("wo".into())),
            (r#"{"type":"text","text":"word"}"#, AgentLine::Text("word".into())),
            (r#"{"type":"text","text":"word","delta":"d"}"#, AgentLine::Delta("d".into())),
            (r#"{"type":"thinking","text":"hm"}"#, AgentLine::Thinking("hm".into())),
            (
                r#"{"type":"tool_start","name":"ls","id":"t1","args":{"path":"/"}}"#,
                AgentLine::ToolStart { name: "ls".into(), id: Some("t1".into()), args: json!({"path": "/"}) },
            ),
            (
                r#"{"type":"tool_result","id":"t1","result":["a"],"isError":true}"#,
                AgentLine::ToolResult { name: None, id: Some("t1".into()), result: json!(["a"]), is_error: true },
            ),
            (
                r#"{"type":"usage","input":10,"output":2,"context":9,"model":"m","costUsd":0.5}"#,
                AgentLine::Usage {
                    usage: Usage { input: 10, output: 2, context: Some(9), window: None, cost_usd: Some(0.5) },
                    model: Some("m".into()),
                },
            ),
            (
                r#"{"type":"usage","input":-1,"output":"2","costUsd":-1}"#,
                AgentLine::Usage { usage: Usage::default(), model: None },
            ),
            (r#"{"type":"done"}"#, AgentLine::Done { text: None }),
            (r#"{"type":"done","text":"all"}"#, AgentLine::Done { text: Some("all".into()) }),
            (r#"{"type":"error","message":"no key"}"#, AgentLine::Error("no key".into())),
            (r#"{"type":"error"}"#, AgentLine::Error("it gave no reason".into())),
        ] {
            assert_eq!(AgentLine::read(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_no_such_object_is_for_the_log() {
        for line in
            ["", "plain words", "[1]", "42", "{", r#"{"type":"later"}"#, r#"{"type":"text"}"#, r#"{"type":1}"#, "{}"]
        {
            assert_eq!(AgentLine::read(line), AgentLine::Log, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_breaks_the_reader(line in ".{0,200}") {
            let _ = AgentLine::read(&line);
        }
    }
}
