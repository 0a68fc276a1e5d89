//! What is known of the wall clock's past, from one run of the daemon to the next.

use super::StoreHandle;
use crate::tables::meta;
use gatewarden_core::error::Failure;

const STEADY_TIME: &str = "steady_time";

impl StoreHandle {
    /// What the last run stored; none at the first start.
    pub async fn load_steady_time(&self) -> Result<Option<String>, Failure> {
        self.read("read what is known of the wall clock", |connection, _| Ok(meta::get(connection, STEADY_TIME)?)).await
    }

    /// Stores it in the place of the last one.
    pub async fn save_steady_time(&self, steady: String) -> Result<(), Failure> {
        self.write("store what is known of the wall clock", move |connection, _| {
            Ok(meta::put(connection, STEADY_TIME, &steady)?)
        })
        .await
    }
}
