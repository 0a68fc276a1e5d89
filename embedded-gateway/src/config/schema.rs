//! The schema of the configuration: made by the code that reads it, which is let loose on a configuration in which everything is
//! open, so that it can't say anything else than is read.

use std::path::PathBuf;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::inputs::Inputs;
use super::load::read_all;
use super::section::Findings;
use super::{Auth, GatewayConfig};

/// Stands for any name that somebody may choose: of an agent, a command, a variable.
pub(super) const ANY: &str = "any_name_";
/// Stands for any entry of a list.
pub(super) static ANY_ITEM: LazyLock<Vec<Value>> = LazyLock::new(|| vec![json!({"id": ANY})]);

#[derive(Debug, Default)]
pub(super) struct Schema(Map<String, Value>);

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

/// JSON Schema of all keys, and the paths of those whose values are secrets (`hooks.webhooks[].secret`).
pub(crate) fn schema() -> (Value, Vec<String>) {
    let inputs = Inputs::default();
    let findings = Findings { schema: Some(Default::default()), ..Findings::new(&inputs, String::new()) };
    let mut config = GatewayConfig::defaults(PathBuf::from("/"), Auth::None);
    let _ = read_all(&findings, &Value::Null, &mut config);
    let Schema(mut schema) = findings.schema.unwrap_or_default().into_inner();
    schema.insert("$schema".to_owned(), "http://json-schema.org/draft-07/schema#".into());
    let (schema, mut secrets) = (Value::Object(schema), Vec::new());
    find_secrets(&schema, "", &mut secrets);
    (schema, secrets)
}

fn find_secrets(node: &Value, path: &str, found: &mut Vec<String>) {
    if node.get("writeOnly") == Some(&Value::Bool(true)) {
        found.push(path.to_owned());
    }
    for (name, child) in node.get("properties").and_then(Value::as_object).into_iter().flatten() {
        find_secrets(child, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, found);
    }
    for (kind, mark) in [("items", "[]"), ("additionalProperties", ".*")] {
        if let Some(child) = node.get(kind) {
            find_secrets(child, &format!("{path}{mark}"), found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_every_key_that_is_read_with_its_kind() {
        let (schema, secrets) = schema();
        let at = |pointer: &str| schema.pointer(pointer).cloned().unwrap_or_else(|| panic!("{pointer}: {schema:#}"));
        assert_eq!(
            at("/properties/gateway/properties/port"),
            json!({"type": "integer", "minimum": 0, "maximum": 65_535})
        );
        assert_eq!(at("/properties/gateway/properties/controlUi/properties/enabled"), json!({"type": "boolean"}));
        assert_eq!(at("/properties/hooks/properties/webhooks/items/properties/path"), json!({"type": "string"}));
        let command = "/properties/gatewarden/properties/commands/additionalProperties";
        assert_eq!(at(&format!("{command}/properties/jsonLines")), json!({"type": "boolean"}));
        assert_eq!(at(&format!("{command}/properties/env/additionalProperties")), json!({"type": "string"}));
        assert_eq!(at(&format!("{command}/additionalProperties")), json!(false));
        assert_eq!(at("/properties/agents/properties/list/items/properties/command"), json!({"type": "string"}));
        assert_eq!(
            at("/properties/agents/properties/entries/additionalProperties/properties/name"),
            json!({"type": "string"})
        );
        assert_eq!(secrets, ["gateway.auth.password", "gateway.auth.token", "hooks.webhooks[].secret"]);
    }
}
