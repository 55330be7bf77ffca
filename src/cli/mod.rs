//! The command line: what is typed, and what each command does.
//!
//! In: the process's arguments. Out: an exit status and, for people, text on the terminal. Wrong usage ends with status 2,
//! as a wrong configuration does. Commands of the interface contract that do not work yet are absent, not stubs.

mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Arguments, Config};
use crate::error::Result;
use crate::pipeline::RunMode;

/// Moves a MongoDB into PostgreSQL and keeps it there.
#[derive(Debug, Parser)]
#[command(name = "tailwater", version, max_term_width = 80)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Copy what is not copied yet, then follow the source until stopped
    Run(RunArgs),
}

/// Where the configuration comes from, the same for every command.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// Configuration file (TOML)
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
    /// MongoDB connection string
    #[arg(long, value_name = "URI")]
    source: Option<String>,
    /// PostgreSQL connection string
    #[arg(long, value_name = "URI")]
    target: Option<String>,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// End with status 0 once everything up to the source's operation time at start is committed
    #[arg(long)]
    until_caught_up: bool,
}

impl ConfigArgs {
    fn arguments(&self) -> Arguments {
        Arguments { file: self.file.clone(), source: self.source.clone(), target: self.target.clone() }
    }
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    /// What kept it from being done; it is not printed yet.
    pub fn execute(self) -> Result<ExitCode> {
        match self.command {
            Command::Run(args) => {
                let mode = if args.until_caught_up { RunMode::UntilCaughtUp } else { RunMode::Follow };
                run::run(Config::load(&args.config.arguments())?, mode)
            }
        }
    }
}
