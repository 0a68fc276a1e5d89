//! Logins that failed lately, by the gateway's address: a restart and a takeover go on counting. Observations, of which a sudden end
//! costs those that are on their way.
//!
//! Times are by the clock of the database: a server's own, for a file the machine's. A clock that jumps ahead lifts no count (of a file,
//! [`gatewarden_clock::clock::Clock::judged_ms`]). One that is put back leaves failures that are still to come: they count as of now, and
//! [`StoreHandle::thin_failed_logins`] writes them down as such, so that each counts for one window more at most.

use std::collections::BTreeMap;
use std::time::Duration;

use diesel::prelude::*;
use gatewarden_core::error::Failure;
use gatewarden_core::machines::auth_budget::{FailedLogin, WINDOW};

use crate::connection::on_either;
use crate::database::time_ms;
use crate::handle::{StoreHandle, span_ms, whole};
use crate::schema::failed_logins;
use crate::tables::ROWS_AN_INSERT;

#[derive(Insertable)]
#[diesel(table_name = failed_logins)]
struct Row<'a> {
    address: &'a str,
    place: i64,
    at_ms: i64,
    refused: bool,
}

impl StoreHandle {
    /// The failed logins that still count, by canonical address; of each the oldest first.
    pub async fn load_failed_logins(&self) -> Result<Vec<(String, Vec<FailedLogin>)>, Failure> {
        let judged_ms = self.judged_ms(WINDOW);
        self.read("load the failed logins", move |db| {
            let now_ms = time_ms(db.connection, judged_ms)?;
            let rows: Vec<(String, i64, bool)> = failed_logins::table
                .filter(failed_logins::at_ms.ge(now_ms.saturating_sub(span_ms(WINDOW))))
                .order((failed_logins::at_ms, failed_logins::place))
                .select((failed_logins::address, failed_logins::at_ms, failed_logins::refused))
                .load(db.connection)?;
            let mut logins = BTreeMap::<String, Vec<FailedLogin>>::new();
            for (address, at_ms, refused) in rows {
                let ago_ms = u64::try_from(now_ms.saturating_sub(at_ms)).unwrap_or_default();
                logins.entry(address).or_default().push(FailedLogin { ago: Duration::from_millis(ago_ms), refused });
            }
            Ok(logins.into_iter().collect())
        })
        .await
    }

    /// Stores those of some addresses, each in the place of what was stored of it. None: nothing counts there any more.
    pub async fn put_failed_logins(&self, logins: Vec<(String, Vec<FailedLogin>)>) -> Result<(), Failure> {
        self.write("store the failed logins", move |db| {
            let now_ms = time_ms(db.connection, db.now_ms)?;
            let addresses = logins.iter().map(|(address, _)| address);
            diesel::delete(failed_logins::table.filter(failed_logins::address.eq_any(addresses)))
                .execute(db.connection)?;
            let mut rows = Vec::new();
            for (address, failed) in &logins {
                rows.extend(failed.iter().enumerate().map(|(place, failed)| Row {
                    address,
                    place: whole(place),
                    at_ms: now_ms.saturating_sub(span_ms(failed.ago)),
                    refused: failed.refused,
                }));
            }
            for chunk in rows.chunks(ROWS_AN_INSERT) {
                let added = diesel::insert_into(failed_logins::table).values(chunk);
                on_either!(db.connection, |inner| added.execute(inner))?;
            }
            Ok(())
        })
        .await
    }

    /// Forgets those that count no more; how many there were. Those that are still to come, since the clock was put back, are as of now.
    pub async fn thin_failed_logins(&self) -> Result<usize, Failure> {
        let judged_ms = self.judged_ms(WINDOW);
        self.write("forget old failed logins", move |db| {
            let now_ms = time_ms(db.connection, db.now_ms)?;
            diesel::update(failed_logins::table.filter(failed_logins::at_ms.gt(now_ms)))
                .set(failed_logins::at_ms.eq(now_ms))
                .execute(db.connection)?;
            let oldest_ms = time_ms(db.connection, judged_ms)?.saturating_sub(span_ms(WINDOW));
            let old = failed_logins::table.filter(failed_logins::at_ms.lt(oldest_ms));
            Ok(diesel::delete(old).execute(db.connection)?)
        })
        .await
    }
}
