//! A value that somebody wrote, in JSON or a form like it. serde_json's own type lets the last of two equal keys win; here that is
//! a mistake that is said, since it hides something.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::words;

/// Any value whose objects have no repeated keys.
#[derive(Debug, Clone, PartialEq)]
pub struct StrictJson(pub Value);

/// What stands before and behind the key in the error of a repeated one.
const REPEATED: (&str, &str) = ("the key \"", "\" is written twice; keep one");

/// The repeated key, where that is what an error says.
pub fn repeated_key(error: &str) -> Option<&str> {
    let (_, after) = error.split_once(REPEATED.0)?;
    after.rsplit_once(REPEATED.1).map(|(key, _)| key)
}

impl<'de> Deserialize<'de> for StrictJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Node).map(Self)
    }
}

struct Node;

impl<'de> Visitor<'de> for Node {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(StrictJson(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let StrictJson(value) = entries.next_value()?;
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("{}{}{}", REPEATED.0, words::shown(&key), REPEATED.1)));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_key_is_refused_by_its_name_at_any_depth() {
        let read = |text: &str| serde_json::from_str::<StrictJson>(text);
        assert_eq!(read(r#"{"a":[1,{"b":null}]}"#).unwrap().0, serde_json::json!({"a": [1, {"b": null}]}));
        let said = read(r#"{"a":[{"b\"":1,"b\"":2}]}"#).unwrap_err().to_string();
        assert_eq!(repeated_key(&said), Some("b\""), "{said}");
        assert_eq!(repeated_key("anything else"), None);
    }
}
