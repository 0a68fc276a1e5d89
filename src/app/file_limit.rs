//! Open files: each gateway and each client is one, and the usual soft limit of 1,024 is soon reached.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, and tells what it is then. What can't be raised is logged: a small fleet works anyway.
pub(crate) fn raise() -> usize {
    let before = getrlimit(Resource::Nofile);
    if before.current != before.maximum {
        raise_from(before);
    }
    let now = getrlimit(Resource::Nofile).current;
    now.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

fn raise_from(before: Rlimit) {
    let wanted = Rlimit { current: before.maximum, maximum: before.maximum };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => tracing::debug!(from = before.current, to = before.maximum, "raised the limit of open files"),
        Err(error) => tracing::warn!(%error, limit = before.current, "the limit of open files stays as it is"),
    }
}
