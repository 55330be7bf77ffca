//! What the daemon tells about itself: metrics, status, logs, the HTTP endpoint, the terminal.
//!
//! In: calls of [`Telemetry`] from every stage, after the fact: a counter moves when the commit it counts is durable.
//! Out: numbers and texts for people and machines, never a row value. Nothing here waits for a reader: each call takes a
//! lock for as long as it takes to change a few numbers, and whoever reads gets a copy.

pub mod catalogue;
pub mod http;
mod live;
pub mod logs;
pub mod options;
pub mod progress;
mod rate;
mod snapshot;
pub mod status;
pub mod terminal;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Stage;
use crate::model::namespace::Namespace;
use crate::model::position::ClusterTime;
use crate::model::state::{STATES, State};
use catalogue::{Metrics, add, set};
use live::Live;
use rate::float;
use status::Status;

/// A handle that every stage holds. Cloning it is cheap.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    started: Instant,
    metrics: Metrics,
    /// Held while the gauges are brought up to date and rendered, so that two scrapes do not mix.
    scrape: Mutex<()>,
    live: Mutex<Live>,
}

impl Telemetry {
    /// The telemetry of one pipeline, in state [`State::Starting`].
    #[must_use]
    pub fn new(pipeline: &str) -> Self {
        let metrics = Metrics::new();
        set(&metrics.build_info, &[env!("CARGO_PKG_VERSION")], Some(1.0));
        // Counters that are there from the start, so that their first increase is one.
        for counter in [&metrics.transactions, &metrics.snapshot_documents, &metrics.snapshot_bytes] {
            add(counter, &[], 0);
        }
        for stage in Stage::ALL {
            add(&metrics.retries, &[stage.name()], 0);
        }
        for gauge in [&metrics.buffered, &metrics.connections] {
            set(gauge, &[], Some(0.0));
        }
        let live = Mutex::new(Live::new(pipeline, Duration::ZERO));
        Self(Arc::new(Inner { started: Instant::now(), metrics, scrape: Mutex::default(), live }))
    }

    /// The pipeline enters a state. Its log record is written here, once per change.
    pub fn state(&self, state: State) {
        let mut live = self.live();
        if live.state == state {
            return;
        }
        live.state = state.clone();
        drop(live);
        match (&state, state.reason()) {
            // The error that halts is reported once, by whoever ends the process.
            (State::Halted { .. }, _) => {}
            (_, Some(reason)) => tracing::warn!(state = state.as_str(), reason, "state changed"),
            (_, None) => tracing::info!(state = state.as_str(), "state changed"),
        }
    }

    /// `n` changes of one kind are durably committed.
    pub fn applied(&self, database: &str, operation: &'static str, n: u64) {
        add(&self.0.metrics.changes_applied, &[database, operation], n);
        self.live().applied(self.now(), n);
    }

    /// One PostgreSQL transaction is durably committed.
    pub fn committed(&self) {
        add(&self.0.metrics.transactions, &[], 1);
    }

    /// `n` values were stored in another form than they had, and that is durably committed.
    pub fn anomaly(&self, reason: &'static str, n: u64) {
        add(&self.0.metrics.anomalies, &[reason], n);
        self.live().anomalies += n;
    }

    /// So many documents are in quarantine now.
    pub fn quarantined(&self, total: u64) {
        self.live().quarantined = total;
    }

    /// Something is tried again.
    pub fn retry(&self, stage: Stage) {
        add(&self.0.metrics.retries, &[stage.name()], 1);
    }

    /// So many bytes of changes wait in memory now.
    pub fn buffered(&self, bytes: u64) {
        set(&self.0.metrics.buffered, &[], Some(float(bytes)));
    }

    /// So many connections to the target are open now.
    pub fn connections(&self, n: u64) {
        set(&self.0.metrics.connections, &[], Some(float(n)));
    }

    /// The oplog reaches back so far beyond the position.
    pub fn oplog_window(&self, seconds: f64) {
        self.live().oplog_window = Some(seconds);
    }

