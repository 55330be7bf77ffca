//! `replay`: the changes of a file, into the target or into a text.
//!
//! In: a file of oplog entries. Out: what `run` would make of them, under the same lock, with the same executors and
//! positions; what is committed already is passed over. A collection that is not known is born with its first entry.
//! At the end a pipeline that had no position yet has one, so that a later `run` starts where the file ends.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::collections::Collections;
use super::stream::{Running, Writing, finish, stopped_by_executor};
use super::text::stream::router;
use super::text::{Start, connect_target, start};
use crate::config::Config;
use crate::copying::Copies;
use crate::error::{Error, Kind, Result, Stage};
use crate::model::change::Change;
use crate::model::position::{ClusterTime, Position};
use crate::model::state::State;
use crate::model::ticket::Through;
use crate::router::Router;
use crate::sink::checkpoint::move_floor;
use crate::sink::fence::Leader;
use crate::sink::target::Target;
use crate::sink::text::{Destination, SqlText};
use crate::source::{FileReader, FileStart};
use crate::telemetry::Telemetry;

/// Changes that are handed on together, and groups of them that wait.
const GROUP: usize = 256;
const GROUPS: usize = 4;

/// Bytes that end a group.
const GROUP_BYTES: usize = 1 << 20;

/// What a replay is made with.
struct Replay<'a> {
    config: &'a Config,
    telemetry: &'a Telemetry,
    shutdown: &'a CancellationToken,
    file: &'a Path,
}

/// What came of the file.
#[derive(Default)]
struct Read {
    last: Option<Position>,
    changes: u64,
    skipped: u64,
    stopped: bool,
}

/// Applies the entries of `file`, or writes them into a text.
///
/// # Errors
/// When an entry is damaged, or a server or the destination fails.
pub async fn replay(
    config: Config,
    telemetry: Telemetry,
    shutdown: CancellationToken,
    file: &Path,
    to: Option<Destination>,
) -> Result<()> {
    let replay = Replay { config: &config, telemetry: &telemetry, shutdown: &shutdown, file };
    // What is wrong with the file is said before anybody is connected.
    let first = FileReader::first_time(file)?.map(before);
    telemetry.state(State::Starting);
    match to {
        Some(to) => replay.write(first, &to).await,
        None => replay.apply(first).await,
    }
}

