//! Everything that only PostgreSQL understands: how a session is opened and what it holds, and what its errors mean.
//!
//! A daemon writes as the node that has the role ([`cluster`]): each of its transactions checks that it still has it. Whoever else
//! writes, a command or a daemon of an older release, does so under an advisory lock of the database that lasts as long as its
//! session, and that is not to be had while a node lives: nodes share it. Readers need no lock, and can't write.
//!
//! diesel-async's own wrapper for blocking use panics where a time limit is set, so this is one of ours: each call
//! ends within the connection's patience, and after one that didn't, or that lost the server, none is begun any more.

pub mod address;
pub mod cluster;
pub mod inspection;
pub mod mesh_entry;
pub(crate) mod release;
pub(crate) mod start;
mod tls;
pub mod trouble;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use diesel::connection::{
    AnsiTransactionManager, CacheSize, DynInstrumentation, Instrumentation, LoadConnection, SimpleConnection,
    TransactionManager,
};
use diesel::dsl::sql;
use diesel::internal::derives::multiconnection::{AstPassHelper as _, ConnectionSealed, MultiConnectionHelper};
use diesel::migration::{CREATE_MIGRATIONS_TABLE, MigrationConnection};
use diesel::pg::{Pg, PgMetadataLookup, PgTypeMetadata};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{BigInt, Text, TypeMetadata};
use diesel_async::{AsyncConnection as _, AsyncConnectionCore, AsyncPgConnection, SimpleAsyncConnection as _};
use futures_util::TryStreamExt as _;
use tokio::runtime::Runtime;

use self::address::ServerAddress;
use self::trouble::Trouble;
use crate::error::{Fault, StoreError};

/// What the lock is called among those of other programs; the second half of its name is the schema.
const LOCK: i32 = 0x6777;
const NO_ANSWER: &str = "the server gave no answer within";

/// A session on a server.
pub(crate) struct PostgresConnection {
    inner: AsyncPgConnection,
    runtime: Runtime,
    /// Longest wait for an answer.
    patience: Duration,
    lost: bool,
    /// The server is there and says nothing: it isn't asked again for the same.
    silent: bool,
    /// Where it leads, and for what it was opened.
    origin: (ServerAddress, bool),
    changes: i64,
    transactions: AnsiTransactionManager,
    instrumentation: DynInstrumentation,
}

impl fmt::Debug for PostgresConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConnection").field("lost", &self.lost).finish_non_exhaustive()
    }
}

impl Trouble {
    fn at(self, address: &ServerAddress) -> StoreError {
        StoreError::Server { place: address.to_string(), trouble: self }
    }

    /// Why the first questions of a session were not answered.
    fn of_query(error: &DieselError) -> Self {
        let words = error.to_string();
        match fault_of(error, &words) {
            Some(Fault::Unreachable) if words.contains(NO_ANSWER) => Self::Silent(words),
            Some(Fault::Unreachable) => Self::Unreachable(words),
            Some(Fault::ServerReadOnly) => Self::ReadOnly,
            _ if words.contains("permission denied") || words.contains("must be owner") => Self::NoRights(words),
            _ => Self::Other(words),
        }
    }
}

/// An error in words that name the server.
pub(crate) fn in_words(error: StoreError, address: &ServerAddress) -> StoreError {
    match error {
        StoreError::Database { error, .. } => Trouble::of_query(&error).at(address),
        other => other,
    }
}

