//! A backlog of the mixed workload, by either reader, beside its floors: the same backlog read raw, the same net rows
//! written in bulk.
//!
//! Every layout has a target for each reader, and tables of the floor beside those of one, which always hold what a target
//! holds: the floor writes what the backlog came to. In every run each layout has its turn; what the others have written is
//! read before its own backlog is made.

use std::collections::BTreeMap;

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
const ONE: &str = "backlog, 1 × 1";
const MIX: &str = "backlog, 16 × 8";
const MANY: &str = "backlog, 16 × 128";
pub const RATE: &str = "changes/s";
const PER_CHANGE: &str = "mongod, µs of a core per change";

/// How a backlog is spread.
pub struct Layout {
    pub name: String,
    /// What the names of its databases begin with.
    pub prefix: String,
    pub databases: u64,
    pub collections: u64,
    pub shape: Shape,
}

impl Layout {
    pub fn new(name: &str, prefix: &str, databases: u64, collections: u64, shape: Shape) -> Self {
        Self { name: name.to_owned(), prefix: prefix.to_owned(), databases, collections, shape }
    }
}

/// A layout that is being measured.
pub struct Running {
    layout: Layout,
    feeds: Vec<Feed>,
    pub changes: u64,
    /// One for each reader.
    pub cases: [Case; 2],
}

impl Running {
    pub fn new(layout: Layout, changes: u64) -> Self {
        let Layout { name, prefix, databases, collections, shape } = &layout;
        let places = (1..=*databases).flat_map(|database| (1..=*collections).map(move |at| (database, at)));
        let feed =
            |(database, at)| Feed::new(&format!("{prefix}_{database}"), &format!("{}_{at}", shape.name()), *shape);
        let feeds = places.map(feed).collect();
        let load = format!("{changes} changes of {} in {databases} × {collections} collections", shape.name());
        let cases = READERS.map(|reader| Case::new(format!("{name}, {}", words(reader)), load.clone()));
        Self { layout, feeds, changes, cases }
    }

    /// Makes the backlog.
    pub async fn change(&mut self, bench: &Bench) -> Result<()> {
        change(&bench.mongodb, &mut self.feeds, self.changes).await
    }

    fn include(&self) -> String {
        format!("{}_*.*", self.layout.prefix)
    }

    pub fn databases(&self) -> impl Iterator<Item = String> {
        (1..=self.layout.databases).map(|database| format!("{}_{database}", self.layout.prefix))
    }

    pub fn target(&self, reader: ReaderKind) -> String {
        format!("backlog_{}_{}", self.layout.prefix, word(reader))
    }

    pub fn follow(&self, bench: &Bench, reader: ReaderKind) -> Result<Daemon> {
        bench.follow(&self.target(reader), &self.include(), reader)
    }
}

impl Bench {
    /// All layouts in turn.
    pub async fn backlog(&self, changes: u64) -> Result<Vec<Case>> {
        // To see that everything works, fewer will do.
        let very_many = if self.arguments.quick { 16 } else { 128 };
        let layouts = [
            (Layout::new(ONE, "hot", 1, 1, Shape::Users), changes),
            (Layout::new(MIX, "mix", 16, 8, Shape::Users), changes),
            (Layout::new(MANY, "many", 16, very_many, Shape::Users), changes),
            (Layout::new("backlog, nested, 1 × 1", "nested", 1, 1, Shape::Students), changes / 4),
        ];
        let mut all = Vec::new();
        for (layout, changes) in layouts {
            self.say(&format!("{}, first copy", layout.name));
            let mut running = Running::new(layout, changes);
            self.begin(&mut running).await?;
            self.make_floor(&running).await?;
            all.push(running);
        }
        for run in 1..=self.arguments.runs {
            for running in &mut all {
                self.say(&format!("{}, run {run}", running.layout.name));
                self.turn(running, run).await?;
            }
            compare_layouts(&mut all);
        }
        Ok(all.into_iter().flat_map(|running| running.cases).collect())
    }

    /// The first copy for each reader.
    pub async fn begin(&self, running: &mut Running) -> Result<()> {
        let collections = u64::try_from(running.feeds.len())?;
        fill(&self.mongodb, &mut running.feeds, BASE.max(2 * collections)).await?;
        for reader in READERS {
            self.create(&running.target(reader)).await?;
        }
        self.catch_up(running).await
    }

    /// The floor's tables, with the rows of the first copy.
    pub async fn make_floor(&self, running: &Running) -> Result<()> {
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
    pub async fn catch_up(&self, running: &Running) -> Result<()> {
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
        running.change(self).await?;
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
        let goal = (running.layout.name == MIX).then_some(Goal::AtLeast(0.7));
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
    pub async fn apply(&self, running: &mut Running, reader: ReaderKind) -> Result<()> {
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
        floor_is_there(&client, schemas.values().flatten()).await?;
        Ok(seconds)
    }
}

/// The floor has written what the daemon has.
pub async fn floor_is_there(client: &tokio_postgres::Client, tables: impl Iterator<Item = &Table>) -> Result<()> {
    for table in tables {
        let (ours, floor) = (rows(client, table).await?, rows(client, &table.floor()).await?);
        let Difference { written, deleted } = Difference::new(table, &floor, &ours)?;
        if !written.is_empty() || !deleted.is_empty() {
            return Err(format!("the floor of {} is another", table.qualified()).into());
        }
    }
    Ok(())
}

/// Very many collections against one.
fn compare_layouts(all: &mut [Running]) {
    if let [one, _, many, ..] = all {
        for (many, one) in many.cases.iter_mut().zip(&one.cases) {
            many.aim("changes/s ÷ those of 1 × 1", many.last(RATE) / one.last(RATE), Goal::AtLeast(0.8));
        }
    }
}
