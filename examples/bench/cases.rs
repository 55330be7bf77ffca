//! What is measured. Every case has MongoDB databases and PostgreSQL databases of its own, and ends by comparing counts.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mongodb::Client;
use mongodb::bson::doc;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_postgres::NoTls;

use crate::daemon::{Daemon, Launch, Processor};
use crate::load::{Feed, Shape, change, fill};
use crate::report::{Case, quantile};
use crate::{Arguments, Result};

/// Documents that a collection has before it is streamed to.
const BASE: u64 = 1000;
/// The widest case: so many databases with so many collections each.
const DATABASES: u64 = 16;
const COLLECTIONS: u64 = 128;
/// The memory limit and the connections of the widest case.
const NARROW: [(&str, &str); 2] =
    [("TAILWATER_LIMITS__MEMORY_LIMIT", "64MiB"), ("TAILWATER_TARGET__MAX_CONNECTIONS", "16")];
/// Between two writes on an idle pipeline: 50 a second.
const BEAT: Duration = Duration::from_millis(20);
/// Between two looks at the target; a look itself takes a fraction of this.
const LOOK: Duration = Duration::from_millis(1);
/// Between two counts of connections.
const COUNT: Duration = Duration::from_millis(20);

pub const MIB: f64 = 1024.0 * 1024.0;

pub struct Bench {
    pub arguments: Arguments,
    pub mongodb: Client,
    pub source: String,
    pub target: String,
}

impl Bench {
    /// The first copy of one collection, from the daemon's start to its last commit.
    pub async fn snapshot(&self, shape: Shape, documents: u64) -> Result<Case> {
        let (title, database) = match shape {
            Shape::Users => ("snapshot, flat", "snapshot_users"),
            Shape::Students => ("snapshot, nested", "snapshot_students"),
        };
        let mut case = Case::new(title, format!("{documents} {}", shape.name()));
        let mut feeds = [Feed::new(database, shape.name(), shape)];
        fill(&self.mongodb, &mut feeds, documents).await?;
        for run in 1..=self.arguments.runs {
            let target = format!("{database}_{run}");
            self.postgres("postgres").await?.batch_execute(&format!("CREATE DATABASE {target}")).await?;
            let mut daemon = self.start(&target, &format!("{database}.*"), &[], &[])?;
            daemon.until("all is copied", |status| copied(status) >= documents).await?;
            let seconds = daemon.started.elapsed().as_secs_f64();
            case.add("documents/s", documents as f64 / seconds);
            self.add_costs(&mut case, &daemon, seconds, daemon.before)?;
            self.compare(&target, &feeds).await?;
            daemon.stop().await?;
            self.postgres("postgres").await?.batch_execute(&format!("DROP DATABASE {target}")).await?;
        }
        self.mongodb.database(database).drop().await?;
        Ok(case)
    }

    /// Schema changes of a large table: one document that widens a column, one that widens five and adds one, one with an
    /// `_id` of another type. Beside them, what PostgreSQL needs to rewrite the same table by hand.
    pub async fn alter(&self, documents: u64) -> Result<Case> {
        let mut case = Case::new("schema changes", format!("one document each, {documents} users there"));
        let mut feeds = [Feed::new("changing", "users", Shape::Users)];
        fill(&self.mongodb, &mut feeds, documents).await?;
        let collection = self.mongodb.database("changing").collection("users");
        for run in 1..=self.arguments.runs {
            let target = format!("changing_{run}");
            self.postgres("postgres").await?.batch_execute(&format!("CREATE DATABASE {target}")).await?;
            let mut daemon = self.start(&target, "changing.*", &[], &[])?;
            daemon.until("the first copy is done", streaming).await?;
            let postgres = self.postgres(&target).await?;
            postgres.batch_execute("CREATE TABLE by_hand AS TABLE changing.users; CHECKPOINT").await?;
            let start = Instant::now();
            postgres.batch_execute("ALTER TABLE by_hand ALTER COLUMN visits TYPE numeric").await?;
            case.add("PostgreSQL's own rewrite, without a key, s", start.elapsed().as_secs_f64());
            let changes = [
                ("one column widens, s", doc! {"_id": -1_i64, "visits": 0.5}),
                (
                    "five widen and one is new, s",
                    doc! {"_id": -2_i64, "name": 1, "email": 1, "active": 1, "country": 1, "note": 1, "new": 1},
                ),
                ("ids of another type, s", doc! {"_id": "a string"}),
            ];
            for (applied_before, (name, document)) in (0..).zip(changes) {
                let start = Instant::now();
                collection.insert_one(document).await?;
                daemon.until("the change is applied", |status| applied(status) > applied_before).await?;
                case.add(name, start.elapsed().as_secs_f64());
            }
            case.add("peak memory, MiB", daemon.peak_memory()? as f64 / MIB);
            daemon.stop().await?;
            self.postgres("postgres").await?.batch_execute(&format!("DROP DATABASE {target} WITH (FORCE)")).await?;
            collection.delete_many(doc! {"_id": {"$in": [-1_i64, -2_i64]}}).await?;
            collection.delete_one(doc! {"_id": "a string"}).await?;
        }
        self.mongodb.database("changing").drop().await?;
        Ok(case)
    }

