//! What an agent tells of its turn (`session/update`), as the lines that other agents write themselves.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Tool calls whose names are remembered until they return.
const TOOLS: usize = 256;
/// Longest name of a tool, in characters.
const NAME: usize = 200;

/// One turn: what its updates have told so far.
#[derive(Debug, Default)]
pub(super) struct Updates {
    /// The tools under way, by their calls.
    tools: BTreeMap<String, String>,
    usage: Value,
    /// US dollars of the whole conversation when the turn began, and now.
    cost: Option<(f64, f64)>,
}

impl Updates {
    /// The next turn of the same conversation.
    pub(super) fn next_turn(&mut self) {
        let cost = self.cost.map(|(_, now)| (now, now));
        *self = Self { cost, ..Self::default() };
    }

    /// The lines that say the same as an update. None for what isn't told.
    pub(super) fn lines(&mut self, update: &Value) -> Vec<Value> {
        let kind = update.get("sessionUpdate").and_then(Value::as_str).unwrap_or_default();
        match kind {
            "agent_message_chunk" => said(update, "text"),
            "agent_thought_chunk" => said(update, "thinking"),
            "tool_call" | "tool_call_update" => self.tool(update),
            "usage_update" => {
                self.usage = update.clone();
                let cost = update.get("cost").filter(|cost| text(cost, "currency") == Some("USD"));
                if let Some(now) = cost.and_then(|cost| cost.get("amount")?.as_f64()) {
                    self.cost = Some((self.cost.map_or(0.0, |(before, _)| before), now));
                }
                Vec::new()
            }
            // Plans, commands, modes: nothing that a run tells. Also what later versions add.
            _ => Vec::new(),
        }
    }

    fn tool(&mut self, update: &Value) -> Vec<Value> {
        let Some(id) = text(update, "toolCallId") else { return Vec::new() };
        let mut lines = Vec::new();
        if !self.tools.contains_key(id) && self.tools.len() < TOOLS {
            let name = text(update, "name").or_else(|| text(update, "title")).unwrap_or("tool");
            let name: String = name.chars().take(NAME).collect();
            let args = update.get("rawInput").cloned().unwrap_or_else(|| json!({}));
            lines.push(json!({"type": "tool_start", "name": name, "id": id, "args": args}));
            self.tools.insert(id.to_owned(), name);
        }
        let status = text(update, "status").unwrap_or_default();
        if matches!(status, "completed" | "failed") {
            let name = self.tools.remove(id);
            let result = update.get("rawOutput").filter(|output| !output.is_null()).cloned();
            let result = result.unwrap_or_else(|| contents(update.get("content")));
            let is_error = status == "failed";
            lines.push(json!({"type": "tool_result", "name": name, "id": id, "result": result, "isError": is_error}));
        }
        lines
    }

    /// What the turn has used, at its end: `answer` is the prompt's. None where the agent tells nothing of it.
    pub(super) fn usage(&self, answer: &Value, model: Option<&str>) -> Option<Value> {
        let used = answer.get("usage").unwrap_or(&Value::Null);
        let count = |of: &Value, name: &str| of.get(name).and_then(Value::as_u64);
        let cost = self.cost.map(|(before, now)| (now - before).max(0.0));
        if used.is_null() && self.usage.is_null() && model.is_none() {
            return None;
        }
        Some(json!({
            "type": "usage",
            "input": count(used, "inputTokens").unwrap_or(0),
            "output": count(used, "outputTokens").unwrap_or(0),
            "context": count(&self.usage, "used"),
            "window": count(&self.usage, "size"),
            "costUsd": cost,
            "model": model,
        }))
    }
}

fn text<'a>(of: &'a Value, name: &str) -> Option<&'a str> {
    of.get(name).and_then(Value::as_str)
}

fn said(update: &Value, kind: &str) -> Vec<Value> {
    let said = content(update.get("content").unwrap_or(&Value::Null));
    if said.is_empty() { Vec::new() } else { vec![json!({"type": kind, "delta": said})] }
}