/// Opens a session for its use.
pub(crate) fn open(
    address: &ServerAddress,
    patience: Duration,
    writes: bool,
) -> Result<PostgresConnection, StoreError> {
    let mut session = connect(address, patience)?;
    session.origin.1 = writes;
    let settings = match writes {
        true => {
            // A commit is on disk before it is answered, whatever the role's settings are. A server notices within half a minute
            // that this machine is gone, and gives the lock free.
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
             SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout';
             SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;"
        }
        false => "SET default_transaction_read_only = on",
    };
    let set = session.batch_execute(settings);
    set.map_err(|error| Trouble::of_query(&error).at(address))?;
    match &address.fence {
        Some(_) if writes => {
            let limit = cluster::IDLE_IN_TRANSACTION.as_millis();
            let set = session
                .batch_execute(&format!("SET idle_in_transaction_session_timeout = {limit}; SET lock_timeout = 1500"));
            set.map_err(|error| Trouble::of_query(&error).at(address))?;
        }
        None if writes => lock(&mut session, address)?,
        _ => {}
    }
    Ok(session)
}

/// Opens a session with nothing set.
pub(crate) fn connect(address: &ServerAddress, patience: Duration) -> Result<PostgresConnection, StoreError> {
    let failed = |error: std::io::Error| Trouble::Other(error.to_string()).at(address);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let connecting = async {
        // The time limit of the library covers less than all of it.
        match tokio::time::timeout(patience, address.connect(patience.mul_f32(0.8))).await {
            Ok(connected) => connected,
            Err(_) => Err(Trouble::Silent(format!("no answer within {patience:?}"))),
        }
    };
    let inner = runtime.block_on(connecting).map_err(|trouble| trouble.at(address))?;
    Ok(PostgresConnection {
        inner,
        runtime,
        patience,
        lost: false,
        silent: false,
        origin: (address.clone(), false),
        changes: 0,
        transactions: AnsiTransactionManager::default(),
        instrumentation: DynInstrumentation::none(),
    })
}

/// Takes the lock of whoever writes. A session that has just ended may hold it for a moment longer.
fn lock(session: &mut PostgresConnection, address: &ServerAddress) -> Result<(), StoreError> {
    let wait = (session.patience / 2).as_millis();
    let query = format!("SET lock_timeout = {wait}; SELECT pg_advisory_lock({LOCK}, hashtext(current_schema()))");
    match session.batch_execute(&query) {
        // The limit stays, for locks of rows: of a table that somebody alters.
        Ok(()) => Ok(()),
        Err(error) if fault_of(&error, &error.to_string()) == Some(Fault::Locked) => {
            Err(Trouble::InUse(holder(session).unwrap_or_default()).at(address))
        }
        Err(error) => Err(Trouble::of_query(&error).at(address)),
    }
}

/// Gives the lock back before the session ends, which the server notices only some time later.
fn unlock(session: &mut PostgresConnection) -> QueryResult<()> {
    session.batch_execute(&format!("SELECT pg_advisory_unlock({LOCK}, hashtext(current_schema()))"))
}