    /// The source tells its operation time; also the sign that it is connected.
    pub fn server_time(&self, time: ClusterTime) {
        self.live().server_time(self.now(), time);
    }

    /// Everything of a database up to `position` is committed, watermarks included.
    pub fn database(&self, name: &str, position: ClusterTime, consistent: bool) {
        self.live().database(self.now(), name, position, consistent);
    }

    /// A database is gone from the source.
    pub fn database_gone(&self, name: &str) {
        self.live().database_gone(name);
    }

    /// A collection is going to be copied from its beginning.
    pub fn snapshot_started(&self, namespace: &Namespace, documents: u64, bytes: u64) {
        self.live().snapshot.started(self.now(), namespace, documents, bytes);
        // Thousands of collections may start at once; their ends, which come one by one, are told at info.
        tracing::debug!(%namespace, documents, bytes, "snapshot of collection started");
    }

    /// So much of a collection was copied by an earlier run. Counters do not move: they count this process.
    pub fn snapshot_resumed(&self, namespace: &Namespace, documents: u64, bytes: u64) {
        self.live().snapshot.resumed(self.now(), namespace, documents, bytes);
    }

    /// So much more of a collection is durably committed.
    pub fn snapshot_progress(&self, namespace: &Namespace, documents: u64, bytes: u64) {
        add(&self.0.metrics.snapshot_documents, &[], documents);
        add(&self.0.metrics.snapshot_bytes, &[], bytes);
        self.live().snapshot.advanced(self.now(), namespace, documents, bytes);
    }

    /// A collection is copied.
    pub fn snapshot_finished(&self, namespace: &Namespace) {
        self.live().snapshot.finished(namespace);
        tracing::info!(%namespace, "snapshot of collection finished");
    }

    /// A collection is not copied any more: dropped, or renamed out of the selection.
    pub fn snapshot_gone(&self, namespace: &Namespace) {
        self.live().snapshot.gone(namespace);
        tracing::info!(%namespace, "snapshot of collection ended: it is gone");
    }

    /// What the daemon is doing now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.live().status(self.now())
    }

    /// Why it is not ready; `None` when it streams and is connected.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        self.live().unready(self.now())
    }

    /// The metrics as Prometheus reads them.
    #[must_use]
    pub fn metrics(&self) -> String {
        let metrics = &self.0.metrics;
        let _scrape = self.0.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, silence) = {
            let live = self.live();
            (live.status(self.now()), live.silence(self.now()))
        };
        for state in STATES {
            set(&metrics.state, &[state], Some(f64::from(u8::from(state == status.state))));
        }
        // Databases come and go; a gauge of one that is gone must not stay.
        metrics.database_lag.reset();
        metrics.database_consistent.reset();
        for database in &status.databases {
            set(&metrics.database_lag, &[&database.name], database.lag_seconds);
            let consistent = f64::from(u8::from(database.consistent));
            set(&metrics.database_consistent, &[&database.name], Some(consistent));
        }
        set(&metrics.lag, &[], status.lag_seconds);
        set(&metrics.quarantined, &[], Some(float(status.quarantined)));
        set(&metrics.oplog_window, &[], status.oplog_window_seconds);
        set(&metrics.source_silence, &[], silence.map(|silence| silence.as_secs_f64()));
        let snapshot = &status.snapshot;
        set(&metrics.snapshot_expected_documents, &[], Some(float(snapshot.documents_total)));
        set(&metrics.snapshot_expected_bytes, &[], Some(float(snapshot.bytes_total)));
        set(&metrics.snapshot_copied_bytes, &[], Some(float(snapshot.bytes_done)));
        set(&metrics.snapshot_eta, &[], snapshot.eta_seconds);
        metrics.render()
    }

    fn now(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// A panic elsewhere cannot leave these numbers half changed in a way that matters more than losing them all.
    fn live(&self) -> MutexGuard<'_, Live> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}
