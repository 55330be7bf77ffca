//! The `tailwater` command: arguments → configuration → telemetry → runtime → exit status.

use std::process::ExitCode;

use clap::Parser;
use tailwater::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().execute() {
        Ok(status) => status,
        Err(error) => {
            eprintln!("tailwater: error: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}
