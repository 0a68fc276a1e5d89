//! Why the daemon doesn't start: each with a sentence that says what to do, and an exit code.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;

use gatewarden_actors::error::Failure;
use gatewarden_actors::store::StoreError;

/// What went wrong before the daemon was ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("Cannot listen on {address}: {}", listen_advice(source, "--listen or http.listen"))]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("Cannot listen on {address} for other nodes: {}", listen_advice(source, "node.mesh_listen"))]
    ListenForNodes { address: SocketAddr, source: std::io::Error },
    /// The state directory can't be made or used.
    #[error(
        "The state directory {} cannot be used: {source}. Give another one with --state-dir, or let the daemon's user write \
         to it.",
        path.display()
    )]
    StateDir { path: PathBuf, source: std::io::Error },
    /// Another daemon works in the same state directory.
    #[error(
        "The state directory {} is in use by another gatewarden{}. Stop that one first, or give this one a directory of its \
         own with --state-dir.",
        path.display(),
        of_holder(*holder, *address)
    )]
    InUse { path: PathBuf, holder: Option<u32>, address: Option<SocketAddr> },
    #[error("The admin key {} cannot be used: {source}. Put a private, readable file there, or set auth.api_key.", path.display())]
    AdminKey { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "Connections with other nodes can't be prepared: {0}. Start it again; if that stays, leave out node.mesh_listen: the node takes \
         part all the same, and passes nothing on."
    )]
    Mesh(std::io::Error),
    /// The part that stands by has died.
    #[error("This node can't stand by any longer: {0}. Started again, it joins anew.")]
    NodeEnded(String),
    /// The database opened and then failed.
    #[error("The database failed while the daemon started: {0}")]
    StoreFailed(#[from] Failure),
}

impl StartError {
    /// 78 where configuration, key or database must change first, else 1.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Store(error) => error.exit_code(),
            Self::Listen { .. }
            | Self::ListenForNodes { .. }
            | Self::StateDir { .. }
            | Self::InUse { .. }
            | Self::AdminKey { .. }
            | Self::Mesh(_)
            | Self::NodeEnded(_)
            | Self::StoreFailed(_) => 1,
        }
    }
}

/// Which one has the state directory, as far as its lock says.
fn of_holder(process: Option<u32>, address: Option<SocketAddr>) -> String {
    let process = process.map(|pid| format!("process {pid}"));
    let address = address.map(|address| format!("listening on http://{address}"));
    let known: Vec<String> = process.into_iter().chain(address).collect();
    if known.is_empty() { String::new() } else { format!(" ({})", known.join(", ")) }
}

/// `setting`: by what the address is set.
fn listen_advice(source: &std::io::Error, setting: &str) -> String {
    match source.kind() {
        ErrorKind::AddrInUse => {
            format!("another program listens there. Stop it, or choose another port with {setting}.")
        }
        ErrorKind::AddrNotAvailable => {
            format!("this machine has no such address. Choose one of its own with {setting}.")
        }
        ErrorKind::PermissionDenied => {
            format!("the port needs more rights (those below 1024 do). Choose a higher one with {setting}.")
        }
        _ => format!("{source}. Choose another address with {setting}."),
    }
}
