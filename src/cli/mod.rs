//! The command line: what is typed, and what each command does.
//!
//! In: the process's arguments. Out: an exit status and, for people, text on the terminal. Wrong usage ends with status 2,
//! as a wrong configuration does. Commands of the interface contract that do not work yet are absent, not stubs.

mod check;
mod init;
mod plan;
mod quarantine;
mod resnapshot;
mod run;
mod status;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{Arguments, Config, Needs, StatusConfig};
use crate::error::{Error, Kind, Result, Stage};
use crate::pipeline::RunMode;
use crate::sink::text::Destination;

/// Moves a MongoDB into PostgreSQL and keeps it there.
#[derive(Debug, Parser)]
#[command(
    name = "tailwater",
    version,
    max_term_width = 80,
    after_help = "\
Example:
  tailwater run --source 'mongodb://127.0.0.1:27017/?replicaSet=rs0' \\
                --target postgres://tailwater@127.0.0.1/warehouse

Exit status: 0 done, 1 failed, 2 wrong usage or configuration."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Copy what is not copied yet, then follow the source until stopped
    #[command(after_help = "\
SIGTERM or SIGINT: the transaction in hand is finished, then it ends with status
0; a second signal ends it at once.

Example:
  tailwater run -c tailwater.toml
  tailwater run -c tailwater.toml --until-caught-up && echo copied
  tailwater run --source 'mongodb://127.0.0.1:27017/' --sql-out school.sql")]
    Run(RunArgs),
    /// Check every precondition of run; nothing is changed
    #[command(after_help = "\
One line each: pass, warn or fail, with the fix. Status 1 when one fails.

Example:\n  tailwater check -c tailwater.toml")]
    Check(ConfigArgs),
    /// Print the tables that run would start with, and what looks risky
    #[command(after_help = "\
Looks at a sample of each selected collection. Prints SQL for an empty target
with the risks as comments: mixed types, values that PostgreSQL cannot hold, wide
tables, large documents. Nothing is changed on either side.

Example:\n  tailwater plan -c tailwater.toml")]
    Plan(ConfigArgs),
    /// Show what the daemon is doing
    #[command(after_help = "\
Asks the daemon (http.listen) or, when it does not answer, the target's catalog.

Example:\n  tailwater status\n  tailwater status -c tailwater.toml --json")]
    Status(StatusArgs),
    /// List what is not stored, and have it tried again
    #[command(after_help = "\
Example:
  tailwater quarantine list -c tailwater.toml
  tailwater quarantine retry -c tailwater.toml school.students 42")]
    Quarantine {
        #[command(subcommand)]
        action: QuarantineAction,
    },
    /// Copy a collection once more while everything else streams
    #[command(after_help = "\
The daemon reads the collection again and brings its rows to equality; they can be
read all the time. Rows that the source no longer has go at the end. Without a
daemon the request is kept for the next one. Progress: tailwater status.

Example:
  tailwater resnapshot -c tailwater.toml school.students")]
    Resnapshot(ResnapshotArgs),
    /// Apply oplog entries from a file
    #[command(after_help = "\
FILE: oplog.bson of mongodump --oplog, or Extended JSON: one entry, a list, or one
a line. What the target has already is passed over.

Example:
  tailwater replay oplog.bson -c tailwater.toml
  tailwater replay entries.json --sql-out - | psql warehouse")]
    Replay(ReplayArgs),
    /// Write a commented configuration file
    #[command(after_help = "\
Writes FILE (default tailwater.toml, - is standard output); an existing file is
left alone.

Example:
  tailwater init -c tailwater.toml --source 'mongodb://127.0.0.1:27017/' \\
                 --target postgres://tailwater@127.0.0.1/warehouse")]
    Init(ConfigArgs),
}

