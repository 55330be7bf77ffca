//! A reader who looks at PostgreSQL all the time, as an application does: what must not be seen, not even for a moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use super::case::{Case, connect};
use super::wait;

/// Between two looks, so that the reader does not take the machine from those it watches.
const PAUSE: Duration = Duration::from_millis(2);

/// A reader of several tables and a daemon that changes them in one transaction may wait for each other: the reader gives
/// way after so long.
const GIVE_WAY_MS: u32 = 500;

/// The values of the one row that the query gives, as text; null is empty.
pub type Seen = Vec<String>;

/// A reader at work. Its query is one statement, so that all it sees is of one moment.
pub struct Watcher {
    stop: Arc<AtomicBool>,
    looks: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Looks by `query` on a connection of its own until it is told to stop, and panics when `check` has an objection.
    pub async fn start(case: &Case, query: String, check: fn(&Seen) -> Result<(), String>) -> Self {
        let client = connect(&case.postgres_uri).await;
        client.batch_execute(&format!("SET lock_timeout = {GIVE_WAY_MS}")).await.expect("set");
        let (stop, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (told, count) = (Arc::clone(&stop), Arc::clone(&looks));
        let task = tokio::spawn(async move {
            while !told.load(Ordering::Relaxed) {
                let Some(seen) = look(&client, &query).await else { continue };
                let n = count.fetch_add(1, Ordering::Relaxed);
                if let Err(objection) = check(&seen) {
                    panic!("look {n} saw {seen:?}: {objection}");
                }
                wait::moment(PAUSE).await;
            }
        });
        Self { stop, looks, task }
    }

    /// How often it has looked so far.
    pub fn looks(&self) -> usize {
        self.looks.load(Ordering::Relaxed)
    }

    /// Fails the test now if the reader has seen something.
    pub fn expect_content(&self, state: impl Fn() -> String) {
        assert!(!self.task.is_finished(), "the reader objects, see above\n{}", state());
    }

    /// Ends it and gives back how often it has looked.
    pub async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the reader objects, see above");
        self.looks.load(Ordering::Relaxed)
    }
}

/// `None` when the reader has to ask again.
async fn look(client: &tokio_postgres::Client, query: &str) -> Option<Seen> {
    let gives_way = [Some(&SqlState::T_R_DEADLOCK_DETECTED), Some(&SqlState::LOCK_NOT_AVAILABLE)];
    let answer = match client.simple_query(query).await {
        Err(error) if gives_way.contains(&error.code()) => return None,
        answer => answer.unwrap_or_else(|error| panic!("{query}: {error:?}")),
    };
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).unwrap_or_default().to_owned())),
        _ => None,
    });
    Some(row.expect("a query that gives one row").collect())
}
