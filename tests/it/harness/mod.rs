//! What every test stands on: real servers, the built daemon as a child process, and waiting for facts.
//!
//! - `wait`: conditions with a deadline, the only place that sleeps
//! - `servers`: instances of MongoDB and PostgreSQL, one of them shared by all tests
//! - `config`: configuration files
//! - `daemon`: the process under test
//! - `http`: its endpoints
//! - `psql`: an SQL text, run as a user would
//! - `audit`: who wrote which row
//! - `watch`: a reader who looks at PostgreSQL all the time
//! - `source`: the product's own reader, without a daemon
//! - `case`: one test's own pipeline, databases and connections

pub mod audit;
pub mod case;
pub mod config;
pub mod daemon;
pub mod http;
pub mod psql;
pub mod servers;
pub mod source;
pub mod wait;
pub mod watch;
