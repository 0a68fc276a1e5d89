//! Who may follow events: one key must not take the places of all, and an admin always finds one.

/// Whose place it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The API key's id; 0 for the configured one.
    pub key: i64,
    /// Whether it is an admin's.
    pub is_admin: bool,
}

impl Holder {
    /// Whoever has the configured key.
    pub const ADMIN: Self = Self { key: 0, is_admin: true };

    /// How many of the places one key may take. An admin could make keys without end, so that a tenth would bind nobody.
    fn share(self, places: usize) -> usize {
        (places / if self.is_admin { 2 } else { 10 }).max(1)
    }
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// The daemon is stopping.
    Ended,
    /// All are taken.
    Full {
        /// How many there are.
        places: usize,
    },
    /// The key has its share.
    Share {
        /// How many that are.
        share: usize,
    },
}

/// Whether there is a place, where so many are taken and so many of them by the same key. An admin's first place is found beyond
/// the limit, too: a tenth more there may be for that.
pub fn admit(places: usize, taken: usize, of_holder: usize, holder: Holder) -> Result<(), NoPlace> {
    let share = holder.share(places);
    if of_holder >= share {
        return Err(NoPlace::Share { share });
    }
    let reserve = if holder.is_admin && of_holder == 0 { (places / 10).max(1) } else { 0 };
    if taken >= places + reserve {
        return Err(NoPlace::Full { places });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEWER: Holder = Holder { key: 7, is_admin: false };

    #[test]
    fn a_key_gets_a_tenth_and_an_admins_key_half() {
        assert_eq!(admit(100, 9, 9, VIEWER), Ok(()));
        assert_eq!(admit(100, 10, 10, VIEWER), Err(NoPlace::Share { share: 10 }));
        assert_eq!(admit(100, 49, 49, Holder::ADMIN), Ok(()));
        assert_eq!(admit(100, 50, 50, Holder::ADMIN), Err(NoPlace::Share { share: 50 }));
        assert_eq!(admit(3, 0, 0, VIEWER), Ok(()), "never less than one");
    }

    #[test]
    fn an_admin_finds_a_place_when_all_are_taken_but_one_only() {
        assert_eq!(admit(100, 100, 0, VIEWER), Err(NoPlace::Full { places: 100 }));
        assert_eq!(admit(100, 100, 0, Holder::ADMIN), Ok(()));
        assert_eq!(admit(100, 101, 1, Holder::ADMIN), Err(NoPlace::Full { places: 100 }));
        assert_eq!(admit(100, 110, 0, Holder::ADMIN), Err(NoPlace::Full { places: 100 }));
    }
}
