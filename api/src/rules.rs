//! The rules that fields of requests are read by.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

use gatewarden_protocol::Secret;
use serde_json::{Map, Value, json};
use utoipa::Number;
use utoipa::openapi::schema::{Object, SchemaType, Type};

use crate::request::{Datum, Fields, Request, Rule};

/// A rule out of two functions.
struct Checked<T, R, L> {
    read: R,
    limit: L,
    out: PhantomData<T>,
}

impl<T: Datum, R: Fn(&mut Fields<'_>, &str) -> Option<T>, L: Fn(&mut Object)> Rule for Checked<T, R, L> {
    type Out = T;

    fn read(&self, fields: &mut Fields<'_>, name: &str) -> Option<T> {
        (self.read)(fields, name)
    }

    fn limit(&self, schema: &mut Object) {
        (self.limit)(schema);
    }
}

pub(crate) fn rule<T: Datum>(
    read: impl Fn(&mut Fields<'_>, &str) -> Option<T>,
    limit: impl Fn(&mut Object),
) -> impl Rule<Out = T> {
    Checked { read, limit, out: PhantomData }
}

/// A rule of a request's own.
pub fn by<T: Datum>(read: impl Fn(&mut Fields<'_>, &str) -> Option<T>) -> impl Rule<Out = T> {
    rule(read, |_| {})
}

/// A text that is examined by the daemon alone, but for its length.
pub fn long(most: usize, inner: impl Rule<Out = String>) -> impl Rule<Out = String> {
    rule(move |fields, name| inner.read(fields, name), move |schema| schema.max_length = Some(most))
}

/// A text of so many characters, without control characters.
pub fn text(length: RangeInclusive<usize>) -> impl Rule<Out = String> {
    let (least, most) = (*length.start(), *length.end());
    rule(
        move |fields, name| checked_text(fields, name, length.clone()).map(str::to_owned),
        move |schema| {
            schema.min_length = (least > 0).then_some(least);
            schema.max_length = Some(most);
        },
    )
}

/// The same, where the empty text counts as left out.
pub fn text_or_nothing(most: usize) -> impl Rule<Out = String> {
    rule(
        move |fields, name| checked_text(fields, name, 0..=most).filter(|text| !text.is_empty()).map(str::to_owned),
        move |schema| schema.max_length = Some(most),
    )
}

/// A text that must not be seen; the empty one counts as left out.
pub fn secret(most: usize) -> impl Rule<Out = Secret> {
    over(text_or_nothing(most), |inner, fields, name| inner.read(fields, name).map(Secret::new))
}

/// Any text, looked at later; what is no text counts as left out.
pub fn raw() -> impl Rule<Out = String> {
    by(|fields, name| fields.value(name)?.as_str().map(str::to_owned))
}

/// A rule with more to say than another, whose limits it has.
pub fn over<R: Rule, T: Datum>(inner: R, read: impl Fn(&R, &mut Fields<'_>, &str) -> Option<T>) -> impl Rule<Out = T> {
    struct Over<R, F, T>(R, F, PhantomData<T>);
    impl<R: Rule, T: Datum, F: Fn(&R, &mut Fields<'_>, &str) -> Option<T>> Rule for Over<R, F, T> {
        type Out = T;

        fn read(&self, fields: &mut Fields<'_>, name: &str) -> Option<T> {
            (self.1)(&self.0, fields, name)
        }

        fn limit(&self, schema: &mut Object) {
            self.0.limit(schema);
        }

        fn note_missing(&self, fields: &mut Fields<'_>, name: &str) {
            self.0.note_missing(fields, name);
        }
    }
    Over(inner, read, PhantomData)
}

/// What `null` clears, and so does what the rule takes for nothing.
pub fn clearable<R: Rule>(inner: R) -> impl Rule<Out = Option<R::Out>> {
    over(inner, |inner, fields, name| {
        if !fields.has(name) {
            return None;
        }
        let before = fields.problems();
        match inner.read(fields, name) {
            None if fields.problems() > before => None,
            read => Some(read),
        }
    })
}

/// One of a few words.
pub fn word(words: &'static [&'static str]) -> impl Rule<Out = String> {
    rule(
        move |fields: &mut Fields<'_>, name: &str| {
            let value = fields.value(name)?;
            let known = words.join(", ");
            match value.as_str() {
                Some(text) if words.contains(&text) => return Some(text.to_owned()),
                Some(_) => fields.wrong(name, format_args!("must be one of {known}")),
                None => fields.wrong(name, format_args!("must be one of {known}, not {}", kind_of(value))),
            }
            None
        },
        |schema| schema.enum_values = Some(words.iter().map(|word| Value::from(*word)).collect()),
    )
}

/// What is to be done: one of a few words, with a sentence of its own where it is not or missing.
pub fn action(words: &'static [&'static str], problem: &'static str) -> impl Rule<Out = String> {
    struct Action(&'static [&'static str], &'static str);
    impl Rule for Action {
        type Out = String;

        fn read(&self, fields: &mut Fields<'_>, name: &str) -> Option<String> {
            let text = fields.value(name)?.as_str().filter(|text| self.0.contains(text));
            if text.is_none() {
                self.note_missing(fields, name);
            }
            text.map(str::to_owned)
        }

        fn limit(&self, schema: &mut Object) {
            schema.enum_values = Some(self.0.iter().map(|word| Value::from(*word)).collect());
        }

        fn note_missing(&self, fields: &mut Fields<'_>, name: &str) {
            fields.add(name, self.1);
        }
    }
    Action(words, problem)
}

