//! `/api/v1/gateways`, the organization API: a second face on the same gateways. They are named by their UUIDs here, times are
//! RFC 3339 in UTC, and a gateway is created only once it has been dialled, judged and given its main agent.

pub(crate) mod gateways;
pub(crate) mod sessions;
pub(crate) mod status;
pub(crate) mod templates;
