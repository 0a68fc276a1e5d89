//! Black-box tests: they start the real binary and talk to it as its users and its gateways do. One target, so that it links
//! once. Everything is on loopback.

#[cfg(test)]
mod support {
    pub(crate) mod background;
    pub(crate) mod chaos_proxy;
    pub(crate) mod daemon;
    pub(crate) mod http;
    pub(crate) mod ports;
    pub(crate) mod scripted_gateway;
    pub(crate) mod wait;
}

#[cfg(test)]
mod scripted_gateway_checks;
