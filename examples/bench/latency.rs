//! An idle pipeline: from a write's start until another connection to PostgreSQL sees the row.
//!
//! The writes start by the clock, whether those before are done or not: a pause delays the ones that fall into it, and is
//! counted as often as they are.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bson::Document;
use futures_util::future::try_join_all;
use mongodb::Collection;
use mongodb::options::{Acknowledgment, WriteConcern};
use tokio::time::interval;

use crate::Result;
use crate::bench::{Bench, READERS, streaming, word, words};
use crate::daemon::{Daemon, Processor};
use crate::load::{Feed, Shape, fill};
use crate::report::{Case, Goal, quantile};

/// Documents before the first write.
const BASE: u64 = 1000;
/// Between two writes: 100 a second.
const BEAT: Duration = Duration::from_millis(10);
/// Between two looks at the target; it adds up to this, and the look itself.
const LOOK: Duration = Duration::from_micros(250);
const PATIENCE: Duration = Duration::from_secs(300);
/// Writes that are not measured, after a start.
const WARM_UP: usize = 100;

/// Milliseconds of each write.
struct Beats {
    visible: Vec<f64>,
    acknowledged: Vec<f64>,
}

type Started = Arc<Mutex<Vec<(i64, Instant)>>>;

impl Bench {
    /// Both readers in turn.
    pub async fn latency(&self, writes: usize) -> Result<Vec<Case>> {
        let load = format!("{writes} inserts of users, 100/s, w: majority");
        let mut cases = READERS.map(|reader| Case::new(format!("idle latency, {}", words(reader)), load.clone()));
        let mut feeds = READERS.map(|reader| Feed::new(&format!("latency_{}", word(reader)), "users", Shape::Users));
        for (reader, feed) in READERS.into_iter().zip(&mut feeds) {
            fill(&self.mongodb, std::slice::from_mut(feed), BASE).await?;
            self.create(&format!("latency_{}", word(reader))).await?;
        }
        for _ in 0..self.arguments.runs {
            for ((reader, feed), case) in READERS.into_iter().zip(&mut feeds).zip(&mut cases) {
                self.settle().await?;
                let target = format!("latency_{}", word(reader));
                let mut daemon = self.follow(&target, &format!("{target}.*"), reader)?;
                daemon.until("it follows", streaming).await?;
                self.measure_latency(case, &daemon, feed, writes).await?;
                self.compare(&target, std::slice::from_ref(feed)).await?;
                daemon.stop().await?;
            }
        }
        Ok(cases.into())
    }

    async fn measure_latency(&self, case: &mut Case, daemon: &Daemon, feed: &mut Feed, writes: usize) -> Result<()> {
        self.beats(feed, WARM_UP).await?;
        let before = Processor::read(daemon, &self.arguments.servers)?;
        let start = Instant::now();
        let Beats { visible, acknowledged } = self.beats(feed, writes).await?;
        case.add("writes/s", writes as f64 / start.elapsed().as_secs_f64());
        case.aim("write to visible, p50, ms", quantile(&visible, 0.5), Goal::AtMost(5.0));
        case.aim("write to visible, p99, ms", quantile(&visible, 0.99), Goal::AtMost(25.0));
        case.add("write to visible, most, ms", quantile(&visible, 1.0));
        case.add("MongoDB's own acknowledgement, p50, ms", quantile(&acknowledged, 0.5));
        case.add("MongoDB's own acknowledgement, p99, ms", quantile(&acknowledged, 0.99));
        self.add_costs(case, daemon, before)?;
        Ok(())
    }

    /// Writes and looks at the same time.
    async fn beats(&self, feed: &mut Feed, writes: usize) -> Result<Beats> {
        let concern = WriteConcern::builder().w(Acknowledgment::Majority).build();
        let options = mongodb::options::CollectionOptions::builder().write_concern(concern).build();
        let collection = self.mongodb.database(&feed.database).collection_with_options(&feed.collection, options);
        let started = Started::default();
        let looking = self.look(feed_table(feed), &started, writes);
        let both = async { tokio::try_join!(looking, write(feed, collection, &started, writes)) };
        let (visible, acknowledged) = tokio::time::timeout(PATIENCE, both).await??;
        Ok(Beats { visible, acknowledged })
    }

    /// Looks for what has been started until all of it has been seen.
    async fn look(&self, (database, table): (String, String), started: &Started, writes: usize) -> Result<Vec<f64>> {
        let postgres = self.postgres(&database).await?;
        let there = postgres.prepare(&format!("SELECT _id::bigint FROM {table} WHERE _id = ANY ($1)")).await?;
        let mut visible = Vec::new();
        while visible.len() < writes {
            let wanted: Vec<i64> = lock(started).iter().map(|(id, _)| *id).collect();
            if !wanted.is_empty() {
                let found: Vec<i64> = postgres.query(&there, &[&wanted]).await?.iter().map(|row| row.get(0)).collect();
                let now = Instant::now();
                let arrived = lock(started).extract_if(.., |(id, _)| found.contains(id)).collect::<Vec<_>>();
                visible.extend(arrived.into_iter().map(|(_, start)| milliseconds(start, now)));
            }
            // The runtime's own timer counts whole milliseconds.
            tokio::task::spawn_blocking(|| std::thread::sleep(LOOK)).await?;
        }
        Ok(visible)
    }
}

fn feed_table(feed: &Feed) -> (String, String) {
    (feed.database.clone(), format!("{}.{}", feed.database, feed.collection))
}

/// Starts a write at every beat; milliseconds until each was acknowledged.
async fn write(
    feed: &mut Feed,
    collection: Collection<Document>,
    started: &Started,
    writes: usize,
) -> Result<Vec<f64>> {
    let mut beat = interval(BEAT);
    let mut running = Vec::new();
    for _ in 0..writes {
        let document = feed.document();
        let id = document.get_i64("_id")?;
        beat.tick().await;
        let start = Instant::now();
        lock(started).push((id, start));
        let collection = collection.clone();
        running.push(tokio::spawn(async move {
            collection.insert_one(document).await.map(|_| milliseconds(start, Instant::now()))
        }));
    }
    let ended = try_join_all(running).await?;
    Ok(ended.into_iter().collect::<Result<Vec<f64>, mongodb::error::Error>>()?)
}

fn lock(started: &Started) -> std::sync::MutexGuard<'_, Vec<(i64, Instant)>> {
    started.lock().unwrap_or_else(PoisonError::into_inner)
}

fn milliseconds(start: Instant, end: Instant) -> f64 {
    end.saturating_duration_since(start).as_secs_f64() * 1000.0
}
