//! A text that must not be seen: tokens, keys, passwords.

use std::fmt;

use zeroize::Zeroizing;

/// A secret text. It has no `Display` and no `Serialize`, its `Debug` prints nothing of the content, and its memory is
/// wiped when dropped. [`Secret::expose`] is the only way to the text, so that every use can be found by name.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the wire or for sealing. Never for a log line, an error or a response.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is no text: an empty token means "no token" everywhere.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(--------)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// The text of secrets in a message to another node of ours: for a field that has to say so, with `#[serde(with = ...)]`. Only for a
/// connection that is encrypted and whose other end has the sealing key.
pub mod exposed {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Secret;

    /// What holds secrets, and the same with their texts.
    pub trait Exposed: Sized {
        /// With the texts, borrowed.
        type Shown<'a>: Serialize
        where
            Self: 'a;
        /// With the texts, owned.
        type Read: for<'de> Deserialize<'de>;

        /// Shows the texts.
        fn shown(&self) -> Self::Shown<'_>;

        /// Wraps the texts.
        fn hidden(read: Self::Read) -> Self;
    }

    impl Exposed for Secret {
        type Shown<'a> = &'a str;
        type Read = String;

        fn shown(&self) -> &str {
            self.expose()
        }

        fn hidden(read: String) -> Self {
            Self::new(read)
        }
    }

    impl Exposed for Option<Secret> {
        type Shown<'a> = Option<&'a str>;
        type Read = Option<String>;

        fn shown(&self) -> Option<&str> {
            self.as_ref().map(Secret::expose)
        }

        fn hidden(read: Option<String>) -> Self {
            read.map(Secret::new)
        }
    }

    impl Exposed for BTreeMap<String, Secret> {
        type Shown<'a> = BTreeMap<&'a str, &'a str>;
        type Read = BTreeMap<String, String>;

        fn shown(&self) -> BTreeMap<&str, &str> {
            self.iter().map(|(name, secret)| (name.as_str(), secret.expose())).collect()
        }

        fn hidden(read: BTreeMap<String, String>) -> Self {
            read.into_iter().map(|(name, text)| (name, Secret::new(text))).collect()
        }
    }

    /// Writes the texts.
    ///
    /// # Errors
    /// Those of the format.
    pub fn serialize<T: Exposed, S: Serializer>(secrets: &T, serializer: S) -> Result<S::Ok, S::Error> {
        secrets.shown().serialize(serializer)
    }

    /// Reads the texts.
    ///
    /// # Errors
    /// Those of the format.
    pub fn deserialize<'de, T: Exposed, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        T::Read::deserialize(deserializer).map(T::hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_nothing_of_the_content() {
        let shown = format!("{:?}", Secret::new("tok-18789"));
        assert!(!shown.contains("tok"));
        assert!(!shown.contains("18789"));
    }
}
