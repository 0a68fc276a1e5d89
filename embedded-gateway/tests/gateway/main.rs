//! End to end: a gateway in this process, on a free port of 127.0.0.1 with a state directory of its own, and clients that talk to
//! it as anybody's would.

mod bad_sockets;
mod conversation;
mod devices;
mod http;
mod records;
mod runs;
mod support;
mod tls;
