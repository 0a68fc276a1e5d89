//! How values that a database doesn't know are columns: enums by name, gateways by id, JSON as text.
//!
//! What this release doesn't know, in a database that a later one wrote, reads as the value that promises least.

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::sql_types::{BigInt, Nullable, Text};
use gatewarden_core::ids::GatewayId;
use serde_json::{Map, Value};

/// An enum that is shown in the API and stored by the names of its values. With `else`, that is what an unknown name reads as;
/// without, it is an error.
macro_rules! stored_enum {
    ($(#[$meta:meta])* pub enum $name:ident {
        $($(#[$doc:meta])* $variant:ident = $text:literal),* $(,)?
    } $(else $unknown:ident)?) => {
        gatewarden_protocol::named! {
            $(#[$meta])*
            #[derive(diesel::expression::AsExpression, diesel::deserialize::FromSqlRow)]
            #[diesel(sql_type = diesel::sql_types::Text)]
            pub enum $name { $($(#[$doc])* $variant = $text),* }
        }

        impl<DB> diesel::deserialize::FromSql<diesel::sql_types::Text, DB> for $name
        where
            DB: diesel::backend::Backend,
            String: diesel::deserialize::FromSql<diesel::sql_types::Text, DB>,
        {
            fn from_sql(bytes: DB::RawValue<'_>) -> diesel::deserialize::Result<Self> {
                let name = String::from_sql(bytes)?;
                Self::from_name(&name)
                    $(.or(Some(Self::$unknown)))?
                    .ok_or_else(|| format!("{name} is no {}", stringify!($name)).into())
            }
        }

        impl<DB> diesel::serialize::ToSql<diesel::sql_types::Text, DB> for $name
        where
            DB: diesel::backend::Backend,
            str: diesel::serialize::ToSql<diesel::sql_types::Text, DB>,
        {
            fn to_sql<'b>(&'b self, out: &mut diesel::serialize::Output<'b, '_, DB>) -> diesel::serialize::Result {
                <str as diesel::serialize::ToSql<diesel::sql_types::Text, DB>>::to_sql(self.as_str(), out)
            }
        }
    };
}

pub(crate) use stored_enum;

/// A column with the id of a gateway, or nothing.
#[derive(Debug, Clone, Copy, FromSqlRow, AsExpression)]
#[diesel(sql_type = BigInt)]
pub struct GatewayKey(Option<i64>);

impl<DB: Backend> FromSql<Nullable<BigInt>, DB> for GatewayKey
where
    i64: FromSql<BigInt, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(Some(i64::from_sql(bytes)?)))
    }

    fn from_nullable_sql(bytes: Option<DB::RawValue<'_>>) -> deserialize::Result<Self> {
        Ok(Self(bytes.map(i64::from_sql).transpose()?))
    }
}

impl From<GatewayKey> for Option<GatewayId> {
    fn from(key: GatewayKey) -> Self {
        key.0.map(GatewayId)
    }
}

/// A column with JSON, or nothing. What isn't JSON counts as nothing.
#[derive(Debug, FromSqlRow)]
pub struct Json(Option<Value>);

impl<DB: Backend> FromSql<Text, DB> for Json
where
    String: FromSql<Text, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        let parsed = serde_json::from_str(&String::from_sql(bytes)?);
        if parsed.is_err() {
            tracing::error!("a stored JSON value is malformed; it is left out");
        }
        Ok(Self(parsed.ok()))
    }
}

impl<DB: Backend> FromSql<Nullable<Text>, DB> for Json
where
    String: FromSql<Text, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        <Self as FromSql<Text, DB>>::from_sql(bytes)
    }

    fn from_nullable_sql(bytes: Option<DB::RawValue<'_>>) -> deserialize::Result<Self> {
        bytes.map_or(Ok(Self(None)), <Self as FromSql<Text, DB>>::from_sql)
    }
}

impl From<Json> for Option<Value> {
    fn from(json: Json) -> Self {
        json.0
    }
}

impl From<Json> for Value {
    /// Always an object: an empty one where nothing else is there.
    fn from(json: Json) -> Self {
        json.0.filter(Self::is_object).unwrap_or_else(|| Self::Object(Map::new()))
    }
}
