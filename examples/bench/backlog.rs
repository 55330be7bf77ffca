//! A backlog of the mixed workload, by either reader, beside its floors: the same backlog read raw, the same net rows
//! written in bulk.
//!
//! Every layout has a target for each reader, and tables of the floor beside those of one, which always hold what a target
//! holds: the floor writes what the backlog came to. In every run each layout has its turn; what the others have written is
//! read before its own backlog is made.

use std::collections::BTreeMap;

use bytes::Bytes;
use tailwater::source::ReaderKind;

use crate::Result;
use crate::bench::{Bench, CONNECTIONS, READERS, applied, streaming, word, words};
use crate::daemon::Daemon;
use crate::load::{Feed, Shape, change, fill};
use crate::report::{Case, Goal};
use crate::tables::{Table, make_floors, rows, tables};
use crate::upserts::{Batches, Difference, write};

/// Documents before the first backlog; two in each collection at least.
const BASE: u64 = 1000;
const RATE: &str = "changes/s";
const PER_CHANGE: &str = "mongod, µs of a core per change";

/// How a backlog is spread.
struct Layout {
    name: &'static str,
    prefix: &'static str,
    databases: u64,
    collections: u64,
    shape: Shape,
    /// The case that has a goal for what it reaches of its floors.
    is_the_mix: bool,
}

const LAYOUTS: [Layout; 4] = [
    layout("backlog, 1 × 1", "hot", 1, 1),
    Layout { is_the_mix: true, ..layout("backlog, 16 × 8", "mix", 16, 8) },
    layout("backlog, 16 × 128", "many", 16, 128),
    Layout { shape: Shape::Students, ..layout("backlog, nested, 1 × 1", "nested", 1, 1) },
];

const fn layout(name: &'static str, prefix: &'static str, databases: u64, collections: u64) -> Layout {
    Layout { name, prefix, databases, collections, shape: Shape::Users, is_the_mix: false }
}

/// A layout that is being measured.
struct Running {
    layout: &'static Layout,
    feeds: Vec<Feed>,
    changes: u64,
    /// One for each reader.
    cases: [Case; 2],
}

impl Running {
    fn new(layout: &'static Layout, changes: u64) -> Self {
        let Layout { prefix, databases, collections, shape, .. } = layout;
        let places = (1..=*databases).flat_map(|database| (1..=*collections).map(move |at| (database, at)));
        let feed =
            |(database, at)| Feed::new(&format!("{prefix}_{database}"), &format!("{}_{at}", shape.name()), *shape);
        let feeds = places.map(feed).collect();
        let load = format!("{changes} changes of {} in {databases} × {collections} collections", shape.name());
        let cases = READERS.map(|reader| Case::new(format!("{}, {}", layout.name, words(reader)), load.clone()));
        Self { layout, feeds, changes, cases }
    }

    fn include(&self) -> String {
        format!("{}_*.*", self.layout.prefix)
    }

    fn target(&self, reader: ReaderKind) -> String {
        format!("backlog_{}_{}", self.layout.prefix, word(reader))
    }

    fn follow(&self, bench: &Bench, reader: ReaderKind) -> Result<Daemon> {
        bench.follow(&self.target(reader), &self.include(), reader)
    }
}

impl Bench {
    /// All layouts in turn.
    pub async fn backlog(&self, changes: u64) -> Result<Vec<Case>> {
        let mut all = Vec::new();
        for layout in &LAYOUTS {
            let share = if layout.shape == Shape::Students { 4 } else { 1 };
            let mut running = Running::new(layout, changes / share);
            self.begin(&mut running).await?;
            all.push(running);
        }
        for run in 1..=self.arguments.runs {
            for running in &mut all {
                eprintln!("bench: {}, run {run}", running.layout.name);
                self.turn(running, run).await?;
            }
            compare_layouts(&mut all);
        }
        Ok(all.into_iter().flat_map(|running| running.cases).collect())
    }

    /// The first copy for each reader, and the floor's tables with the same rows.
    async fn begin(&self, running: &mut Running) -> Result<()> {
        let collections = u64::try_from(running.feeds.len())?;
        fill(&self.mongodb, &mut running.feeds, BASE.max(2 * collections)).await?;
        for reader in READERS {
            self.create(&running.target(reader)).await?;
        }
        self.catch_up(running).await?;
        let client = self.postgres(&running.target(ReaderKind::ChangeStream)).await?;
        let tables = tables(&client).await?;
        make_floors(&client, &tables, true).await?;
        for table in &tables {
            let sql = format!("INSERT INTO {} SELECT * FROM {}", table.floor().qualified(), table.qualified());
            client.batch_execute(&sql).await?;
        }
        Ok(())
    }

    /// Lets the daemons read all that there is, and stops them.
    async fn catch_up(&self, running: &Running) -> Result<()> {
        let [first, second] = READERS;
        let mut daemons = [running.follow(self, first)?, running.follow(self, second)?];
        for daemon in &mut daemons {
            daemon.until("it follows", streaming).await?;
        }
        for daemon in daemons {
            daemon.stop().await?;
        }
        Ok(())
    }

