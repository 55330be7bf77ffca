//! The raw oplog: what its entries say, and reading it.
//!
//! `entry` and `decode` are pure: an entry in, changes out; `file` reads entries from files through them. `reader` tails
//! `local.oplog.rs`, and `chain` reads back what a large or prepared transaction wrote before it took effect. `step` finds where to
//! go on after the change stream.

mod chain;
pub mod decode;
pub mod entry;
pub mod file;
mod reader;
mod step;

pub use reader::OplogReader;
