//! Measures the daemon on real servers, for `scripts/bench`, which starts those and says where they are.
//!
//! MongoDB is at `MONGODB_URI`, PostgreSQL at `POSTGRES_URI`; both are filled and not cleaned up. The case `mapping` needs
//! neither.

mod cases;
mod daemon;
mod load;
mod mapping;
mod memory;
#[path = "../shared/random.rs"]
mod random;
mod readers;
mod report;

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use serde_json::json;

use cases::Bench;
use load::Shape;
use report::Case;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// The names of the cases, in their order.
const CASES: [&str; 8] = ["mapping", "snapshot", "alter", "readers", "stream", "latency", "many", LARGEST];

/// The case that takes as long as all others together, and runs only when it is asked for.
const LARGEST: &str = "snapshot-memory";

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
    /// Which cases; by default all but snapshot-memory
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
        [] => name != LARGEST,
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
    let tenth = if arguments.quick { 10 } else { 1 };
    let bench = Bench { arguments, mongodb, source, target };
    for name in others {
        eprintln!("bench: {name}, {} s so far", start.elapsed().as_secs());
        match name {
            "snapshot" => {
                cases.push(bench.snapshot(Shape::Users, 300_000 / tenth).await?);
                cases.push(bench.snapshot(Shape::Students, 60_000 / tenth).await?);
            }
            "alter" => cases.push(bench.alter(1_000_000 / tenth).await?),
            "readers" => cases.extend(bench.readers(500_000 / tenth).await?),
            "stream" => {
                cases.push(bench.stream(Shape::Users, 100_000 / tenth).await?);
                cases.push(bench.stream(Shape::Students, 50_000 / tenth).await?);
            }
            LARGEST => cases.push(bench.snapshot_memory(bench.arguments.documents.unwrap_or(1000 / tenth)).await?),
            "latency" => cases.push(bench.latency(500 / i64::try_from(tenth)?).await?),
            // Most of this case is making the collections; more changes would show little more.
            _ => cases.push(bench.many(10_000 / if bench.arguments.quick { 5 } else { 1 }).await?),
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
    Ok(std::io::stdout().write_all((report::table(cases) + &words).as_bytes())?)
}
