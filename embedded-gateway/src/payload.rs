//! JSON objects that differ by protocol: put together from parts. And texts that stand for longer ones.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// An object, with the fields of another one besides; those win.
pub(crate) fn joined(mut payload: Value, more: Value) -> Value {
    if let (Some(fields), Value::Object(more)) = (payload.as_object_mut(), more) {
        fields.extend(more);
    }
    payload
}

pub(crate) fn joined_if(payload: Value, wanted: bool, more: impl FnOnce() -> Value) -> Value {
    if wanted { joined(payload, more()) } else { payload }
}

/// An object without its fields that are null.
pub(crate) fn without_nulls(mut payload: Value) -> Value {
    if let Some(fields) = payload.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    payload
}

/// Most JSON values of what a client sends, where it is long: as a tree they take many times their length.
pub(crate) const MOST_VALUES: usize = 200_000;

/// An upper bound of the values in a JSON text: a string's content is counted too, which errs on the safe side.
pub(crate) fn most_values_of(bytes: &[u8]) -> usize {
    let mut count = 0;
    let (mut in_string, mut escaped) = (false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

/// Tells one text from another without telling it: half of its SHA-256, 32 hex digits.
pub(crate) fn digest(text: impl AsRef<[u8]>) -> String {
    let mut digits = hex::encode(Sha256::digest(text));
    digits.truncate(32);
    digits
}
