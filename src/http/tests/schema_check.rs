//! Holds values to schemas of the OpenAPI document.

use serde_json::Value;

/// What is wrong with a value by a schema; fields that the schema doesn't have are wrong too.
pub(super) fn problems(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    check(document, schema, value, "", &mut problems);
    let mut known = Known::default();
    known.collect(document, schema);
    if let (false, Some(fields)) = (known.open, value.as_object()) {
        problems
            .extend(fields.keys().filter(|name| !known.names.contains(name)).map(|name| format!("{name} is unknown")));
    }
    problems
}

/// The fields that an object may have by all parts of its schema.
#[derive(Default)]
struct Known {
    names: Vec<String>,
    open: bool,
}

impl Known {
    fn collect(&mut self, document: &Value, schema: &Value) {
        let schema = resolved(document, schema);
        for part in ["allOf", "oneOf"].iter().filter_map(|name| schema[*name].as_array()).flatten() {
            self.collect(document, part);
        }
        if let Some(fields) = schema["properties"].as_object() {
            self.names.extend(fields.keys().cloned());
        }
        let is_free = is_of(schema, "object") && !schema["properties"].is_object();
        self.open |= is_free || !schema["additionalProperties"].is_null();
    }
}

fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => resolved(document, document.pointer(reference.trim_start_matches('#')).unwrap()),
        None => schema,
    }
}

fn is_of(schema: &Value, kind: &str) -> bool {
    schema["type"] == kind || schema["type"].as_array().is_some_and(|kinds| kinds.iter().any(|one| one == kind))
}

fn check(document: &Value, schema: &Value, value: &Value, place: &str, problems: &mut Vec<String>) {
    let schema = resolved(document, schema);
    let mut wrong = |what: String| problems.push(format!("{place}: {what}"));
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !schema["type"].is_null() && !is_of(schema, kind) && !(kind == "integer" && is_of(schema, "number")) {
        return wrong(format!("{value} is not of {}", schema["type"]));
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        wrong(format!("{value} is none of {}", schema["enum"]));
    }
    let limits: [(&str, Option<f64>, fn(f64, f64) -> bool); 4] = [
        ("minimum", value.as_f64(), |value, limit| value >= limit),
        ("maximum", value.as_f64(), |value, limit| value <= limit),
        ("minLength", value.as_str().map(|text| text.chars().count() as f64), |value, limit| value >= limit),
        ("maxLength", value.as_str().map(|text| text.chars().count() as f64), |value, limit| value <= limit),
    ];
    for (name, value, keeps) in limits {
        if let (Some(value), Some(limit)) = (value, schema[name].as_f64())
            && !keeps(value, limit)
        {
            wrong(format!("{value} is beyond {name} {limit}"));
        }
    }
    for name in schema["required"].as_array().into_iter().flatten().filter(|_| value.is_object()) {
        if value.get(name.as_str().unwrap()).is_none() {
            wrong(format!("{name} is missing"));
        }
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        let place = format!("{place}.{name}");
        let known = &schema["properties"][name];
        let by = if known.is_null() { &schema["additionalProperties"] } else { known };
        if by.is_object() {
            problems.extend(self::problems(document, by, field).into_iter().map(|what| format!("{place}{what}")));
        }
    }
    for item in value.as_array().into_iter().flatten().filter(|_| !schema["items"].is_null()) {
        problems.extend(
            self::problems(document, &schema["items"], item).into_iter().map(|what| format!("{place}[]{what}")),
        );
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        check(document, part, value, place, problems);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = |choice: &&Value| self::problems(document, choice, value).is_empty();
        // Of a part of a whole, the fields of the other parts are unknown.
        let count = choices.iter().filter(fits).count();
        if count != 1 {
            problems.push(format!("{place}: {value} fits {count} of {} choices", choices.len()));
        }
    }
}
