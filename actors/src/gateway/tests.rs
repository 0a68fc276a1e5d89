//! The actor with scripted sockets and a recording supervisor, on a paused clock.

mod connections;
mod golden;
mod logs;
mod messages;
mod supervisor;
mod world;
