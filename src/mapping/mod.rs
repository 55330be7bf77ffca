//! Documents to rows: pure, no I/O.

pub mod options;
