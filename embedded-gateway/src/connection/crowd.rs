//! How many places one address may take, so that a single stranger can't fill them all.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use gatewarden_listener::network_of;

/// Of all places, what those of one address may have together: one in so many.
const SHARE: usize = 4;

/// Who is there, by address (of IPv6: by network). This machine itself isn't counted.
#[derive(Debug, Clone)]
pub(crate) struct Crowd {
    present: Rc<RefCell<HashMap<IpAddr, usize>>>,
    most_of_one: usize,
}

/// One of an address's places; given back when dropped.
#[derive(Debug)]
pub(crate) struct Presence {
    crowd: Crowd,
    counted: Option<IpAddr>,
}

impl Crowd {
    /// For so many places in all.
    pub(crate) fn new(places: usize) -> Self {
        Self { present: Rc::default(), most_of_one: (places / SHARE).max(1) }
    }

    /// A place for somebody of this address; none where it has its share.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Presence> {
        let address = network_of(address);
        if address.is_loopback() {
            return Some(Presence { crowd: self.clone(), counted: None });
        }
        let mut present = self.present.borrow_mut();
        let of_this = present.entry(address).or_default();
        if *of_this >= self.most_of_one {
            return None;
        }
        *of_this += 1;
        drop(present);
        Some(Presence { crowd: self.clone(), counted: Some(address) })
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let Some(address) = self.counted else { return };
        let mut present = self.crowd.present.borrow_mut();
        if let Some(of_this) = present.get_mut(&address) {
            *of_this = of_this.saturating_sub(1);
            if *of_this == 0 {
                present.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_gets_a_quarter_and_gives_it_back() {
        let crowd = Crowd::new(8);
        let (one, two) = (crowd.enter(address("192.0.2.1")), crowd.enter(address("::ffff:192.0.2.1")));
        assert!(one.is_some() && two.is_some());
        assert!(crowd.enter(address("192.0.2.1")).is_none());
        assert!(crowd.enter(address("192.0.2.2")).is_some());
        drop(one);
        assert!(crowd.enter(address("192.0.2.1")).is_some());
        drop(two);
        assert!(crowd.present.borrow().is_empty(), "nothing is kept of who is gone");
    }

    #[test]
    fn a_network_of_version_6_is_one_and_this_machine_isnt_counted() {
        let crowd = Crowd::new(1);
        let _one = crowd.enter(address("2001:db8::1")).unwrap();
        assert!(crowd.enter(address("2001:db8::ffff:2")).is_none());
        assert!(crowd.enter(address("2001:db8:0:1::1")).is_some());
        let many: Vec<_> = (0..9).map(|_| crowd.enter(address("127.0.0.1"))).collect();
        assert!(many.iter().all(Option::is_some) && crowd.enter(address("::1")).is_some());
    }
}
