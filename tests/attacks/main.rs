//! Attacks on the real binary.
#![allow(dead_code)]
#[cfg(test)]
#[path = "../daemon/support"]
mod support {
    pub(crate) mod background;
    pub(crate) mod daemon;
    pub(crate) mod event_stream;
    pub(crate) mod http;
    pub(crate) mod own_gateway;
    pub(crate) mod ports;
    pub(crate) mod scripted_gateway;
    pub(crate) mod wait;
}
#[cfg(test)]
mod together;
