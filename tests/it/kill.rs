//! SIGKILL between any two instructions, in the snapshot and in the stream, while writers go on: nothing is lost and
//! nothing doubled.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::harness::case::Case;
use crate::harness::wait;
use crate::workload::random::{Random, seed};
use crate::workload::writer::Writer;

const DOCUMENTS: usize = 100_000;
const DATABASES: usize = 4;
const COLLECTIONS: usize = 8;
const KILLS: usize = 20;
/// Random operations of each writer after its part of the load.
const STEPS: usize = 2500;

/// A writer that loads its part, the last third of it between its operations.
fn writer(case: &Case, stream: usize, seed: u64) -> JoinHandle<usize> {
    let database = case.database(&format!("school{stream}"));
    let mut writer = Writer::new(database, Random::new(seed, stream as u64), COLLECTIONS);
    let part = DOCUMENTS / DATABASES;
    tokio::spawn(async move {
        writer.load(part * 2 / 3).await.expect("loaded");
        const ROUNDS: usize = 20;
        for _ in 0..ROUNDS {
            writer.load(part.div_ceil(3 * ROUNDS)).await.expect("loaded");
            writer.work(STEPS / ROUNDS).await.expect("worked");
        }
        writer.refused
    })
}

/// `snapshot` while something is still to be copied, else `stream`.
async fn phase(case: &Case) -> &'static str {
    let known = "SELECT to_regclass('tailwater.collections') IS NOT NULL";
    let copied = "SELECT count(*) > 0 AND bool_and(copied) FROM tailwater.collections";
    if case.lines(known).await == ["t"] && case.lines(copied).await == ["t"] { "stream" } else { "snapshot" }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_documents_survive_twenty_kills() {
    let case = Case::new("kill").await;
    let seed = seed("kill");
    let mut random = Random::new(seed, 1000);
    let start = Instant::now();
    let writers: Vec<_> = (0..DATABASES).map(|i| writer(&case, i, seed)).collect();
    let config = case.config();
    let (mut snapshot, mut stream) = (0, 0);
    while snapshot + stream < KILLS || stream < KILLS / 4 || !writers.iter().all(JoinHandle::is_finished) {
        let daemon = case.start(&config);
        // Short lives first, so that many end while the copy is under way; a longer one now and then gets it done.
        let life = if random.percent(70) { 100 + random.next() % 1200 } else { 1000 + random.next() % 4000 };
        wait::moment(Duration::from_millis(life)).await;
        match phase(&case).await {
            "snapshot" => snapshot += 1,
            _ => stream += 1,
        }
        daemon.kill9();
    }
    let mut refused = 0;
    for writer in writers {
        refused += writer.await.expect("a writer");
    }
    println!("{snapshot} kills in the snapshot, {stream} in the stream, {:?}; {refused} refused", start.elapsed());
    let daemon = case.start(&config);
    let report = case.expect_equal_within(Duration::from_secs(240)).await;
    println!("{} documents in {} collections are equal, {:?}", report.documents, report.collections, start.elapsed());
    assert!(report.documents > DOCUMENTS / 2, "{report}");
    assert!(snapshot > 0 && stream > 0, "both phases were hit");
    // What was written to find its place again is small: no anomaly, nothing in quarantine.
    let status = daemon.until_state("streaming").await;
    assert_eq!((status["anomalies"].clone(), status["quarantined"].clone()), (0.into(), 0.into()), "{status}");
    daemon.sigterm();
}

/// Renames, drops, `$out` and swaps all the time, and a kill before the copy or the stream is through with them.
#[tokio::test(flavor = "multi_thread")]
async fn collections_that_change_their_names_survive_kills() {
    const DDL_KILLS: usize = 24;
    const DDL_STEPS: usize = 1600;
    let case = Case::new("killddl").await;
    let seed = seed("killddl");
    let mut random = Random::new(seed, 1000);
    let writers: Vec<_> = (0..2)
        .map(|i| {
            let mut writer = Writer::new(case.database(&format!("w{i}")), Random::new(seed, i), 5);
            writer.ddl_every = 12;
            tokio::spawn(async move {
                writer.load(1000).await.expect("loaded");
                for _ in 0..DDL_STEPS {
                    wait::moment(Duration::from_millis(5)).await;
                    writer.step().await.expect("worked");
                }
            })
        })
        .collect();
    let config = case.config();
    let mut kills = 0;
    while kills < DDL_KILLS || !writers.iter().all(JoinHandle::is_finished) {
        let daemon = case.start(&config);
        wait::moment(Duration::from_millis(100 + random.next() % 1100)).await;
        daemon.kill9();
        kills += 1;
    }
    for writer in writers {
        writer.await.expect("a writer");
    }
    println!("{kills} kills");
    let daemon = case.start(&config);
    case.expect_equal_within(Duration::from_secs(120)).await;
    daemon.sigterm();
}