    async fn turn(&self, running: &mut Running, run: u32) -> Result<()> {
        self.catch_up(running).await?;
        let from = self.now().await?;
        change(&self.mongodb, &mut running.feeds, running.changes).await?;
        let changes = running.changes as f64;
        let mut raw = [0.0; 2];
        for (reader, raw) in READERS.into_iter().zip(&mut raw) {
            self.settle().await?;
            *raw = changes / self.raw_changes(reader, from, running.changes).await?;
        }
        // Neither always comes first.
        let order = if run % 2 == 1 { READERS } else { [ReaderKind::Oplog, ReaderKind::ChangeStream] };
        for reader in order {
            self.apply(running, reader).await?;
        }
        let written = changes / self.write_floor(running).await?;
        let goal = running.layout.is_the_mix.then_some(Goal::AtLeast(0.7));
        for (case, read) in running.cases.iter_mut().zip(raw) {
            case.add("floor: raw read, changes/s", read);
            case.add("floor: bulk writing of the net rows, changes/s", written);
            let (name, ratio) = ("changes/s ÷ the slower floor", case.last(RATE) / read.min(written));
            match goal {
                Some(goal) => case.aim(name, ratio, goal),
                None => case.add(name, ratio),
            }
        }
        let [stream, oplog] = &mut running.cases;
        let ratio = |name| oplog.last(name) / stream.last(name);
        let (rate, time) = (ratio(RATE), ratio(PER_CHANGE));
        oplog.aim("changes/s ÷ the change stream's", rate, Goal::AtLeast(1.0));
        oplog.aim("mongod's time per change ÷ the change stream's", time, Goal::AtMost(0.2));
        Ok(())
    }

    /// The daemon, from its start until it has applied the backlog.
    async fn apply(&self, running: &mut Running, reader: ReaderKind) -> Result<()> {
        self.settle().await?;
        let connections = self.count_connections().await?;
        let mut daemon = running.follow(self, reader)?;
        daemon.until("a change is applied", |status| applied(status) > 0).await?;
        let first = daemon.started.elapsed().as_secs_f64();
        let changes = running.changes;
        daemon.until("the backlog is applied", |status| applied(status) >= changes).await?;
        let seconds = daemon.started.elapsed().as_secs_f64();
        let target = running.target(reader);
        let Some(case) = running.cases.iter_mut().zip(READERS).find_map(|(case, of)| (of == reader).then_some(case))
        else {
            return Err("a reader without a case".into());
        };
        case.add(RATE, changes as f64 / seconds);
        case.add("start to first commit, s", first);
        let used = self.add_costs(case, &daemon, daemon.before)?;
        case.add(PER_CHANGE, used.mongodb / changes as f64 * 1e6);
        let most = Goal::AtMost(CONNECTIONS as f64);
        case.aim("PostgreSQL connections, most", connections.most().await? as f64, most);
        self.compare(&target, &running.feeds).await?;
        daemon.stop().await
    }

    /// Seconds to bring the floor's tables to where the daemon's are, over a connection for each database.
    async fn write_floor(&self, running: &Running) -> Result<f64> {
        let database = running.target(ReaderKind::ChangeStream);
        let client = self.postgres(&database).await?;
        let mut schemas: BTreeMap<String, Vec<Table>> = BTreeMap::new();
        for table in tables(&client).await? {
            schemas.entry(table.schema.clone()).or_default().push(table);
        }
        let mut all = Vec::new();
        for tables in schemas.values() {
            let mut batches = Batches::default();
            for table in tables {
                let (before, after) = (rows(&client, &table.floor()).await?, rows(&client, table).await?);
                let Difference { written, deleted } = Difference::new(table, &before, &after)?;
                batches.delete(table, &deleted)?;
                batches.upsert(table, &written)?;
            }
            all.push(batches);
        }
        let clients = self.connect(&database, all.len().min(CONNECTIONS)).await?;
        self.settle().await?;
        let seconds = write(&clients, all).await?;
        self.floor_is_there(&client, schemas.values().flatten()).await?;
        Ok(seconds)
    }

    /// The floor has written what the daemon has.
    async fn floor_is_there(
        &self,
        client: &tokio_postgres::Client,
        tables: impl Iterator<Item = &Table>,
    ) -> Result<()> {
        for table in tables {
            let (ours, floor): (Vec<Bytes>, Vec<Bytes>) =
                (rows(client, table).await?, rows(client, &table.floor()).await?);
            let Difference { written, deleted } = Difference::new(table, &floor, &ours)?;
            if !written.is_empty() || !deleted.is_empty() {
                return Err(format!("the floor of {} is another", table.qualified()).into());
            }
        }
        Ok(())
    }
}

/// Very many collections against one.
fn compare_layouts(all: &mut [Running]) {
    if let [one, _, many, ..] = all {
        for (many, one) in many.cases.iter_mut().zip(&one.cases) {
            many.aim("changes/s ÷ those of 1 × 1", many.last(RATE) / one.last(RATE), Goal::AtLeast(0.8));
        }
    }
}
