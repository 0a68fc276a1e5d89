//! End to end: a gateway in this process, on a free port of 127.0.0.1 with a state directory of its own, and clients that talk to
//! it as anybody's would.

#[cfg(test)]
mod bad_sockets;
#[cfg(test)]
mod channels;
#[cfg(test)]
mod conversation;
#[cfg(test)]
mod devices;
#[cfg(test)]
mod discord;
#[cfg(test)]
mod discord_server;
#[cfg(test)]
mod http;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod proxies;
#[cfg(test)]
mod records;
#[cfg(test)]
mod runs;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tailscale;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod whatsapp;
