//! Looks after a running stream: moves the floor, keeps the leader's connection alive, tells telemetry where things are.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::attempt::Session;
use super::retry::Marks;
use super::stream::Running;
use crate::copying::Copies;
use crate::error::{Error, Kind, Result, Stage};
use crate::model::position::Position;
use crate::model::state::State;
use crate::model::ticket::Through;
use crate::sink::checkpoint::move_floor;
use crate::sink::recopy::{recopies_wanted, wanted};

/// How often it looks.
const TICK: Duration = Duration::from_millis(100);

/// How often the floor is written: this much is read again, and skipped, after a crash.
const FLOOR_EVERY: u32 = 10;

/// How often it looks for documents of the quarantine that are to be tried again.
const MARKS_EVERY: u32 = 5;

/// How often the oplog window is measured.
const WINDOW_EVERY: u32 = 300;

/// Who is less behind than this keeps up.
const FAR_BEHIND_SECONDS: u32 = 60;

/// See the module.
pub struct Coordinator<'s> {
    session: &'s Session<'s>,
    running: Running,
    marks: Marks,
    /// The floor as it stands in PostgreSQL.
    floor: Position,
    /// Databases that were there at start.
    databases: HashSet<Arc<str>>,
    copies: Copies,
    /// True once it has caught up: what comes later is no first time.
    caught_up: bool,
}

impl<'s> Coordinator<'s> {
    /// A coordinator of a stream that starts from `floor`.
    pub fn new(
        session: &'s Session<'s>,
        running: Running,
        marks: Marks,
        floor: Position,
        databases: HashSet<Arc<str>>,
        copies: Copies,
    ) -> Self {
        Self { session, running, marks, floor, databases, copies, caught_up: false }
    }

    /// Works until something fails.
    ///
    /// # Errors
    /// When PostgreSQL fails: without its lock a daemon must not go on.
    pub async fn run(&mut self) -> Result<()> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for tick in 0u32.. {
            ticks.tick().await;
            self.observe();
            if tick.is_multiple_of(FLOOR_EVERY) {
                self.move_floor().await?;
            }
            if tick.is_multiple_of(MARKS_EVERY) {
                self.marks.find(self.session).await?;
                self.look_for_wishes().await?;
            }
            if tick.is_multiple_of(WINDOW_EVERY) {
                self.measure_window().await;
            }
        }
        Ok(())
    }

    /// A copy that somebody wishes is begun by the next attempt.
    async fn look_for_wishes(&self) -> Result<()> {
        let Session { leader, target, .. } = self.session;
        if recopies_wanted(leader.client(), target.pipeline()).await? { Err(wanted()) } else { Ok(()) }
    }

    /// Writes the floor a last time; a failure only means that a little is read again.
    pub async fn last_floor(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(2);
        match tokio::time::timeout(PATIENCE, self.move_floor()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("the last position could not be written: {error}"),
            Err(_) => tracing::warn!("the last position could not be written in time"),
        }
    }

    fn observe(&mut self) {
        let telemetry = &self.session.telemetry;
        telemetry.buffered(u64::try_from(self.running.buffered()).unwrap_or(u64::MAX));
        telemetry.connections(u64::try_from(self.session.target.open_connections()).unwrap_or(u64::MAX));
        let Some(read) = self.running.read.borrow().clone() else { return };
        for database in &self.databases {
            // An executor tells of what it commits; that a copy is complete it may not see.
            let Some(through) = self.committed(database, &read) else { continue };
            let consistent = self.copies.are_consistent(database, &through);
            telemetry.database(database, through.position.cluster_time(), consistent);
        }
        if read.complete && self.through().is_some_and(|through| self.copies.are_over(&through)) {
            self.caught_up = true;
            telemetry.state(State::Streaming);
        } else if !self.caught_up && self.copies.are_complete() {
            telemetry.state(State::CatchingUp);
        }
    }

    /// How far a database is committed: what has no executor has no changes.
    fn committed(&self, database: &str, read: &Through) -> Option<Through> {
        let assigned = self.running.assigned.lock().unwrap_or_else(PoisonError::into_inner).get(database).copied();
        let Some(executor) = assigned else { return Some(read.clone()) };
        let executors = self.running.executors.lock().unwrap_or_else(PoisonError::into_inner);
        executors.get(executor).and_then(|executor| executor.borrow().clone())
    }

    /// How far everything is committed: the slowest executor; with none, how far was read.
    fn through(&self) -> Option<Through> {
        // Read before the executors are: an executor that starts in between is then not forgotten.
        let read = self.running.read.borrow().clone();
        let executors = self.running.executors.lock().unwrap_or_else(PoisonError::into_inner);
        let mut slowest = read;
        for executor in executors.iter() {
            let through = executor.borrow().clone()?;
            slowest = match slowest {
                Some(slowest) if slowest.position <= through.position => Some(slowest),
                _ => Some(through),
            };
        }
        slowest
    }

    async fn move_floor(&mut self) -> Result<()> {
        let Some(Through { position, .. }) = self.through() else { return self.ping().await };
        if position <= self.floor {
            return self.ping().await;
        }
        let leader = &self.session.leader;
        move_floor(leader.client(), leader.fence(), Some(&self.floor), &position).await?;
        self.floor = position;
        Ok(())
    }

    /// The pipeline's lock lives as long as this connection.
    async fn ping(&self) -> Result<()> {
        let answer = self.session.leader.client().simple_query("").await;
        let lost =
            || Error::new(Kind::Unavailable, Stage::Sink, "the connection that holds the pipeline's lock is lost");
        answer.map(|_| ()).map_err(|error| lost().caused_by(error))
    }

    async fn measure_window(&self) {
        match self.session.source.oplog_window().await {
            Ok(Some(window)) => {
                let left = self.floor.cluster_time().seconds.saturating_sub(window.first.seconds);
                self.session.telemetry.oplog_window(f64::from(left));
                let behind = window.last.seconds.saturating_sub(self.floor.cluster_time().seconds);
                // A young oplog is short because nothing has been cut off yet, and no danger to who keeps up with it.
                if behind > left.max(FAR_BEHIND_SECONDS) {
                    tracing::warn!(
                        left_seconds = left,
                        behind_seconds = behind,
                        "more than half of the oplog's window is used up; enlarge the oplog (replSetResizeOplog)"
                    );
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!("the oplog window could not be measured: {error}"),
        }
    }
}
