//! Reading the parameters of `connect` and of methods, with the sentences of real gateways for what is wrong with them.
//!
//! Objects are closed: whoever reads one names every property that it knows; another one is refused.

use serde_json::{Map, Value};

use crate::call::{Call, CallError};

/// The parameters of one call, or an object among them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Params<'a> {
    method: &'a str,
    /// Where the object stands, with a slash in front; empty for the parameters as a whole.
    place: &'static str,
    fields: Option<&'a Map<String, Value>>,
    /// As `connect` is checked: null is a value of a wrong kind, and it is said where something is missing.
    is_strict: bool,
}

impl<'a> Params<'a> {
    /// The parameters of a call to a method that knows these properties and no others.
    pub(crate) fn read(call: &'a Call, known: &[&str]) -> Result<Self, CallError> {
        let params = Self { method: &call.method, place: "", fields: call.params.as_object(), is_strict: false };
        if params.fields.is_none() && !call.params.is_null() {
            return Err(params.wrong("at root: must be object"));
        }
        params.closed(known)
    }

    pub(crate) fn strict(
        method: &'a str,
        params: &'a Value,
        known: &[&str],
        required: &[&str],
    ) -> Result<Self, CallError> {
        Self { method, place: "", fields: None, is_strict: true }.inside("", params, known, required)
    }

    pub(crate) fn inside(
        self,
        place: &'static str,
        value: &'a Value,
        known: &[&str],
        required: &[&str],
    ) -> Result<Self, CallError> {
        let inner = Self { place, fields: value.as_object(), ..self };
        if inner.fields.is_none() {
            return Err(inner.wrong(&format!("at {}: must be object", inner.shown_place())));
        }
        let inner = inner.closed(known)?;
        match required.iter().find(|name| inner.value(name).is_none()) {
            Some(name) => Err(inner.missing(name)),
            None => Ok(inner),
        }
    }

