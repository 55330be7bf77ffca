//! One attempt: become the writer, learn what is committed, copy what is not, follow.

use std::collections::{BTreeSet, HashMap};

use tokio_util::sync::CancellationToken;

use super::RunMode;
use super::collections::Collections;
use super::prepare::{Prepared, prepare};
use super::stream::Stream;
use super::switch;
use crate::config::Config;
use crate::error::Result;
use crate::model::namespace::CollectionId;
use crate::model::position::Position;
use crate::model::state::State;
use crate::sink::catalog::Known;
use crate::sink::checkpoint::{Checkpoints, move_floor};
use crate::sink::fence::Leader;
use crate::sink::target::Target;
use crate::source::{Probe, Source, WhyStream};
use crate::telemetry::Telemetry;

/// What an attempt is made with.
pub struct Attempt<'a> {
    pub config: &'a Config,
    pub telemetry: &'a Telemetry,
    pub mode: RunMode,
    pub shutdown: &'a CancellationToken,
    /// True when history was lost and everything is to be copied again.
    pub anew: bool,
    /// True unless there were rows before that should not have been there.
    pub exact: bool,
    /// Why the oplog is not to be read although it was our choice: it has refused an earlier attempt.
    pub without_oplog: Option<&'a WhyStream>,
}

/// Both servers, connected and looked at.
pub struct Servers {
    source: Source,
    probe: Probe,
    target: Target,
}

impl Servers {
    pub async fn connect(config: &Config, without_oplog: Option<&WhyStream>) -> Result<Self> {
        // A malformed target URI is told before anybody waits for the source.
        Target::new(&config.target, &config.pipeline)?;
        let source = Source::connect(&config.source).await?;
        let probe = match without_oplog {
            Some(why) => source.probe_without_oplog(why.clone()).await?,
            None => source.probe().await?,
        };
        let target = Target::connect(&config.target, &config.pipeline).await?;
        Ok(Self { source, probe, target })
    }
}

/// What an attempt has when it writes.
pub struct Session<'a> {
    pub config: &'a Config,
    pub telemetry: &'a Telemetry,
    pub shutdown: &'a CancellationToken,
    pub source: Source,
    pub probe: Probe,
    pub target: Target,
    pub leader: Leader,
    /// Collections that are copied over their rows.
    pub recopies: BTreeSet<CollectionId>,
    /// True when documents that are inserted have no rows yet.
    pub exact: bool,
}

impl Attempt<'_> {
    /// Runs until the mode's end, a stop, or an error; connects unless it is given connected servers.
    pub async fn run(&self, servers: Option<Servers>) -> Result<()> {
        let mut session = tokio::select! {
            session = self.open(servers) => session?,
            () = self.shutdown.cancelled() => return Ok(()),
        };
        let goal = match self.mode {
            RunMode::Follow => None,
            RunMode::UntilCaughtUp => Some(session.source.operation_time().await?),
        };
        let (floor, checkpoints) = session.position().await?;
        let from = switch::from(&session.source, &mut session.probe, &floor, &checkpoints.lanes).await?;
        let known = session.target.known().await?;
        let mut collections = session.restore(known).await?;
        let preparing = async {
            if collections.to_copy.is_empty() && collections.known.is_empty() {
                return Ok(Prepared::default());
            }
            prepare(&session, &mut collections, &floor, &checkpoints).await
        };
        let prepared = tokio::select! {
            prepared = preparing => prepared?,
            () = self.shutdown.cancelled() => return Ok(()),
        };
        let quarantined = session.target.quarantined().await?;
        let documents: usize = quarantined.values().map(HashMap::len).sum();
        session.telemetry.quarantined(u64::try_from(documents).unwrap_or(u64::MAX));
        Stream { session: &session, floor, from, checkpoints, collections, prepared, quarantined, goal }.run().await
    }

    async fn open(&self, servers: Option<Servers>) -> Result<Session<'_>> {
        self.telemetry.state(State::Starting);
        let (config, telemetry, shutdown) = (self.config, self.telemetry, self.shutdown);
        let Servers { source, probe, target } = match servers {
            Some(connected) => connected,
            None => Servers::connect(config, self.without_oplog).await?,
        };
        target.prepare_catalog().await?;
        let leader = Leader::elect(&target, || telemetry.state(State::Standby)).await?;
        telemetry.state(State::Starting);
        if self.anew {
            let now = source.open_reader(&probe, None).await?.position().clone();
            target.begin_anew(leader.fence(), &now).await?;
            tracing::warn!(from = %now.cluster_time(), "history was lost: everything is copied again, over what is there");
        }
        target.begin_recopies(leader.fence()).await?;
        let recopies = target.recopies().await?;
        let exact = self.exact;
        Ok(Session { config, telemetry, shutdown, source, probe, target, leader, recopies, exact })
    }
}

impl Session<'_> {
    /// The position to read from. At the very first start it is taken from the source and committed before anything is
    /// copied, so that an interrupted snapshot keeps it.
    async fn position(&self) -> Result<(Position, Checkpoints)> {
        let mut checkpoints = self.target.checkpoints().await?;
        if let Some(floor) = checkpoints.floor.clone() {
            return Ok((floor, checkpoints));
        }
        let now = self.source.open_reader(&self.probe, None).await?.position().clone();
        move_floor(self.leader.client(), self.leader.fence(), None, &now).await?;
        checkpoints.floor = Some(now.clone());
        Ok((now, checkpoints))
    }

    /// The mappings that are known, and what is to be copied.
    async fn restore(&self, known: Known) -> Result<Collections> {
        let mut collections = Collections::restore(self.config, known)?;
        self.target.add_metadata(self.leader.fence(), &collections.roots()).await?;
        let found = collections.find_to_copy(&self.source, self.config, &self.recopies).await?;
        let missed = collections.catch_up(&found, &self.recopies);
        self.target.apply(self.leader.fence(), &missed).await?;
        if !collections.to_copy.is_empty() {
            self.telemetry.state(State::Snapshot);
        }
        collections.occupy(&self.target).await?;
        Ok(collections)
    }
}
