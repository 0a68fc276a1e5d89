//! The life of a spawn: which state may follow which.
//!
//! ```text
//! recorded -> sent -> accepted -> running -> completed | failed | killed | lost
//!               \---------\----------\--> unknown --> any later one, never sent again
//! ```
//!
//! The rule behind the table: a spawn is never run twice. Only the daemon that recorded it sends it: one that finds it
//! `recorded` at its start takes it for sent. Once it may be on the wire nothing leads back to `recorded`, and
//! once nobody knows whether it was taken (`unknown`) nothing leads back to `sent`. `sent` may follow `sent`: another
//! gateway is tried after the first one certainly did not take it. A step may be skipped where a gateway says more than was
//! asked, as a result that overtakes the acceptance. A final state never changes.

gatewarden_protocol::named! {
    /// Where a spawn is in its life.
    pub enum SpawnState {
        /// Written down, with the gateway that it is about to be given to. Durable before the request is given to a connection.
        Recorded = "recorded",
        /// Given to a connection. Written down within moments of it: whoever finds `recorded` after a crash can't tell whether it was
        /// sent, asks that gateway, and never sends it.
        Sent = "sent",
        /// The gateway took it.
        Accepted = "accepted",
        /// It runs.
        Running = "running",
        /// It was or may have been on the wire, and what became of it is not known for the time being.
        Unknown = "unknown",
        /// Ended well. Final, as all that follow.
        Completed = "completed",
        /// Refused, or ended badly.
        Failed = "failed",
        /// Ended because somebody asked for it.
        Killed = "killed",
        /// What became of it will not be known any more.
        Lost = "lost",
    }
}

impl SpawnState {
    /// The states that can still change.
    pub const OPEN: [Self; 5] = [Self::Recorded, Self::Sent, Self::Accepted, Self::Running, Self::Unknown];

    /// Whether nothing can follow.
    pub fn is_final(self) -> bool {
        match self {
            Self::Recorded | Self::Sent | Self::Accepted | Self::Running | Self::Unknown => false,
            Self::Completed | Self::Failed | Self::Killed | Self::Lost => true,
        }
    }

    /// Whether this state may come after `earlier`. An open state may follow itself: more became known about it.
    pub fn may_follow(self, earlier: Self) -> bool {
        match earlier {
            Self::Completed | Self::Failed | Self::Killed | Self::Lost => false,
            // That it was sent is written first: only then can it have been accepted, run, be in doubt, or have ended well.
            Self::Recorded => matches!(self, Self::Recorded | Self::Sent | Self::Failed | Self::Killed | Self::Lost),
            Self::Sent => self != Self::Recorded,
            Self::Accepted => !matches!(self, Self::Recorded | Self::Sent),
            Self::Running => !matches!(self, Self::Recorded | Self::Sent | Self::Accepted),
            Self::Unknown => !matches!(self, Self::Recorded | Self::Sent),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every pair of states, written out: `x` where the column's state may follow the row's.
    const LEGAL: [(&str, &str); 9] = [
        //            R S A R U C F K L
        ("recorded", " x x . . . . x x x"),
        ("sent", "     . x x x x x x x x"),
        ("accepted", " . . x x x x x x x"),
        ("running", "  . . . x x x x x x"),
        ("unknown", "  . . x x x x x x x"),
        ("completed", ". . . . . . . . ."),
        ("failed", "   . . . . . . . . ."),
        ("killed", "   . . . . . . . . ."),
        ("lost", "     . . . . . . . . ."),
    ];

    #[test]
    fn each_pair_of_states_is_legal_or_not_as_the_table_says() {
        for ((name, row), earlier) in LEGAL.into_iter().zip(SpawnState::ALL) {
            assert_eq!(name, earlier.as_str());
            let row: Vec<bool> = row.split_whitespace().map(|mark| mark == "x").collect();
            let legal: Vec<bool> = SpawnState::ALL.iter().map(|state| state.may_follow(earlier)).collect();
            assert_eq!(legal, row, "after {name}");
        }
    }

    #[test]
    fn a_final_state_never_changes_and_every_other_can_end_in_loss() {
        for earlier in SpawnState::ALL {
            let follows = SpawnState::ALL.iter().any(|state| state.may_follow(earlier));
            assert_eq!(follows, !earlier.is_final());
            assert_eq!(SpawnState::Lost.may_follow(earlier), !earlier.is_final());
            assert_eq!(SpawnState::OPEN.contains(&earlier), !earlier.is_final());
        }
    }

    /// All states that can be reached from one, in any number of steps.
    fn reachable(from: SpawnState) -> BTreeSet<&'static str> {
        let mut reached = BTreeSet::new();
        let mut open = vec![from];
        while let Some(earlier) = open.pop() {
            for next in SpawnState::ALL.into_iter().filter(|next| next.may_follow(earlier)) {
                if reached.insert(next.as_str()) {
                    open.push(next);
                }
            }
        }
        reached
    }

    #[test]
    fn no_way_leads_from_the_wire_or_from_doubt_back_to_sending() {
        assert!(!reachable(SpawnState::Sent).contains("recorded"));
        for taken_or_in_doubt in [SpawnState::Accepted, SpawnState::Running, SpawnState::Unknown] {
            assert!(!reachable(taken_or_in_doubt).contains("sent"), "{taken_or_in_doubt:?}");
        }
    }

    #[test]
    fn every_name_reads_back() {
        for state in SpawnState::ALL {
            assert_eq!(SpawnState::from_name(state.as_str()), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        assert_eq!(SpawnState::from_name("done"), None);
    }
}
