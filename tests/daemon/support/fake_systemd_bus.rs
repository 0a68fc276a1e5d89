//! The service manager as the daemon sees it over D-Bus: one service unit whose process is real. It stands for the system bus as
//! well: the daemon talks to it alone.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt as _;
use zbus::message::Type;
use zbus::{Connection, Message, MessageStream, OwnedObjectPath, Variant};

/// What is told of the unit, and its process.
#[derive(Debug)]
struct Unit {
    name: String,
    command: Command,
    child: Option<Child>,
    /// Set while it doesn't run.
    inactive: &'static str,
    result: &'static str,
    restarts: u32,
    /// The polkit rule isn't installed.
    forbidden: bool,
    /// What was asked of it.
    calls: Vec<String>,
}

/// A running one. Dropping it ends the unit's process.
#[derive(Debug)]
pub(crate) struct FakeSystemdBus {
    path: PathBuf,
    unit: Arc<Mutex<Unit>>,
}

impl FakeSystemdBus {
    /// Listens at this path; `command` is what the unit executes. The unit is inactive.
    pub(crate) fn at(path: &Path, name: &str, command: Command) -> Self {
        let unit = Unit {
            name: name.to_owned(),
            command,
            child: None,
            inactive: "inactive",
            result: "success",
            restarts: 0,
            forbidden: false,
            calls: Vec::new(),
        };
        let unit = Arc::new(Mutex::new(unit));
        let listener = std::os::unix::net::UnixListener::bind(path).expect("a socket");
        listener.set_nonblocking(true).expect("not blocking");
        let shared = Arc::clone(&unit);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::UnixListener::from_std(listener).expect("a listener");
                while let Ok((stream, _)) = listener.accept().await {
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move {
                        let _ = serve(stream, shared).await;
                    });
                }
            });
        });
        Self { path: path.to_owned(), unit }
    }

    /// What `DBUS_SYSTEM_BUS_ADDRESS` must say.
    pub(crate) fn address(&self) -> String {
        format!("unix:path={}", self.path.display())
    }

    fn unit(&self) -> MutexGuard<'_, Unit> {
        self.unit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing is allowed, or everything.
    pub(crate) fn forbid(&self, forbidden: bool) {
        self.unit().forbidden = forbidden;
    }

    /// The unit's process, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.unit().child.as_ref().map(Child::id)
    }

    /// The process dies, and the service manager starts another.
    pub(crate) fn crash_and_restart(&self) {
        let mut unit = self.unit();
        unit.end();
        unit.restarts += 1;
        unit.begin();
    }

    /// The process dies, and the service manager has had enough.
    pub(crate) fn crash_for_good(&self) {
        let mut unit = self.unit();
        unit.end();
        unit.inactive = "failed";
        unit.result = "start-limit-hit";
    }

    /// What was asked of the unit.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.unit().calls.clone()
    }
}

impl Drop for FakeSystemdBus {
    fn drop(&mut self) {
        self.unit().end();
    }
}

impl Unit {
    fn begin(&mut self) {
        self.child = Some(self.command.spawn().expect("the unit's program starts"));
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.inactive = "inactive";
        self.result = "success";
    }

    fn properties(&self, interface: &str) -> HashMap<String, Variant<'static>> {
        let active = if self.child.is_some() { "active" } else { self.inactive };
        let sub = if self.child.is_some() { "running" } else { "dead" };
        let no_job = OwnedObjectPath::try_from("/").expect("a path");
        let all: Vec<(&str, Variant<'static>)> = if interface.ends_with(".Unit") {
            vec![
                ("LoadState", Variant::from("loaded")),
                ("ActiveState", Variant::from(active)),
                ("SubState", Variant::from(sub)),
                ("Job", Variant::from((0_u32, no_job))),
            ]
        } else {
            vec![
                ("MainPID", Variant::from(self.child.as_ref().map_or(0, Child::id))),
                ("NRestarts", Variant::from(self.restarts)),
                ("Result", Variant::from(self.result)),
                ("MemoryCurrent", Variant::from(12_345_678_u64)),
                ("CPUUsageNSec", Variant::from(1_500_000_000_u64)),
                ("TasksCurrent", Variant::from(3_u64)),
            ]
        };
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Does it; false where it is not allowed.
    fn act(&mut self, method: &str) -> bool {
        self.calls.push(method.to_owned());
        if self.forbidden {
            return false;
        }
        if matches!(method, "StopUnit" | "RestartUnit") {
            self.end();
        }
        if matches!(method, "StartUnit" | "RestartUnit") && self.child.is_none() {
            self.begin();
        }
        true
    }
}

async fn serve(stream: tokio::net::UnixStream, unit: Arc<Mutex<Unit>>) -> zbus::Result<()> {
    let connection = zbus::connection::Builder::unix_stream(stream.into_std().expect("a socket"))
        .server("0123456789abcdef0123456789abcdef")
        .p2p()
        .build()
        .await?;
    let mut messages = MessageStream::from(&connection);
    while let Some(Ok(message)) = messages.next().await {
        if message.header().message_type() == Type::MethodCall {
            answer(&connection, &message, &unit).await?;
        }
    }
    Ok(())
}

async fn answer(connection: &Connection, message: &Message, unit: &Mutex<Unit>) -> zbus::Result<()> {
    let header = message.header();
    let method = header.member().map(|member| member.to_string()).unwrap_or_default();
    let lock = || unit.lock().unwrap_or_else(PoisonError::into_inner);
    match method.as_str() {
        "Hello" => connection.reply(&header, &":1.1").await,
        "LoadUnit" => {
            let name: String = message.body().deserialize()?;
            if name == lock().name {
                let path = OwnedObjectPath::try_from("/org/freedesktop/systemd1/unit/it").expect("a path");
                connection.reply(&header, &path).await
            } else {
                connection.reply_error(&header, "org.freedesktop.systemd1.NoSuchUnit", &"no such unit").await
            }
        }
        "GetAll" => {
            let interface: String = message.body().deserialize()?;
            let properties = lock().properties(&interface);
            connection.reply(&header, &properties).await
        }
        "StartUnit" | "StopUnit" | "RestartUnit" | "ResetFailedUnit" => {
            let allowed = lock().act(&method);
            if allowed {
                let job = OwnedObjectPath::try_from("/org/freedesktop/systemd1/job/1").expect("a path");
                connection.reply(&header, &job).await
            } else {
                let name = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";
                connection.reply_error(&header, name, &"Interactive authentication required.").await
            }
        }
        _ => connection.reply(&header, &()).await,
    }
}
