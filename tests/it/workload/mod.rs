//! Documents and operations from a printed seed: what a school's application might do to its database, and worse.
//!
//! The sequence of one writer depends on the seed and the number of its steps only. `TAILWATER_TEST_SEED` replays one.
//!
//! - `random`: the generator of numbers, and the seed
//! - `values`: scalars of every type
//! - `documents`: nested documents, and paths into them
//! - `updates`: update operators at every depth
//! - `writer`: one writer at work on the collections of one database
//! - `ddl`: rename, drop, `$out`
//! - `office`: two writers and their common transactions
//! - `transactions`: what is visible at once, in one database and across several

pub mod ddl;
pub mod documents;
pub mod office;
pub mod random;
pub mod transactions;
pub mod updates;
pub mod values;
pub mod writer;