impl Replay<'_> {
    async fn apply(&self, first: Option<Position>) -> Result<()> {
        let target = Target::connect(&self.config.target, &self.config.pipeline).await?;
        target.prepare_catalog().await?;
        let waiting = || self.telemetry.state(State::Standby);
        let leader = tokio::select! {
            leader = Leader::elect(&target, waiting) => leader?,
            () = self.shutdown.cancelled() => return Ok(()),
        };
        let mut checkpoints = target.checkpoints().await?;
        let collections = Collections::restore(self.config, target.known().await?)?;
        target.add_metadata(leader.fence(), &collections.roots()).await?;
        let reader = self.open(&checkpoints.floor, &checkpoints.lanes, &collections)?;
        let born = checkpoints.floor.is_none().then_some(first).flatten();
        if let Some(first) = &born {
            move_floor(leader.client(), leader.fence(), None, first).await?;
            checkpoints.floor = Some(first.clone());
        }
        let copied_at = target.snapshot_time().await?.unwrap_or_default();
        let quarantined = target.quarantined().await?;
        let floor_time = checkpoints.floor.as_ref().map(Position::cluster_time).unwrap_or_default();
        let (fence, replayed_until) = (leader.fence().clone(), copied_at.max(floor_time));
        // The file's reader knows what is done: entries without a time are not, wherever their database stands.
        let done = HashMap::new();
        let (copies, memory) = (Copies::new(HashMap::new(), replayed_until), self.config.limits.memory);
        let writing = Writing {
            target,
            fence,
            checkpoints,
            collections,
            quarantined,
            copies,
            replayed_until,
            exact_after: Some(replayed_until),
            memory,
            reserved: 0,
            done,
        };
        let running = Running::new(memory);
        let read = self.read(reader, writing.router(self.config, self.telemetry, &running), &running).await;
        let read = finish(&running, read.is_ok(), self.shutdown).await.and(read)?;
        if let (Some(old), Some(last), false) = (&born, &read.last, read.stopped) {
            move_floor(leader.client(), leader.fence(), Some(old), last).await?;
        }
        tracing::info!(changes = read.changes, already_applied = read.skipped, "the file is applied");
        Ok(())
    }

    async fn write(&self, first: Option<Position>, to: &Destination) -> Result<()> {
        to.expect_new()?;
        let target = connect_target(self.config).await?;
        let Start { floor, lanes, collections, quarantined, copied_at, first: statements } =
            start(self.config, target.as_ref()).await?;
        let reader = self.open(&floor, &lanes, &collections)?;
        let mut text = SqlText::create(to, &self.config.pipeline).await?;
        for statement in &statements {
            text.statement(statement).await?;
        }
        let floor = match (floor, first) {
            (None, Some(first)) => {
                text.floor(&first).await?;
                Some(first)
            }
            (floor, _) => floor,
        };
        text.commit().await?;
        text.flush().await?;
        let consistent_from = floor.as_ref().map(Position::cluster_time).unwrap_or_default().max(copied_at);
        let (lanes, first) = (HashMap::new(), Vec::new());
        let begun = Start { floor, lanes, collections, quarantined, copied_at, first };
        let running = Running::new(self.config.limits.memory);
        let router = router(self.config, self.telemetry, &running, begun, text, consistent_from);
        let read = self.read(reader, router, &running).await;
        let read = finish(&running, read.is_ok(), self.shutdown).await.and(read)?;
        tracing::info!(changes = read.changes, already_applied = read.skipped, "the text is written");
        Ok(())
    }

    fn open(
        &self,
        floor: &Option<Position>,
        lanes: &HashMap<String, Position>,
        collections: &Collections,
    ) -> Result<FileReader> {
        if let Some(open) = collections.known.values().find(|known| !known.is_copied()) {
            let message = format!("{} is not copied yet, so nothing can be applied on top", open.namespace());
            let remedy = "let `tailwater run --until-caught-up` finish the copy first, or use another pipeline name";
            return Err(Error::new(Kind::Refused, Stage::Snapshot, message).remedy(remedy));
        }
        let names = collections.known.values().map(|known| (known.namespace().clone(), known.id())).collect();
        FileReader::open(self.file, FileStart { floor: floor.clone(), lanes: lanes.clone(), names })
    }

    /// Reads to the end of the file or until a stop; dropping the router ends the flow.
    async fn read(&self, reader: FileReader, mut router: Router, running: &Running) -> Result<Read> {
        self.telemetry.state(State::CatchingUp);
        let (sender, mut groups) = mpsc::channel(GROUPS);
        let reading = tokio::task::spawn_blocking(move || read_file(reader, &sender));
        let mut changes = 0;
        let stopped = loop {
            let group: Option<Vec<Change>> = tokio::select! {
                biased;
                () = running.failed().cancelled() => return Err(stopped_by_executor()),
                () = self.shutdown.cancelled() => break true,
                group = groups.recv() => group,
            };
            let Some(group) = group else { break false };
            changes += u64::try_from(group.len()).unwrap_or(0);
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => break true,
                routed = router.route(group) => routed?,
            }
        };
        groups.close();
        let panicked = |error| Error::new(Kind::Defect, Stage::Source, format!("reading the file panicked: {error}"));
        let (last, skipped) = reading.await.map_err(panicked)??;
        if let (Some(position), false) = (&last, stopped) {
            router.watermark(&Through { position: position.clone(), complete: true }, Duration::ZERO).await?;
        }
        Ok(Read { last, changes, skipped, stopped })
    }
}

/// Reads the file in groups of changes until nobody takes them; returns its last place, and how much was passed over.
fn read_file(mut reader: FileReader, to: &mpsc::Sender<Vec<Change>>) -> Result<(Option<Position>, u64)> {
    let (mut group, mut bytes) = (Vec::new(), 0);
    let ended = loop {
        match reader.next_changes() {
            Ok(Some(changes)) => {
                bytes += changes.iter().map(Change::weight).sum::<usize>();
                group.extend(changes);
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
        if group.len() >= GROUP || bytes >= GROUP_BYTES {
            bytes = 0;
            if to.blocking_send(std::mem::take(&mut group)).is_err() {
                break Ok(());
            }
        }
    };
    // What comes before a damaged entry is good. Whoever has stopped takes no more; that is no error.
    let _ = to.blocking_send(group);
    ended.map(|()| (reader.last().cloned(), reader.skipped()))
}

/// Just before everything of a time.
fn before(ClusterTime { seconds, ordinal }: ClusterTime) -> Position {
    let time = match ordinal.checked_sub(1) {
        Some(ordinal) => ClusterTime { seconds, ordinal },
        None => ClusterTime { seconds: seconds.saturating_sub(1), ordinal: u32::MAX },
    };
    Position::after(time, None)
}
