//! Reads which unit or command runs a gateway: `unit` or `command` of a body, never both.

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::gateway_record::ProcessSource;
use gatewarden_actors::processes::naming::{self, NameFault};
use gatewarden_actors::settings::ProcessSettings;
use serde_json::{Map, Value};

use crate::http::error::ApiError;
use crate::http::fields::Fields;

/// `None` where neither is there, `Some(None)` where both are null or empty.
pub fn read(body: &Map<String, Value>, settings: &ProcessSettings) -> Result<Option<Option<ProcessSource>>, ApiError> {
    let mut fields = Fields::new(body);
    let unit = fields.text("unit", 0..=255).filter(|name| !name.is_empty());
    let command = fields.text("command", 0..=255).filter(|name| !name.is_empty());
    let there = fields.has("unit") || fields.has("command");
    if unit.is_some() && command.is_some() {
        fields.wrong("command", "can't be given together with unit: a gateway is run by one of them");
    }
    let named = match (unit, command) {
        (Some(name), None) => Some(("unit", naming::unit(name, settings))),
        (None, Some(name)) => Some(("command", naming::command(name, settings))),
        _ => None,
    };
    let source = match named {
        None => None,
        Some((_, Ok(source))) => Some(source),
        Some((field, Err(NameFault::NotAllowed(what)))) => {
            fields.wrong(field, what);
            None
        }
        Some((_, Err(NameFault::UserUnit))) => return Err(user_units()),
    };
    fields.problems.into_result()?;
    Ok(there.then_some(source))
}

fn user_units() -> ApiError {
    let failure = Failure::new(
        ErrorCode::NotImplemented,
        "Units of users are not managed: the daemon has no way to the service managers of users",
    );
    ApiError(failure.with_help(
        "Run the gateway as a system unit, for instance gatewarden-gateway@NAME.service, or as a command of the configuration.",
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(body: Value) -> Result<Option<Option<ProcessSource>>, ApiError> {
        read(body.as_object().unwrap(), &ProcessSettings::default())
    }

    #[test]
    fn a_unit_may_be_named_changed_and_cleared() {
        assert_eq!(of(json!({})), Ok(None));
        let unit = ProcessSource::Unit("gatewarden-gateway@a.service".into());
        assert_eq!(of(json!({"unit": "gatewarden-gateway@a"})), Ok(Some(Some(unit.clone()))));
        assert_eq!(of(json!({"unit": "gatewarden-gateway@a", "command": null})), Ok(Some(Some(unit))));
        for cleared in [json!({"unit": null}), json!({"command": ""}), json!({"unit": null, "command": null})] {
            assert_eq!(of(cleared), Ok(Some(None)));
        }
    }

    #[test]
    fn what_may_not_be_named_is_refused_with_the_cure() {
        for (body, code, says) in [
            (json!({"unit": "ssh.service"}), ErrorCode::InvalidRequest, "processes.units"),
            (json!({"command": "rm -rf /"}), ErrorCode::InvalidRequest, "[commands.NAME]"),
            (json!({"unit": "gatewarden-gateway@a", "command": "x"}), ErrorCode::InvalidRequest, "one of them"),
            (json!({"unit": 7}), ErrorCode::InvalidRequest, "unit must be a text"),
            (json!({"unit": "user:openclaw.service"}), ErrorCode::NotImplemented, "Units of users"),
        ] {
            let failure = of(body).unwrap_err().0;
            assert_eq!(failure.code, code, "{failure}");
            assert!(failure.message.contains(says), "{failure}");
        }
    }
}
