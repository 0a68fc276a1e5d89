//! Who gets a place, and what is said of those who don't: pure decisions.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU64;
use std::time::Duration;

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
    /// Whose good key came in on it; none: a stranger's.
    pub(crate) holder: Option<NonZeroU64>,
    /// It is the client that is waited for.
    pub(crate) waits_for_client: bool,
    /// Nobody has looked yet whether its first request is there.
    pub(crate) is_new: bool,
}

/// Of the places that are fought for, the part that one key may hold before its connections make room.
const SHARE_OF_A_KEY: usize = 10;

/// Decides on a newcomer. `present` comes oldest first. `taken` and `of_address` are how many there are and may be.
pub(crate) fn decide(
    taken: (usize, usize),
    of_address: (usize, usize),
    present: impl Iterator<Item = Present>,
) -> Decision {
    let ((all, most), (here, most_here)) = (taken, of_address);
    let (made_room, refused) = if here >= most_here {
        (makes_room(present.filter(|one| one.is_of_address), most_here), Refused::AddressFull)
    } else if all >= most {
        (makes_room(present, most), Refused::Full)
    } else {
        return Decision::Enter;
    };
    made_room.map_or(Decision::Refuse(refused), Decision::Replace)
}

/// Who goes: the oldest stranger who is waited for. Where there is none, of the key that holds most, and more than its share, the
/// oldest connection whose client is waited for: a key must not keep out all others. At last the oldest stranger who has come only
/// just: another worker may be about to read a request with a good key.
fn makes_room(present: impl Iterator<Item = Present>, places: usize) -> Option<u64> {
    let mut of_keys: HashMap<NonZeroU64, (usize, Option<u64>)> = HashMap::new();
    let mut new = None;
    for one in present {
        match one.holder {
            None if one.waits_for_client && one.is_new => {
                new.get_or_insert(one.id);
            }
            None if one.waits_for_client => return Some(one.id),
            None => {}
            Some(holder) => {
                let (held, oldest) = of_keys.entry(holder).or_default();
                *held += 1;
                if one.waits_for_client {
                    oldest.get_or_insert(one.id);
                }
            }
        }
    }
    let share = (places / SHARE_OF_A_KEY).max(1);
    let greedy = of_keys.into_values().filter(|(held, _)| *held > share);
    greedy.filter_map(|(held, oldest)| Some((held, oldest?))).max().map(|(_, oldest)| oldest).or(new)
}

/// One IPv4 address, or the IPv6 network of 64 bits that an address is of. Loopback stays what it is.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        other => other,
    }
}

/// Between two lines about one address.
const BETWEEN_LINES: Duration = Duration::from_secs(1);

/// Addresses that have lines of their own at one time.
const MAX_ADDRESSES: usize = 64;

/// What was said lately.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    /// When each address was last spoken of, and how often it was turned away since. `None` stands for the others.
    lately: HashMap<Option<IpAddr>, (Duration, u64)>,
}

