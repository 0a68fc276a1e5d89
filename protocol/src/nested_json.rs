//! A JSON value in a message between nodes of ours, read with a limit of nesting of its own: one that a gateway nested as deep as it may
//! would else be too deep for the message around it. For a field, with `#[serde(deserialize_with = ...)]`.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize as _, de::DeserializeOwned};
use serde_json::value::RawValue;

/// Reads the value.
///
/// # Errors
/// Those of the format.
pub fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let text = Box::<RawValue>::deserialize(deserializer)?;
    serde_json::from_str(text.get()).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use serde_json::Value;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Message {
        Holds { value: Result<Box<Apart>, String> },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Apart {
        #[serde(deserialize_with = "super::deserialize")]
        value: Value,
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::deserialize")]
        other: Option<Value>,
    }

    #[test]
    fn a_value_that_is_nested_as_deep_as_may_be_is_read_in_any_message() {
        let deepest = format!("{}{}", "[".repeat(127), "]".repeat(127));
        let value: Value = serde_json::from_str(&deepest).unwrap();
        for other in [None, Some(value.clone())] {
            let message = Message::Holds { value: Ok(Box::new(Apart { value: value.clone(), other })) };
            let text = serde_json::to_vec(&message).unwrap();
            assert_eq!(serde_json::from_slice::<Message>(&text).unwrap(), message);
        }
    }
}
