//! The independent oracle: reads PostgreSQL by the mapping contract alone and tells where it differs from MongoDB.
//!
//! In: two connections and a set of databases. Out: a list of differences, empty when every document of every
//! collection can be read back from the rows, up to the contract's six equivalences, and nothing else is there.
//! Nothing in here calls the product: what a row means comes from `tailwater.paths` and the contract's text.
//!
//! - `norm`: one normal form for values of both sides, and when two of them are equal
//! - `json`: jsonb text, with every digit of its numbers, and Extended JSON
//! - `catalog`: `tailwater.paths` as a tree of tables
//! - `rows`: rows back into documents
//! - `compare`: whole databases

pub mod catalog;
pub mod compare;
pub mod json;
pub mod norm;
pub mod rows;
