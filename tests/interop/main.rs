//! Interop: the daemon against real releases of OpenClaw, protocol 4 and protocol 3 at once, a black-holed port, a plain web
//! server and a wrong token. Run by name: `cargo test --test interop`. See `tests/peers/README.md`.

#[cfg(test)]
#[path = "../daemon/support"]
mod support {
    #![expect(
        dead_code,
        unused_imports,
        reason = "the partners are shared with the black-box tests, which use all of them"
    )]
    pub(crate) mod background;
    pub(crate) mod daemon;
    pub(crate) mod event_stream;
    pub(crate) mod http;
    pub(crate) mod notify_socket;
    pub(crate) mod own_gateway;
    pub(crate) mod own_network;
    pub(crate) mod page_device;
    pub(crate) mod ports;
    pub(crate) mod postgres_server;
    pub(crate) mod rpc_client;
    pub(crate) mod screen;
    pub(crate) mod scripted_gateway;
    pub(crate) mod wait;
    pub(crate) mod webhook_receiver;
}

#[cfg(test)]
mod acp;
#[cfg(test)]
mod agents;
#[cfg(test)]
mod avahi;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod compatibility;
#[cfg(test)]
mod control;
#[cfg(test)]
mod cron;
#[cfg(test)]
mod discovery;
#[cfg(test)]
mod embedded;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod local_process;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod mock_model;
#[cfg(test)]
mod nodes;
#[cfg(test)]
mod organization;
#[cfg(test)]
mod other_operator;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod runs;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod telegram;
#[cfg(test)]
mod templates;
#[cfg(test)]
mod wide_area;
