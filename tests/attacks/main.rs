//! What strangers and liars may cost: attacks on the real binary, each with a bound that holds. Everything is on loopback.

#[cfg(test)]
#[expect(dead_code, unused_imports, reason = "shared with the other black-box tests, which use all of it")]
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
mod gateways;
#[cfg(test)]
mod together;
