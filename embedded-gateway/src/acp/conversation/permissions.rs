//! What an agent asks for (`session/request_permission`), and what it is answered.

use serde_json::{Value, json};

use super::{Conversation, Stage, shown, wire};
use crate::config::Permissions;
use crate::effect::{LogLevel, ProcessNews, Question};

/// What an agent may ask for at a time.
const QUESTIONS: usize = 16;
/// Most that is shown of what a tool is called with, in bytes. Nobody can allow what isn't shown whole.
const INPUT: usize = 16 * 1_024;

impl Conversation {
    pub(super) fn permission(&mut self, id: &Value, params: &Value) {
        let options = params.get("options").and_then(Value::as_array);
        let of_kind = |kind: &str| {
            let is_it = |option: &&Value| option.get("kind").and_then(Value::as_str) == Some(kind);
            options.into_iter().flatten().find(is_it).and_then(|option| option.get("optionId")).cloned()
        };
        let once = of_kind("allow_once");
        let always = of_kind("allow_always");
        let to_reject = of_kind("reject_once").or_else(|| of_kind("reject_always"));
        let turn = self.turn.as_ref().filter(|turn| turn.cancelled.is_none() && self.stage == Stage::Prompting);
        let Some(turn) = turn else { return self.permit(id, None) };
        let tool = params.get("toolCall").unwrap_or(&Value::Null);
        let whole = tool.get("title").and_then(Value::as_str).unwrap_or("a tool");
        let title = shown(whole);
        let (done, word) = match (self.acp.permissions, &once, &always) {
            (Permissions::Ask, Some(_), _) if self.questions.len() >= QUESTIONS => {
                ("denied, since as much waits for a decision already", "ask")
            }
            (Permissions::Ask, Some(_), _) => {
                let input = tool.get("rawInput").filter(|input| !input.is_null()).map(Value::to_string);
                // A title may be all that says what is done.
                let input = input.or_else(|| (title != whole).then(|| json!(whole).to_string()));
                if input.as_ref().is_none_or(|input| input.len() <= INPUT) {
                    self.asked_for += 1;
                    let question = Question {
                        number: self.asked_for,
                        title,
                        input,
                        cwd: turn.order.cwd.display().to_string(),
                        tool_call: tool.get("toolCallId").and_then(Value::as_str).map(shown),
                    };
                    self.questions.insert(self.asked_for, (id.clone(), [once, to_reject]));
                    return self.tell(ProcessNews::Asks(question));
                }
                ("denied, since what it is called with is longer than 16 KiB, which nobody can be shown", "ask")
            }
            (Permissions::Ask, None, Some(_)) => ("denied, since the agent offers no way to allow it only once", "ask"),
            (Permissions::Ask, None, None) => ("not allowed, since the agent offers no way to", "ask"),
            (Permissions::Allow, None, None) => ("not allowed, since the agent offers no way to", "allow"),
            (Permissions::Allow, ..) => ("allowed", "allow"),
            (Permissions::Deny, ..) => ("denied", "deny"),
        };
        let allows = self.acp.permissions == Permissions::Allow;
        self.permit(id, if allows { once.or(always) } else { to_reject });
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