    /// A backlog of the mixed workload on one collection.
    pub async fn stream(&self, shape: Shape, changes: u64) -> Result<Case> {
        let (title, database) = match shape {
            Shape::Users => ("stream, flat", "stream_users"),
            Shape::Students => ("stream, nested", "stream_students"),
        };
        let case = Case::new(title, format!("{changes} changes of {}", shape.name()));
        let mut feeds = [Feed::new(database, shape.name(), shape)];
        fill(&self.mongodb, &mut feeds, BASE).await?;
        self.backlogs(case, database, database, &mut feeds, changes, &[]).await
    }

    /// The same over very many collections, with little memory.
    pub async fn many(&self, changes: u64) -> Result<Case> {
        let load = format!("{changes} changes of users in {DATABASES} × {COLLECTIONS} collections, 64 MiB limit");
        let mut feeds = Vec::new();
        for database in 1..=DATABASES {
            for collection in 1..=COLLECTIONS {
                feeds.push(Feed::new(&format!("many_{database}"), &format!("users_{collection}"), Shape::Users));
            }
        }
        fill(&self.mongodb, &mut feeds, 2 * DATABASES * COLLECTIONS).await?;
        self.backlogs(Case::new("stream, many", load), "many", "many_*.*", &mut feeds, changes, &NARROW).await
    }

    /// Per run: with the daemon stopped, changes are made; then the time from its start until it has applied them.
    async fn backlogs(
        &self,
        mut case: Case,
        target: &str,
        include: &str,
        feeds: &mut [Feed],
        changes: u64,
        environment: &[(&str, &str)],
    ) -> Result<Case> {
        self.postgres("postgres").await?.batch_execute(&format!("CREATE DATABASE {target}")).await?;
        let include = if include.contains('.') { include.to_owned() } else { format!("{include}.*") };
        let mut daemon = self.start(target, &include, environment, &[])?;
        daemon.until("the first copy is done", streaming).await?;
        self.compare(target, feeds).await?;
        daemon.stop().await?;
        for _ in 0..self.arguments.runs {
            change(&self.mongodb, feeds, changes).await?;
            let connections = self.count_connections().await?;
            let mut daemon = self.start(target, &include, environment, &[])?;
            daemon.until("a change is applied", |status| applied(status) > 0).await?;
            let first = daemon.started.elapsed().as_secs_f64();
            daemon.until("the backlog is applied", |status| applied(status) >= changes).await?;
            let seconds = daemon.started.elapsed().as_secs_f64();
            case.add("changes/s", changes as f64 / seconds);
            case.add("start to first commit, s", first);
            self.add_costs(&mut case, &daemon, seconds, daemon.before)?;
            case.add("PostgreSQL connections, most", connections.most().await? as f64);
            self.compare(target, feeds).await?;
            daemon.stop().await?;
        }
        Ok(case)
    }

    /// Single inserts on a pipeline that has nothing else to do.
    pub async fn latency(&self, writes: i64) -> Result<Case> {
        let mut case = Case::new("idle latency", format!("{writes} inserts of users, 50/s, w: majority"));
        let mut feeds = [Feed::new("latency", "users", Shape::Users)];
        fill(&self.mongodb, &mut feeds, BASE).await?;
        self.postgres("postgres").await?.batch_execute("CREATE DATABASE latency").await?;
        let mut daemon = self.start("latency", "latency.*", &[], &[])?;
        daemon.until("the first copy is done", streaming).await?;
        let [feed] = &mut feeds;
        self.beats(feed, 50).await?;
        for _ in 0..self.arguments.runs {
            let before = Processor::read(&daemon, &self.arguments.servers)?;
            let start = Instant::now();
            let (visible, acknowledged) = self.beats(feed, writes).await?;
            case.add("write to visible, p50, ms", quantile(&visible, 0.5));
            case.add("write to visible, p99, ms", quantile(&visible, 0.99));
            case.add("write to visible, most, ms", quantile(&visible, 1.0));
            case.add("MongoDB's own acknowledgement, p50, ms", quantile(&acknowledged, 0.5));
            case.add("MongoDB's own acknowledgement, p99, ms", quantile(&acknowledged, 0.99));
            self.add_costs(&mut case, &daemon, start.elapsed().as_secs_f64(), before)?;
        }
        self.compare("latency", &feeds).await?;
        daemon.stop().await?;
        Ok(case)
    }