    fn closed(self, known: &[&str]) -> Result<Self, CallError> {
        match self.fields.into_iter().flatten().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => {
                let name: String = name.chars().take(64).collect();
                Err(self.wrong(&format!("at {}: unexpected property '{name}'", self.shown_place())))
            }
            None => Ok(self),
        }
    }

    fn shown_place(&self) -> &'static str {
        if self.place.is_empty() { "root" } else { self.place }
    }

    /// The value of a property; null counts as missing, except in `connect`.
    pub(crate) fn value(&self, name: &str) -> Option<&'a Value> {
        self.fields?.get(name).filter(|value| self.is_strict || !value.is_null())
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, CallError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.fault(name, "must be string")),
        }
    }

    pub(crate) fn name(&self, name: &str) -> Result<Option<&'a str>, CallError> {
        match self.text(name)? {
            Some("") => Err(self.fault(name, "must NOT have fewer than 1 characters")),
            text => Ok(text),
        }
    }

    /// A text of at least one character that must be given.
    pub(crate) fn required(&self, name: &str) -> Result<&'a str, CallError> {
        self.name(name)?.ok_or_else(|| self.missing(name))
    }

    /// A text that may be set to null: none where the property is missing, `Some(None)` for null.
    pub(crate) fn clearable(&self, name: &str) -> Result<Option<Option<String>>, CallError> {
        if self.fields.and_then(|fields| fields.get(name)).is_some_and(Value::is_null) {
            return Ok(Some(None));
        }
        Ok(self.text(name)?.map(|text| Some(text.to_owned())))
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, CallError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.fault(name, "must be boolean")),
        }
    }

    /// A whole number from `least` to `most`.
    pub(crate) fn whole(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, CallError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = value.as_u64().or_else(|| value.as_i64().is_some_and(i64::is_negative).then_some(0));
        match number {
            Some(_) if value.as_i64().is_some_and(i64::is_negative) || number < Some(least) => {
                Err(self.fault(name, &format!("must be >= {least}")))
            }
            Some(number) if number > most => Err(self.fault(name, &format!("must be <= {most}"))),
            Some(number) => Ok(Some(number)),
            None => Err(self.fault(name, "must be integer")),
        }
    }

    /// A list of at most `most` texts.
    pub(crate) fn texts(&self, name: &str, most: usize) -> Result<Option<Vec<&'a str>>, CallError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let Some(items) = value.as_array() else {
            return Err(self.fault(name, "must be array"));
        };
        if items.len() > most {
            return Err(self.fault(name, &format!("must NOT have more than {most} items")));
        }
        let texts = items
            .iter()
            .enumerate()
            .map(|(index, item)| item.as_str().ok_or_else(|| self.fault(&format!("{name}/{index}"), "must be string")));
        texts.collect::<Result<Vec<_>, _>>().map(Some)
    }

    pub(crate) fn one_of(&self, name: &str, words: &[&'static str]) -> Result<Option<&'static str>, CallError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match words.iter().find(|word| **word == text) {
            Some(word) => Ok(Some(word)),
            None => Err(self.fault(name, "must be equal to one of the allowed values")),
        }
    }

    /// A text that is not longer than so many characters.
    pub(crate) fn short(&self, name: &str, most: usize) -> Result<Option<String>, CallError> {
        match self.text(name)? {
            Some(text) if text.len() > most && text.chars().count() > most => {
                Err(self.fault(name, &format!("must NOT have more than {most} characters")))
            }
            text => Ok(text.map(str::to_owned)),
        }
    }

    /// The same of at least one character, which must be given.
    pub(crate) fn short_name(&self, name: &str, most: usize) -> Result<String, CallError> {
        self.short(name, most)?.filter(|text| !text.is_empty()).ok_or_else(|| self.empty(name))
    }

    fn empty(&self, name: &str) -> CallError {
        self.fault(name, "must NOT have fewer than 1 characters")
    }

    /// A list of at most `most` names, none longer than so many bytes.
    pub(crate) fn names(&self, name: &str, most: usize, longest: usize) -> Result<Vec<String>, CallError> {
        let texts = self.texts(name, most)?.unwrap_or_default();
        for (index, text) in texts.iter().enumerate() {
            if text.is_empty() {
                return Err(self.empty(&format!("{name}/{index}")));
            }
            if text.len() > longest {
                let what = format!("must NOT have more than {longest} characters");
                return Err(self.fault(&format!("{name}/{index}"), &what));
            }
        }
        Ok(texts.into_iter().map(str::to_owned).collect())
    }

    pub(crate) fn fault(&self, name: &str, what: &str) -> CallError {
        self.wrong(&format!("at {}/{name}: {what}", self.place))
    }

    pub(crate) fn missing(&self, name: &str) -> CallError {
        let place = if self.is_strict { format!("at {}: ", self.shown_place()) } else { String::new() };
        self.wrong(&format!("{place}must have required property '{name}'"))
    }

    /// An error about the parameters; `what` goes on after `invalid <method> params: `.
    pub(crate) fn wrong(&self, what: &str) -> CallError {
        CallError::invalid(format!("invalid {} params: {what}", self.method))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::caller::caller_with;

    fn call(params: Value) -> Call {
        Call { caller: Arc::new(caller_with(&[])), request: Some("r1".into()), method: "sessions.list".into(), params }
    }

    fn refusal<T: std::fmt::Debug>(result: Result<T, CallError>) -> String {
        result.expect_err("refused").message
    }

    #[test]
    fn an_unknown_property_is_refused_in_the_words_of_real_gateways() {
        let call = call(json!({"limit": 1, "nope": 1}));
        assert_eq!(
            refusal(Params::read(&call, &["limit"])),
            "invalid sessions.list params: at root: unexpected property 'nope'"
        );
    }

    #[test]
    fn parameters_that_are_no_object_are_refused_and_missing_ones_are_an_empty_object() {
        assert!(Params::read(&call(json!([1])), &[]).is_err());
        assert!(Params::read(&call(Value::Null), &[]).is_ok());
    }

    #[test]
    fn values_of_the_wrong_kind_are_named_by_their_path() {
        let call = call(json!({"a": 1, "b": "", "c": -1, "d": 2.5, "e": [1], "f": "x", "g": 7}));
        let params = Params::read(&call, &["a", "b", "c", "d", "e", "f", "g"]).expect("known");
        assert_eq!(refusal(params.text("a")), "invalid sessions.list params: at /a: must be string");
        assert!(refusal(params.name("b")).ends_with("at /b: must NOT have fewer than 1 characters"));
        assert!(refusal(params.required("z")).ends_with("must have required property 'z'"));
        assert!(refusal(params.whole("c", 0, 9)).ends_with("at /c: must be >= 0"));
        assert!(refusal(params.whole("d", 0, 9)).ends_with("at /d: must be integer"));
        assert!(refusal(params.whole("g", 0, 6)).ends_with("at /g: must be <= 6"));
        assert!(refusal(params.whole("g", 8, 9)).ends_with("at /g: must be >= 8"));
        assert!(refusal(params.texts("e", 9)).ends_with("at /e/0: must be string"));
        assert!(refusal(params.texts("e", 0)).ends_with("at /e: must NOT have more than 0 items"));
        assert!(refusal(params.flag("f")).ends_with("at /f: must be boolean"));
        assert!(refusal(params.one_of("f", &["y"])).ends_with("at /f: must be equal to one of the allowed values"));
    }

    #[test]
    fn null_is_missing_except_where_it_clears() {
        let call = call(json!({"label": null, "limit": null}));
        let params = Params::read(&call, &["label", "limit"]).expect("known");
        assert_eq!(params.whole("limit", 1, 2), Ok(None));
        assert_eq!(params.clearable("label"), Ok(Some(None)));
        assert_eq!(params.clearable("model"), Ok(None));
    }
}
