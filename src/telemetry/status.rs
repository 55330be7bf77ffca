//! What `/status` and `tailwater status --json` say. The names of the fields are part of the interface contract.

use serde::{Deserialize, Serialize};

/// What the daemon is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The pipeline's name.
    pub pipeline: String,
    /// `starting`, `snapshot`, `catching_up`, `streaming`, `standby`, `retrying` or `halted`.
    pub state: String,
    /// What is wrong, while `retrying` or `halted`.
    pub reason: Option<String>,
    /// Lag of the database furthest behind; null while nothing is known.
    pub lag_seconds: Option<f64>,
    /// How far the oplog reaches back beyond the position; null while unknown.
    pub oplog_window_seconds: Option<f64>,
    /// Changes committed since the daemon started.
    pub changes_applied: u64,
    /// Changes committed per second, lately.
    pub changes_per_second: Option<f64>,
    /// Anomalies since the daemon started.
    pub anomalies: u64,
    /// Documents in quarantine.
    pub quarantined: u64,
    /// The first copy.
    pub snapshot: SnapshotStatus,
    /// Every replicated database.
    pub databases: Vec<DatabaseStatus>,
    /// True when a cutover could start: streaming, hardly any lag, every database consistent.
    pub can_cutover: bool,
    /// Seconds since the daemon started; null when no daemon answered.
    pub uptime_seconds: Option<f64>,
    /// The daemon's version.
    pub version: String,
}

/// The first copy, all collections together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SnapshotStatus {
    /// Documents committed.
    pub documents_done: u64,
    /// Documents there are.
    pub documents_total: u64,
    /// Bytes of BSON committed.
    #[serde(default)]
    pub bytes_done: u64,
    /// Bytes of BSON there are, by the source's estimate.
    #[serde(default)]
    pub bytes_total: u64,
    /// Time until it is done, by bytes; null while unknown.
    pub eta_seconds: Option<f64>,
    /// Documents committed per second, lately.
    #[serde(default)]
    pub documents_per_second: Option<f64>,
    /// Bytes committed per second, lately.
    #[serde(default)]
    pub bytes_per_second: Option<f64>,
    /// Collections being copied, the one with the most left first; at most [`SnapshotStatus::COLLECTIONS`] of them.
    #[serde(default)]
    pub collections: Vec<CollectionStatus>,
    /// Collections being copied, with those that the list leaves out.
    #[serde(default)]
    pub collections_left: usize,
}

/// The first copy of one collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CollectionStatus {
    /// `database.collection`.
    pub namespace: String,
    /// Documents committed.
    pub documents_done: u64,
    /// Documents there are.
    pub documents_total: u64,
    /// Bytes of BSON committed.
    #[serde(default)]
    pub bytes_done: u64,
    /// Bytes of BSON there are, by the source's estimate.
    #[serde(default)]
    pub bytes_total: u64,
    /// Documents committed per second, lately.
    pub documents_per_second: Option<f64>,
    /// Bytes committed per second, lately.
    #[serde(default)]
    pub bytes_per_second: Option<f64>,
    /// Time until it is done, by bytes; null while unknown.
    pub eta_seconds: Option<f64>,
}

/// One database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatabaseStatus {
    /// Its name in MongoDB.
    pub name: String,
    /// True when its tables show one state that the source had.
    pub consistent: bool,
    /// Its lag; null while unknown.
    pub lag_seconds: Option<f64>,
    /// The cluster time up to which everything is applied, `seconds:ordinal`.
    pub position: String,
}

/// Who is less behind than this keeps up, however young and short the oplog is.
const FAR_BEHIND_SECONDS: f64 = 60.0;

impl Status {
    /// True when more than half of the oplog's window is used up: history will be lost unless the target catches up.
    #[must_use]
    pub fn oplog_window_is_short(&self) -> bool {
        match (self.lag_seconds, self.oplog_window_seconds) {
            (Some(behind), Some(left)) => behind > left.max(FAR_BEHIND_SECONDS),
            (None, _) | (_, None) => false,
        }
    }
}

impl SnapshotStatus {
    /// The most collections that a status lists: more than a screen shows, and little enough to send every second.
    pub const COLLECTIONS: usize = 64;

    /// How much is done, by bytes. All of it only when it has ended: the source estimates, and may have more.
    #[must_use]
    pub fn percent(&self) -> u64 {
        match self.collections_left {
            0 => 100,
            _ => percent(self.bytes_done, self.bytes_total)
                .unwrap_or_else(|| percent(self.documents_done, self.documents_total).unwrap_or(0)),
        }
    }
}

impl CollectionStatus {
    /// How much is done, by bytes.
    #[must_use]
    pub fn percent(&self) -> u64 {
        percent(self.bytes_done, self.bytes_total)
            .unwrap_or_else(|| percent(self.documents_done, self.documents_total).unwrap_or(0))
    }
}

/// Of what goes on; `None` when there is nothing to compare with.
fn percent(done: u64, total: u64) -> Option<u64> {
    let percent = (u128::from(done) * 100).checked_div(u128::from(total))?;
    Some(u64::try_from(percent).unwrap_or(u64::MAX).min(99))
}
