//! `run --sql-out`: the same snapshot and stream, into an SQL text instead of PostgreSQL.
//!
//! In: a source, and a target's catalog and positions where there is a target. Out: the text. Nothing is written to the
//! target. There is no catalog that an attempt could start again from, so a lost stream is opened again where it was, and
//! any other error ends the text, of which every transaction up to there is good.

mod snapshot;
pub mod stream;

use std::collections::{BTreeSet, HashMap};

use tokio_util::sync::CancellationToken;

use super::RunMode;
use super::collections::Collections;
use super::switch;
use crate::config::Config;
use crate::error::Result;
use crate::model::namespace::CollectionId;
use crate::model::position::{ClusterTime, Position};
use crate::model::state::State;
use crate::model::write_set::Waiting;
use crate::sink::catalog::Known;
use crate::sink::target::Target;
use crate::sink::text::{Destination, SqlText};
use crate::source::{Probe, Source};
use crate::telemetry::Telemetry;

/// What a text is made with.
pub struct TextSession<'a> {
    pub config: &'a Config,
    pub telemetry: &'a Telemetry,
    pub shutdown: &'a CancellationToken,
    pub source: Source,
    pub probe: Probe,
    /// Only read.
    pub target: Option<Target>,
}

/// From where a text goes on.
pub struct Start {
    pub floor: Option<Position>,
    pub lanes: HashMap<String, Position>,
    pub collections: Collections,
    pub quarantined: HashMap<CollectionId, Waiting>,
    /// When the snapshot's ranges were read.
    pub copied_at: ClusterTime,
    /// Statements that come before everything else.
    pub first: Vec<String>,
}

/// Writes what `run` would do into a text, until stopped or caught up.
///
/// # Errors
/// When the destination exists, or a server or the destination fails.
pub async fn run_to_text(
    config: Config,
    telemetry: Telemetry,
    mode: RunMode,
    shutdown: CancellationToken,
    to: Destination,
) -> Result<()> {
    to.expect_new()?;
    telemetry.state(State::Starting);
    let opened = async {
        let target = connect_target(&config).await?;
        let source = Source::connect(&config.source).await?;
        let probe = source.probe().await?;
        Ok(TextSession { config: &config, telemetry: &telemetry, shutdown: &shutdown, source, probe, target })
    };
    let session = tokio::select! {
        session = opened => session?,
        () = shutdown.cancelled() => return Ok(()),
    };
    session.write(mode, &to).await
}

/// The target, where there is one that has a catalog.
pub async fn connect_target(config: &Config) -> Result<Option<Target>> {
    if !config.has_target {
        return Ok(None);
    }
    let target = Target::connect(&config.target, &config.pipeline).await?;
    Ok(if target.has_catalog().await? { Some(target) } else { None })
}

impl TextSession<'_> {
    async fn write(mut self, mode: RunMode, to: &Destination) -> Result<()> {
        let goal = match mode {
            RunMode::Follow => None,
            RunMode::UntilCaughtUp => Some(self.source.operation_time().await?),
        };
        let mut start = start(self.config, self.target.as_ref()).await?;
        let floor = match start.floor.clone() {
            Some(floor) => floor,
            // Before anything is copied, so that the stream tells whatever the copy may have missed.
            None => switch::open(&self.source, &mut self.probe, None).await?.position().clone(),
        };
        let from = switch::from(&self.source, &mut self.probe, &floor, &start.lanes).await?;
        start.lanes = from.done;
        start.collections.find_to_copy(&self.source, self.config, &BTreeSet::new()).await?;
        if let Some(target) = &self.target {
            start.collections.occupy(target).await?;
        }
        let mut text = SqlText::create(to, &self.config.pipeline).await?;
        for statement in std::mem::take(&mut start.first) {
            text.statement(&statement).await?;
        }
        text.floor(&floor).await?;
        if self.snapshot(&mut text, &mut start).await? {
            self.follow(text, start, from.floor, goal).await
        } else {
            text.rollback().await?;
            text.flush().await
        }
    }
}

/// What the target knows; nothing without one.
pub async fn start(config: &Config, target: Option<&Target>) -> Result<Start> {
    let Some(target) = target else {
        let collections = Collections::restore(config, Known::default())?;
        let (lanes, quarantined) = (HashMap::new(), HashMap::new());
        let copied_at = ClusterTime::default();
        return Ok(Start { floor: None, lanes, collections, quarantined, copied_at, first: Vec::new() });
    };
    let checkpoints = target.checkpoints().await?;
    let collections = Collections::restore(config, target.known().await?)?;
    let first = target.missing_metadata(&collections.roots()).await?;
    Ok(Start {
        floor: checkpoints.floor,
        lanes: checkpoints.lanes,
        collections,
        quarantined: target.quarantined().await?,
        copied_at: target.snapshot_time().await?.unwrap_or_default(),
        first,
    })
}
