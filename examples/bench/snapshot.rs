//! The first copy, beside its floors: the same documents read raw, the same rows written by `COPY BINARY`.

use bytes::Bytes;
use tailwater::model::limits::SnapshotOptions;

use crate::Result;
use crate::bench::{Bench, CONNECTIONS, LIMITS, copied, streaming};
use crate::copying::{Encoded, Key, count, encoded};
use crate::load::{Feed, Shape, fill};
use crate::raw::same;
use crate::report::{Case, Goal};
use crate::tables::{Table, make_floors, remove_floors, rows, tables};
use crate::upserts::{Batches, write};

/// Rows of the upserts.
const UPSERTS: usize = 200_000;
const RATE: &str = "documents/s";
const FLOOR: &str = "floor: COPY, then the key, documents/s";

impl Bench {
    /// One collection, from the daemon's start until it follows, which is when the keys are there.
    pub async fn snapshot(&self, shape: Shape, documents: u64) -> Result<Case> {
        let database = format!("snapshot_{}", shape.name());
        let mut feeds = [Feed::new(&database, shape.name(), shape)];
        fill(&self.mongodb, &mut feeds, documents).await?;
        let [feed] = &feeds;
        let bytes = self.document_bytes(feed).await?;
        let load = format!("{documents} {} of {bytes} bytes, {} rows each", shape.name(), shape.rows());
        let mut case = Case::new(format!("snapshot, {}", shape.name()), load);
        for run in 1..=self.arguments.runs {
            let target = format!("{database}_{run}");
            self.create(&target).await?;
            self.copy_once(&mut case, &target, &feeds, documents).await?;
            let client = self.postgres(&target).await?;
            let rows = encoded(&client).await?;
            same("rows", count(&rows), documents * shape.rows())?;
            self.floors(&mut case, &target, feed, &rows).await?;
            let goal = match shape {
                Shape::Users => Some(Goal::AtLeast(0.85)),
                Shape::Students => Some(Goal::AtLeast(0.8)),
                Shape::Wide | Shape::Large | Shape::Sparse(_) => None,
            };
            let ratio = case.last(RATE) / case.last(FLOOR);
            match goal {
                Some(goal) => case.aim("documents/s ÷ COPY, then the key", ratio, goal),
                None => case.add("documents/s ÷ COPY, then the key", ratio),
            }
            if shape == Shape::Users {
                self.upserts(&mut case, &target).await?;
            }
            drop(client);
            self.remove(&target).await?;
        }
        self.mongodb.database(&database).drop().await?;
        Ok(case)
    }

    async fn copy_once(&self, case: &mut Case, target: &str, feeds: &[Feed; 1], documents: u64) -> Result<()> {
        let [feed] = feeds;
        self.settle().await?;
        let mut daemon = self.start(target, &format!("{}.*", feed.database), &LIMITS, &[])?;
        let done = |status: &_| streaming(status) && copied(status) >= documents;
        daemon.until("all is copied", done).await?;
        case.add(RATE, documents as f64 / daemon.started.elapsed().as_secs_f64());
        self.add_costs(case, &daemon, daemon.before)?;
        self.compare(target, feeds).await?;
        daemon.stop().await
    }

    async fn floors(&self, case: &mut Case, target: &str, feed: &Feed, rows: &[Encoded]) -> Result<()> {
        let connections = SnapshotOptions::default().parallel.min(CONNECTIONS);
        let rate = |seconds: f64| feed.documents() as f64 / seconds;
        let read = self.raw_scan(feed, connections).await?;
        case.add("floor: raw read, documents/s", rate(read));
        for (name, key) in [
            (FLOOR, Key::Last),
            ("floor: COPY with the key there, documents/s", Key::First),
            ("floor: COPY without a key, documents/s", Key::Never),
        ] {
            case.add(name, rate(self.copy_floor(target, rows, key, connections).await?));
        }
        Ok(())
    }

    /// Upserts of new rows, then of the same once more, over as many connections.
    async fn upserts(&self, case: &mut Case, target: &str) -> Result<()> {
        let connections = SnapshotOptions::default().parallel.min(CONNECTIONS);
        let client = self.postgres(target).await?;
        let tables = tables(&client).await?;
        make_floors(&client, &tables, true).await?;
        let [table] = tables.as_slice() else { return Err("flat documents have one table".into()) };
        let all = rows(&client, table).await?;
        let some = all.get(..UPSERTS.min(all.len())).unwrap_or_default();
        let clients = self.connect(target, connections).await?;
        for name in ["floor: UNNEST upsert of new rows, rows/s", "floor: UNNEST upsert of existing rows, rows/s"] {
            let batches = parts(table, some, connections)?;
            self.settle().await?;
            case.add(name, some.len() as f64 / write(&clients, batches).await?);
        }
        remove_floors(&client, &tables).await
    }
}

/// The same rows for each of so many connections.
fn parts(table: &Table, rows: &[Bytes], connections: usize) -> Result<Vec<Batches>> {
    let mut parts = Vec::new();
    for part in rows.chunks(rows.len().div_ceil(connections).max(1)) {
        let mut batches = Batches::default();
        batches.upsert(table, &part.iter().collect::<Vec<_>>())?;
        parts.push(batches);
    }
    Ok(parts)
}
