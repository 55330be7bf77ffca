//! Values that cross a channel. No I/O, no drivers, nothing above imports.

pub mod bson;
pub mod change;
pub mod filter;
pub mod finding;
pub mod identifier;
pub mod limits;
pub mod namespace;
pub mod order;
pub mod position;
pub mod row;
pub mod secret;
pub mod state;
pub mod table;
pub mod ticket;
pub mod write_set;
