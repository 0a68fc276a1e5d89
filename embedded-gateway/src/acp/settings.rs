//! Model and thinking level of a conversation, where the agent offers a choice: as options of the conversation
//! (`session/set_config_option`), or in the older forms `session/set_model` and `session/set_mode`.

use serde_json::{Value, json};

/// Values of one setting that are read and named in sentences.
const VALUES: usize = 200;
const NAMED: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Model,
    Thinking,
}

impl Which {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Thinking => "thinking level",
        }
    }

    fn category(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Thinking => "thought_level",
        }
    }
}

/// What has to be done so that a setting is as wished.
#[derive(Debug, PartialEq)]
pub(super) enum Change {
    /// It is.
    Nothing,
    Ask {
        method: &'static str,
        params: Value,
        value: String,
    },
    /// The agent offers no choice.
    NoChoice,
    /// Not this one; those that it offers, in words.
    NotOffered(String),
}

#[derive(Debug, Clone, PartialEq)]
enum Setter {
    Option(String),
    Model,
    Mode,
}

#[derive(Debug, Clone, PartialEq)]
struct Choice {
    setter: Setter,
    /// Ids and names.
    values: Vec<(String, String)>,
    current: String,
}

/// What a conversation lets choose.
#[derive(Debug, Default)]
pub(super) struct Settings {
    model: Option<Choice>,
    thinking: Option<Choice>,
}

impl Settings {
    /// From the answer that opened the conversation.
    pub(super) fn read(answer: &Value) -> Self {
        let older = |state: &str, list: &str, id: &str, current: &str, setter: Setter| {
            let state = answer.get(state)?;
            let values = values(state.get(list)?, id);
            Some(Choice { setter, values, current: text(state, current) })
        };
        let mut settings = Self {
            model: older("models", "availableModels", "modelId", "currentModelId", Setter::Model),
            thinking: older("modes", "availableModes", "id", "currentModeId", Setter::Mode),
        };
        settings.update(answer);
        settings
    }

    /// The options have changed: those that are told now.
    pub(super) fn update(&mut self, told: &Value) {
        for option in told.get("configOptions").and_then(Value::as_array).into_iter().flatten() {
            let category = text(option, "category");
            let slot = match category.as_str() {
                _ if category == Which::Model.category() => &mut self.model,
                _ if category == Which::Thinking.category() => &mut self.thinking,
                _ => continue,
            };
            let values = option.get("options").map(|options| values(options, "value")).unwrap_or_default();
            let setter = Setter::Option(text(option, "id"));
            *slot = Some(Choice { setter, values, current: text(option, "currentValue") });
        }
    }

    fn choice(&self, which: Which) -> Option<&Choice> {
        match which {
            Which::Model => self.model.as_ref(),
            Which::Thinking => self.thinking.as_ref(),
        }
    }

    pub(super) fn change(&self, which: Which, wish: &str, conversation: &str) -> Change {
        let Some(choice) = self.choice(which) else { return Change::NoChoice };
        let Some(value) = choice.find(wish) else {
            // A mode is a thinking level only where its name says so.
            return if choice.setter == Setter::Mode { Change::NoChoice } else { Change::NotOffered(choice.named()) };
        };
        if value == choice.current {
            return Change::Nothing;
        }
        let (method, params) = match &choice.setter {
            Setter::Option(id) => {
                ("session/set_config_option", json!({"sessionId": conversation, "configId": id, "value": value}))
            }
            Setter::Model => ("session/set_model", json!({"sessionId": conversation, "modelId": value})),
            Setter::Mode => ("session/set_mode", json!({"sessionId": conversation, "modeId": value})),
        };
        Change::Ask { method, params, value: value.to_owned() }
    }

    /// The agent has taken a value; its answer may tell the options anew.
    pub(super) fn taken(&mut self, which: Which, value: String, answer: &Value) {
        let choice = match which {
            Which::Model => &mut self.model,
            Which::Thinking => &mut self.thinking,
        };
        if let Some(choice) = choice {
            choice.current = value;
        }
        self.update(answer);
    }

