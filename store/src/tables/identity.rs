//! The seed of this installation's device identity: one row, sealed.

use diesel::prelude::*;
use zeroize::Zeroizing;

use crate::error::StoreError;
use crate::schema::identity;
use crate::sealing::{Place, SealError, Sealer};

const ONLY: i64 = 1;
const SEED: Place<'static> = Place { table: "identity", row: "device", column: "seed" };

pub(crate) fn load_or_create(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    now_s: i64,
) -> Result<Zeroizing<[u8; 32]>, StoreError> {
    let sealed: Option<String> = identity::table.find(ONLY).select(identity::seed).first(connection).optional()?;
    let sealed_error = |error| StoreError::Sealed { what: "the stored device identity does not open", error };
    if let Some(sealed) = sealed {
        let opened = sealer.open(SEED, &sealed).map_err(sealed_error)?;
        let mut seed = Zeroizing::new([0_u8; 32]);
        if opened.len() != seed.len() {
            return Err(sealed_error(SealError::NotAnEnvelope));
        }
        seed.copy_from_slice(&opened);
        return Ok(seed);
    }
    let mut seed = Zeroizing::new([0_u8; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(|_| sealed_error(SealError::CannotSeal))?;
    replace(connection, sealer, &seed, now_s)?;
    Ok(seed)
}

pub(crate) fn replace(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    seed: &[u8; 32],
    now_s: i64,
) -> Result<(), StoreError> {
    let sealed = sealer
        .seal(SEED, seed)
        .map_err(|error| StoreError::Sealed { what: "the device identity cannot be sealed", error })?;
    diesel::insert_into(identity::table)
        .values((identity::id.eq(ONLY), identity::seed.eq(&sealed), identity::created_at.eq(now_s)))
        .on_conflict(identity::id)
        .do_update()
        .set((identity::seed.eq(&sealed), identity::created_at.eq(now_s)))
        .execute(connection)?;
    Ok(())
}
