//! `gatewarden openapi`

use super::{EXIT_FAILURE, EXIT_OK, fail, terminal};

/// Prints the document that the daemon serves.
pub(super) fn run() -> u8 {
    match crate::http::openapi().to_pretty_json() {
        Ok(document) => {
            terminal::print(&document);
            EXIT_OK
        }
        Err(error) => fail(EXIT_FAILURE, format!("The OpenAPI document cannot be written: {error}.")),
    }
}
