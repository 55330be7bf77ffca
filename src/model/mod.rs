//! Values that cross a channel. No I/O, no drivers, nothing above imports.

pub mod bson;
pub mod change;
pub mod filter;
pub mod finding;
pub mod limits;
pub mod namespace;
pub mod position;
pub mod secret;
pub mod state;
