//! SIGKILL at random moments, over the snapshot and the stream, while writers go on: nothing lost, nothing doubled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::case::Case;
use crate::harness::wait;
use crate::workload::random::{Random, seed};
use crate::workload::writer::Writer;

const DATABASES: u64 = 4;
const COLLECTIONS: usize = 8;
const DOCUMENTS: usize = 100_000;
const KILLS: usize = 20;
/// How many of the kills at least must hit a daemon that streams, with as many left for the snapshot.
const KILLS_IN_STREAM: usize = 8;
/// Long enough for a loaded machine to copy and catch up.
const CATCH_UP: Duration = Duration::from_secs(240);

/// Writers at work on databases of their own until they are told to stop.
pub struct Crowd {
    stop: Arc<AtomicBool>,
    tasks: tokio::task::JoinSet<usize>,
}

impl Crowd {
    /// Loads the databases, whose names start with `name`, and sets a writer to work on each.
    pub async fn start(
        case: &Case,
        name: &str,
        seed: u64,
        databases: u64,
        collections: usize,
        documents: usize,
    ) -> Self {
        let mut loading = tokio::task::JoinSet::new();
        for number in 0..databases {
            let database = case.database(&format!("{name}{number}"));
            let mut writer = Writer::new(database, Random::new(seed, number), collections);
            let share = documents / usize::try_from(databases).expect("a small number");
            loading.spawn(async move {
                writer.load(share).await.expect("loaded");
                writer
            });
        }
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = tokio::task::JoinSet::new();
        for mut writer in loading.join_all().await {
            let stop = Arc::clone(&stop);
            tasks.spawn(async move {
                let mut steps = 0;
                while !stop.load(Ordering::Relaxed) {
                    writer.step().await.expect("a step");
                    steps += 1;
                }
                steps
            });
        }
        Self { stop, tasks }
    }

    /// Lets every writer finish its step; gives back how many steps they made.
    pub async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await.into_iter().sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_twenty_times_it_loses_and_doubles_nothing() {
    let seed = seed("kill");
    let case = Case::new("kill").await;
    let crowd = Crowd::start(&case, "d", seed, DATABASES, COLLECTIONS, DOCUMENTS).await;
    let mut random = Random::new(seed, DATABASES);
    let mut config = case.config();
    config.set("target.max_connections", "6");
    let (mut kills, mut in_stream) = (0, 0);
    while kills < KILLS || in_stream < KILLS_IN_STREAM {
        let daemon = case.start(&config);
        // Once half of the kills have hit whatever was going on, the rest waits for the stream.
        let wants_stream = kills >= KILLS / 2;
        if wants_stream {
            daemon
                .until_status("the snapshot to be over", |s| s["state"] == "catching_up" || s["state"] == "streaming")
                .await;
            in_stream += 1;
        }
        wait::moment(Duration::from_millis(random.below(if wants_stream { 600 } else { 900 }) as u64)).await;
        daemon.kill9();
        kills += 1;
    }
    let steps = crowd.stop().await;
    let daemon = case.start(&config);
    // A snapshot may bring the sentinel before the stream has caught up with the rest.
    daemon.until_state_within("streaming", CATCH_UP).await;
    let report = case.expect_equal_within(CATCH_UP).await;
    assert!(steps > 1000, "the writers made only {steps} steps");
    println!("kill: {kills} kills, {in_stream} in the stream, {steps} steps, {} documents", report.documents);
}
