//! Who is connected, and what they may do.

use gatewarden_protocol::{Dialect, named};

/// One connection for as long as the process lives; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub u64);

named! {
    /// What a connection is: each has methods that the other one may not call.
    #[derive(Default)]
    pub(crate) enum Role {
        /// It tells the gateway what to do, as far as its scopes go.
        #[default]
        Operator = "operator",
        /// It carries out commands for operators; scopes mean nothing to it.
        Node = "node",
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Of nodes, and of nobody else.
    Node,
    /// Any operator's.
    Connected,
    Read,
    Write,
    Pairing,
    Approvals,
    Questions,
    Admin,
}

impl Scope {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Connected => "",
            Self::Read => "operator.read",
            Self::Write => "operator.write",
            Self::Pairing => "operator.pairing",
            Self::Approvals => "operator.approvals",
            Self::Questions => "operator.questions",
            Self::Admin => "operator.admin",
        }
    }
}

/// All scopes of an operator: what a login has that names none (HTTP, the `rpc` dialect).
pub(crate) fn operator_scopes() -> Vec<String> {
    ["operator.admin", "operator.read", "operator.write", "operator.approvals", "operator.pairing"]
        .map(str::to_owned)
        .to_vec()
}

/// Whether who holds `held` may have `wanted`: admin covers all of an operator's scopes, write covers read (openclaw-wire:
/// "Agents and scopes").
pub(crate) fn covers(held: &[String], wanted: &str) -> bool {
    held.iter().any(|scope| {
        scope == wanted
            || (scope == "operator.admin" && wanted.starts_with("operator."))
            || (scope == "operator.write" && wanted == "operator.read")
    })
}

pub(crate) fn covers_all(held: &[String], wanted: &[String]) -> bool {
    wanted.iter().all(|scope| covers(held, scope))
}

/// An authenticated caller: a WebSocket connection after its hello, or one HTTP request with the right token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// HTTP requests get one of their own, which takes no events.
    pub(crate) connection: ConnectionId,
    pub(crate) dialect: Dialect,
    /// Negotiated protocol (3 or 4); 0 outside the `openclaw` dialect.
    pub(crate) protocol: u32,
    /// `client.id`, or `http`, or `rpc`.
    pub(crate) client_id: String,
    /// `client.mode`: `cli`, `backend`, `ui`, ...; `rpc` or `http` in those dialects.
    pub(crate) mode: String,
    pub(crate) display_name: Option<String>,
    /// The device that it proved to be, where it did.
    pub(crate) device_id: Option<String>,
    pub(crate) role: Role,
    /// Of an operator; a node has none.
    pub(crate) scopes: Vec<String>,
    pub(crate) remote: String,
}

impl Caller {
    /// One that shows the shared credential in a dialect without devices: it has all scopes.
    pub(crate) fn plain(connection: ConnectionId, dialect: Dialect, name: &str, remote: String) -> Self {
        Self {
            connection,
            dialect,
            protocol: 0,
            client_id: name.to_owned(),
            mode: name.to_owned(),
            display_name: None,
            device_id: None,
            role: Role::Operator,
            scopes: operator_scopes(),
            remote,
        }
    }

    pub(crate) fn holds(&self, scope: Scope) -> bool {
        match (scope, self.role) {
            (Scope::Node, role) => role == Role::Node,
            (_, Role::Node) => false,
            (Scope::Connected, Role::Operator) => true,
            (_, Role::Operator) => covers(&self.scopes, scope.as_str()),
        }
    }
}

#[cfg(test)]
pub(crate) fn caller_with(scopes: &[&str]) -> Caller {
    Caller {
        connection: ConnectionId(1),
        dialect: Dialect::Openclaw,
        protocol: 4,
        client_id: "gateway-client".into(),
        mode: "backend".into(),
        display_name: None,
        device_id: None,
        role: Role::Operator,
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        remote: "127.0.0.1".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_implies_all_and_write_implies_read_only() {
        let admin = caller_with(&["operator.admin"]);
        let write = caller_with(&["operator.write"]);
        let pairing = caller_with(&["operator.pairing"]);
        let nobody = caller_with(&[]);
        for (scope, by_admin, by_write, by_pairing, by_nobody) in [
            (Scope::Connected, true, true, true, true),
            (Scope::Read, true, true, false, false),
            (Scope::Write, true, true, false, false),
            (Scope::Pairing, true, false, true, false),
            (Scope::Admin, true, false, false, false),
        ] {
            assert_eq!(admin.holds(scope), by_admin, "{scope:?}");
            assert_eq!(write.holds(scope), by_write, "{scope:?}");
            assert_eq!(pairing.holds(scope), by_pairing, "{scope:?}");
            assert_eq!(nobody.holds(scope), by_nobody, "{scope:?}");
        }
    }

    #[test]
    fn a_node_holds_no_scope_of_an_operator_whatever_it_names() {
        let node = Caller { role: Role::Node, ..caller_with(&["operator.admin", "operator.write"]) };
        for scope in [
            Scope::Connected,
            Scope::Read,
            Scope::Write,
            Scope::Pairing,
            Scope::Approvals,
            Scope::Questions,
            Scope::Admin,
        ] {
            assert!(!node.holds(scope), "{scope:?}");
        }
        assert!(node.holds(Scope::Node));
        assert!(!caller_with(&["operator.admin", "node"]).holds(Scope::Node));
    }

    fn texts(scopes: &[&str]) -> Vec<String> {
        scopes.iter().map(|scope| (*scope).to_owned()).collect()
    }

    #[test]
    fn admin_covers_every_operator_scope_and_write_covers_read() {
        let (admin, write, read) = (texts(&["operator.admin"]), texts(&["operator.write"]), texts(&["operator.read"]));
        assert!(covers_all(&admin, &operator_scopes()));
        assert!(covers(&write, "operator.read"));
        assert!(!covers(&read, "operator.write"));
        assert!(!covers(&write, "operator.admin"));
        assert!(!covers(&admin, "node.invoke"), "only what is an operator's");
        assert!(covers_all(&[], &[]));
    }
}
