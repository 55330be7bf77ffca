//! One test: a pipeline name, MongoDB databases and a PostgreSQL database that no other test touches.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::Duration;

use mongodb::bson::{Document, doc};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::config::Config;
use super::daemon::{Daemon, tail};
use super::servers::{self, Servers};
use super::wait::{self, LONG};
use crate::decode::compare::{Report, compare, namespaces};
use crate::decode::rows::quote;

/// How many tests may have daemons at work at a time, whatever the number of processors.
static PLACES: Semaphore = Semaphore::const_new(6);

/// The collection that a test writes to last, to see when everything before it has arrived.
const SENTINEL: &str = "zz_sentinel";

/// One test's own world.
pub struct Case {
    pub name: String,
    /// What the names of its MongoDB databases start with.
    pub prefix: String,
    pub dir: PathBuf,
    pub mongodb_uri: String,
    pub postgres_uri: String,
    pub mongo: mongodb::Client,
    pub postgres: tokio_postgres::Client,
    sentinel: AtomicI32,
    /// Databases whose sentinel has arrived once.
    settled: Mutex<HashSet<String>>,
    _place: SemaphorePermit<'static>,
}

impl Case {
    /// On the shared servers.
    pub async fn new(name: &str) -> Self {
        Self::on(servers::shared(), name).await
    }

    /// On an instance of its own.
    pub async fn on(servers: &Servers, name: &str) -> Self {
        let place = PLACES.acquire().await.expect("never closed");
        // The process's id keeps runs apart that share a user's own servers.
        let unique = format!("{name}_{}", std::process::id());
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(&unique);
        fs::create_dir_all(&dir).expect("a folder for the test");
        let administrator = connect(&servers.postgres_uri).await;
        let create = format!("CREATE DATABASE {}", quote(&unique));
        administrator.batch_execute(&create).await.expect("a database for the test");
        let postgres_uri = with_database(&servers.postgres_uri, &unique);
        Self {
            name: name.to_owned(),
            prefix: format!("{unique}_"),
            dir,
            mongodb_uri: servers.mongodb_uri.clone(),
            postgres: connect(&postgres_uri).await,
            postgres_uri,
            mongo: mongodb::Client::with_uri_str(&servers.mongodb_uri).await.expect("a MongoDB URI"),
            sentinel: AtomicI32::new(0),
            settled: Mutex::default(),
            _place: place,
        }
    }

    /// Connects again after PostgreSQL was stopped.
    pub async fn reconnect(&mut self) {
        self.postgres = connect(&self.postgres_uri).await;
    }

    /// The configuration that this test starts from: its own databases, nothing else.
    pub fn config(&self) -> Config {
        Config::new(&self.name, &self.mongodb_uri, &self.postgres_uri, &format!("{}*.*", self.prefix))
    }

    /// Starts a daemon.
    pub fn start(&self, config: &Config) -> Daemon {
        Daemon::start(&self.dir, config, &[])
    }

    /// One of its MongoDB databases; in PostgreSQL the schema of the same name.
    pub fn database(&self, suffix: &str) -> mongodb::Database {
        self.mongo.database(&format!("{}{suffix}", self.prefix))
    }

    /// A collection of its database `db`.
    pub fn collection(&self, name: &str) -> mongodb::Collection<Document> {
        self.database("db").collection(name)
    }

