//! Who may use the daemon: API keys and browser logins. Only hashes are stored.

use super::StoreHandle;
use crate::records::{ApiKey, NewApiKey, WebSession};
use crate::tables::{api_keys, web_sessions};
use gatewarden_core::error::Failure;

impl StoreHandle {
    /// Stores a key.
    pub async fn insert_key(&self, new: NewApiKey) -> Result<ApiKey, Failure> {
        let now = self.now_s();
        self.write("store the API key", move |connection, _| api_keys::insert(connection, &new, now)).await
    }

    /// All keys by id, expired ones too.
    pub async fn list_keys(&self) -> Result<Vec<ApiKey>, Failure> {
        self.read("load the API keys", |connection, _| api_keys::load_all(connection)).await
    }

    /// Deletes a key and its browser logins; false where there was none.
    pub async fn delete_key(&self, id: i64) -> Result<bool, Failure> {
        self.write("delete the API key", move |connection, _| api_keys::delete(connection, id)).await
    }

    /// Notes when keys were last used (id, Unix seconds): gathered by the caller, stored at once. An earlier time than the
    /// stored one, and a key that is gone, change nothing.
    pub async fn touch_keys(&self, used: Vec<(i64, i64)>) -> Result<(), Failure> {
        if used.is_empty() {
            return Ok(());
        }
        self.write("note the use of API keys", move |connection, _| api_keys::touch(connection, &used)).await
    }

    /// How many keys are stored.
    pub async fn count_keys(&self) -> Result<usize, Failure> {
        self.read("count the API keys", |connection, _| api_keys::count(connection)).await
    }

    /// Stores a browser's login.
    pub async fn insert_web_session(&self, session: WebSession) -> Result<(), Failure> {
        self.write("store the login", move |connection, _| web_sessions::insert(connection, &session)).await
    }

    /// The login with this hash of its cookie's token, expired or not.
    pub async fn find_web_session(&self, token_sha256: String) -> Result<Option<WebSession>, Failure> {
        self.read("look up the login", move |connection, _| web_sessions::find(connection, &token_sha256)).await
    }

    /// Ends a login; false where there was none.
    pub async fn delete_web_session(&self, token_sha256: String) -> Result<bool, Failure> {
        self.write("end the login", move |connection, _| web_sessions::delete(connection, &token_sha256)).await
    }

    /// Forgets logins that expired before `now_s` (Unix seconds); how many there were.
    pub async fn purge_web_sessions(&self, now_s: i64) -> Result<usize, Failure> {
        self.write("forget expired logins", move |connection, _| web_sessions::purge(connection, now_s)).await
    }
}