/// A block of content as text. What isn't text is named.
fn content(block: &Value) -> String {
    match text(block, "type").unwrap_or_default() {
        "text" => text(block, "text").unwrap_or_default().to_owned(),
        "resource_link" => {
            format!("[{}]({})", text(block, "name").unwrap_or_default(), text(block, "uri").unwrap_or_default())
        }
        "resource" => {
            let resource = block.get("resource").unwrap_or(&Value::Null);
            text(resource, "text").or_else(|| text(resource, "uri")).unwrap_or_default().to_owned()
        }
        kind @ ("image" | "audio") => format!("[{kind}: {}]", text(block, "mimeType").unwrap_or("unknown")),
        _ => String::new(),
    }
}

/// What a tool's call produced, where its raw output isn't told.
fn contents(of: Option<&Value>) -> Value {
    let parts = of.and_then(Value::as_array).into_iter().flatten().map(|part| match text(part, "type") {
        Some("content") => content(part.get("content").unwrap_or(&Value::Null)),
        Some("diff") => format!("changed {}", text(part, "path").unwrap_or_default()),
        _ => String::new(),
    });
    Value::String(parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(kind: &str, content: Value) -> Value {
        json!({"sessionUpdate": kind, "content": content})
    }

    #[test]
    fn text_and_thoughts_are_told_as_they_come() {
        let mut updates = Updates::default();
        let hi = json!({"type": "text", "text": "hi"});
        assert_eq!(updates.lines(&chunk("agent_message_chunk", hi.clone())), [json!({"type": "text", "delta": "hi"})]);
        assert_eq!(updates.lines(&chunk("agent_thought_chunk", hi)), [json!({"type": "thinking", "delta": "hi"})]);
        let picture = json!({"type": "image", "mimeType": "image/png", "data": "..."});
        assert_eq!(updates.lines(&chunk("agent_message_chunk", picture))[0]["delta"], "[image: image/png]");
        let link = json!({"type": "resource_link", "name": "a", "uri": "file:///a"});
        assert_eq!(updates.lines(&chunk("agent_message_chunk", link))[0]["delta"], "[a](file:///a)");
        for untold in [json!({"sessionUpdate": "plan"}), json!({}), json!(1), json!({"sessionUpdate": "later"})] {
            assert!(updates.lines(&untold).is_empty(), "{untold}");
        }
    }

    #[test]
    fn a_tool_starts_once_and_returns_with_its_name() {
        let mut updates = Updates::default();
        let call = json!({"sessionUpdate": "tool_call", "toolCallId": "t", "title": "List", "rawInput": {"path": "/"}});
        assert_eq!(
            updates.lines(&call),
            [json!({"type": "tool_start", "name": "List", "id": "t", "args": {"path": "/"}})]
        );
        let update = |status: &str| {
            json!({"sessionUpdate": "tool_call_update", "toolCallId": "t", "status": status, "content": [
                {"type": "content", "content": {"type": "text", "text": "a b"}}, {"type": "diff", "path": "/x"},
            ]})
        };
        assert!(updates.lines(&update("in_progress")).is_empty());
        assert_eq!(
            updates.lines(&update("failed")),
            [json!({"type": "tool_result", "name": "List", "id": "t", "result": "a b\nchanged /x", "isError": true})]
        );
    }

    #[test]
    fn a_turn_costs_what_the_conversation_has_cost_since_it_began() {
        let mut updates = Updates::default();
        assert_eq!(updates.usage(&Value::Null, None), None);
        let used = |cost: f64| json!({"sessionUpdate": "usage_update", "used": 9, "size": 100, "cost": {"amount": cost, "currency": "USD"}});
        updates.lines(&used(0.25));
        let usage = updates.usage(&json!({"usage": {"inputTokens": 7, "outputTokens": 2}}), Some("m")).unwrap();
        assert_eq!((&usage["input"], &usage["output"], &usage["context"]), (&json!(7), &json!(2), &json!(9)));
        assert_eq!((&usage["costUsd"], &usage["model"]), (&json!(0.25), &json!("m")));
        updates.next_turn();
        updates.lines(&used(0.75));
        assert_eq!(updates.usage(&Value::Null, None).unwrap()["costUsd"], 0.5);
    }
}
