//! Agents: registered together with a gateway.

use diesel::prelude::*;

use crate::ids::GatewayId;
use crate::store::error::StoreError;
use crate::store::schema::agents;

/// At most this many are registered with a gateway (`api.md`).
const MOST_AT_ONCE: usize = 50;
const DEFAULT_ROLE: &str = "agent";
const FROM_GATEWAY: &str = "gateway";

/// Registers agents of a new gateway: an unknown name becomes an agent, an agent without a gateway joins this one, an
/// agent of another gateway stays there. Answers how many are this gateway's now.
pub(in crate::store) fn register(
    connection: &mut SqliteConnection,
    gateway: GatewayId,
    wanted: &[(String, Option<String>)],
    now_s: i64,
) -> Result<usize, StoreError> {
    let mut registered = 0;
    for (name, role) in wanted.iter().take(MOST_AT_ONCE) {
        let inserted = diesel::insert_into(agents::table)
            .values((
                agents::name.eq(name),
                agents::role.eq(role.as_deref().unwrap_or(DEFAULT_ROLE)),
                agents::gateway_id.eq(gateway.0),
                agents::source.eq(FROM_GATEWAY),
                agents::created_at.eq(now_s),
                agents::updated_at.eq(now_s),
            ))
            .on_conflict(agents::name)
            .do_nothing()
            .execute(connection)?;
        let joined = if inserted == 0 {
            diesel::update(agents::table.filter(agents::name.eq(name)).filter(agents::gateway_id.is_null()))
                .set((agents::gateway_id.eq(gateway.0), agents::updated_at.eq(now_s)))
                .execute(connection)?
        } else {
            0
        };
        registered += inserted + joined;
    }
    Ok(registered)
}

/// Agents of a gateway that is about to be deleted stay, without a gateway.
pub(in crate::store) fn detach(
    connection: &mut SqliteConnection,
    gateway: GatewayId,
    now_s: i64,
) -> Result<(), StoreError> {
    diesel::update(agents::table.filter(agents::gateway_id.eq(gateway.0)))
        .set((agents::gateway_id.eq(None::<i64>), agents::is_gateway_main.eq(false), agents::updated_at.eq(now_s)))
        .execute(connection)?;
    Ok(())
}
