//! The system's service manager over D-Bus (`org.freedesktop.systemd1`, see org.freedesktop.systemd1(5)).

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::Mutex;
use zbus::{Connection, DBusError as _, OwnedObjectPath, OwnedVariant, Variant};

const SERVICE: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const UNIT_SERVICE: &str = "org.freedesktop.systemd1.Service";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// How long any answer may take. Jobs are not waited for.
const ANSWER: Duration = Duration::from_secs(5);

/// What is done with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnitAction {
    Start,
    Stop,
    Restart,
}

/// A unit as the service manager knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct UnitStatus {
    /// `loaded`, `not-found`, `error`, `masked`, ...
    pub(super) load: String,
    /// `active`, `inactive`, `failed`, `activating`, `deactivating`, `reloading`.
    pub(super) active: String,
    /// `running`, `dead`, `auto-restart`, ...
    pub(super) sub: String,
    /// Whether a start or stop of it is still to be done.
    pub(super) job: bool,
    pub(super) main_pid: Option<i32>,
    pub(super) restarts: u64,
    /// `success`, `exit-code`, `signal`, `start-limit-hit`, ...
    pub(super) result: String,
    /// As of `wait(2)`: 1 exited, 2 killed, 3 dumped core; and the code or the signal.
    pub(super) main_exit: (i32, i32),
    /// Wall microseconds at which the main process started and ended.
    pub(super) main_started_us: u64,
    pub(super) main_exited_us: u64,
    pub(super) memory_bytes: Option<u64>,
    pub(super) cpu_nanos: Option<u64>,
    pub(super) tasks: Option<u64>,
}

/// The way to the service manager: connected at the first use, and again after a failure. All actors of units share it. Its lock
/// is held for no longer than a connection takes to be made, so that many units that are looked at at once share one.
#[derive(Debug, Default)]
pub(super) struct SystemdBus {
    connection: Mutex<Option<Connection>>,
}

impl SystemdBus {
    async fn connection(&self) -> Result<Connection, String> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = held.as_ref() {
            return Ok(connection.clone());
        }
        let connecting = async { zbus::connection::Builder::system().method_timeout(ANSWER).build().await };
        let connection = tokio::time::timeout(ANSWER, connecting)
            .await
            .map_err(|_| format!("the system bus did not answer within {} s", ANSWER.as_secs()))?
            .map_err(|error| format!("the system bus cannot be reached: {error}"))?;
        *held = Some(connection.clone());
        Ok(connection)
    }

    async fn call<B>(&self, path: &str, interface: &str, method: &str, body: &B) -> Result<zbus::Message, String>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let connection = self.connection().await?;
        let calling = connection.call_method(Some(SERVICE), path, Some(interface), method, body);
        let failed = match tokio::time::timeout(ANSWER + Duration::from_secs(1), calling).await {
            Ok(Ok(message)) => return Ok(message),
            // It answered: the connection is good.
            Ok(Err(zbus::Error::MethodError(name, words, _))) => return Err(refusal(&name, words.as_deref())),
            Ok(Err(zbus::Error::FDO(error))) if !is_about_the_connection(&error) => {
                return Err(refusal(&error.name(), error.description()));
            }
            Ok(Err(error)) => format!("the service manager cannot be asked: {error}"),
            Err(_) => format!("the service manager did not answer within {} s", ANSWER.as_secs()),
        };
        *self.connection.lock().await = None;
        Err(failed)
    }

    /// How a unit is. One that doesn't exist has the load state `not-found`.
    pub(super) async fn status(&self, unit: &str) -> Result<UnitStatus, String> {
        let path = self.call(PATH, MANAGER, "LoadUnit", &(unit,)).await?;
        let path: OwnedObjectPath = path.body().deserialize().map_err(|error| unreadable(&error))?;
        let mut all = Properties::default();
        for interface in [UNIT, UNIT_SERVICE] {
            let answer = self.call(path.as_str(), PROPERTIES, "GetAll", &(interface,)).await?;
            let read: HashMap<String, OwnedVariant> =
                answer.body().deserialize().map_err(|error| unreadable(&error))?;
            all.0.extend(read);
        }
        Ok(all.status())
    }

    /// Has it done. That it was queued is all that the answer says.
    pub(super) async fn act(&self, unit: &str, action: UnitAction) -> Result<(), String> {
        let method = match action {
            UnitAction::Start => "StartUnit",
            UnitAction::Stop => "StopUnit",
            UnitAction::Restart => "RestartUnit",
        };
        if action != UnitAction::Stop {
            // One that failed too often isn't started again before that is forgotten; one that didn't fail refuses nothing.
            let _ = self.call(PATH, MANAGER, "ResetFailedUnit", &(unit,)).await;
        }
        self.call(PATH, MANAGER, method, &(unit, "replace")).await.map(drop)
    }
}

