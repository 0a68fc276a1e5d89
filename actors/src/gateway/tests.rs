//! The actor with scripted sockets and a recording supervisor, on a paused clock.

mod connections;
mod golden;
mod messages;
mod supervisor;
mod world;
