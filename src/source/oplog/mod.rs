//! The raw oplog: what its entries say, and reading it.
//!
//! `entry` and `decode` are pure: an entry in, changes out; `file` reads entries from files through them. `reader` tails
//! `local.oplog.rs`, and `chain` reads back what a large or prepared transaction wrote before it took effect.

mod chain;
pub mod decode;
pub mod entry;
pub mod file;
mod reader;

pub use reader::OplogReader;
