//! The three ways of speaking to a gateway.

use serde::{Deserialize, Serialize};

/// How a gateway is spoken to; found by detection, remembered after a success only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Challenge, signed connect, `req`/`res`/`event` frames (document 002 and every real release).
    Openclaw,
    /// `{"method":"auth"}` first, then JSON-RPC without a type; events as `{"event","data"}` (document 004).
    Rpc,
    /// No socket at all: `GET /health`, `POST /spawn`, `GET /sessions` (document 000).
    Http,
}

impl Dialect {
    /// The stable name, as shown in the API and stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Openclaw => "openclaw",
            Self::Rpc => "rpc",
            Self::Http => "http",
        }
    }

    /// Reads a stored name back.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "openclaw" => Some(Self::Openclaw),
            "rpc" => Some(Self::Rpc),
            "http" => Some(Self::Http),
            _ => None,
        }
    }
}
