//! Reading fields out of JSON that may hold anything.

use serde_json::Value;

use crate::limits::{MAX_NAMES, MAX_NAMES_BYTES};
use crate::words;

/// The first of the fields that holds a fit name.
pub(crate) fn name(value: &Value, fields: &[&str]) -> Option<String> {
    fields.iter().find_map(|field| value.get(*field).and_then(Value::as_str).and_then(words::name))
}

/// The first of the fields that holds text, made fit to be shown.
pub(crate) fn shown(value: &Value, fields: &[&str]) -> Option<String> {
    let text = fields.iter().find_map(|field| value.get(*field).and_then(Value::as_str))?;
    Some(words::shown(text)).filter(|text| !text.is_empty())
}

/// The first of the fields that holds a number that is not negative, without its fraction.
pub(crate) fn whole(value: &Value, fields: &[&str]) -> Option<u64> {
    fields.iter().find_map(|field| {
        let number = value.get(*field)?;
        number.as_u64().or_else(|| number.as_f64().filter(|n| *n >= 0.0).map(|n| n as u64))
    })
}

/// The first of the fields that holds a count, at most `u32::MAX`.
pub(crate) fn count(value: &Value, fields: &[&str]) -> Option<u32> {
    whole(value, fields).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

/// The first of the fields that holds true or false.
pub(crate) fn flag(value: &Value, fields: &[&str]) -> Option<bool> {
    fields.iter().find_map(|field| value.get(*field).and_then(Value::as_bool))
}

/// The first of the fields that holds a time, in wall ms. Numbers too small to be ms of this century are seconds.
pub(crate) fn time_ms(value: &Value, fields: &[&str]) -> Option<i64> {
    let number = whole(value, fields)?;
    let ms = if number < 100_000_000_000 { number.saturating_mul(1_000) } else { number };
    i64::try_from(ms).ok().filter(|ms| *ms > 0)
}

/// The names in an array field, as far as [`MAX_NAMES`] and [`MAX_NAMES_BYTES`] reach.
pub(crate) fn names(value: &Value, field: &str) -> Option<Vec<String>> {
    let array = value.get(field)?.as_array()?;
    let names = array.iter().filter_map(Value::as_str).filter_map(words::name).take(MAX_NAMES);
    let within = names.scan(MAX_NAMES_BYTES, |left, name| {
        *left = left.checked_sub(name.len() + size_of::<String>())?;
        Some(name)
    });
    Some(within.collect())
}
