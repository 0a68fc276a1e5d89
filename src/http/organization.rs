//! `/api/v1/gateways`, the organization API: a second face on the same gateways. They are named by their UUIDs here, times are
//! RFC 3339 in UTC, and a gateway is created only once it has been dialled, judged and given its main agent.
//!
//! | file | decides or does |
//! | --- | --- |
//! | `gateways` | list, create, read, change, delete |
//! | `gateway_read` | a gateway as this API shows it |
//! | `input` | what a client says of a gateway |
//! | `creation` | the steps of a creation or a check, carried out; what to do when is decided by a machine |
//! | `main_agent` | the main agent of a gateway, found or made |
//! | `templates_sync` | the files of all agents of a gateway |
//! | `named` | which gateway a path or a query names |
//! | `status`, `sessions`, `session`, `commands` | what a gateway is and can, and its sessions |
//! | `error_detail` | the sentence of an error once more as `detail` |

pub mod commands;
pub mod creation;
pub mod error_detail;
pub mod gateway_read;
pub mod gateways;
pub mod input;
pub mod main_agent;
pub mod named;
pub mod session;
pub mod sessions;
pub mod status;
pub mod templates_sync;
