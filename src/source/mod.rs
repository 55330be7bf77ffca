//! The only place that talks to MongoDB.

pub mod options;
