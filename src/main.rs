//! The `gatewarden` binary. The story of a run is in `cli/serve.rs`; this only hands over.
//!
//! Exit codes: 0 after a clean end, 64 for wrong usage, 78 for a bad configuration, a wrong encryption key or a corrupt or
//! too new database, 1 for anything else.

use std::process::ExitCode;

fn main() -> ExitCode {
    gatewarden::cli::run()
}
