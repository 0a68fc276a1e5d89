//! What is noted of keys while they are read: the schema of the configuration as it grows.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

/// Stands for any name that somebody may choose: of an agent, a command, a variable.
pub(super) const ANY: &str = "any_name_";
/// Stands for any entry of a list.
pub(super) static ANY_ITEM: LazyLock<Vec<Value>> = LazyLock::new(|| vec![json!({"id": ANY})]);

#[derive(Debug, Default)]
pub(super) struct Schema(pub(super) Map<String, Value>);

impl Schema {
    /// Notes something of the key at a path such as `hooks.webhooks[0].id`.
    pub(super) fn put(&mut self, path: &str, said: &Value) {
        let mut node = Some(&mut self.0);
        for step in path.split('.').filter(|step| !step.is_empty()) {
            let (name, is_item) = step.split_once('[').map_or((step, false), |(name, _)| (name, true));
            node = node.and_then(|node| match name {
                ANY => below(node, "additionalProperties"),
                _ => below(node, "properties").and_then(|keys| below(keys, name)),
            });
            if is_item {
                node = node.and_then(|node| below(node, "items"));
            }
        }
        let Some(node) = node else { return };
        for (name, value) in said.as_object().into_iter().flatten() {
            // What names may be chosen is said already where one has been read.
            if !node.get(name).is_some_and(Value::is_object) {
                node.insert(name.clone(), value.clone());
            }
        }
    }
}

fn below<'a>(node: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    let child = node.entry(name).or_insert_with(|| Value::Object(Map::new()));
    if !child.is_object() {
        *child = Value::Object(Map::new());
    }
    child.as_object_mut()
}
