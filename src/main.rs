//! The `tailwater` command: arguments → configuration → telemetry → runtime → exit status.

use std::process::ExitCode;

use clap::Parser;
use tailwater::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().execute()
}