/// A whole number within a range.
pub fn integer(range: RangeInclusive<i64>) -> impl Rule<Out = i64> {
    small(range)
}

/// The same in a smaller type.
pub fn small<T: Datum + TryFrom<i64>>(range: RangeInclusive<i64>) -> impl Rule<Out = T> {
    let (least, most) = (*range.start(), *range.end());
    rule(
        move |fields: &mut Fields<'_>, name: &str| {
            let value = fields.value(name)?;
            let number = match value.as_str() {
                Some(text) if fields.is_query => text.parse().ok(),
                _ => whole_number(value),
            };
            let taken = number.filter(|number| range.contains(number)).and_then(|number| T::try_from(number).ok());
            if taken.is_none() {
                let is_number = fields.is_query || value.is_number();
                let what = if is_number { String::new() } else { format!(", not {}", kind_of(value)) };
                let sentence = match (least, most) {
                    (1, i64::MAX) if !fields.is_query => format!("must be a positive integer{what}"),
                    (least, i64::MAX) => format!("must be an integer of at least {least}{what}"),
                    (least, most) => format!("must be an integer from {least} to {most}{what}"),
                };
                fields.wrong(name, sentence);
            }
            taken
        },
        move |schema| {
            schema.minimum = Some(Number::from(isize::try_from(least).unwrap_or(isize::MIN)));
            schema.maximum = (most != i64::MAX).then(|| Number::from(isize::try_from(most).unwrap_or(isize::MAX)));
        },
    )
}

/// The id of something: a positive number.
pub fn id() -> impl Rule<Out = i64> {
    integer(1..=i64::MAX)
}

/// A positive number that is capped without a word where it is too large, in a query.
pub fn capped(cap: usize) -> impl Rule<Out = usize> {
    rule(
        move |fields: &mut Fields<'_>, name: &str| {
            let value = fields.value(name)?.as_str().unwrap_or_default();
            let digits = value.bytes().all(|byte| byte.is_ascii_digit());
            // More digits than a number can hold is above any cap.
            match value.parse::<usize>() {
                Ok(0) => {}
                Ok(number) => return Some(number.min(cap)),
                Err(_) if digits => return Some(cap),
                Err(_) => {}
            }
            fields.wrong(name, "must be a positive integer");
            None
        },
        |schema| schema.minimum = Some(Number::from(1_isize)),
    )
}

/// A number that is none of a count.
pub fn number(range: RangeInclusive<f64>, problem: &'static str) -> impl Rule<Out = f64> {
    let least = *range.start();
    rule(
        move |fields: &mut Fields<'_>, name: &str| {
            let number = fields.value(name)?.as_f64().filter(|number| range.contains(number));
            if number.is_none() {
                fields.wrong(name, problem);
            }
            number
        },
        move |schema| schema.minimum = Some(Number::from(least)),
    )
}

/// `true`, `false`, `1` or `0`.
pub fn flag() -> impl Rule<Out = bool> {
    by(|fields, name| {
        let value = fields.value(name)?;
        let flag = match value {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) if fields.is_query => match text.as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            _ => match whole_number(value) {
                Some(1) => Some(true),
                Some(0) => Some(false),
                _ => None,
            },
        };
        if flag.is_none() {
            fields.wrong(name, "must be true or false (1 and 0 work too)");
        }
        flag
    })
}