    /// Rows of a query as text, null as `None`. `{db}` in it stands for the quoted schema of database `db`.
    pub async fn rows(&self, query: &str) -> Vec<Vec<Option<String>>> {
        let query = query.replace("{db}", &quote(&format!("{}db", self.prefix)));
        let answer = self.postgres.simple_query(&query).await;
        let answer = answer.unwrap_or_else(|error| panic!("{query}: {error:?}"));
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect()),
            _ => None,
        };
        answer.into_iter().filter_map(row).collect()
    }

    /// Rows of a query, one text each: columns parted by ` | `, null as `-`.
    pub async fn lines(&self, query: &str) -> Vec<String> {
        let rows = self.rows(query).await;
        let line = |row: &Vec<Option<String>>| {
            row.iter().map(|value| value.as_deref().unwrap_or("-")).collect::<Vec<_>>().join(" | ")
        };
        rows.iter().map(line).collect()
    }

    /// Waits until everything that MongoDB has acknowledged so far is in PostgreSQL: what was written to a database
    /// before its sentinel is there when the sentinel is.
    pub async fn settle(&self) {
        self.settle_within(LONG).await;
    }

    /// The same, for a test that leaves a long way to catch up.
    pub async fn settle_within(&self, deadline: Duration) {
        let names = self.mongo.list_database_names().await.expect("MongoDB lists its databases");
        let mut databases: Vec<String> = names.into_iter().filter(|d| d.starts_with(&self.prefix)).collect();
        databases.push(format!("{}zz_sentinel", self.prefix));
        databases.dedup();
        let known = |database: &String| self.settled.lock().expect("no panic before").contains(database);
        let first_time = databases.iter().filter(|d| !known(d)).cloned().collect::<Vec<_>>();
        // The first sentinel may be copied rather than followed, beside what is still being copied; the one that is written
        // when all is copied is in no copy.
        if !first_time.is_empty() {
            self.one_round(&first_time, deadline).await;
            self.settled.lock().expect("no panic before").extend(first_time);
        }
        self.copied(deadline).await;
        self.one_round(&databases, deadline).await;
        if self.left_to_copy().await.is_some_and(|left| left > 0) {
            self.copied(deadline).await;
            self.one_round(&databases, deadline).await;
        }
    }

    /// Collections that are not copied yet; `None` while nobody can tell.
    async fn left_to_copy(&self) -> Option<i64> {
        let sql = "SELECT (SELECT count(*) FROM tailwater.collections WHERE NOT copied) \
                   + (SELECT count(*) FROM tailwater.recopies)";
        let answer = self.postgres.simple_query(sql).await.ok()?;
        answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
            _ => None,
        })
    }

    async fn copied(&self, deadline: Duration) {
        let state = || self.logs();
        let copied = || async { self.left_to_copy().await.filter(|left| *left == 0) };
        wait::until("everything is copied", deadline, state, copied).await;
    }

    async fn one_round(&self, databases: &[String], deadline: Duration) {
        let n = self.sentinel.fetch_add(1, Ordering::SeqCst);
        let mut written = Vec::new();
        for database in databases {
            let sentinel = self.mongo.database(database).collection::<Document>(SENTINEL);
            match sentinel.insert_one(doc! {"_id": n}).await {
                Ok(_) => written.push(database),
                // Somebody drops the database just now.
                Err(error) if is_drop_pending(&error) => {}
                Err(error) => panic!("the sentinel of {database} is not written: {error}"),
            }
        }
        for database in written {
            self.arrived(database, n, deadline).await;
        }
    }

    async fn arrived(&self, database: &str, n: i32, deadline: Duration) {
        let query = format!("SELECT 1 FROM {}.{} WHERE _id = {n}", quote(database), quote(SENTINEL));
        let what = format!("sentinel {n} of {database} in PostgreSQL");
        let polls = AtomicUsize::new(0);
        let state = || self.logs();
        wait::until(what, deadline, state, || async {
            if polls.fetch_add(1, Ordering::Relaxed) % 50 == 49 {
                self.expect_no_daemon_has_given_up();
            }
            match self.postgres.simple_query(&query).await {
                Ok(answer) => answer.iter().any(|m| matches!(m, SimpleQueryMessage::Row(_))).then_some(()),
                // The table is not there yet, or the server is not.
                Err(_) => None,
            }
        })
        .await;
    }

    /// Ends a wait early that would be in vain.
    fn expect_no_daemon_has_given_up(&self) {
        let logs = self.logs();
        assert!(!logs.contains("\"level\":\"ERROR\""), "a daemon has ended with an error\n{logs}");
    }

    /// Waits until everything has arrived and compares all of it.
    pub async fn expect_equal(&self) -> Report {
        self.expect_equal_within(LONG).await
    }

    /// The same, for a test that leaves a long way to catch up.
    pub async fn expect_equal_within(&self, deadline: Duration) -> Report {
        let report = self.report_within(deadline).await;
        assert!(report.findings.is_empty(), "{report}\n{}", self.logs());
        report
    }

    /// Waits until everything has arrived and tells what a comparison finds.
    pub async fn report_within(&self, deadline: Duration) -> Report {
        self.settle_within(deadline).await;
        self.drops_arrived().await;
        self.nothing_is_read_again().await;
        self.compare().await
    }

    /// Takes its databases and files away, for a test that makes many; its daemons have ended.
    pub async fn remove(self) {
        let names = self.mongo.list_database_names().await.expect("MongoDB lists its databases");
        for name in names.iter().filter(|name| name.starts_with(&self.prefix)) {
            self.mongo.database(name).drop().await.expect("dropped");
        }
        let database = self.prefix.trim_end_matches('_');
        let administrator = connect(&with_database(&self.postgres_uri, "postgres")).await;
        let drop = format!("DROP DATABASE {} WITH (FORCE)", quote(database));
        administrator.batch_execute(&drop).await.expect("dropped");
        fs::remove_dir_all(&self.dir).expect("its folder is removed");
    }

    /// A database that was dropped has no sentinel. Its tables and their catalog rows go in one commit, so that nothing
    /// is half gone once the catalog has no collection that MongoDB has no more.
    async fn drops_arrived(&self) {
        let gone = || async {
            let there = namespaces(&self.mongo, &self.prefix).await;
            let known = self.lines("SELECT DISTINCT namespace FROM tailwater.paths").await;
            known.iter().all(|name| there.contains(name)).then_some(())
        };
        wait::until("dropped collections to go", LONG, || self.logs(), gone).await;
    }

    /// Documents with an ambiguous name are read again without being asked for.
    async fn nothing_is_read_again(&self) {
        let sql = "SELECT 1 FROM tailwater.quarantine WHERE reason = 'ambiguous_name' LIMIT 1";
        let done = || async { self.rows(sql).await.is_empty().then_some(()) };
        wait::until("ambiguous documents to be read again", LONG, || self.logs(), done).await;
    }

    /// Compares now; nobody may be writing.
    pub async fn compare(&self) -> Report {
        compare(&self.mongo, &self.postgres, &self.prefix).await
    }

    /// The ends of the logs of its daemons.
    pub fn logs(&self) -> String {
        let mut logs: Vec<PathBuf> =
            fs::read_dir(&self.dir).map(|entries| entries.flatten().map(|e| e.path()).collect()).unwrap_or_default();
        logs.retain(|path| path.extension().is_some_and(|e| e == "log"));
        logs.iter().map(|path| tail(path)).collect::<Vec<_>>().join("\n")
    }
}

/// A connection whose task ends with it.
pub async fn connect(uri: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(uri, NoTls).await.unwrap_or_else(|e| panic!("{uri}: {e:?}"));
    tokio::spawn(connection);
    client
}

/// The URI of another database on the same server.
fn with_database(uri: &str, database: &str) -> String {
    let (address, query) = uri.split_once('?').unwrap_or((uri, ""));
    let scheme_end = address.find("://").expect("a URI") + 3;
    let host_end = address.get(scheme_end..).and_then(|a| a.find('/')).map_or(address.len(), |i| scheme_end + i);
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{}/{database}{mark}{query}", address.get(..host_end).unwrap_or_default())
}

fn is_drop_pending(error: &mongodb::error::Error) -> bool {
    const DATABASE_DROP_PENDING: i32 = 215;
    let mongodb::error::ErrorKind::Write(mongodb::error::WriteFailure::WriteError(refused)) = &*error.kind else {
        return false;
    };
    refused.code == DATABASE_DROP_PENDING
}
