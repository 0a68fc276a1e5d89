//! What a sync is asked to do, by query or body.

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::http::error::ApiError;
use crate::http::fields::Fields;
use crate::http::query::Query;

/// What a sync is to do.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document; bodies are read field by field")]
pub struct TemplatesSyncBody {
    /// Also the gateway's main agent, which is made where there is none; true.
    include_main: Option<bool>,
    /// Also files that somebody else has written or changed; false.
    overwrite: Option<bool>,
    /// Begin each agent's main session anew, which ends what runs in it; false.
    reset_sessions: Option<bool>,
    /// Rotate our device token on the gateway first; false.
    rotate_tokens: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) include_main: bool,
    pub(super) overwrite: bool,
    pub(super) reset_sessions: bool,
    pub(super) rotate_tokens: bool,
}

impl Options {
    /// The body goes before the query.
    pub(super) fn read(query: &str, body: &Map<String, Value>) -> Result<Self, ApiError> {
        let mut query = Query::parse(query);
        let mut fields = Fields::new(body);
        let mut flag = |name, default| fields.flag(name).or(query.flag(name)).unwrap_or(default);
        let options = Self {
            include_main: flag("include_main", true),
            overwrite: flag("overwrite", false),
            reset_sessions: flag("reset_sessions", false),
            rotate_tokens: flag("rotate_tokens", false),
        };
        query.problems.into_result()?;
        fields.problems.into_result()?;
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(query: &str, body: Value) -> Result<Options, String> {
        Options::read(query, body.as_object().unwrap()).map_err(|error| error.0.message)
    }

    #[test]
    fn options_come_from_query_and_body_and_the_body_goes_before() {
        let usual = Options { include_main: true, overwrite: false, reset_sessions: false, rotate_tokens: false };
        assert_eq!(read("", json!({})), Ok(usual));
        let asked = read("include_main=false&overwrite=1&reset_sessions=true", json!({"reset_sessions": false}));
        assert_eq!(asked, Ok(Options { include_main: false, overwrite: true, ..usual }));
        assert_eq!(read("", json!({"rotate_tokens": true})), Ok(Options { rotate_tokens: true, ..usual }));
    }

    #[test]
    fn a_wrong_option_is_named() {
        assert!(read("overwrite=maybe", json!({})).unwrap_err().contains("overwrite"));
        assert!(read("", json!({"include_main": "yes"})).unwrap_err().contains("include_main"));
    }
}
