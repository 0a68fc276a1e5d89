//! The three ways of speaking to a gateway.

crate::named! {
    /// How a gateway is spoken to; found by detection, remembered after a success only.
    pub enum Dialect {
        /// Challenge, signed connect, `req`/`res`/`event` frames (document 002 and every real release).
        Openclaw = "openclaw",
        /// `{"method":"auth"}` first, then JSON-RPC without a type; events as `{"event","data"}` (document 004).
        Rpc = "rpc",
        /// No socket at all: `GET /health`, `POST /spawn`, `GET /sessions` (document 000).
        Http = "http",
    }
}
