//! What a gateway can do, learned from its hello and its replies, and how each wish is carried out on it.

use crate::dialect::Dialect;
use crate::frame::WireError;
use crate::hello::{Hello, HelloForm};
use crate::names::NameSet;
pub use crate::names::{Event, Method};
use crate::quirks::Quirk;
use crate::version::CalendarVersion;

mod choices;

pub use choices::{Heartbeat, Kill, LogSource, PauseResume, RunKind, SessionsFeed, SessionsList, SpawnForm};

/// Whether a gateway has a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It lists it, or has answered it.
    Yes,
    /// It doesn't list it, or has called it unknown.
    No,
    /// It has not been tried, and the gateway doesn't list its methods.
    Untried,
}

/// What one connected gateway can do. Small: one for each of ten thousand gateways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    dialect: Dialect,
    form: HelloForm,
    protocol: Option<u32>,
    version: Option<CalendarVersion>,
    lists_methods: bool,
    listed: NameSet<Method>,
    unknown: NameSet<Method>,
}

impl Capabilities {
    /// What a hello tells.
    pub fn from_hello(hello: &Hello) -> Self {
        Self {
            dialect: hello.dialect,
            form: hello.form,
            protocol: hello.protocol,
            version: hello.calendar_version(),
            lists_methods: hello.lists_methods,
            listed: hello.methods,
            unknown: NameSet::default(),
        }
    }

    /// A gateway of the `http` dialect: it has its five operations, and nothing to learn them from.
    pub fn http(version: Option<CalendarVersion>) -> Self {
        Self {
            dialect: Dialect::Http,
            form: HelloForm::Documented,
            protocol: None,
            version,
            lists_methods: false,
            listed: NameSet::default(),
            unknown: NameSet::default(),
        }
    }

    /// Learns from an error reply to `method`. Returns whether it taught that the gateway doesn't have the method.
    ///
    /// A connection without the admin scope is told `missing scope: operator.admin` for a method that doesn't exist, so
    /// that answer counts as unknown where the gateway lists its methods without this one.
    pub fn learn(&mut self, method: &str, error: &WireError) -> bool {
        let Some(method) = Method::from_name(method) else { return error.is_unknown_method() };
        let unlisted = self.lists_methods && !self.listed.contains(method) && !method.is_left_out_of_lists();
        let hidden = unlisted && error.missing_scope().as_deref() == Some("operator.admin");
        let unknown = error.is_unknown_method() || hidden;
        if unknown {
            self.unknown.insert(method);
        }
        unknown
    }

    /// Whether the gateway has a method.
    pub fn support(&self, method: Method) -> Support {
        if self.unknown.contains(method) {
            Support::No
        } else if self.listed.contains(method) {
            Support::Yes
        } else if self.lists_methods && !method.is_left_out_of_lists() {
            Support::No
        } else {
            Support::Untried
        }
    }

    /// Whether trying a method makes sense.
    pub fn may_have(&self, method: Method) -> bool {
        self.support(method) != Support::No
    }

    /// Whether a quirk applies to this gateway.
    pub fn has(&self, quirk: Quirk) -> bool {
        self.form == HelloForm::Release && quirk.applies(self.protocol, self.version)
    }

    /// The dialect spoken.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The kind of gateway.
    pub fn form(&self) -> HelloForm {
        self.form
    }

    /// Negotiated protocol.
    pub fn protocol(&self) -> Option<u32> {
        self.protocol
    }
}

#[cfg(test)]
mod tests;
