//! What every case needs: both servers, a daemon between them, and a look at what it took and whether all is there.

use std::time::{Duration, Instant};

use mongodb::Client;
use mongodb::bson::doc;
use serde_json::Value;
use tailwater::source::ReaderKind;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_postgres::NoTls;

use crate::daemon::{Daemon, Launch, Processor};
use crate::load::Feed;
use crate::report::{Case, Goal};
use crate::{Arguments, Result};

/// Connections that a daemon may have, all purposes together.
pub const CONNECTIONS: usize = 16;
/// What every daemon is started with, but for the cases that are about another limit.
pub const LIMITS: [(&str, &str); 2] =
    [("TAILWATER_LIMITS__MEMORY_LIMIT", "64MiB"), ("TAILWATER_TARGET__MAX_CONNECTIONS", "16")];
pub const MEMORY: &str = "peak memory, MB";
/// What a daemon with these limits may take.
const PEAK_MEMORY: Goal = Goal::AtMost(100.0);
/// Between two counts of connections.
const COUNT: Duration = Duration::from_millis(20);
/// Tables that are counted by one statement.
const COUNTED: usize = 128;

pub const MIB: f64 = 1024.0 * 1024.0;

pub const READERS: [ReaderKind; 2] = [ReaderKind::ChangeStream, ReaderKind::Oplog];

/// For people.
pub fn words(reader: ReaderKind) -> &'static str {
    match reader {
        ReaderKind::ChangeStream => "change stream",
        ReaderKind::Oplog => "oplog",
        ReaderKind::Auto => "reader of its choice",
    }
}

/// For the configuration, and for names of databases.
pub fn word(reader: ReaderKind) -> &'static str {
    match reader {
        ReaderKind::ChangeStream => "change_stream",
        ReaderKind::Oplog => "oplog",
        ReaderKind::Auto => "auto",
    }
}

pub struct Bench {
    pub arguments: Arguments,
    pub mongodb: Client,
    pub source: String,
    pub target: String,
    pub begun: Instant,
}

impl Bench {
    /// Tells how far it is.
    pub fn say(&self, what: &str) {
        eprintln!("bench: {what}, {} s so far", self.begun.elapsed().as_secs());
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

    /// A daemon with the usual limits that reads changes that way.
    pub fn follow(&self, target: &str, include: &str, reader: ReaderKind) -> Result<Daemon> {
        let [memory, connections] = LIMITS;
        self.start(target, include, &[memory, connections, ("TAILWATER_SOURCE__READER", word(reader))], &[])
    }

    /// Peak memory, and the processor time that each of the three took.
    pub fn add_costs(&self, case: &mut Case, daemon: &Daemon, before: Processor) -> Result<Processor> {
        let used = Processor::read(daemon, &self.arguments.servers)?.since(before);
        add_memory(case, daemon)?;
        case.add("processor time of the daemon, s", used.daemon);
        case.add("processor time of PostgreSQL, s", used.postgres);
        case.add("processor time of MongoDB, s", used.mongodb);
        Ok(used)
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

    pub async fn connect(&self, database: &str, count: usize) -> Result<Vec<tokio_postgres::Client>> {
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(self.postgres(database).await?);
        }
        Ok(clients)
    }

    /// A database of the target.
    pub async fn create(&self, database: &str) -> Result<()> {
        Ok(self.postgres("postgres").await?.batch_execute(&format!("CREATE DATABASE {database}")).await?)
    }

    pub async fn remove(&self, database: &str) -> Result<()> {
        let sql = format!("DROP DATABASE {database} WITH (FORCE)");
        Ok(self.postgres("postgres").await?.batch_execute(&sql).await?)
    }

    /// Lets both servers write to disk what they have in memory, so that nobody has to do it for what came before.
    pub async fn settle(&self) -> Result<()> {
        self.mongodb.database("admin").run_command(doc! { "fsync": 1 }).await?;
        Ok(self.postgres("postgres").await?.batch_execute("CHECKPOINT").await?)
    }

    /// A figure counts only when what it is about is there.
    pub async fn compare(&self, target: &str, feeds: &[Feed]) -> Result<()> {
        let postgres = self.postgres(target).await?;
        for some in feeds.chunks(COUNTED) {
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

    pub async fn count_connections(&self) -> Result<Connections> {
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
pub struct Connections {
    stop: oneshot::Sender<()>,
    counting: JoinHandle<Result<i64, tokio_postgres::Error>>,
}

impl Connections {
    pub async fn most(self) -> Result<i64> {
        let _ = self.stop.send(());
        Ok(self.counting.await??)
    }
}

/// The most memory that the daemon ever had.
pub fn add_memory(case: &mut Case, daemon: &Daemon) -> Result<()> {
    case.aim(MEMORY, daemon.peak_memory()? as f64 / 1e6, PEAK_MEMORY);
    Ok(())
}

pub fn streaming(status: &Value) -> bool {
    status.get("state").and_then(Value::as_str) == Some("streaming")
}

pub fn applied(status: &Value) -> u64 {
    status.get("changes_applied").and_then(Value::as_u64).unwrap_or(0)
}

pub fn copied(status: &Value) -> u64 {
    status.pointer("/snapshot/documents_done").and_then(Value::as_u64).unwrap_or(0)
}
