//! Documents to rows. Pure: no async, no clock, no I/O; everything it knows comes in as an argument.
//!
//! [`collection::Collection`] is the entrance: it keeps one collection's [`shape`] and converts changes of it.

pub mod cast;
pub mod cell;
pub mod collection;
pub mod compact;
pub mod delta;
pub mod derived;
mod document;
mod extra;
mod fields;
mod grow;
pub mod identity;
pub mod json;
pub mod json_diff;
pub mod lifecycle;
pub mod losses;
pub mod names;
pub mod numeric;
pub mod options;
pub mod policy;
pub mod restore;
pub mod root;
pub mod shape;
pub mod types;

#[cfg(test)]
mod tests;
