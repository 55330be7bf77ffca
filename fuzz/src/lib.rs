//! What the fuzz targets do with their bytes. `tests/it/fuzz_targets.rs` runs the same over random bytes, so that they
//! keep compiling and holding between the long runs.
//!
//! - `input`: bytes as choices
//! - `ids`: the ids of the documents
//! - `tree`: BSON documents and diffs from choices
//! - `decoding`: replies of a change stream, updates in the public form, raw BSON
//! - `mapping`: changes of two collections, followed by a model of PostgreSQL (`model`) that checks every step

pub mod decoding;
pub mod ids;
pub mod input;
pub mod mapping;
pub mod model;
pub mod tree;
