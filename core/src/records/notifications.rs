//! What was announced to destinations, and what waits to be delivered to them.

/// An episode that was announced to a destination and lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpisodeRecord {
    /// The destination's name.
    pub destination: String,
    /// `gateway-<id>` or `fleet`.
    pub subject: String,
    /// The condition's stable name.
    pub condition: String,
    /// The episode's id.
    pub episode: String,
    /// Wall ms of its first announcement.
    pub began_ms: i64,
    /// Wall ms of its latest announcement.
    pub announced_ms: i64,
    /// Number of its latest notification, from 0.
    pub sequence: u32,
    /// What was last announced about it.
    pub detail: String,
    /// What the subject was called at its first announcement.
    pub subject_name: String,
}

/// A notification to be kept until it is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNotification {
    /// Unique: what the receiver tells duplicates by.
    pub notification_id: String,
    /// What is sent.
    pub body: String,
}

/// What becomes of an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpisodeMove {
    /// It begins: none of its subject and condition may be stored.
    Begin,
    /// It goes on with the next number: the one before must be stored.
    GoOn,
    /// It ends: the number before must be stored.
    End,
}

/// One decision: the episode, and the notification that tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationMove {
    /// What happens to the episode.
    pub kind: EpisodeMove,
    /// The episode after it.
    pub episode: EpisodeRecord,
    /// None where nobody is told.
    pub notification: Option<NewNotification>,
}

/// A notification that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRecord {
    /// The database's key; grows with time.
    pub row: i64,
    /// See [`NewNotification::notification_id`].
    pub notification_id: String,
    /// The destination's name.
    pub destination: String,
    /// `gateway-<id>` or `fleet`.
    pub subject: String,
    /// The condition's stable name.
    pub condition: String,
    /// See [`NewNotification::body`].
    pub body: String,
    /// Wall ms.
    pub created_at_ms: i64,
    /// Attempts that failed.
    pub attempts: u32,
    /// Wall ms before which it is not tried again.
    pub next_attempt_ms: i64,
}
