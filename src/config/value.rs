//! Values as they were written, before anybody has read them as a setting.

use std::fmt;

use config::{Value, ValueKind};

/// Where a value came from that nobody set.
pub(super) const DEFAULT: &str = "default";

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Raw {
    /// A text, from anywhere.
    Text(String),
    /// A number of a file.
    Number(String),
    /// A switch of a file.
    Switch(bool),
    /// A list of a file.
    List(Vec<String>),
    /// A table, a list of tables or nothing, where a value belongs.
    Unusable,
}

impl Raw {
    /// Only what was written as a text: durations and sizes of a file are no bare numbers.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl From<Value> for Raw {
    fn from(value: Value) -> Self {
        match value.kind {
            ValueKind::String(text) => Self::Text(text),
            ValueKind::Boolean(switch) => Self::Switch(switch),
            ValueKind::I64(number) => Self::Number(number.to_string()),
            ValueKind::U64(number) => Self::Number(number.to_string()),
            ValueKind::I128(number) => Self::Number(number.to_string()),
            ValueKind::U128(number) => Self::Number(number.to_string()),
            ValueKind::Float(number) => Self::Number(number.to_string()),
            ValueKind::Array(items) => {
                let items = items.into_iter().map(|item| match Self::from(item) {
                    Self::Text(text) | Self::Number(text) => Some(text),
                    Self::Switch(_) | Self::List(_) | Self::Unusable => None,
                });
                items.collect::<Option<_>>().map_or(Self::Unusable, Self::List)
            }
            ValueKind::Table(_) | ValueKind::Nil => Self::Unusable,
        }
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Number(text) => f.write_str(text),
            Self::Switch(switch) => write!(f, "{switch}"),
            Self::List(items) => f.write_str(&items.join(",")),
            Self::Unusable => f.write_str("(a table or an empty value)"),
        }
    }
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) raw: Raw,
    /// `default`, a file, `$NAME`, a flag, a credential.
    pub(super) origin: String,
}

impl Setting {
    pub(super) fn text(text: impl Into<String>, origin: impl Into<String>) -> Self {
        Self { raw: Raw::Text(text.into()), origin: origin.into() }
    }
}
