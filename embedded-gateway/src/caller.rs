//! Who is connected, and what they may do.

use gatewarden_protocol::Dialect;

/// One connection for as long as the process lives; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What a method asks of its caller. `Write` implies `Read`, `Admin` implies all (openclaw-wire: "Agents and scopes").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    Connected,
    Read,
    Write,
    Pairing,
    Admin,
}

impl Scope {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "",
            Self::Read => "operator.read",
            Self::Write => "operator.write",
            Self::Pairing => "operator.pairing",
            Self::Admin => "operator.admin",
        }
    }
}

/// An authenticated caller: a WebSocket connection after its hello, or one HTTP request with the right token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The connection; HTTP requests get one of their own, which takes no events.
    pub connection: ConnectionId,
    pub dialect: Dialect,
    /// Negotiated protocol (3 or 4); 0 outside the `openclaw` dialect.
    pub protocol: u32,
    pub client_id: String,
    /// `client.mode`: `cli`, `backend`, `ui`, ...; `rpc` or `http` in those dialects.
    pub mode: String,
    pub display_name: Option<String>,
    pub device_id: Option<String>,
    pub scopes: Vec<String>,
    pub remote: String,
}

impl Caller {
    pub fn holds(&self, scope: Scope) -> bool {
        let has = |wanted: Scope| self.scopes.iter().any(|held| held == wanted.as_str());
        match scope {
            Scope::Connected => true,
            Scope::Read => has(Scope::Read) || has(Scope::Write) || has(Scope::Admin),
            Scope::Write => has(Scope::Write) || has(Scope::Admin),
            Scope::Pairing => has(Scope::Pairing) || has(Scope::Admin),
            Scope::Admin => has(Scope::Admin),
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
}
