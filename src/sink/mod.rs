//! The only place that talks to PostgreSQL.

pub mod catalog;
pub mod options;
