//! Following into text: the stream, the router with one executor, and their orderly end.

use std::time::{Duration, Instant};

use super::super::backoff::Backoff;
use super::super::stream::{Running, finish, start_lane, stopped_by_executor};
use super::super::switch;
use super::{Start, TextSession};
use crate::config::Config;
use crate::copying::Copies;
use crate::error::{Class, Error, Kind, Result};
use crate::model::position::{ClusterTime, Position};
use crate::model::state::State;
use crate::model::ticket::Through;
use crate::router::{Router, RouterParts};
use crate::sink::text::{SqlText, TextExecutor};
use crate::source::Reader;
use crate::telemetry::Telemetry;

impl TextSession<'_> {
    /// Follows from `from` until the goal, a stop, or an error.
    pub(super) async fn follow(
        &self,
        mut text: SqlText,
        start: Start,
        from: Position,
        goal: Option<ClusterTime>,
    ) -> Result<()> {
        text.flush().await?;
        let running = Running::new(self.config.limits.memory);
        let consistent_from = start.copied_at.max(from.cluster_time());
        let router = router(self.config, self.telemetry, &running, start, text, consistent_from);
        let read = self.read(router, &running, from, goal).await;
        // An executor's own error says more than the reader's, which only saw a channel close.
        finish(&running, read.is_ok(), self.shutdown).await.and(read)
    }

    async fn read(
        &self,
        mut router: Router,
        running: &Running,
        mut from: Position,
        goal: Option<ClusterTime>,
    ) -> Result<()> {
        let mut backoff = Backoff::new();
        let mut probe = self.probe.clone();
        loop {
            let started = Instant::now();
            let lost = match switch::open(&self.source, &mut probe, Some(&from)).await {
                Ok(mut stream) => match self.read_stream(&mut stream, &mut router, running, goal).await? {
                    Some(lost) => {
                        from = stream.position().clone();
                        lost
                    }
                    None => return Ok(()),
                },
                Err(error) => error,
            };
            if lost.class() != Class::Transient {
                return Err(lost);
            }
            if lost.kind() == Kind::OtherReader
                && let Ok(other) = self.source.probe_without_oplog(switch::refused(&lost)).await
            {
                probe = other;
                continue;
            }
            let pause = backoff.next(started.elapsed());
            super::super::retrying(self.telemetry, &lost, pause);
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Reads until the end (`None`) or until the stream is lost, with everything that it gave out routed.
    async fn read_stream(
        &self,
        stream: &mut Reader,
        router: &mut Router,
        running: &Running,
        goal: Option<ClusterTime>,
    ) -> Result<Option<Error>> {
        self.telemetry.state(State::CatchingUp);
        let mut last: Option<Through> = None;
        let mut at_boundary = true;
        loop {
            let batch = tokio::select! {
                biased;
                () = running.failed().cancelled() => return Err(stopped_by_executor()),
                () = self.shutdown.cancelled() => return Ok(None),
                batch = stream.next() => batch,
            };
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => return Ok(Some(error)),
            };
            self.telemetry.server_time(batch.server_time);
            let caught_up = batch.caught_up;
            at_boundary = batch.changes.last().map_or(at_boundary, |last| last.boundary);
            let through = at_boundary.then(|| Through { position: stream.position().clone(), complete: caught_up });
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(None),
                routed = router.route(batch.changes) => routed?,
            }
            if let Some(through) = through
                && last.as_ref() != Some(&through)
            {
                router.watermark(&through, Duration::ZERO).await?;
                last = Some(through);
            }
            if caught_up {
                self.telemetry.state(State::Streaming);
            }
            if goal.is_some_and(|goal| last.as_ref().is_some_and(|last| last.covers(goal))) {
                return Ok(None);
            }
        }
    }
}

/// A router whose only executor writes into a text.
pub fn router(
    config: &Config,
    telemetry: &Telemetry,
    running: &Running,
    start: Start,
    text: SqlText,
    consistent_from: ClusterTime,
) -> Router {
    let (assigned, memory) = (running.assigned.clone(), running.memory.clone());
    let (running, telemetry) = (running.clone(), telemetry.clone());
    let mut text = Some(text);
    let start_executor = Box::new(move || {
        let (text, telemetry) = (text.take(), telemetry.clone());
        running.start(move |tickets, through| async move {
            // There is one executor, which is started once.
            let Some(text) = text else { return Err(stopped_by_executor()) };
            TextExecutor::new(text, consistent_from, telemetry).run(tickets, through).await
        })
    });
    Router::new(RouterParts {
        filter: config.filter.clone(),
        shared: start.collections.shared,
        listed_at: start.collections.listed_at,
        collections: start.collections.known,
        quarantined: start.quarantined,
        copies: Copies::default(),
        done: start.lanes,
        memory,
        memory_limit: config.limits.memory,
        max_executors: 1,
        in_order: true,
        start_lane,
        start_executor,
        assigned,
    })
}
