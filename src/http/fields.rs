//! Reads fields of a JSON object or a query one by one and collects everything that is wrong with them, so that one
//! answer names all the offending fields.

use std::ops::RangeInclusive;

use gatewarden_actors::error::{ErrorCode, Failure};
use serde_json::{Map, Value, json};

use super::error::ApiError;

/// What is wrong with a request, field by field.
#[derive(Debug, Default)]
pub struct Problems(Vec<(String, String)>);

impl Problems {
    /// Notes that a field is wrong; `sentence` names the field.
    pub fn add(&mut self, field: impl Into<String>, sentence: impl Into<String>) {
        self.0.push((field.into(), sentence.into()));
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One 400 that names all of them, if there are any.
    pub fn into_result(self) -> Result<(), ApiError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let sentence = self.0.iter().map(|(_, sentence)| sentence.as_str()).collect::<Vec<_>>().join("; ");
        let fields: Vec<Value> =
            self.0.iter().map(|(field, sentence)| json!({"field": field, "problem": sentence})).collect();
        Err(ApiError(
            Failure::new(ErrorCode::InvalidRequest, sentence)
                .with_help("The OpenAPI document at /api/openapi.json describes every field.")
                .with_details(json!({ "fields": fields })),
        ))
    }
}

/// One JSON object being read. `null` counts as left out unless a reader says otherwise.
#[derive(Debug)]
pub struct Fields<'a> {
    map: &'a Map<String, Value>,
    prefix: String,
    /// What was wrong so far.
    pub problems: Problems,
}

impl<'a> Fields<'a> {
    /// The fields of a whole body.
    pub fn new(map: &'a Map<String, Value>) -> Self {
        Self { map, prefix: String::new(), problems: Problems::default() }
    }

    /// The fields of an object inside a body; sentences name them `prefix.field`.
    pub fn inside(map: &'a Map<String, Value>, prefix: &str) -> Self {
        Self { map, prefix: format!("{prefix}."), problems: Problems::default() }
    }

    /// The name as sentences show it.
    pub fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Notes that a field is wrong; the sentence is the field's name and `what`.
    pub fn wrong(&mut self, name: &str, what: impl std::fmt::Display) {
        let path = self.path(name);
        let sentence = format!("{path} {what}");
        self.problems.add(path, sentence);
    }

    /// Notes that a required field is missing.
    pub fn missing(&mut self, name: &str) {
        self.wrong(name, "is missing");
    }

    /// Whether the field is there, `null` or not.
    pub fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// The value, unless left out or `null`.
    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// A text of so many characters, without control characters.
    pub fn text(&mut self, name: &str, length: RangeInclusive<usize>) -> Option<&'a str> {
        let value = self.value(name)?;
        let Some(text) = value.as_str() else {
            self.wrong(name, format_args!("must be a text, not {}", kind_of(value)));
            return None;
        };
        match check_text(text, length) {
            Ok(()) => Some(text),
            Err(what) => {
                self.wrong(name, what);
                None
            }
        }
    }

    /// One of a few words.
    pub fn word(&mut self, name: &str, words: &[&str]) -> Option<&'a str> {
        let value = self.value(name)?;
        match value.as_str() {
            Some(text) if words.contains(&text) => Some(text),
            Some(_) => {
                self.wrong(name, format_args!("must be one of {}", words.join(", ")));
                None
            }
            None => {
                self.wrong(name, format_args!("must be one of {}, not {}", words.join(", "), kind_of(value)));
                None
            }
        }
    }

    /// A whole number within a range.
    pub fn integer(&mut self, name: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let value = self.value(name)?;
        match whole_number(value).filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => {
                let what = if value.is_number() { String::new() } else { format!(", not {}", kind_of(value)) };
                let sentence = if *range.end() == i64::MAX && *range.start() == 1 {
                    format!("must be a positive integer{what}")
                } else if *range.end() == i64::MAX {
                    format!("must be an integer of at least {}{what}", range.start())
                } else {
                    format!("must be an integer from {} to {}{what}", range.start(), range.end())
                };
                self.wrong(name, sentence);
                None
            }
        }
    }

    /// `true`, `false`, `1` or `0`.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        let value = self.value(name)?;
        match (value, whole_number(value)) {
            (Value::Bool(flag), _) => Some(*flag),
            (_, Some(1)) => Some(true),
            (_, Some(0)) => Some(false),
            _ => {
                self.wrong(name, "must be true or false (1 and 0 work too)");
                None
            }
        }
    }

    /// An object.
    pub fn object(&mut self, name: &str) -> Option<&'a Map<String, Value>> {
        let value = self.value(name)?;
        let object = value.as_object();
        if object.is_none() {
            self.wrong(name, format_args!("must be an object, not {}", kind_of(value)));
        }
        object
    }

    /// An array.
    pub fn array(&mut self, name: &str) -> Option<&'a [Value]> {
        let value = self.value(name)?;
        let array = value.as_array();
        if array.is_none() {
            self.wrong(name, format_args!("must be an array, not {}", kind_of(value)));
        }
        array.map(Vec::as_slice)
    }

    /// Takes over what another reader found wrong.
    pub fn absorb(&mut self, other: Fields<'_>) {
        self.problems.0.extend(other.problems.0);
    }
}