#[derive(Debug, Subcommand)]
enum QuarantineAction {
    /// List the documents that are not stored, and why
    #[command(after_help = "\
Reads the target only. Shows what to do for each reason.

Example:
  tailwater quarantine list -c tailwater.toml
  tailwater quarantine list -c tailwater.toml school.students --json")]
    List(ListArgs),
    /// Have documents read again and stored
    #[command(after_help = "\
The daemon reads them again as they are now; what still cannot be stored stays.
Without a daemon the request is kept for the next one. Status 0: all released
(with --wait 0: asked for); 1: some are still in quarantine; 4: not done yet.

Example:
  tailwater quarantine retry -c tailwater.toml
  tailwater quarantine retry -c tailwater.toml school.students '{\"$oid\": \"…\"}'")]
    Retry(RetryArgs),
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
    /// End once everything up to the start is committed
    #[arg(long)]
    until_caught_up: bool,
    /// Write SQL into a new file, or - for standard output, and not to the target
    #[arg(long, value_name = "FILE")]
    sql_out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// The entries
    #[arg(value_name = "FILE")]
    entries: PathBuf,
    #[command(flatten)]
    config: TargetArgs,
    /// Write SQL into a new file, or - for standard output, and not to the target
    #[arg(long, value_name = "FILE")]
    sql_out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct StatusArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Of this collection only (database.collection)
    namespace: Option<String>,
    #[command(flatten)]
    config: TargetArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ResnapshotArgs {
    /// The collection (database.collection)
    namespace: String,
    #[command(flatten)]
    config: TargetArgs,
}

#[derive(Debug, Args)]
struct RetryArgs {
    /// Of this collection only (database.collection)
    namespace: Option<String>,
    /// The document's _id: Extended JSON, or plain text for a string
    id: Option<String>,
    #[command(flatten)]
    config: TargetArgs,
    /// How long to wait for the daemon
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    wait: u32,
}

/// For commands that only talk to the target.
#[derive(Debug, Args)]
struct TargetArgs {
    /// Configuration file (TOML)
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
    /// PostgreSQL connection string
    #[arg(long, value_name = "URI")]
    target: Option<String>,
}

impl From<TargetArgs> for Arguments {
    fn from(args: TargetArgs) -> Self {
        Self { file: args.file, source: None, target: args.target }
    }
}

impl From<ConfigArgs> for Arguments {
    fn from(args: ConfigArgs) -> Self {
        Self { file: args.file, source: args.source, target: args.target }
    }
}

impl Cli {
    /// Does what was asked for, and tells on standard error why it could not be done.
    #[must_use]
    pub fn execute(self) -> ExitCode {
        let result = match self.command {
            Command::Run(args) => {
                let mode = if args.until_caught_up { RunMode::UntilCaughtUp } else { RunMode::Follow };
                let sql_out = args.sql_out.map(Destination::from_argument);
                let needs = Needs { target: sql_out.is_none(), ..Needs::BOTH };
                Config::load_for(&args.config.into(), needs).map(|config| run::run(config, mode, sql_out))
            }
            Command::Replay(args) => {
                let sql_out = args.sql_out.map(Destination::from_argument);
                let needs = Needs { source: false, target: sql_out.is_none() };
                let config = Config::load_for(&args.config.into(), needs);
                config.map(|config| run::replay(config, args.entries, sql_out))
            }
            Command::Check(args) => Config::load(&args.into()).and_then(check::check),
            Command::Plan(args) => Config::load(&args.into()).and_then(plan::plan),
            Command::Status(args) => {
                StatusConfig::load(&args.config.into()).and_then(|config| status::status(config, args.json))
            }
            Command::Quarantine { action: QuarantineAction::List(args) } => StatusConfig::load(&args.config.into())
                .and_then(|config| quarantine::list(&config, args.namespace, args.json)),
            Command::Quarantine { action: QuarantineAction::Retry(args) } => {
                let wait = Duration::from_secs(args.wait.into());
                StatusConfig::load(&args.config.into())
                    .and_then(|config| quarantine::retry(&config, args.namespace, args.id.as_deref(), wait))
            }
            Command::Resnapshot(args) => StatusConfig::load(&args.config.into())
                .and_then(|config| resnapshot::resnapshot(&config, &args.namespace)),
            Command::Init(args) => init::init(&args.into()),
        };
        result.unwrap_or_else(|error| {
            // A standard error that is gone must not turn a message into a panic.
            let _ = writeln!(std::io::stderr(), "tailwater: error: {error}");
            ExitCode::from(error.exit_status())
        })
    }
}

/// Prints what a command was asked for.
fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).map_err(local("cannot write to standard output"))
}

/// Says what was being done when the machine refused.
fn local(message: impl Into<String> + Clone) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::new(Kind::Local, Stage::Config, message.clone()).caused_by(error)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Cli;

    #[test]
    fn the_help_of_each_command_fits_on_a_screen_and_shows_an_example() {
        // As a user asks for it; clap lays out a page differently when it is rendered by hand.
        let page = |args: &[&str]| {
            let help = Cli::try_parse_from(args).expect_err("help");
            assert_eq!(help.exit_code(), 0, "{help}");
            help.to_string()
        };
        let mut pages = vec![page(&["tailwater", "--help"])];
        let command = Cli::command();
        pages.extend(command.get_subcommands().map(|command| page(&["tailwater", command.get_name(), "--help"])));
        assert_eq!(pages.len(), 9, "one for each command and one for all");
        pages.extend(["list", "retry"].map(|action| page(&["tailwater", "quarantine", action, "--help"])));
        for page in pages {
            assert!(page.contains("Example:\n  tailwater "), "{page}");
            assert!(page.lines().count() <= 24, "{} lines:\n{page}", page.lines().count());
            assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
        }
    }

    #[test]
    fn wrong_usage_ends_with_status_2() {
        for args in [&["tailwater"][..], &["tailwater", "fly"], &["tailwater", "run", "--fast"]] {
            assert_eq!(Cli::try_parse_from(args).expect_err("wrong").exit_code(), 2, "{args:?}");
        }
        assert_eq!(Cli::try_parse_from(["tailwater", "--version"]).expect_err("version").exit_code(), 0);
    }

    #[test]
    fn what_does_not_work_yet_is_not_offered() {
        for name in ["verify", "cutover"] {
            assert!(Cli::try_parse_from(["tailwater", name]).is_err(), "{name}");
        }
    }
}
