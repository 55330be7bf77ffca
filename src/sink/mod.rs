//! PostgreSQL: the only place that imports its driver.
//!
//! In: write sets and tickets, or encoded rows of a snapshot. Out: committed transactions, each with the position or the
//! mark it stands for. Everything is written under a [`fence::Fence`].

mod arrays;
pub mod batch;
pub mod catalog;
pub mod checkpoint;
pub mod chunks;
pub mod copy;
mod ddl;
pub mod executor;
pub mod faults;
pub mod fence;
// For the fuzz targets.
#[doc(hidden)]
pub mod fold;
mod guest;
mod keys;
mod merge;
pub mod options;
mod over;
pub mod quarantine;
pub mod range_rows;
pub mod recopy;
mod records;
mod rekey;
pub mod sql;
mod statement;
pub mod status;
pub mod target;
pub mod text;
mod tls;
mod wide;
mod work;
mod write;