/// What a text field must hold to. The sentence follows the field's name.
pub fn check_text(text: &str, length: RangeInclusive<usize>) -> Result<(), String> {
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters".to_owned());
    }
    // `chars` only as far as the limit: a body may hold a megabyte of text.
    let characters = text.chars().take(length.end().saturating_add(1)).count();
    if !length.contains(&characters) {
        return Err(format!("must have {} to {} characters", length.start(), length.end()));
    }
    if *length.start() > 0 && text.trim().is_empty() {
        return Err("must not be blank".to_owned());
    }
    Ok(())
}

/// A JSON number without a fraction. `1.0` is one; a number in quotes is not.
pub fn whole_number(value: &Value) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let number = value.as_f64()?;
    // Doubles are exact up to 2^53.
    #[expect(clippy::cast_possible_truncation, reason = "no fraction, and within 2^53")]
    (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
}

/// What a value is, in words.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn one_answer_names_every_offending_field() {
        let map = object(r#"{"name": 5, "port": "18789", "is_primary": "yes"}"#);
        let mut fields = Fields::new(&map);
        assert_eq!(fields.text("name", 1..=200), None);
        assert_eq!(fields.integer("port", 1..=65_535), None);
        assert_eq!(fields.flag("is_primary"), None);
        let ApiError(failure) = fields.problems.into_result().unwrap_err();
        for word in ["name must be a text", "port must be an integer from 1 to 65535, not a text", "is_primary"] {
            assert!(failure.message.contains(word), "{}", failure.message);
        }
        assert_eq!(failure.details.unwrap()["fields"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn a_flag_takes_true_false_one_and_zero() {
        let map = object(r#"{"a": true, "b": false, "c": 1, "d": 0, "e": 2}"#);
        let mut fields = Fields::new(&map);
        assert_eq!(fields.flag("a"), Some(true));
        assert_eq!(fields.flag("b"), Some(false));
        assert_eq!(fields.flag("c"), Some(true));
        assert_eq!(fields.flag("d"), Some(false));
        assert!(fields.problems.is_empty());
        assert_eq!(fields.flag("e"), None);
        assert!(!fields.problems.is_empty());
    }

    #[test]
    fn whole_numbers_are_not_fractions_texts_or_giants() {
        assert_eq!(whole_number(&json!(7)), Some(7));
        assert_eq!(whole_number(&json!(7.0)), Some(7));
        assert_eq!(whole_number(&json!(7.5)), None);
        assert_eq!(whole_number(&json!("7")), None);
        assert_eq!(whole_number(&json!(1e300)), None);
        assert_eq!(whole_number(&json!(u64::MAX)), None);
    }

    #[test]
    fn control_characters_and_blank_texts_are_refused() {
        assert!(check_text("prod\u{0}", 1..=10).is_err());
        assert!(check_text("   ", 1..=10).is_err());
        assert!(check_text("", 1..=10).is_err());
        assert!(check_text("", 0..=10).is_ok());
        assert!(check_text("prod-1", 1..=10).is_ok());
    }
}
