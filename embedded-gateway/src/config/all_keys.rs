//! The schema of the configuration: made by the code that reads it, which is let loose on a configuration in which everything is
//! open, so that it can't say anything else than is read.

use std::path::PathBuf;
use std::sync::LazyLock;

use serde_json::Value;

use super::inputs::Inputs;
use super::load::read_all;
use super::schema::Schema;
use super::section::Findings;
use super::{Auth, GatewayConfig};

/// JSON Schema of all keys, and the paths of those whose values are secrets (`hooks.webhooks[].secret`).
pub(crate) static SCHEMA: LazyLock<(Value, Vec<String>)> = LazyLock::new(schema);

fn schema() -> (Value, Vec<String>) {
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
    use serde_json::json;

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
        // Those of channels are in the tests of each.
        let others: Vec<_> = secrets.iter().filter(|secret| !secret.starts_with("channels.")).collect();
        assert_eq!(
            others,
            ["cron.webhookToken", "gateway.auth.password", "gateway.auth.token", "hooks.webhooks[].secret"]
        );
        let acp = "/properties/agents/properties/entries/additionalProperties/properties/acp";
        assert_eq!(at(&format!("{acp}/properties/program")), json!({"type": "string"}));
        assert_eq!(at(&format!("{acp}/properties/args/items")), json!({"type": "string"}));
        assert_eq!(at(&format!("{acp}/properties/env/additionalProperties")), json!({"type": "string"}));
        for key in ["permissions", "timeout", "idleTimeout", "workingDirs"] {
            assert!(at(&format!("{acp}/properties/{key}"))["type"] != serde_json::Value::Null, "{key}");
        }
        assert_eq!(at(&format!("{acp}/additionalProperties")), json!(false));
    }
}
