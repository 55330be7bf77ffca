//! The independent oracle: reads PostgreSQL by the mapping contract alone and tells where it differs from MongoDB.
//!
//! In: two connections and a set of databases. Out: a list of differences, empty when every document of every
//! collection can be read back from the rows, up to the contract's six equivalences, and nothing else is there.
//! Nothing in here calls the product: what a row means comes from `tailwater.paths` and the contract's text.
//!
//! - `bson`: the source's documents as bytes allow them, read and written
//! - `norm`: one normal form for values of both sides
//! - `differences`: when two of them are equal
//! - `structure`: what of a document's names rows cannot have
//! - `records`: what `tailwater.anomalies` and `tailwater.quarantine` say
//! - `json`: jsonb text, with every digit of its numbers, and Extended JSON
//! - `catalog`: `tailwater.paths` as a tree of tables
//! - `rows`: rows back into documents
//! - `compare`: whole databases

pub mod bson;
pub mod catalog;
pub mod compare;
pub mod differences;
pub mod json;
pub mod norm;
pub mod records;
pub mod rows;
pub mod structure;
