//! The pure decisions: no actor, socket, clock, randomness or database. They take `now` and an input and say what to do.
