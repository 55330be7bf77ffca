//! SQL text in place of PostgreSQL: what an executor would do, as statements that `psql` runs, one a line.
//!
//! In: tickets and write sets, or the rows of a snapshot. Out: a text that runs unchanged from the state that the
//! pipeline started from (an empty database, or a target whose catalog was read) and ends with the same rows, catalog
//! and positions. The statements of schema changes and of the catalog are those of the executor, from the same functions.
//! What only PostgreSQL knows is left to the text: diffs of stored `jsonb` to a function that lasts as long as the
//! session, names of constraints to look-ups.

mod changes;
// For a test that compares it with `json_diff`.
#[doc(hidden)]
pub mod diff;
mod executor;
mod fitting;
mod line;
mod literal;
mod output;
mod rows;

pub use executor::TextExecutor;
pub use output::{Destination, SqlText, preamble};
