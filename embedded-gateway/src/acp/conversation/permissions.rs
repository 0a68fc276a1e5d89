//! What an agent asks for (`session/request_permission`), and what it is answered.

use serde_json::{Value, json};

use super::{Conversation, Stage, shown, wire};
use crate::config::Permissions;
use crate::effect::{LogLevel, ProcessNews, Question};

/// What an agent may ask for at a time.
const QUESTIONS: usize = 16;
/// What is shown of what a tool is called with, in characters.
const INPUT: usize = 2_000;

impl Conversation {
    pub(super) fn permission(&mut self, id: &Value, params: &Value) {
        let options = params.get("options").and_then(Value::as_array);
        let of_kinds = |kinds: [&str; 2]| {
            let of_kind = |kind: &str| {
                let is_it = |option: &&Value| option.get("kind").and_then(Value::as_str) == Some(kind);
                options.into_iter().flatten().find(is_it).and_then(|option| option.get("optionId")).cloned()
            };
            kinds.into_iter().find_map(of_kind)
        };
        let to_allow = of_kinds(["allow_once", "allow_always"]);
        let to_reject = of_kinds(["reject_once", "reject_always"]);
        let turn = self.turn.as_ref().filter(|turn| turn.cancelled.is_none() && self.stage == Stage::Prompting);
        let Some(turn) = turn else { return self.permit(id, None) };
        let tool = params.get("toolCall").unwrap_or(&Value::Null);
        let title = shown(tool.get("title").and_then(Value::as_str).unwrap_or("a tool"));
        let (done, word) = match (self.acp.permissions, &to_allow) {
            (Permissions::Ask, Some(_)) if self.questions.len() < QUESTIONS => {
                self.asked_for += 1;
                let input = tool.get("rawInput").filter(|input| !input.is_null());
                let question = Question {
                    number: self.asked_for,
                    title,
                    input: input.map(|input| input.to_string().chars().take(INPUT).collect()),
                    cwd: turn.order.cwd.display().to_string(),
                    tool_call: tool.get("toolCallId").and_then(Value::as_str).map(shown),
                };
                self.questions.insert(self.asked_for, (id.clone(), [to_allow, to_reject]));
                return self.tell(ProcessNews::Asks(question));
            }
            (Permissions::Ask, Some(_)) => ("denied, since as much waits for a decision already", "ask"),
            (Permissions::Ask, None) => ("not allowed, since the agent offers no way to", "ask"),
            (Permissions::Allow, Some(_)) => ("allowed", "allow"),
            (Permissions::Allow, None) => ("not allowed, since the agent offers no way to", "allow"),
            (Permissions::Deny, _) => ("denied", "deny"),
        };
        let allows = self.acp.permissions == Permissions::Allow;
        self.permit(id, if allows { to_allow } else { to_reject });
        let setting = self.setting("permissions");
        let said = format!("\"{title}\" of agent \"{}\" was {done}: {setting} is {word}", self.acp.agent);
        self.tell(ProcessNews::Remark(LogLevel::Info, said));
    }

    /// Answers a request for permission with one of its options.
    pub(super) fn permit(&mut self, id: &Value, option: Option<Value>) {
        let outcome = match option {
            Some(option) => json!({"outcome": "selected", "optionId": option}),
            None => json!({"outcome": "cancelled"}),
        };
        self.write(wire::answer(id, &json!({"outcome": outcome})));
    }

    /// An operator has decided, or nobody has in time.
    pub(in crate::acp) fn decide(&mut self, question: u64, allow: bool) {
        if let Some((id, [to_allow, to_reject])) = self.questions.remove(&question) {
            self.permit(&id, if allow { to_allow } else { to_reject });
        }
    }
}
