//! Reading alone: the same backlog by the change stream and by the oplog, into changes that nobody takes.

use std::time::Instant;

use tailwater::model::position::{ClusterTime, Position};
use tailwater::source::ReaderKind;

use crate::Result;
use crate::bench::Bench;
use crate::daemon::Processor;
use crate::load::{Feed, Shape, change, fill};
use crate::report::{Case, Goal};

/// Documents before the backlog, and databases and collections that it is spread over.
const BASE: u64 = 1000;
const DATABASES: u64 = 16;
const COLLECTIONS: u64 = 8;
const RATE: &str = "events/s";
const MONGOD: &str = "mongod, µs of a core per event";

impl Bench {
    /// Each reader's rate, and what mongod spends on an event.
    pub async fn readers(&self, changes: u64) -> Result<Vec<Case>> {
        let mut feeds = Vec::new();
        for database in 1..=DATABASES {
            for collection in 1..=COLLECTIONS {
                feeds.push(Feed::new(&format!("readers_{database}"), &format!("users_{collection}"), Shape::Users));
            }
        }
        fill(&self.mongodb, &mut feeds, BASE).await?;
        let from = Position::after(self.source(ReaderKind::Oplog).await?.operation_time().await?, None);
        change(&self.mongodb, &mut feeds, changes).await?;
        let load = format!("{changes} changes in {DATABASES} × {COLLECTIONS} collections");
        let kinds = [("change stream, read", ReaderKind::ChangeStream), ("oplog, read", ReaderKind::Oplog)];
        let mut cases = kinds.map(|(name, kind)| (Case::new(name, load.clone()), kind));
        for _ in 0..self.arguments.runs {
            for (case, kind) in &mut cases {
                self.read(case, *kind, &from, changes).await?;
                let seconds = self.raw_changes(*kind, from.cluster_time(), changes).await?;
                case.add("floor: raw replies, events/s", changes as f64 / seconds);
            }
            let [(stream, _), (oplog, _)] = &mut cases;
            let ratio = |name| oplog.last(name) / stream.last(name);
            let (rate, time) = (ratio(RATE), ratio(MONGOD));
            oplog.aim("events/s ÷ the change stream's", rate, Goal::AtLeast(1.0));
            oplog.aim("mongod's time per event ÷ the change stream's", time, Goal::AtMost(0.2));
        }
        Ok(cases.map(|(case, _)| case).into())
    }

    async fn read(&self, case: &mut Case, kind: ReaderKind, from: &Position, changes: u64) -> Result<()> {
        let source = self.source(kind).await?;
        let probe = source.probe().await?;
        let end = source.operation_time().await?;
        let before = Processor::of_servers(&self.arguments.servers)?;
        let (ours, start) = (on_all_cores()?, Instant::now());
        let mut reader = source.open_reader(&probe, Some(from)).await?;
        let (mut count, mut boundaries) = (0_u64, 0_u64);
        while !reached(reader.position(), end) {
            let batch = reader.next().await?;
            count += u64::try_from(batch.changes.len())?;
            boundaries += u64::try_from(batch.changes.iter().filter(|change| change.boundary).count())?;
            if batch.caught_up {
                break;
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        if count != changes {
            return Err(format!("{kind:?} read {count} changes instead of {changes}").into());
        }
        let used = Processor::of_servers(&self.arguments.servers)?.since(before);
        let events = changes as f64;
        case.add(RATE, events / seconds);
        case.add(MONGOD, used.mongodb / events * 1e6);
        case.add("reader, µs of a core per event", (on_all_cores()? - ours) / events * 1e6);
        case.add("places where a commit may follow", boundaries as f64);
        Ok(())
    }
}

fn reached(position: &Position, end: ClusterTime) -> bool {
    position.cluster_time() > end
}

/// Processor seconds of this process.
fn on_all_cores() -> Result<f64> {
    crate::daemon::own(std::process::id())
}