impl RefusalLog {
    /// Counts a refusal; how many there were since the last line, where it is time for one. `now` is any clock's.
    pub(crate) fn note(&mut self, address: IpAddr, now: Duration) -> Option<u64> {
        let mut key = Some(address);
        if !self.lately.contains_key(&key) && self.lately.len() >= MAX_ADDRESSES {
            self.lately.retain(|_, (said, _)| now.saturating_sub(*said) < BETWEEN_LINES);
            if self.lately.len() >= MAX_ADDRESSES {
                key = None;
            }
        }
        match self.lately.get_mut(&key) {
            Some((said, count)) => {
                *count += 1;
                if now.saturating_sub(*said) < BETWEEN_LINES {
                    return None;
                }
                *said = now;
                Some(std::mem::take(count))
            }
            None => {
                self.lately.insert(key, (now, 0));
                Some(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Id, whether of the newcomer's address, the key (0: a stranger), whether it waits for its client.
    fn present(rows: &[(u64, bool, u64, bool)]) -> impl Iterator<Item = Present> {
        rows.iter().map(|&(id, is_of_address, holder, waits_for_client)| Present {
            id,
            is_of_address,
            holder: NonZeroU64::new(holder),
            waits_for_client,
            is_new: false,
        })
    }

    #[test]
    fn a_stranger_whose_request_may_be_there_already_goes_after_a_greedy_keys_connections() {
        let rows: Vec<_> = (1..=9).map(|id| (id, false, if id < 9 { 7 } else { 0 }, true)).collect();
        let with_new = |rows: &[(u64, bool, u64, bool)]| -> Vec<Present> {
            present(rows).map(|one| Present { is_new: one.holder.is_none(), ..one }).collect()
        };
        let made_room = |rows: &[_]| decide((rows.len(), rows.len()), (0, 30), with_new(rows).into_iter());
        assert_eq!(made_room(&rows), Decision::Replace(1));
        assert_eq!(made_room(&rows[8..]), Decision::Replace(9), "where there is nobody else, it goes all the same");
    }

    #[test]
    fn a_free_place_is_taken_and_nobody_has_to_go() {
        assert_eq!(decide((3, 4), (1, 2), present(&[(1, true, 0, true)])), Decision::Enter);
    }

    #[test]
    fn where_all_places_are_taken_the_oldest_idle_stranger_goes() {
        let rows = [(1, false, 0, false), (2, true, 7, true), (3, false, 0, true), (4, true, 0, true)];
        assert_eq!(decide((4, 4), (2, 3), present(&rows)), Decision::Replace(3));
        assert_eq!(decide((4, 4), (2, 2), present(&rows)), Decision::Replace(4), "of its own address");
    }

    #[test]
    fn nobody_who_is_served_or_known_has_to_go() {
        let rows = [(1, true, 0, false), (2, false, 7, true), (3, false, 0, true)];
        assert_eq!(decide((2, 2), (1, 2), present(&rows[..2])), Decision::Refuse(Refused::Full));
        assert_eq!(decide((3, 9), (1, 1), present(&rows)), Decision::Refuse(Refused::AddressFull));
    }

    #[test]
    fn a_key_that_holds_more_than_its_share_makes_room_with_its_oldest_idle_connection() {
        let mut rows: Vec<_> = (1..=40).map(|id| (id, id > 35, if id > 3 { 7 } else { 8 }, id != 4)).collect();
        assert_eq!(decide((40, 40), (5, 30), present(&rows)), Decision::Replace(5), "the first is being served");
        assert_eq!(decide((40, 40), (5, 5), present(&rows)), Decision::Replace(36), "of its own address");
        rows.push((41, false, 0, true));
        assert_eq!(decide((41, 41), (5, 30), present(&rows)), Decision::Replace(41), "a stranger goes first");
        for row in &mut rows {
            (row.2, row.3) = (7, false);
        }
        assert_eq!(decide((41, 41), (5, 30), present(&rows)), Decision::Refuse(Refused::Full), "all are served");
    }

    #[test]
    fn keys_within_their_share_keep_their_places() {
        let rows: Vec<_> = (1..=40).map(|id| (id, false, 1 + id % 10, true)).collect();
        assert_eq!(decide((40, 40), (0, 30), present(&rows)), Decision::Refuse(Refused::Full));
    }

    #[test]
    fn an_address_has_one_line_a_second_that_tells_how_many() {
        let mut log = RefusalLog::default();
        let (one, two) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let at = Duration::from_millis;
        assert_eq!(log.note(one, at(0)), Some(1));
        assert_eq!(log.note(one, at(500)), None);
        assert_eq!(log.note(two, at(600)), Some(1));
        assert_eq!(log.note(one, at(1_000)), Some(2));
        assert_eq!(log.note(one, at(1_999)), None);
    }

    #[test]
    fn many_addresses_share_a_line() {
        let mut log = RefusalLog::default();
        let said = (0..10_000_u32).filter(|n| log.note(IpAddr::from(n.to_be_bytes()), Duration::ZERO).is_some());
        assert_eq!(said.count(), MAX_ADDRESSES + 1);
        assert!(log.lately.len() <= MAX_ADDRESSES + 1);
    }
}
