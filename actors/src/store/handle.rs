//! placeholder of the store's door
