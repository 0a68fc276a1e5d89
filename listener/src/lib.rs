//! What connections of strangers may cost, for all together: places, bytes, patience. Shared by the daemon's HTTP front and the
//! embedded gateway.
//!
//! ```text
//! accepted socket -> Connections::enter (a place, or none) -> GuardedStream (paces reading, watches writing) -> actix-http
//!                                                                    ^ Connection
//!                                            middleware: begin, AnswerBody
//! ```
//!
//! actix-http reads ahead of the answers that it has given, answers ahead of a client that doesn't read, and wakes itself without
//! a pause while its read buffer is full. So the stream below it hands over one request's head at a time, of its body only what
//! is asked for, and nothing at all while a write is blocked. Answers are handed to it in small slices.

mod bodies;
mod connection;
mod connections;
mod memory;
mod places;
mod socket;
mod stream;

pub use bodies::{AnswerBody, announced_length, begin};
pub use connection::{BeingServed, Connection, WhyEnded};
pub use connections::{Connections, Figures, Limits, Place};
pub use memory::{MemoryBudget, MemoryPermit};
pub use places::{Refused, network_of};
pub use socket::{ClientSocket, prepare};
pub use stream::GuardedStream;

/// Bytes that actix-http is told to gather before it writes (`h1_write_buffer_size`): with a slice of an answer's body on top of
/// it, that is what an answer takes in memory however long it is.
pub const WRITE_BUFFER: usize = 16 * 1024;
