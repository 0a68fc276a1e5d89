//! Which unit or command a gateway's record may name: never a command line, only a name that the configuration knows.

use crate::gateway_record::ProcessSource;
use crate::settings::ProcessSettings;

/// Units that need no mention in the configuration: instances of the shipped template.
pub const UNIT_TEMPLATE: &str = "gatewarden-gateway@";
/// With this before its name a unit of a user's own service manager is meant.
const USER_UNIT: &str = "user:";
/// Longest name of a unit (systemd.unit(5)).
const MAX_UNIT: usize = 255;

/// Why a name can't be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameFault {
    /// It is not one that is allowed: a clause that says what is, and what to do.
    NotAllowed(String),
    /// Units of users are not managed: the daemon has no way to their service managers.
    UserUnit,
}

/// A unit by its name, `.service` where it has no suffix.
pub fn unit(name: &str, settings: &ProcessSettings) -> Result<ProcessSource, NameFault> {
    if name.starts_with(USER_UNIT) {
        return Err(NameFault::UserUnit);
    }
    let fault = |what: &str| Err(NameFault::NotAllowed(what.to_owned()));
    let legal = |char: char| char.is_ascii_alphanumeric() || matches!(char, ':' | '-' | '_' | '.' | '\\' | '@');
    if !name.chars().all(legal) || !(1..=MAX_UNIT).contains(&name.len()) {
        return fault("must be the name of a unit: letters, digits, \":\", \"-\", \"_\", \".\", \"\\\" and \"@\"");
    }
    let whole = if name.ends_with(".service") { name.to_owned() } else { format!("{name}.service") };
    let instance = whole.strip_prefix(UNIT_TEMPLATE).and_then(|rest| rest.strip_suffix(".service"));
    if instance.is_some_and(|instance| !instance.is_empty() && !instance.contains('@'))
        || settings.units.contains(&whole)
    {
        return Ok(ProcessSource::Unit(whole));
    }
    let listed = if settings.units.is_empty() { "it lists none".to_owned() } else { settings.units.join(", ") };
    fault(&format!(
        "must be an instance of {UNIT_TEMPLATE}.service, such as {UNIT_TEMPLATE}main.service, or be listed in processes.units of the \
         configuration ({listed})"
    ))
}

/// A command by its name in the configuration.
pub fn command(name: &str, settings: &ProcessSettings) -> Result<ProcessSource, NameFault> {
    if settings.commands.contains_key(name) {
        return Ok(ProcessSource::Command(name.to_owned()));
    }
    let names = settings.commands.keys().take(20).map(String::as_str).collect::<Vec<_>>().join(", ");
    let known = if names.is_empty() { "it defines none".to_owned() } else { format!("it defines {names}") };
    Err(NameFault::NotAllowed(format!(
        "must be the name of a command that the configuration defines ({known}): add a section [commands.NAME] with a program and \
         restart the daemon. A command line can't be given here"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::CommandDefinition;

    fn settings() -> ProcessSettings {
        let definition =
            CommandDefinition { program: "/bin/true".into(), args: vec![], env: Default::default(), directory: None };
        ProcessSettings {
            commands: [("openclaw".to_owned(), definition)].into(),
            units: vec!["openclaw.service".to_owned()],
            ..ProcessSettings::default()
        }
    }

    #[test]
    fn instances_of_the_template_and_listed_units_may_be_named() {
        for (name, whole) in [
            ("gatewarden-gateway@main.service", "gatewarden-gateway@main.service"),
            ("gatewarden-gateway@main", "gatewarden-gateway@main.service"),
            ("openclaw", "openclaw.service"),
        ] {
            assert_eq!(unit(name, &settings()), Ok(ProcessSource::Unit(whole.to_owned())));
        }
    }

    #[test]
    fn other_units_are_refused_with_the_way_to_allow_them() {
        for name in [
            "ssh.service",
            "gatewarden-gateway@.service",
            "gatewarden-gateway@a@b",
            "gatewarden.service",
            "openclaw.socket",
            "",
            "../x",
            "a b",
            "gatewarden-gateway@a/b",
        ] {
            let Err(NameFault::NotAllowed(words)) = unit(name, &settings()) else { panic!("{name} was taken") };
            assert!(words.contains("must be"), "{words}");
        }
        assert_eq!(unit("user:openclaw.service", &settings()), Err(NameFault::UserUnit));
    }

    #[test]
    fn a_command_is_a_name_and_never_a_command_line() {
        assert_eq!(command("openclaw", &settings()), Ok(ProcessSource::Command("openclaw".to_owned())));
        for name in ["/bin/sh", "openclaw; true", "Openclaw", ""] {
            let Err(NameFault::NotAllowed(words)) = command(name, &settings()) else { panic!("{name} was taken") };
            assert!(words.contains("it defines openclaw"), "{words}");
        }
    }
}
