//! Tailwater moves a MongoDB into PostgreSQL and keeps it there.
//!
//! ```text
//!  MongoDB ─► source ─Change─► router ─Change─► lane ×collection ─WriteSet─► executor ×database ─► PostgreSQL
//!               ▲               (fan-out, bounded)           (fan-in, ticket order)    rows + DDL + position, one transaction
//!               └──── read once, at start: the lowest committed position ◄──────────────────────────┘
//! ```
//!
//! Modules in the order of the flow; imports only go down (`tests/tidy.rs` checks it).

pub mod model;

pub mod error;

pub mod mapping;
pub mod telemetry;

pub mod copying;

pub mod lane;
pub mod router;
pub mod sink;
pub mod source;

pub mod config;

pub mod pipeline;

pub mod cli;
