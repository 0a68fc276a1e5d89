//! Processes of the operating system: started, owned, watched, signalled, and ended with everything that they leave behind.
//! Gateways of this machine, agents of the embedded gateway and the gateway of `up` are all looked after here.
//!
//! [`supervise`] is the life of one child: a task that starts it, passes on what it writes within bounds, takes orders, and tells
//! its end once nothing of it is left. Who belongs to a child is told by its group, by the tag that everything of it inherits
//! ([`ownership`]), and where this process adopts descendants, by their parent ([`subreaper`]). [`usage`] is what all of them take.
//!
//! Restarting is not decided here. Where `/proc` can't be read, processes that left their group aren't found; all else works.

mod child;
mod output;
pub mod ownership;
pub mod proc_table;
mod start;
pub mod subreaper;
pub mod usage;

pub use child::{ChildEvent, Ended, Order, supervise};
pub use output::{Line, Stream};
pub use ownership::{Owner, ProcessTag};
pub use proc_table::Process;
pub use start::{Directory, Input, Launch, OutputRate};
