//! The copy beside the stream: what it may cost, what it must not, and copying once more.

mod again;
mod derived;
mod kinds;
mod resume;
mod window;

use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};

use crate::harness::case::Case;
use crate::harness::config::Config;

/// As long as a copy that is slowed down may take.
const SLOW: Duration = Duration::from_secs(180);

/// Text that makes a document as large as a test wants it.
fn padding(bytes: usize) -> String {
    "0123456789abcdef".repeat(bytes.div_ceil(16))
}

/// Documents with those ids.
async fn load(case: &Case, collection: &str, ids: impl IntoIterator<Item = Bson>, bytes: usize) {
    let text = padding(bytes);
    let documents: Vec<Document> =
        ids.into_iter().map(|id| doc! {"_id": id, "n": 0, "l": [{"m": 1}, {"m": 2}], "text": &text}).collect();
    for part in documents.chunks(1000) {
        case.collection(collection).insert_many(part).await.expect("inserted");
    }
}

/// A copy that takes its time.
fn slowly(case: &Case, rate: &str, parallel: usize) -> Config {
    let mut config = case.config();
    config.set("snapshot.max_bytes_per_second", &format!("\"{rate}\"")).set("snapshot.parallel", &parallel.to_string());
    // Readers, executors, the leader's and a spare one.
    config.set("target.max_connections", &(parallel + 6).to_string());
    config
}
