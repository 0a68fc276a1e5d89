//! JSON from a gateway into values, counted by what the values take in memory while they are made.
//!
//! The length of a text says little about that: `{"":{"":0}}` becomes a map of its own for each five bytes of text, and the
//! smallest map takes 650 bytes. So each value asks a [`Meter`] for its room first, and decoding ends where there is none.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::words;

/// A node of the tree behind a map: eleven keys and values, and what the allocator adds.
const MAP_NODE: usize = 11 * (size_of::<String>() + size_of::<Value>()) + 40;
/// Entries that fill the first node of a map.
const FIRST_NODE: usize = 11;
/// Entries that a further node holds at least, with its share of the nodes above.
const NODE_AT_LEAST: usize = 5;
const FURTHER_NODE: usize = MAP_NODE + MAP_NODE / 4;

/// Whose memory is at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// That set aside for this one gateway.
    Own,
    /// That set aside for all gateways together.
    Shared,
}

/// Gives out memory for values.
pub trait Meter {
    /// Takes `bytes` more.
    ///
    /// # Errors
    /// There is no more; what was taken before stays taken.
    fn take(&mut self, bytes: usize) -> Result<(), Excess>;
}

/// So many bytes and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance(pub usize);

impl Meter for Allowance {
    fn take(&mut self, bytes: usize) -> Result<(), Excess> {
        self.0 = self.0.checked_sub(bytes).ok_or(Excess::Own)?;
        Ok(())
    }
}

/// Why a text was not decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// Not JSON, or nested deeper than 128 levels; the reader's words.
    NotJson(String),
    /// The values would take more memory than there is for them.
    TooMuch(Excess),
}

/// Decodes a text within what the meter gives.
///
/// # Errors
/// Not JSON, or too much of it.
pub fn decode(text: &[u8], meter: &mut dyn Meter) -> Result<Value, DecodeError> {
    let counted = Counted::new(meter);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = ValueSeed(&counted).deserialize(&mut deserializer);
    let read = value.and_then(|value| deserializer.end().map(|()| value));
    read.map_err(|error| match counted.excess.get() {
        Some(excess) => DecodeError::TooMuch(excess),
        None => DecodeError::NotJson(words::shown(&error.to_string())),
    })
}

/// What a value takes in memory beside its own place, bytes: never less than what it really does.
pub fn held_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text_bytes(text),
        Value::Array(items) => {
            let place = if items.capacity() == 0 { 0 } else { items.capacity() * size_of::<Value>() + ALLOCATION };
            place + items.iter().map(held_bytes).sum::<usize>()
        }
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| text_bytes(key) + held_bytes(value)).sum::<usize>();
            (0..map.len()).map(entry_bytes).sum::<usize>() + entries
        }
    }
}

/// What the allocator adds to a piece of memory at most: its smallest piece is 32 bytes.
const ALLOCATION: usize = 32;

/// A text on the heap; an empty one takes nothing.
pub(crate) fn text_bytes(text: &str) -> usize {
    if text.is_empty() { 0 } else { text.len() + ALLOCATION }
}

/// What the entry at this place of a map adds to the map itself.
fn entry_bytes(place: usize) -> usize {
    match place {
        0 => MAP_NODE,
        place if place < FIRST_NODE || !place.is_multiple_of(NODE_AT_LEAST) => 0,
        _ => FURTHER_NODE,
    }
}

/// A meter that the parts of one value share, and that remembers why it gave no more: serde's errors carry only words.
struct Counted<'a> {
    meter: Cell<Option<&'a mut dyn Meter>>,
    excess: Cell<Option<Excess>>,
}

impl<'a> Counted<'a> {
    fn new(meter: &'a mut dyn Meter) -> Self {
        Self { meter: Cell::new(Some(meter)), excess: Cell::new(None) }
    }

    fn take<E: serde::de::Error>(&self, bytes: usize) -> Result<(), E> {
        let Some(meter) = self.meter.take() else { return Err(E::custom("no room")) };
        let taken = meter.take(bytes);
        self.meter.set(Some(meter));
        taken.map_err(|excess| {
            self.excess.set(Some(excess));
            E::custom("no room")
        })
    }
}

#[derive(Clone, Copy)]
struct ValueSeed<'m, 'a>(&'m Counted<'a>);

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
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

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        self.0.take(text_bytes(text))?;
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array: Vec<Value> = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            if array.len() == array.capacity() {
                // The former place is given up only once the new one is there.
                let room = (array.len() * 2).max(4);
                self.0.take(room * size_of::<Value>() + ALLOCATION)?;
                array.reserve_exact(room - array.len());
            }
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key_seed(KeySeed(self.0))? {
            self.0.take(entry_bytes(map.len()))?;
            let value = entries.next_value_seed(self)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

struct KeySeed<'m, 'a>(&'m Counted<'a>);

impl<'de> DeserializeSeed<'de> for KeySeed<'_, '_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_, '_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<String, E> {
        self.0.take(text_bytes(key))?;
        Ok(key.to_owned())
    }
}

/// One row of a list, as a value of bounded size: decoding ends where it would be larger.
pub(crate) struct RowSeed(pub(crate) usize);

impl<'de> DeserializeSeed<'de> for RowSeed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let mut allowance = Allowance(self.0);
        let counted = Counted::new(&mut allowance);
        ValueSeed(&counted).deserialize(deserializer).map_err(|error| {
            if counted.excess.get().is_some() { D::Error::custom("a row is too large") } else { error }
        })
    }
}

#[cfg(test)]
mod tests;