    /// Writes and looks at the same time; milliseconds from each write's start until it is visible in PostgreSQL, and
    /// until MongoDB has acknowledged it. One write at a time, so that the highest `_id` tells which are visible.
    async fn beats(&self, feed: &mut Feed, writes: i64) -> Result<(Vec<f64>, Vec<f64>)> {
        let collection = self.mongodb.database(&feed.database).collection(&feed.collection);
        let postgres = self.postgres("latency").await?;
        let highest = postgres.prepare("SELECT max(_id) FROM latency.users").await?;
        let started = Mutex::new(Vec::new());
        let writing = async {
            let mut acknowledged = Vec::new();
            let mut beat = interval(BEAT);
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for _ in 0..writes {
                let document = feed.document();
                let id = document.get_i64("_id")?;
                beat.tick().await;
                let start = Instant::now();
                started.lock().unwrap_or_else(PoisonError::into_inner).push((id, start));
                collection.insert_one(document).await?;
                acknowledged.push(milliseconds(start));
            }
            Ok::<_, Box<dyn std::error::Error>>(acknowledged)
        };
        let looking = async {
            let mut visible = Vec::new();
            while i64::try_from(visible.len())? < writes {
                let id: i64 = postgres.query_one(&highest, &[]).await?.get(0);
                visible.extend(arrived(&started, id).into_iter().map(milliseconds));
                sleep(LOOK).await;
            }
            Ok(visible)
        };
        let both = async { tokio::try_join!(looking, writing) };
        let (visible, acknowledged) = tokio::time::timeout(Duration::from_secs(120), both).await??;
        Ok((visible, acknowledged))
    }

    pub fn start(
        &self,
        target: &str,
        include: &str,
        environment: &[(&str, &str)],
        arguments: &[&str],
    ) -> Result<Daemon> {
        Daemon::start(&Launch {
            program: &self.arguments.daemon,
            source: &self.source,
            target: self.target_uri(target),
            include,
            environment,
            arguments,
            log: self.arguments.work.join("tailwater.log"),
            servers: &self.arguments.servers,
        })
    }

    /// Peak memory, and the processor time per second of the run that each of the three took.
    fn add_costs(&self, case: &mut Case, daemon: &Daemon, seconds: f64, before: Processor) -> Result<()> {
        case.add("peak memory, MiB", daemon.peak_memory()? as f64 / MIB);
        let used = Processor::read(daemon, &self.arguments.servers)?.since(before);
        case.add("cores used by the daemon", used.daemon / seconds);
        case.add("cores used by PostgreSQL", used.postgres / seconds);
        case.add("cores used by MongoDB", used.mongodb / seconds);
        Ok(())
    }

    fn target_uri(&self, database: &str) -> String {
        match self.target.rsplit_once('/') {
            Some((server, _)) => format!("{server}/{database}"),
            None => self.target.clone(),
        }
    }

    pub async fn postgres(&self, database: &str) -> Result<tokio_postgres::Client> {
        let (client, connection) = tokio_postgres::connect(&self.target_uri(database), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// A figure counts only when what it is about is there.
    async fn compare(&self, target: &str, feeds: &[Feed]) -> Result<()> {
        let postgres = self.postgres(target).await?;
        for some in feeds.chunks(COLLECTIONS.try_into()?) {
            let count = |feed: &Feed| format!("(SELECT count(*) FROM {}.{})", feed.database, feed.collection);
            let sql = format!("SELECT {}", some.iter().map(count).collect::<Vec<_>>().join(" + "));
            let (rows, documents): (i64, i64) =
                (postgres.query_one(&sql, &[]).await?.get(0), some.iter().map(Feed::documents).sum());
            if rows != documents {
                return Err(format!("{target} has {rows} rows instead of {documents}").into());
            }
        }
        Ok(())
    }

    async fn count_connections(&self) -> Result<Connections> {
        let postgres = self.postgres("postgres").await?;
        let (stop, mut stopped) = oneshot::channel();
        let counting = tokio::spawn(async move {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tailwater'";
            let mut most = 0_i64;
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                most = most.max(postgres.query_one(sql, &[]).await?.get(0));
                sleep(COUNT).await;
            }
            Ok(most)
        });
        Ok(Connections { stop, counting })
    }
}

/// Counts the daemon's connections until it is asked.
struct Connections {
    stop: oneshot::Sender<()>,
    counting: JoinHandle<Result<i64, tokio_postgres::Error>>,
}

impl Connections {
    async fn most(self) -> Result<i64> {
        let _ = self.stop.send(());
        Ok(self.counting.await??)
    }
}

/// Takes the writes up to that `_id` off the list; gives their starts.
fn arrived(started: &Mutex<Vec<(i64, Instant)>>, id: i64) -> Vec<Instant> {
    let mut waiting = started.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.extract_if(.., |(of, _)| *of <= id).map(|(_, start)| start).collect()
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn streaming(status: &Value) -> bool {
    status.get("state").and_then(Value::as_str) == Some("streaming")
}

fn applied(status: &Value) -> u64 {
    status.get("changes_applied").and_then(Value::as_u64).unwrap_or(0)
}

fn copied(status: &Value) -> u64 {
    status.pointer("/snapshot/documents_done").and_then(Value::as_u64).unwrap_or(0)
}
