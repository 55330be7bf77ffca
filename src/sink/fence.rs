//! One writer: an advisory lock for liveness, an epoch checked in every transaction for safety.
//!
//! The lock passes to the second daemon when the first one's *connection* dies, not its process, so the lock alone does
//! not keep a first daemon with other live connections from writing. Every transaction that writes therefore takes a
//! second advisory lock in shared mode and reads the epoch; a new leader takes it exclusively, which waits for the
//! transactions in flight, and raises the epoch, which fails all later ones of the old leader.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Object;
use sha2::{Digest, Sha256};
use tokio_postgres::SimpleQueryMessage;

use super::faults::fault;
use super::target::Target;
use crate::error::{Error, Kind, Result, Stage};

/// How often a standby asks for the lock.
const STANDBY_POLL: Duration = Duration::from_millis(500);

/// A pipeline's advisory lock keys.
fn lock_key(pipeline: &str, purpose: &str) -> i64 {
    let digest = Sha256::digest(format!("tailwater\0{purpose}\0{pipeline}"));
    digest.first_chunk::<8>().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

/// The right to write, as of one epoch.
#[derive(Debug, Clone)]
pub struct Fence {
    pipeline: Arc<str>,
    epoch: i64,
    begin: Arc<str>,
}

impl Fence {
    fn new(pipeline: Arc<str>, epoch: i64) -> Self {
        let name = pipeline.replace('\'', "''");
        let begin = format!(
            "BEGIN; SELECT pg_advisory_xact_lock_shared({}); \
             SELECT epoch FROM tailwater.pipelines WHERE pipeline = '{name}'",
            lock_key(&pipeline, "fence")
        );
        Self { pipeline, epoch, begin: begin.into() }
    }

    /// The pipeline's name.
    #[must_use]
    pub fn pipeline(&self) -> &Arc<str> {
        &self.pipeline
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Opens a transaction that no other leader can overtake.
    ///
    /// # Errors
    /// [`Kind::Fenced`] when another daemon has taken over.
    pub async fn begin(&self, client: &Object) -> Result<()> {
        let replies = client.simple_query(&self.begin).await;
        let replies = replies.map_err(|error| fault(Stage::Sink, "opening a transaction", &error))?;
        let epoch = replies.iter().rev().find_map(|reply| {
            let SimpleQueryMessage::Row(row) = reply else { return None };
            row.get(0)?.parse::<i64>().ok()
        });
        if epoch == Some(self.epoch) { Ok(()) } else { Err(self.fenced()) }
    }

    /// The error of a daemon that is no longer the leader.
    #[must_use]
    pub fn fenced(&self) -> Error {
        let message = format!("another daemon has taken over pipeline {:?}", &*self.pipeline);
        Error::new(Kind::Fenced, Stage::Sink, message).remedy("run one daemon per pipeline name")
    }
}

impl Target {
    /// True when a daemon works on this pipeline: it holds the pipeline's lock.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn has_leader(&self) -> Result<bool> {
        let client = self.client().await?;
        // A key of 64 bits is shown as its two halves (PostgreSQL manual, pg_locks).
        let sql = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 \
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
                   AND (classid::int8 << 32 | objid::int8) = $1)";
        let row = client.query_one(sql, &[&lock_key(self.pipeline(), "leader")]).await;
        Ok(row.map_err(|error| fault(Stage::Sink, "looking for the pipeline's lock", &error))?.get(0))
    }
}

/// Holds the pipeline's lock for as long as it lives.
#[derive(Debug)]
pub struct Leader {
    client: Object,
    fence: Fence,
}

impl Leader {
    /// Waits until this daemon is the only one; calls `standing_by` once if it has to wait.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn elect(target: &Target, standing_by: impl FnOnce()) -> Result<Self> {
        let client = target.client().await?;
        let key = lock_key(target.pipeline(), "leader");
        let failed = |error: &tokio_postgres::Error| fault(Stage::Sink, "taking the pipeline's lock", error);
        let mut standing_by = Some(standing_by);
        let mut poll = tokio::time::interval(STANDBY_POLL);
        loop {
            poll.tick().await;
            let row = client.query_one("SELECT pg_try_advisory_lock($1)", &[&key]).await.map_err(|e| failed(&e))?;
            if row.get(0) {
                break;
            }
            if let Some(standing_by) = standing_by.take() {
                standing_by();
            }
        }
        let epoch = raise_epoch(&client, target.pipeline()).await?;
        Ok(Self { client, fence: Fence::new(Arc::clone(target.pipeline()), epoch) })
    }

    /// The right to write.
    #[must_use]
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// The leader's own connection, for the small writes of the coordinator.
    pub fn client(&self) -> &Object {
        &self.client
    }
}

async fn raise_epoch(client: &Object, pipeline: &Arc<str>) -> Result<i64> {
    let failed = |error: &tokio_postgres::Error| fault(Stage::Sink, "becoming the pipeline's writer", error);
    let lock = format!("BEGIN; SELECT pg_advisory_xact_lock({})", lock_key(pipeline, "fence"));
    client.batch_execute(&lock).await.map_err(|error| failed(&error))?;
    let sql = "INSERT INTO tailwater.pipelines (pipeline, epoch) VALUES ($1, 1) \
               ON CONFLICT (pipeline) DO UPDATE SET epoch = pipelines.epoch + 1, started_at = now() RETURNING epoch";
    let row = client.query_one(sql, &[&&**pipeline]).await.map_err(|error| failed(&error))?;
    client.batch_execute("COMMIT").await.map_err(|error| failed(&error))?;
    Ok(row.get(0))
}
