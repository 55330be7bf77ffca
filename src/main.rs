//! The `tailwater` command: arguments → configuration → telemetry → runtime → exit status.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use clap::Parser;
use tailwater::cli::Cli;

/// Changes are allocated where they are read and freed where they are written, which costs the system's allocator a third of
/// all our processor time (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the allocator keeps memory that is free, in milliseconds. With its own default, a second, the daemon had twice the
/// memory that it needs; it takes options from the environment only, and before `main`.
const PURGE_DELAY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "10");

fn main() -> ExitCode {
    start_again_with_options();
    Cli::parse().execute()
}

/// Replaces this process by itself with the allocator's options, once. Where that fails, it goes on with more memory.
fn start_again_with_options() {
    let (name, value) = PURGE_DELAY;
    let mut arguments = env::args_os();
    if env::var_os(name).is_none()
        && let (Some(called), Ok(program)) = (arguments.next(), env::current_exe())
    {
        let failed = Command::new(program).arg0(called).args(arguments).env(name, value).exec();
        drop(failed);
    }
}
