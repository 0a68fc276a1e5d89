//! An example of each body and each answer, put together out of the examples of fields: the one that a field declares, or else
//! the one that `examples.json` has for its name (`field`, or `Schema.field` where one schema means another thing by it).

use serde_json::{Map, Value};
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, RefOr};

/// Nothing is nested deeper.
const DEEPEST: usize = 16;

/// What examples are made of.
pub(super) struct Examples {
    schemas: Value,
    /// Examples by the name of a field, or of a schema where its fields' examples don't go together.
    named: Map<String, Value>,
}

/// Bodies leave out what may be left out, unless it declares an example; answers show all that has one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Body,
    Answer,
}

impl Examples {
    /// Those of a document with these schemas.
    pub(super) fn of(document: &utoipa::openapi::OpenApi) -> Self {
        let schemas = document.components.as_ref().map(|components| &components.schemas);
        Self {
            schemas: serde_json::to_value(schemas).unwrap_or_default(),
            // A test reads the file.
            named: serde_json::from_str(include_str!("examples.json")).unwrap_or_default(),
        }
    }

    /// Puts them into an operation.
    pub(super) fn put_into(&self, operation: &mut Operation) {
        if let Some(RefOr::T(body)) = &mut operation.request_body {
            self.put(body.content.get_mut("application/json"), Side::Body);
        }
        for (status, response) in &mut operation.responses.responses {
            if let (true, RefOr::T(response)) = (status.starts_with('2'), response) {
                self.put(response.content.get_mut("application/json"), Side::Answer);
            }
        }
    }

    /// Puts one into a notification, which the daemon sends itself.
    pub(super) fn put_into_webhook(&self, operation: &mut Operation) {
        if let Some(RefOr::T(body)) = &mut operation.request_body {
            self.put(body.content.get_mut("application/json"), Side::Answer);
        }
    }

    fn put(&self, content: Option<&mut RefOr<Content>>, side: Side) {
        if let Some(RefOr::T(content)) = content {
            let schema = serde_json::to_value(&content.schema).unwrap_or_default();
            content.example = self.of_schema(&schema, "", side, DEEPEST);
        }
    }

    fn of_schema(&self, schema: &Value, name: &str, side: Side, depth: usize) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        let one = |schema: &Value| self.of_schema(schema, name, side, depth);
        if let Some(declared) = schema.get("example") {
            return Some(declared.clone());
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let name = reference.rsplit('/').next()?;
            let named = || self.of_schema(self.schemas.get(name)?, name, side, depth);
            return self.named.get(name).cloned().or_else(named);
        }
        if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
            let parts = parts.iter().map(one).collect::<Option<Vec<_>>>()?;
            let fields = parts.into_iter().filter_map(|part| match part {
                Value::Object(fields) => Some(fields),
                _ => None,
            });
            return Some(Value::Object(fields.flatten().collect()));
        }
        if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
            return choices.iter().find_map(one);
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            return words.first().cloned();
        }
        let kind = schema.get("type").and_then(|kind| kind.as_str().or_else(|| kind.get(0)?.as_str()));
        match kind? {
            "array" => Some(Value::Array(vec![one(schema.get("items")?)?])),
            "object" => self.of_fields(schema, name, side, depth).map(Value::Object),
            _ => None,
        }
    }

    /// None where a field that has to be there has no example.
    fn of_fields(&self, schema: &Value, of: &str, side: Side, depth: usize) -> Option<Map<String, Value>> {
        let mut fields = Map::new();
        let required = schema.get("required").and_then(Value::as_array);
        for (name, field) in schema.get("properties").and_then(Value::as_object)? {
            let declared = || field.get("example").or_else(|| self.named.get(&format!("{of}.{name}"))).cloned();
            let by_name = || self.named.get(name).cloned();
            let example = if required.is_some_and(|required| required.iter().any(|needed| needed == name)) {
                Some(declared().or_else(|| self.of_schema(field, "", side, depth)).or_else(by_name)?)
            } else {
                declared().or_else(|| by_name().filter(|_| side == Side::Answer))
            };
            fields.extend(example.map(|example| (name.clone(), example)));
        }
        Some(fields)
    }
}
