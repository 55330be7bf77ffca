//! The `tailwater` command: arguments → configuration → telemetry → runtime → exit status.

use std::process::ExitCode;

use clap::Parser;
use tailwater::cli::Cli;

/// Changes are allocated where they are read and freed where they are written; the system's allocator spends a third of our
/// processor time on that, and keeps what each thread had once (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::parse().execute()
}