/// The same, and the document says that 1 and 0 work too.
pub fn flag_or_number() -> impl Rule<Out = bool> {
    rule(
        |fields, name| flag().read(fields, name),
        |schema| {
            schema.schema_type = SchemaType::from_iter([Type::Boolean, Type::Integer]);
            schema.minimum = Some(Number::from(0_isize));
            schema.maximum = Some(Number::from(1_isize));
        },
    )
}

/// Any object of at most so many bytes as JSON.
pub fn object(most: usize) -> impl Rule<Out = Map<String, Value>> {
    by(move |fields, name| {
        let object = as_object(fields, name)?;
        if json!(object).to_string().len() > most {
            fields.wrong(name, format_args!("must have at most {most} bytes"));
        }
        Some(object.clone())
    })
}

/// An object with fields of its own.
pub fn nested<T: Request + Datum>() -> impl Rule<Out = T> {
    by(|fields, name| {
        let object = as_object(fields, name)?;
        let mut inside = fields.inside(object, name);
        let request = T::read(&mut inside);
        fields.absorb(inside);
        Some(request)
    })
}

/// An array of such objects; of more than `most` the rest is left aside without a word. `problem`: what an entry must be.
pub fn nested_list<T: Request + Datum>(most: usize, problem: &'static str) -> impl Rule<Out = Vec<T>> {
    by(move |fields, name| {
        let mut list = Vec::new();
        for (place, value) in as_array(fields, name)?.iter().take(most).enumerate() {
            let path = format!("{name}[{place}]");
            let Some(object) = value.as_object() else {
                fields.wrong(&path, problem);
                continue;
            };
            let mut inside = fields.inside(object, &path);
            list.push(T::read(&mut inside));
            fields.absorb(inside);
        }
        Some(list)
    })
}

/// An array of texts that pass `fits`, at most so many; else `problem` is said.
pub fn texts(most: usize, fits: fn(&str) -> bool, problem: &'static str) -> impl Rule<Out = Vec<String>> {
    by(move |fields, name| {
        let array = as_array(fields, name)?;
        let texts: Vec<String> =
            array.iter().filter_map(Value::as_str).filter(|text| fits(text)).map(str::to_owned).collect();
        if texts.len() != array.len() || texts.len() > most {
            fields.wrong(name, problem);
        }
        Some(texts)
    })
}

/// An object of texts.
pub fn texts_by_name<T: Datum + From<String>>(
    most: usize,
    fits: fn(&str, &str) -> bool,
    problem: &'static str,
) -> impl Rule<Out = BTreeMap<String, T>> {
    by(move |fields, name| {
        let object = as_object(fields, name)?;
        let texts = object.iter().filter_map(|(name, value)| Some((name, value.as_str()?)));
        let texts: BTreeMap<String, T> = texts
            .filter(|(name, value)| fits(name, value))
            .map(|(name, value)| (name.clone(), T::from(value.to_owned())))
            .collect();
        if texts.len() != object.len() || texts.len() > most {
            fields.wrong(name, problem);
        }
        Some(texts)
    })
}

/// The object in a field.
fn as_object<'a>(fields: &mut Fields<'a>, name: &str) -> Option<&'a Map<String, Value>> {
    let value = fields.value(name)?;
    let object = value.as_object();
    if object.is_none() {
        fields.wrong(name, format_args!("must be an object, not {}", kind_of(value)));
    }
    object
}

/// The array in a field.
pub fn as_array<'a>(fields: &mut Fields<'a>, name: &str) -> Option<&'a [Value]> {
    let value = fields.value(name)?;
    let array = value.as_array();
    if array.is_none() {
        fields.wrong(name, format_args!("must be an array, not {}", kind_of(value)));
    }
    array.map(Vec::as_slice)
}

/// The text in a field, whatever is in there.
pub fn as_text<'a>(fields: &mut Fields<'a>, name: &str) -> Option<&'a str> {
    let value = fields.value(name)?;
    let text = value.as_str();
    if text.is_none() {
        fields.wrong(name, format_args!("must be a text, not {}", kind_of(value)));
    }
    text
}

fn checked_text<'a>(fields: &mut Fields<'a>, name: &str, length: RangeInclusive<usize>) -> Option<&'a str> {
    let text = as_text(fields, name)?;
    match check_text(text, length) {
        Ok(()) => Some(text),
        Err(what) => {
            fields.wrong(name, what);
            None
        }
    }
}

/// What a text field must hold to. The sentence follows the field's name.
///
/// # Errors
/// What it doesn't hold to.
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
