//! Costs that must not grow: with the number of collections, of columns, of changes that wait.
//!
//! Each point is a backlog of the mixed workload; the points of a curve differ in one thing only. The figures go into the
//! report, and into pictures.

use std::fs;

use crate::Result;
use crate::backlog::{Layout, RATE, Running};
use crate::bench::{Bench, MEMORY, READERS, streaming, words};
use crate::load::Shape;
use crate::plot::{Chart, Line};
use crate::report::Case;

const COLLECTIONS: [u64; 7] = [1, 4, 16, 64, 256, 1024, 2048];
const COLUMNS: [u16; 6] = [10, 50, 100, 200, 400, 800];
/// Databases that collections are spread over, as far as there are so many.
const DATABASES: u64 = 16;

/// A curve in the making, a case for each reader.
struct Curve {
    file: &'static str,
    title: String,
    below: &'static str,
    beside: &'static str,
    cases: [Case; 2],
    /// The points: where, and the figure's name.
    points: Vec<(f64, String)>,
}

impl Curve {
    fn new(file: &'static str, title: String, below: &'static str, beside: &'static str) -> Self {
        let name = file.trim_end_matches(".svg").replace('-', " ");
        let cases = READERS.map(|reader| Case::new(format!("curve, {name}, {}", words(reader)), title.clone()));
        Self { file, title, below, beside, cases, points: Vec::new() }
    }

    /// Adds what the last point is of the first: 1 where the curve is flat.
    fn end(mut self) -> Self {
        if let [(_, first), .., (_, last)] = self.points.as_slice() {
            for case in &mut self.cases {
                case.add("the last point ÷ the first", case.median(last) / case.median(first));
            }
        }
        self
    }

    /// Adds one run's values of a point, one for each reader.
    fn add(&mut self, at: u32, values: [f64; 2]) {
        let name = format!("{}, {at} {}", self.beside, self.below);
        for (case, value) in self.cases.iter_mut().zip(values) {
            case.add(&name, value);
        }
        if !self.points.iter().any(|(_, other)| *other == name) {
            self.points.push((at.into(), name));
        }
    }

    fn chart(&self) -> Chart {
        let line = |(case, reader): (&Case, _)| Line {
            name: words(reader).to_owned(),
            points: self.points.iter().map(|(at, name)| (*at, case.median(name))).collect(),
        };
        Chart {
            title: self.title.clone(),
            below: self.below.to_owned(),
            beside: self.beside.to_owned(),
            lines: self.cases.iter().zip(READERS).map(line).collect(),
        }
    }
}

impl Bench {
    /// All four; the longest backlog has so many changes.
    pub async fn curves(&self, changes: u64, longest: u64) -> Result<Vec<Case>> {
        let mut curves: Vec<Curve> = self.by_collections(changes).await?.into();
        curves.push(self.by_columns(changes / 3).await?);
        curves.push(self.by_backlog(longest).await?);
        fs::create_dir_all(&self.arguments.pictures)?;
        for curve in &curves {
            fs::write(self.arguments.pictures.join(curve.file), curve.chart().svg())?;
        }
        Ok(curves.into_iter().flat_map(|curve| curve.cases).collect())
    }

    /// Cost of a change, and time to start, with so many known collections.
    async fn by_collections(&self, changes: u64) -> Result<[Curve; 2]> {
        let title = format!("Cost of a change, backlog of {changes}");
        let mut cost = Curve::new("cost-by-collections.svg", title, "collections", "µs per change");
        let title = "Start-up, nothing to do".to_owned();
        let mut start = Curve::new("start-by-collections.svg", title, "known collections", "s until it follows");
        let most = if self.arguments.quick { 64 } else { u64::MAX };
        for collections in COLLECTIONS.into_iter().filter(|collections| *collections <= most) {
            self.say(&format!("curve, {collections} collections"));
            let databases = collections.min(DATABASES);
            let prefix = format!("of{collections}");
            let layout = Layout::new("curve", &prefix, databases, collections / databases, Shape::Users);
            let mut running = Running::new(layout, changes);
            self.begin(&mut running).await?;
            let at = u32::try_from(collections)?;
            for _ in 0..self.arguments.runs {
                let mut seconds = [0.0; 2];
                for (seconds, reader) in seconds.iter_mut().zip(READERS) {
                    let mut daemon = running.follow(self, reader)?;
                    daemon.until("it follows", streaming).await?;
                    *seconds = daemon.started.elapsed().as_secs_f64();
                    daemon.stop().await?;
                }
                start.add(at, seconds);
                cost.add(at, self.cost(&mut running).await?);
            }
            self.forget(&running).await?;
        }
        Ok([cost.end(), start.end()])
    }

    /// Cost of a change of a few of so many columns.
    async fn by_columns(&self, changes: u64) -> Result<Curve> {
        let title = format!("Cost of a change of a few columns, backlog of {changes}");
        let mut curve = Curve::new("cost-by-columns.svg", title, "columns of the table", "µs per change");
        for columns in COLUMNS {
            self.say(&format!("curve, {columns} columns"));
            let layout = Layout::new("curve", &format!("columns{columns}"), 1, 1, Shape::Sparse(columns));
            let mut running = Running::new(layout, changes);
            self.begin(&mut running).await?;
            for _ in 0..self.arguments.runs {
                curve.add(columns.into(), self.cost(&mut running).await?);
            }
            self.forget(&running).await?;
        }
        Ok(curve.end())
    }

    /// Memory with so many changes that wait, in 16 × 8 collections.
    async fn by_backlog(&self, longest: u64) -> Result<Curve> {
        let title = "Peak memory, 16 × 8 collections, 64 MiB limit".to_owned();
        let mut curve = Curve::new("memory-by-backlog.svg", title, "changes of backlog", "MB");
        let mut running = Running::new(Layout::new("curve", "waiting", 16, 8, Shape::Users), 0);
        self.begin(&mut running).await?;
        let mut changes = 10_000.min(longest);
        loop {
            self.say(&format!("curve, {changes} changes of backlog"));
            running.changes = changes;
            // A long one takes minutes; what it shows does not hang on one run.
            let runs = if changes > 1_000_000 { 1 } else { self.arguments.runs };
            for _ in 0..runs {
                self.cost(&mut running).await?;
                let peaks = running.cases.each_ref().map(|case| case.last(MEMORY));
                curve.add(u32::try_from(changes)?, peaks);
            }
            if changes >= longest {
                return Ok(curve.end());
            }
            changes = (changes * 10).min(longest);
        }
    }

    /// Makes a backlog; microseconds per change of each reader.
    async fn cost(&self, running: &mut Running) -> Result<[f64; 2]> {
        running.change(self).await?;
        for reader in READERS {
            self.apply(running, reader).await?;
        }
        Ok(running.cases.each_ref().map(|case| 1e6 / case.last(RATE)))
    }

    /// Takes away what the next points do not need.
    async fn forget(&self, running: &Running) -> Result<()> {
        for reader in READERS {
            self.remove(&running.target(reader)).await?;
        }
        for database in running.databases() {
            self.mongodb.database(&database).drop().await?;
        }
        Ok(())
    }
}