/// Who has the lock, as far as the server tells.
fn holder(session: &mut PostgresConnection) -> QueryResult<String> {
    let query = format!(
        "SELECT a.application_name || COALESCE(' from ' || host(a.client_addr), '') || ', session ' || a.pid || ' of the server' \
         FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.granted \
         AND l.classid = {LOCK} AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    );
    Ok(lines(session, &query)?.into_iter().next().unwrap_or_default())
}

pub(crate) fn lines(session: &mut PostgresConnection, query: &str) -> QueryResult<Vec<String>> {
    sql::<Text>(query).load(session)
}

fn number(session: &mut PostgresConnection, query: &str) -> QueryResult<i64> {
    sql::<BigInt>(query).get_result(session)
}

/// The names of all tables of the schema that unqualified names mean.
pub(crate) fn tables(session: &mut PostgresConnection) -> QueryResult<Vec<String>> {
    lines(session, "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1")
}

/// Writes something without meaning, in the transaction that is open.
pub(crate) fn write_trial(session: &mut PostgresConnection) -> QueryResult<()> {
    session.batch_execute(
        "INSERT INTO meta (name, value) VALUES ('write_trial', clock_timestamp()::text) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
}

/// Writes tables anew, so that nothing is left in their free space.
pub(crate) fn scrub(session: &mut PostgresConnection, tables: &BTreeSet<&str>) -> QueryResult<()> {
    tables.iter().try_for_each(|table| session.batch_execute(&format!("VACUUM FULL {table}")))
}

/// What kind of trouble the server is in, by its words where diesel keeps the code to itself.
pub(crate) fn fault_of(error: &DieselError, words: &str) -> Option<Fault> {
    const TEXTS: [(&str, Fault); 7] = [
        ("due to lock timeout", Fault::Locked),
        ("No space left on device", Fault::ServerFull),
        ("Disk quota exceeded", Fault::ServerFull),
        ("terminating connection", Fault::Unreachable),
        ("the database system is", Fault::Unreachable),
        ("due to statement timeout", Fault::Unreachable),
        ("out of shared memory", Fault::Unreachable),
    ];
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::UnableToSendCommand, _) => Some(Fault::Unreachable),
        DieselError::DatabaseError(DatabaseErrorKind::ReadOnlyTransaction, _) => Some(Fault::ServerReadOnly),
        DieselError::RollbackErrorOnCommit { commit_error, .. } => fault_of(commit_error, &commit_error.to_string()),
        DieselError::BrokenTransactionManager => Some(Fault::Unreachable),
        _ => TEXTS.iter().find(|(text, _)| words.contains(text)).map(|(_, fault)| *fault),
    }
}

impl PostgresConnection {
    /// Whether the server gave no answer, or is gone.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Writes that were committed, so far.
    pub(crate) fn changes(&self) -> i64 {
        self.changes
    }

    pub(crate) fn count_change(&mut self) {
        self.changes += 1;
    }

    /// Begins a transaction. A session that was found to have ended meanwhile (a restart of the server) is opened again: nothing
    /// was asked of it yet.
    pub(crate) fn begin(&mut self, begin: &str) -> Result<(), StoreError> {
        match AnsiTransactionManager::begin_transaction_sql(self, begin) {
            Err(_) if self.lost && !self.silent => {
                let (address, writes) = self.origin.clone();
                let changes = self.changes;
                *self = Self { changes, ..open(&address, self.patience, writes)? };
                Ok(AnsiTransactionManager::begin_transaction_sql(self, begin)?)
            }
            begun => Ok(begun?),
        }
    }

    /// Refuses the transaction that was just begun where its node acts no longer.
    pub(crate) fn check_fence(&mut self) -> Result<(), StoreError> {
        match self.origin.0.fence.clone() {
            Some(fence) if self.origin.1 => cluster::check(self, &fence),
            _ => Ok(()),
        }
    }

    fn wait<T>(&mut self, call: impl AsyncFnOnce(&mut AsyncPgConnection) -> QueryResult<T>) -> QueryResult<T> {
        if self.lost {
            return Err(unanswered("the session is lost"));
        }
        let (inner, patience) = (&mut self.inner, self.patience);
        let answered = self.runtime.block_on(async { tokio::time::timeout(patience, call(inner)).await });
        self.silent = answered.is_err();
        let outcome = answered.unwrap_or_else(|_| Err(unanswered(&format!("{NO_ANSWER} {patience:?}"))));
        self.lost =
            outcome.as_ref().is_err_and(|error| fault_of(error, &error.to_string()) == Some(Fault::Unreachable));
        outcome
    }
}

fn unanswered(words: &str) -> DieselError {
    DieselError::DatabaseError(DatabaseErrorKind::UnableToSendCommand, Box::new(words.to_owned()))
}

impl SimpleConnection for PostgresConnection {
    fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        self.wait(async |inner| inner.batch_execute(query).await)
    }
}

impl ConnectionSealed for PostgresConnection {}

impl diesel::Connection for PostgresConnection {
    type Backend = Pg;
    type TransactionManager = AnsiTransactionManager;

