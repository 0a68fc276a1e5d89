//! What was said in a session, in one form, whichever release of a gateway told it.

use gatewarden_api::sessions::{HistoryEntry, Usage};
use serde_json::Value;

/// Longest text of one entry, in characters.
const MAX_TEXT: usize = 65_536;
/// Longest name (role, model, tool) that is shown, in characters.
const MAX_NAME: usize = 200;
/// Most tools that are named in one entry.
const MAX_TOOLS: usize = 50;

/// The newest entries of a reply, whether or not the gateway kept to the limit.
pub(crate) fn newest(reply: &Value, limit: usize) -> Vec<HistoryEntry> {
    let messages = reply.as_array().or_else(|| reply.get("messages")?.as_array());
    let messages = messages.map(Vec::as_slice).unwrap_or_default();
    let skipped = messages.len().saturating_sub(limit);
    messages.iter().skip(skipped).filter_map(entry).collect()
}

/// Reads a message; none where it is no object.
fn entry(message: &Value) -> Option<HistoryEntry> {
    let map = message.as_object()?;
    let content = map.get("content").or_else(|| map.get("text"));
    let (content, truncated) = cut(text_of(content), MAX_TEXT);
    let name = |field: &str| map.get(field).and_then(Value::as_str).map(|text| cut(text.to_owned(), MAX_NAME).0);
    Some(HistoryEntry {
        role: name("role").unwrap_or_else(|| "unknown".to_owned()),
        content,
        timestamp: map.get("timestamp").and_then(Value::as_i64),
        tools: tools_of(map.get("content")),
        model: name("model"),
        stop_reason: name("stopReason"),
        error_message: map.get("errorMessage").and_then(Value::as_str).map(|text| cut(text.to_owned(), 2_000).0),
        usage: map.get("usage").and_then(usage),
        truncated,
    })
}
/// The text of a message: a text, or the text parts of a list. Thoughts, images and tool calls are no text.
fn text_of(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter_map(|part| match part {
                Value::String(text) => Some(text.as_str()),
                part if kind_of_part(part) == "text" => part.get("text")?.as_str(),
                _ => None,
            });
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

fn tools_of(content: Option<&Value>) -> Vec<String> {
    let parts = content.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    parts
        .iter()
        .filter(|part| matches!(kind_of_part(part), "toolCall" | "tool_call" | "tool_use" | "toolUse"))
        .filter_map(|part| part.get("name")?.as_str())
        .take(MAX_TOOLS)
        .map(|name| cut(name.to_owned(), MAX_NAME).0)
        .collect()
}

fn kind_of_part(part: &Value) -> &str {
    part.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn usage(usage: &Value) -> Option<Usage> {
    let number = |names: [&str; 2]| names.iter().find_map(|name| usage.get(*name)?.as_u64());
    let cost = usage.get("cost").and_then(|cost| cost.as_f64().or_else(|| cost.get("total")?.as_f64()));
    let usage = Usage {
        input_tokens: number(["input", "inputTokens"]),
        output_tokens: number(["output", "outputTokens"]),
        total_tokens: number(["totalTokens", "total"]),
        cost,
    };
    let empty = usage.input_tokens.or(usage.output_tokens).or(usage.total_tokens).is_none() && cost.is_none();
    (!empty).then_some(usage)
}

/// Cuts a text after so many characters, and says whether it did.
fn cut(mut text: String, longest: usize) -> (String, bool) {
    match text.char_indices().nth(longest) {
        None => (text, false),
        Some((at, _)) => {
            text.truncate(at);
            (text, true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(message: Value) -> Value {
        serde_json::to_value(entry(&message)).unwrap()
    }

    #[test]
    fn messages_of_both_protocols_come_in_one_form() {
        let three = json!({"role": "user", "content": [{"type": "text", "text": "hello quick"}], "timestamp": 1_795_253_715_807_i64,
                           "__openclaw": {"id": "c4fded74", "seq": 1}});
        let four = json!({"role": "user", "content": "hello quick", "timestamp": 1_795_253_715_807_i64,
                          "idempotencyKey": "k:user", "__openclaw": {"senderIsOwner": true}});
        let expected = json!({"role": "user", "content": "hello quick", "timestamp": 1_795_253_715_807_i64});
        assert_eq!(read(three), expected);
        assert_eq!(read(four), expected);
    }

    #[test]
    fn an_answer_keeps_its_model_tools_and_usage_and_nothing_that_was_not_said() {
        let message = json!({
            "role": "assistant", "model": "m1", "provider": "mock", "api": "x", "stopReason": "toolUse", "responseId": "r",
            "content": [{"type": "thinking", "thinking": "secret thoughts"}, {"type": "text", "text": "one"}, {"type": "text", "text": "two"},
                        {"type": "toolCall", "id": "t1", "name": "exec", "arguments": {"command": "env"}}],
            "usage": {"input": 1100, "output": 7, "totalTokens": 1107, "cost": {"total": 0.5}}, "timestamp": 5,
        });
        let expected = json!({
            "role": "assistant", "content": "one\ntwo", "timestamp": 5, "tools": ["exec"], "model": "m1", "stopReason": "toolUse",
            "usage": {"inputTokens": 1100, "outputTokens": 7, "totalTokens": 1107, "cost": 0.5},
        });
        assert_eq!(read(message), expected);
    }

    #[test]
    fn strange_messages_are_shown_as_far_as_they_go() {
        assert_eq!(
            read(json!({"content": 5, "timestamp": "now", "usage": {}})),
            json!({"role": "unknown", "content": "", "timestamp": null})
        );
        assert_eq!(entry(&json!("…1 more")), None);
        assert_eq!(entry(&Value::Null), None);
    }

    #[test]
    fn a_giant_text_is_cut_between_characters_and_says_so() {
        let read = entry(&json!({"role": "user", "content": "ä".repeat(MAX_TEXT + 1)})).unwrap();
        assert_eq!((read.content.chars().count(), read.truncated), (MAX_TEXT, true));
    }
}
