//! Tailwater moves a MongoDB into PostgreSQL and keeps it there.
//!
//! ```text
//!  MongoDB ─► source ─Change─► router ─Change─► lane ×collection ─WriteSet─► executor ×database ─► PostgreSQL
//!               ▲               (fan-out, bounded)           (fan-in, ticket order)    rows + DDL + position, one transaction
//!               └──── read once, at start: the lowest committed position ◄──────────────────────────┘
//! ```
//!
//! Modules in the order of the flow; imports only go down (`tests/tidy.rs` checks it).

pub mod error;
pub mod model;
pub mod source;
