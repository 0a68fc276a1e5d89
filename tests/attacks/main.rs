//! Attacks on the real binary: what strangers and liars send must cost little, and those who behave go on being served. Each
//! measures what the process takes while it goes on, with bounds that a busy machine and a debug build keep. Everything is on
//! loopback.

#[cfg(test)]
#[expect(dead_code, unused_imports, reason = "shared with the black-box tests of behaviour, which use the rest")]
#[path = "../daemon/support"]
mod support {
    pub(crate) mod background;
    pub(crate) mod daemon;
    pub(crate) mod event_stream;
    pub(crate) mod http;
    pub(crate) mod own_gateway;
    pub(crate) mod ports;
    pub(crate) mod rpc_client;
    pub(crate) mod scripted_gateway;
    pub(crate) mod wait;
}

#[cfg(test)]
mod attackers;
#[cfg(test)]
mod costs;

#[cfg(test)]
mod event_places;
#[cfg(test)]
mod foreign_pages;
#[cfg(test)]
mod gateways;
#[cfg(test)]
mod places;
#[cfg(test)]
mod request_bodies;
#[cfg(test)]
mod stalled_log;
#[cfg(test)]
mod together;
#[cfg(test)]
mod unread_answers;
