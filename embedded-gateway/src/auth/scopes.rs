//! What scopes cover each other: admin covers all of an operator's, write covers read.

/// All scopes of an operator: what a login has that names none (HTTP, the `rpc` dialect).
pub(crate) const OPERATOR: [&str; 5] =
    ["operator.admin", "operator.read", "operator.write", "operator.approvals", "operator.pairing"];

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

pub(super) fn operator() -> Vec<String> {
    OPERATOR.iter().map(|scope| (*scope).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(scopes: &[&str]) -> Vec<String> {
        scopes.iter().map(|scope| (*scope).to_owned()).collect()
    }

    #[test]
    fn admin_covers_every_operator_scope_and_write_covers_read() {
        let (admin, write, read) = (texts(&["operator.admin"]), texts(&["operator.write"]), texts(&["operator.read"]));
        assert!(covers_all(&admin, &operator()));
        assert!(covers(&write, "operator.read"));
        assert!(!covers(&read, "operator.write"));
        assert!(!covers(&write, "operator.admin"));
        assert!(!covers(&admin, "node.invoke"), "only what is an operator's");
        assert!(covers_all(&[], &[]));
    }
}
