//! What can't be learned from a gateway and still differs between releases: one table.

use crate::version::CalendarVersion;

/// A way in which a release differs from what it says or from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quirk {
    /// `sessions.abort` and `chat.abort` are listed, but answer "nothing was running" for a run of the `agent` method,
    /// which runs on to its end.
    AgentRunsCannotBeAborted,
    /// `auth.scopes` of the hello are those of the stored token, not of this connection.
    HelloScopesAreOfTheToken,
    /// `sessions.list` takes no `offset`, and its `count` is that of the rows returned.
    SessionsListHasNoOffset,
    /// A session's row stays `running` for good after its run was aborted.
    RunningStaysAfterAbort,
    /// A failed `chat.send` run is reported as `chat` state `final` with a warning as its text.
    FailedChatReadsAsFinal,
    /// Event `seq` is one counter for all connections, and events to one client have none.
    SequenceIsGlobal,
    /// A connection without a device keeps its role and silently loses all scopes.
    ScopesStrippedWithoutDevice,
    /// `agent` needs an `agentId`, `sessionKey`, `sessionId` or `to`.
    AgentNeedsAddressee,
    /// Session rows have no `status` at all.
    RowsHaveNoStatus,
    /// Error replies to `connect` carry no `details.code`.
    ErrorsHaveNoDetailsCode,
}

/// Which gateways a quirk applies to.
struct Rule {
    quirk: Quirk,
    /// Highest protocol concerned.
    up_to_protocol: u32,
    /// First release without it, where one protocol has releases of both kinds. A release that doesn't tell its version
    /// (`dev`) is one of the oldest, so the quirk applies to it.
    before: Option<CalendarVersion>,
}

const fn up_to_protocol(quirk: Quirk, up_to_protocol: u32) -> Rule {
    Rule { quirk, up_to_protocol, before: None }
}

/// Measured on 2026.2.19, 2026.3.2, 2026.3.24 (all protocol 3) and 2026.9.6 (protocol 4).
const RULES: &[Rule] = &[
    up_to_protocol(Quirk::AgentRunsCannotBeAborted, 3),
    up_to_protocol(Quirk::HelloScopesAreOfTheToken, 3),
    up_to_protocol(Quirk::SessionsListHasNoOffset, 3),
    up_to_protocol(Quirk::RunningStaysAfterAbort, 3),
    up_to_protocol(Quirk::FailedChatReadsAsFinal, 3),
    up_to_protocol(Quirk::SequenceIsGlobal, 3),
    up_to_protocol(Quirk::ScopesStrippedWithoutDevice, 3),
    up_to_protocol(Quirk::AgentNeedsAddressee, 3),
    Rule { quirk: Quirk::RowsHaveNoStatus, up_to_protocol: 3, before: Some(CalendarVersion::release(2026, 3, 24)) },
    Rule {
        quirk: Quirk::ErrorsHaveNoDetailsCode,
        up_to_protocol: 3,
        before: Some(CalendarVersion::release(2026, 3, 24)),
    },
];

impl Quirk {
    /// Whether it applies to a real release of this protocol and version. A release that names no protocol is taken for the
    /// oldest.
    pub fn applies(self, protocol: Option<u32>, version: Option<CalendarVersion>) -> bool {
        RULES.iter().any(|rule| {
            rule.quirk == self
                && protocol.unwrap_or(3) <= rule.up_to_protocol
                && rule.before.is_none_or(|before| version.is_none_or(|version| version < before))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocol_4_has_none_of_the_quirks_of_protocol_3() {
        let version = CalendarVersion::known("2026.9.6");
        for rule in RULES {
            assert!(!rule.quirk.applies(Some(4), version), "{:?}", rule.quirk);
            assert!(rule.quirk.applies(Some(3), CalendarVersion::known("2026.2.19")), "{:?}", rule.quirk);
        }
    }

    #[test]
    fn a_release_that_calls_itself_dev_counts_as_one_of_the_oldest() {
        assert!(Quirk::RowsHaveNoStatus.applies(Some(3), None));
        assert!(!Quirk::RowsHaveNoStatus.applies(Some(3), CalendarVersion::known("2026.3.24")));
    }
}
