//! Measures the daemon on real servers, for `scripts/bench`, which starts those and says where they are.
//!
//! MongoDB is at `MONGODB_URI`, PostgreSQL at `POSTGRES_URI`; both are filled and not cleaned up. The case `mapping` needs
//! neither.

mod alter;
mod backlog;
mod bench;
mod copying;
mod curves;
mod daemon;
mod latency;
mod load;
mod mapping;
mod memory;
mod plot;
#[path = "../shared/random.rs"]
mod random;
mod raw;
mod readers;
mod report;
mod snapshot;
mod tables;
mod talk;
mod upserts;

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use serde_json::json;

use bench::Bench;
use load::Shape;
use report::Case;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// The names of the cases, in their order.
const CASES: [&str; 9] =
    ["mapping", "snapshot", "alter", "readers", "backlog", "latency", "talk", "curves", "snapshot-memory"];

/// What is copied, and how much of it: some seconds each.
const SNAPSHOTS: [(Shape, u64); 4] =
    [(Shape::Users, 1_000_000), (Shape::Students, 300_000), (Shape::Wide, 200_000), (Shape::Large, 15_000)];

/// The cases that take as long as all others together, and run only when they are asked for.
const LARGE: [&str; 2] = ["curves", "snapshot-memory"];

/// Measures the daemon; `scripts/bench` calls this.
#[derive(Parser)]
struct Arguments {
    /// The release build of the daemon
    #[arg(long)]
    daemon: PathBuf,
    /// The folder of the servers' instance
    #[arg(long)]
    servers: PathBuf,
    /// A folder for the daemon's log
    #[arg(long)]
    work: PathBuf,
    /// Where the JSON goes
    #[arg(long)]
    json: PathBuf,
    /// What is measured, for the report
    #[arg(long)]
    commit: String,
    /// How often each case is measured
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// A fraction of the load: shows that everything works, not how fast
    #[arg(long)]
    quick: bool,
    /// How many documents the case snapshot-memory has
    #[arg(long)]
    documents: Option<u64>,
    /// How many entries the case talk has, once; by default some in each run
    #[arg(long)]
    entries: Option<u64>,
    /// How many changes the longest backlog of the case curves has
    #[arg(long)]
    longest: Option<u64>,
    /// Where the case curves draws its pictures
    #[arg(long)]
    pictures: PathBuf,
    /// Which cases; by default all but curves and snapshot-memory
    #[arg(value_parser = CASES)]
    cases: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match measure(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The PostgreSQL driver keeps the server's words in the source of its error.
            let below = error.source().map(|source| format!(": {source}")).unwrap_or_default();
            eprintln!("bench: {error}{below}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: Arguments) -> Result<()> {
    let start = Instant::now();
    let chosen = |name: &str| match arguments.cases.as_slice() {
        [] => !LARGE.contains(&name),
        cases => cases.iter().any(|chosen| chosen == name),
    };
    let mut cases = Vec::new();
    if chosen("mapping") {
        eprintln!("bench: mapping");
        cases.extend(mapping::measure(arguments.runs, if arguments.quick { 10 } else { 1 })?);
    }
    let others: Vec<&str> = CASES.into_iter().filter(|name| *name != "mapping" && chosen(name)).collect();
    if others.is_empty() {
        return publish(&arguments, start, &cases);
    }
    let source = std::env::var("MONGODB_URI").map_err(|_| "MONGODB_URI is not set")?;
    let target = std::env::var("POSTGRES_URI").map_err(|_| "POSTGRES_URI is not set")?;
    let mongodb = mongodb::Client::with_uri_str(&source).await?;
    let part = if arguments.quick { 10 } else { 1 };
    let bench = Bench { arguments, mongodb, source, target, begun: start };
    for name in others {
        bench.say(name);
        match name {
            "snapshot" => {
                for (shape, documents) in SNAPSHOTS {
                    cases.push(bench.snapshot(shape, documents / part).await?);
                }
            }
            "alter" => cases.push(bench.alter(1_000_000 / part).await?),
            "readers" => cases.extend(bench.readers(500_000 / part).await?),
            "backlog" => cases.extend(bench.backlog(300_000 / part).await?),
            "latency" => cases.extend(bench.latency(usize::try_from(1000 / part)?).await?),
            "talk" => {
                let runs = if bench.arguments.entries.is_some() { 1 } else { bench.arguments.runs };
                cases.extend(bench.talk(bench.arguments.entries.unwrap_or(120_000 / part), runs).await?);
            }
            "curves" => {
                let longest = bench.arguments.longest.unwrap_or(1_000_000 / part);
                cases.extend(bench.curves(300_000 / part, longest).await?);
            }
            _ => cases.push(bench.snapshot_memory(bench.arguments.documents.unwrap_or(1000 / part)).await?),
        }
    }
    publish(&bench.arguments, start, &cases)
}

fn publish(arguments: &Arguments, start: Instant, cases: &[Case]) -> Result<()> {
    let cores = std::thread::available_parallelism()?;
    let about = json!({
        "commit": arguments.commit, "quick": arguments.quick, "runs": arguments.runs, "cores": cores,
        "seconds": start.elapsed().as_secs(),
    });
    fs::write(&arguments.json, serde_json::to_string_pretty(&report::json(cases, &about))? + "\n")?;
    let words = format!(
        "\nCommit {}, {} runs of each case, {cores} cores, {} s in all.\n",
        arguments.commit,
        arguments.runs,
        start.elapsed().as_secs()
    );
    Ok(std::io::stdout().write_all((report::tables(cases) + &words).as_bytes())?)
}
