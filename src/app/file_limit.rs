//! Open files: each gateway and each client is one, and the usual soft limit of 1,024 is soon reached.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one. What can't be raised is logged: a small fleet works anyway.
pub(crate) fn raise() {
    let before = getrlimit(Resource::Nofile);
    if before.current == before.maximum {
        return;
    }
    let wanted = Rlimit { current: before.maximum, maximum: before.maximum };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => tracing::debug!(from = before.current, to = before.maximum, "raised the limit of open files"),
        Err(error) => tracing::warn!(%error, limit = before.current, "the limit of open files stays as it is"),
    }
}
