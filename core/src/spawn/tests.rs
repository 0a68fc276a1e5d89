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
