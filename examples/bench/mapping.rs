//! The mapping alone, without servers: raw BSON to COPY fields on one thread.
//!
//! Seconds are those that the thread was on a core, by `/proc`, so that whatever else the machine does hardly matters.

use std::fs;
use std::hint::black_box;
use std::sync::Arc;

use tailwater::mapping::collection::{Collection, Shared};
use tailwater::model::bson::Document;
use tailwater::model::namespace::{CollectionId, Namespace};
use tailwater::sink::range_rows::RangeRows;

use crate::Result;
use crate::load::{Feed, Shape};
use crate::report::Case;

/// Encoded rows are taken away when they are so many bytes, as the daemon does.
const SEND_BYTES: usize = 4 << 20;

const MIB: f64 = 1024.0 * 1024.0;

/// Documents and the mapping that holds them.
struct Load {
    documents: Vec<Document>,
    mapping: Collection,
    case: Case,
}

impl Load {
    fn new(shape: Shape, documents: usize) -> Result<Self> {
        let mut feed = Feed::new("mapping", shape.name(), shape);
        let raw = (0..documents).map(|_| Ok(Document::new(feed.document().to_vec()?)?));
        let documents = raw.collect::<Result<Vec<_>>>()?;
        let shared = Shared { names: Arc::default(), options: Arc::default(), collections: Arc::default() };
        let namespace = Namespace::new("mapping", shape.name());
        let mut mapping = Collection::new(CollectionId([0; 16]), namespace, shared);
        for document in &documents {
            while mapping
                .document(document.as_doc(), false, &mut RangeRows::new(false, None))
                .map_err(|reject| reject.0)?
            {}
        }
        let name = match shape {
            Shape::Users => "mapping, flat",
            Shape::Students => "mapping, nested",
            Shape::Wide => "mapping, wide",
            Shape::Large => "mapping, large",
            Shape::Sparse(_) => "mapping, sparse",
        };
        Ok(Self { case: Case::new(name, format!("{} {}", documents.len(), shape.name())), documents, mapping })
    }

    fn run(&mut self) -> Result<()> {
        let (mut rows, mut sent) = (RangeRows::new(false, None), 0);
        let start = on_a_core()?;
        for document in &self.documents {
            if self.mapping.document(document.as_doc(), false, &mut rows).map_err(|reject| reject.0)? {
                return Err("the shape changed".into());
            }
            if rows.weight() >= SEND_BYTES {
                sent += rows.weight();
                black_box(rows.take());
            }
        }
        let seconds = on_a_core()? - start;
        sent += rows.weight();
        let bytes: usize = self.documents.iter().map(Document::len).sum();
        self.case.add("documents/s per core", self.documents.len() as f64 / seconds);
        self.case.add("BSON read, MiB/s per core", bytes as f64 / MIB / seconds);
        self.case.add("COPY written, MiB/s per core", sent as f64 / MIB / seconds);
        Ok(())
    }
}

/// Seconds that this thread has been on a core.
fn on_a_core() -> Result<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = text.split_whitespace().next().ok_or("no schedstat")?.parse()?;
    Ok(nanoseconds / 1e9)
}

/// Flat and nested documents, in turns.
pub fn measure(runs: u32, part: usize) -> Result<Vec<Case>> {
    let mut loads = [Load::new(Shape::Users, 200_000 / part)?, Load::new(Shape::Students, 80_000 / part)?];
    for _ in 0..runs {
        for load in &mut loads {
            load.run()?;
        }
    }
    Ok(loads.into_iter().map(|load| load.case).collect())
}
