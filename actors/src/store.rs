//! The store: the only place with SQL.

pub mod handle;
