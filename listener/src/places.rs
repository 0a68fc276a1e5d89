//! Who gets a place: the pure decision.

/// Why a connection was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// All places are taken by clients that are being served or have shown a good key.
    Full,
    /// The same of the places that one address may have.
    AddressFull,
}

impl Refused {
    /// In the order in which they are counted.
    pub const ALL: [Self; 2] = [Self::Full, Self::AddressFull];

    /// A stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::AddressFull => "address_full",
        }
    }
}

/// What is decided on a newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// There is a free place.
    Enter,
    /// This connection has to go for it.
    Replace(u64),
    /// There is none.
    Refuse(Refused),
}

/// One connection that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Present {
    /// Grows with every connection.
    pub(crate) id: u64,
    /// Whether it is of the newcomer's address.
    pub(crate) is_of_address: bool,
    /// Nobody who has shown a good key, and it is the client that is waited for.
    pub(crate) may_go: bool,
}

/// Decides on a newcomer. `present` comes oldest first.
pub(crate) fn decide(
    taken: (usize, usize),
    of_address: (usize, usize),
    mut present: impl Iterator<Item = Present>,
) -> Decision {
    let ((all, most), (here, most_here)) = (taken, of_address);
    if here >= most_here {
        let oldest = present.find(|one| one.may_go && one.is_of_address);
        return oldest.map_or(Decision::Refuse(Refused::AddressFull), |one| Decision::Replace(one.id));
    }
    if all >= most {
        let oldest = present.find(|one| one.may_go);
        return oldest.map_or(Decision::Refuse(Refused::Full), |one| Decision::Replace(one.id));
    }
    Decision::Enter
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present(rows: &[(u64, bool, bool)]) -> impl Iterator<Item = Present> {
        rows.iter().map(|&(id, is_of_address, may_go)| Present { id, is_of_address, may_go })
    }

    #[test]
    fn a_free_place_is_taken_and_nobody_has_to_go() {
        assert_eq!(decide((3, 4), (1, 2), present(&[(1, true, true)])), Decision::Enter);
    }

    #[test]
    fn where_all_places_are_taken_the_oldest_idle_stranger_goes() {
        let rows = [(1, false, false), (2, true, false), (3, false, true), (4, true, true)];
        assert_eq!(decide((4, 4), (2, 3), present(&rows)), Decision::Replace(3));
        assert_eq!(decide((4, 4), (2, 2), present(&rows)), Decision::Replace(4), "of its own address");
    }

    #[test]
    fn nobody_who_is_served_or_known_has_to_go() {
        let rows = [(1, true, false), (2, false, false), (3, false, true)];
        assert_eq!(decide((2, 2), (1, 2), present(&rows[..2])), Decision::Refuse(Refused::Full));
        assert_eq!(decide((3, 9), (1, 1), present(&rows)), Decision::Refuse(Refused::AddressFull));
    }
}