/// Errors of the bus's own that say that there was no answer.
fn is_about_the_connection(error: &zbus::fdo::Error) -> bool {
    use zbus::fdo::Error;
    matches!(
        error,
        Error::ZBus(_)
            | Error::NoReply(_)
            | Error::IOError(_)
            | Error::Disconnected(_)
            | Error::Timeout(_)
            | Error::TimedOut(_)
            | Error::NoServer(_)
    )
}

fn unreadable(error: &zbus::Error) -> String {
    format!("the service manager's answer cannot be read: {error}")
}

/// What the service manager refused with, and the cure.
fn refusal(name: &str, words: Option<&str>) -> String {
    let words = words.unwrap_or(name);
    match name.rsplit('.').next().unwrap_or(name) {
        "AccessDenied" | "InteractiveAuthorizationRequired" | "AuthFailed" => format!(
            "the service manager does not allow it ({words}): install the polkit rule 50-gatewarden.rules, which lets the \
             daemon's user manage this unit"
        ),
        "ServiceUnknown" | "NameHasNoOwner" => {
            "there is no systemd on the system bus: units can be managed only where systemd runs the machine".to_owned()
        }
        "NoSuchUnit" => format!("there is no such unit: {words}"),
        _ => format!("the service manager refused: {words}"),
    }
}

#[derive(Default)]
struct Properties(HashMap<String, OwnedVariant>);

impl Properties {
    fn text(&self, name: &str) -> String {
        match self.0.get(name).map(std::ops::Deref::deref) {
            Some(Variant::Str(text)) => text.to_string(),
            _ => String::new(),
        }
    }

    /// A number; the largest means "not known" there.
    fn number(&self, name: &str) -> Option<u64> {
        match self.0.get(name).map(std::ops::Deref::deref)? {
            Variant::U64(number) => Some(*number).filter(|number| *number != u64::MAX),
            Variant::U32(number) => Some(u64::from(*number)),
            _ => None,
        }
    }

    fn signed(&self, name: &str) -> i32 {
        match self.0.get(name).map(std::ops::Deref::deref) {
            Some(Variant::I32(number)) => *number,
            _ => 0,
        }
    }

    fn has_job(&self) -> bool {
        match self.0.get("Job").map(std::ops::Deref::deref) {
            Some(Variant::Structure(job)) => matches!(job.fields().first(), Some(Variant::U32(id)) if *id != 0),
            _ => false,
        }
    }

    fn status(&self) -> UnitStatus {
        UnitStatus {
            load: self.text("LoadState"),
            active: self.text("ActiveState"),
            sub: self.text("SubState"),
            job: self.has_job(),
            main_pid: self.number("MainPID").and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0),
            restarts: self.number("NRestarts").unwrap_or(0),
            result: self.text("Result"),
            main_exit: (self.signed("ExecMainCode"), self.signed("ExecMainStatus")),
            main_started_us: self.number("ExecMainStartTimestamp").unwrap_or(0),
            main_exited_us: self.number("ExecMainExitTimestamp").unwrap_or(0),
            memory_bytes: self.number("MemoryCurrent"),
            cpu_nanos: self.number("CPUUsageNSec"),
            tasks: self.number("TasksCurrent"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_to_do() {
        let said = refusal("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", Some("nope"));
        assert!(said.contains("polkit rule 50-gatewarden.rules"), "{said}");
        assert!(refusal("org.freedesktop.systemd1.NoSuchUnit", Some("x not found")).contains("x not found"));
        assert!(refusal("org.freedesktop.DBus.Error.ServiceUnknown", None).contains("no systemd"));
    }

    #[test]
    fn properties_are_read_as_the_service_manager_writes_them() {
        let own = |value: Variant<'_>| value.try_to_owned().unwrap();
        let job = OwnedObjectPath::try_from("/job/7").unwrap();
        let all = Properties(HashMap::from([
            ("ActiveState".to_owned(), own(Variant::from("active"))),
            ("MainPID".to_owned(), own(Variant::from(77_u32))),
            ("MemoryCurrent".to_owned(), own(Variant::from(u64::MAX))),
            ("CPUUsageNSec".to_owned(), own(Variant::from(5_u64))),
            ("ExecMainStatus".to_owned(), own(Variant::from(9_i32))),
            ("Job".to_owned(), own(Variant::from((7_u32, job)))),
        ]));
        let status = all.status();
        assert_eq!((status.active.as_str(), status.main_pid, status.memory_bytes), ("active", Some(77), None));
        assert_eq!((status.cpu_nanos, status.main_exit.1, status.job), (Some(5), 9, true));
        assert_eq!(Properties::default().status(), UnitStatus::default());
    }
}
