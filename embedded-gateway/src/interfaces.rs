//! The network interfaces of this machine.

use if_addrs::Interface;

/// They can't be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "the network interfaces of this machine can't be read: {0}; a unit of systemd allows it with RestrictAddressFamilies=AF_NETLINK"
)]
pub struct Unreadable(#[from] std::io::Error);

/// Each address of each of them. (mDNS takes interfaces that it can't read for none, so whoever uses it asks here first.)
///
/// # Errors
/// They can't be read.
pub fn read() -> Result<Vec<Interface>, Unreadable> {
    Ok(if_addrs::get_if_addrs()?)
}
