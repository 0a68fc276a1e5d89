//! What is wrong with a configuration, said so that it can be put right.

use std::fmt;

/// One wrong setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands: a file, an environment variable, a flag.
    pub origin: String,
    /// The key as a path (`gateway.auth.mode`), where there is one.
    pub key: Option<String>,
    /// The offending value as JSON; none for a secret or a missing value.
    pub value: Option<String>,
    /// What is wrong and what would be right.
    pub cure: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if let Some(key) = &self.key {
            match &self.value {
                Some(value) => write!(f, "{key} = {value}: ")?,
                None => write!(f, "{key}: ")?,
            }
        }
        f.write_str(&self.cure)
    }
}

/// A configuration that can't be used: everything that is wrong with it, at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("The gateway's configuration cannot be used:")?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