    /// The model that the conversation has, where the agent tells.
    pub(super) fn model(&self) -> Option<&str> {
        self.model.as_ref().map(|choice| choice.current.as_str()).filter(|model| !model.is_empty())
    }
}

impl Choice {
    /// The value that is meant by its id, its name, or by `provider/id`.
    fn find(&self, wish: &str) -> Option<&str> {
        let without_provider = wish.rsplit_once('/').map_or(wish, |(_, model)| model);
        let fits = |(id, name): &&(String, String), wish: &str| id == wish || name.eq_ignore_ascii_case(wish);
        let found = self.values.iter().find(|value| fits(value, wish));
        found.or_else(|| self.values.iter().find(|value| fits(value, without_provider))).map(|(id, _)| id.as_str())
    }

    fn named(&self) -> String {
        self.values.iter().take(NAMED).map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(", ")
    }
}

fn text(of: &Value, name: &str) -> String {
    of.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Values, whose options may be grouped.
fn values(list: &Value, id: &str) -> Vec<(String, String)> {
    let items = list.as_array().into_iter().flatten();
    let flat = items.flat_map(|item| match item.get("options").and_then(Value::as_array) {
        Some(group) => group.iter().collect::<Vec<_>>(),
        None => vec![item],
    });
    flat.map(|item| (text(item, id), text(item, "name"))).filter(|(id, _)| !id.is_empty()).take(VALUES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Settings {
        Settings::read(&json!({"sessionId": "s", "configOptions": [
            {"id": "m", "category": "model", "type": "select", "currentValue": "small", "options": [
                {"group": "a", "name": "A", "options": [{"value": "small", "name": "Small"}, {"value": "large", "name": "Large One"}]},
            ]},
            {"id": "t", "category": "thought_level", "type": "select", "currentValue": "low", "options": [
                {"value": "low", "name": "Low"}, {"value": "high", "name": "High"},
            ]},
            {"id": "x", "category": "_own", "type": "boolean", "currentValue": true},
        ]}))
    }

    #[test]
    fn a_model_is_found_by_its_id_its_name_or_behind_its_provider() {
        let mut settings = options();
        assert_eq!(settings.model(), Some("small"));
        assert_eq!(settings.change(Which::Model, "small", "s"), Change::Nothing);
        for wish in ["large", "large one", "maker/large"] {
            let Change::Ask { method, params, value } = settings.change(Which::Model, wish, "s") else {
                panic!("{wish} is not asked for")
            };
            assert_eq!((method, value.as_str()), ("session/set_config_option", "large"));
            assert_eq!(params, json!({"sessionId": "s", "configId": "m", "value": "large"}));
        }
        assert_eq!(settings.change(Which::Model, "huge", "s"), Change::NotOffered("small, large".into()));
        settings.taken(Which::Model, "large".into(), &Value::Null);
        assert_eq!(settings.model(), Some("large"));
        assert!(matches!(settings.change(Which::Thinking, "HIGH", "s"), Change::Ask { .. }));
    }

    #[test]
    fn the_older_forms_are_understood_and_none_is_no_choice() {
        let settings = Settings::read(&json!({
            "models": {"currentModelId": "a", "availableModels": [{"modelId": "a", "name": "A"}, {"modelId": "b", "name": "B"}]},
            "modes": {"currentModeId": "ask", "availableModes": [{"id": "ask", "name": "Ask"}, {"id": "high", "name": "High"}]},
        }));
        assert!(matches!(settings.change(Which::Model, "b", "s"), Change::Ask { method: "session/set_model", .. }));
        assert!(matches!(
            settings.change(Which::Thinking, "high", "s"),
            Change::Ask { method: "session/set_mode", .. }
        ));
        assert_eq!(settings.change(Which::Thinking, "low", "s"), Change::NoChoice);
        let none = Settings::read(&json!({"sessionId": "s"}));
        assert_eq!((none.model(), none.change(Which::Model, "a", "s")), (None, Change::NoChoice));
    }
}
