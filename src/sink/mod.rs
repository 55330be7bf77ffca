//! The only place that talks to PostgreSQL.

pub mod options;
