//! Who may use the daemon: API keys and browser logins. Only hashes are stored.

use super::StoreHandle;
use crate::error::Failure;
use crate::store::records::{ApiKey, NewApiKey, WebSession};

impl StoreHandle {
    /// Stores a key.
    pub async fn insert_key(&self, new: NewApiKey) -> Result<ApiKey, Failure> {
        Err(Failure::unavailable("store"))
    }

    /// All keys by id, expired ones too.
    pub async fn list_keys(&self) -> Result<Vec<ApiKey>, Failure> {
        Err(Failure::unavailable("store"))
    }

    /// Deletes a key and its browser logins; false where there was none.
    pub async fn delete_key(&self, id: i64) -> Result<bool, Failure> {
        Err(Failure::unavailable("store"))
    }

    /// Notes when keys were last used (id, Unix seconds): gathered by the caller, stored at once. An earlier time than the
    /// stored one, and a key that is gone, change nothing.
    pub async fn touch_keys(&self, used: Vec<(i64, i64)>) -> Result<(), Failure> {
        Err(Failure::unavailable("store"))
    }

    /// How many keys are stored.
    pub async fn count_keys(&self) -> Result<usize, Failure> {
        Err(Failure::unavailable("store"))
    }

    /// Stores a browser's login.
    pub async fn insert_web_session(&self, session: WebSession) -> Result<(), Failure> {
        Err(Failure::unavailable("store"))
    }

    /// The login with this hash of its cookie's token, expired or not.
    pub async fn find_web_session(&self, token_sha256: String) -> Result<Option<WebSession>, Failure> {
        Err(Failure::unavailable("store"))
    }

    /// Ends a login; false where there was none.
    pub async fn delete_web_session(&self, token_sha256: String) -> Result<bool, Failure> {
        Err(Failure::unavailable("store"))
    }

    /// Forgets logins that expired before `now_s` (Unix seconds); how many there were.
    pub async fn purge_web_sessions(&self, now_s: i64) -> Result<usize, Failure> {
        Err(Failure::unavailable("store"))
    }
}