    fn establish(_: &str) -> ConnectionResult<Self> {
        // It is opened with limits of time and its TLS, which a text alone doesn't have.
        Err(diesel::ConnectionError::BadConnection("no connection is opened by a URL alone".to_owned()))
    }

    fn execute_returning_count<T>(&mut self, source: &T) -> QueryResult<usize>
    where
        T: QueryFragment<Pg> + QueryId,
    {
        self.wait(async |inner| inner.execute_returning_count(Clean(source)).await)
    }

    fn transaction_state(&mut self) -> &mut <AnsiTransactionManager as TransactionManager<Self>>::TransactionStateData {
        &mut self.transactions
    }

    fn instrumentation(&mut self) -> &mut dyn Instrumentation {
        &mut *self.instrumentation
    }

    fn set_instrumentation(&mut self, instrumentation: impl Instrumentation) {
        self.instrumentation = instrumentation.into();
    }

    fn set_prepared_statement_cache_size(&mut self, size: CacheSize) {
        self.inner.set_prepared_statement_cache_size(size);
    }
}

impl LoadConnection for PostgresConnection {
    type Cursor<'conn, 'query> = std::vec::IntoIter<QueryResult<Self::Row<'conn, 'query>>>;
    type Row<'conn, 'query> = <AsyncPgConnection as AsyncConnectionCore>::Row<'conn, 'query>;

    fn load<'conn, 'query, T>(&'conn mut self, source: T) -> QueryResult<Self::Cursor<'conn, 'query>>
    where
        T: Query + QueryFragment<Pg> + QueryId + 'query,
        Pg: diesel::expression::QueryMetadata<T::SqlType>,
    {
        let rows: Vec<_> = self.wait(async |inner| inner.load(Clean(source)).await?.try_collect().await)?;
        Ok(rows.into_iter().map(Ok).collect::<Vec<_>>().into_iter())
    }
}

impl MigrationConnection for PostgresConnection {
    fn setup(&mut self) -> QueryResult<usize> {
        self.batch_execute(CREATE_MIGRATIONS_TABLE).map(|()| 0)
    }
}

/// Types of the server that a query would have to ask for by name. There are none in our tables.
struct NoLookup;

impl PgMetadataLookup for NoLookup {
    fn lookup_type(&mut self, _: &str, _: Option<&str>) -> PgTypeMetadata {
        PgTypeMetadata::new(0, 0)
    }
}

impl MultiConnectionHelper for PostgresConnection {
    fn to_any<'a>(_: &mut <Pg as TypeMetadata>::MetadataLookup) -> &mut (dyn std::any::Any + 'a) {
        // Nothing is allocated for a type without a size.
        Box::leak(Box::new(NoLookup))
    }

    fn from_any(lookup: &mut dyn std::any::Any) -> Option<&mut <Pg as TypeMetadata>::MetadataLookup> {
        lookup.downcast_mut::<NoLookup>().map(|lookup| lookup as &mut dyn PgMetadataLookup)
    }
}

/// A query whose texts the server takes: it refuses NUL, which SQLite stores.
struct Clean<T>(T);

impl<T: Query> Query for Clean<T> {
    type SqlType = T::SqlType;
}

impl<T: QueryId> QueryId for Clean<T> {
    type QueryId = T::QueryId;
    const HAS_STATIC_QUERY_ID: bool = T::HAS_STATIC_QUERY_ID;
}

impl<T: QueryFragment<Pg>> QueryFragment<Pg> for Clean<T> {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(pass.reborrow())?;
        let Some((collector, _)) = pass.bind_collector() else { return Ok(()) };
        for (bytes, kind) in collector.binds.iter_mut().zip(&collector.metadata) {
            if let Some(bytes) = bytes
                && kind.oid().is_ok_and(|oid| oid == TEXT)
                && bytes.contains(&0)
            {
                *bytes = String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}").into_bytes();
            }
        }
        Ok(())
    }
}

/// The server's number for the type of texts.
const TEXT: u32 = 25;

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod tests;
