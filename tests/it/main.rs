//! End to end on real servers: one binary, one module for each fact it tests.
//!
//! `harness` starts things and waits for facts, `decode` is the independent oracle, `workload` makes documents and
//! operations from a printed seed.

// Helpers outside #[test] functions may fail loudly too: a panic is how a test fails.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "tests fail by panicking"
)]

mod decode;
mod harness;
mod workload;

mod bad_values;
mod consistency;
mod deep;
mod derived;
mod documentation;
mod endpoints;
mod few_changes;
mod fuzz_targets;
mod kill;
mod large;
mod latency;
mod limits;
mod long_reader;
mod many;
mod mapping_basics;
mod mapping_options;
mod metadata;
mod mixed_ids;
mod on_drop;
mod oracle;
mod places;
mod plan;
mod property;
mod public_record;
mod public_updates;
mod quarantine;
mod reader_choice;
mod regressions;
mod replay;
mod restarts;
mod rollback;
mod snapshot;
mod source;
mod source_updates;
mod sql_out;
mod startup_errors;
mod switch;
mod transactions;
mod two_daemons;
mod until_caught_up;
mod workload_works;
