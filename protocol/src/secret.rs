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
