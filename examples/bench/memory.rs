//! What the first copy of very large documents takes: each nearly as large as MongoDB allows, many times the memory limit.

use std::fmt::Write as _;

use futures_util::{TryStreamExt as _, stream};
use mongodb::bson::{Document, doc};

use crate::Result;
use crate::bench::{Bench, MIB};
use crate::report::Case;

const DATABASE: &str = "snapshot_memory";
/// One document, of the 16 MiB that it may have.
const DOCUMENT: usize = 15_000_000;
/// Documents that are written at a time.
const WRITERS: usize = 2;

impl Bench {
    /// One run with the default limits until all is copied.
    pub async fn snapshot_memory(&self, documents: u64) -> Result<Case> {
        let mut case = Case::new("snapshot, memory", format!("{documents} documents of 15 MB, 256 MiB limit"));
        // The cache that the other cases have does not hold a few transactions of this size.
        let cache = doc! { "setParameter": 1, "wiredTigerEngineRuntimeConfig": "cache_size=1GB" };
        self.mongodb.database("admin").run_command(cache).await?;
        let collection = self.mongodb.database(DATABASE).collection::<Document>("texts");
        stream::iter((0..i64::try_from(documents)?).map(Ok))
            .try_for_each_concurrent(WRITERS, |id| {
                let insert = collection.insert_one(doc! { "_id": id, "text": text(id) });
                async { insert.await.map(|_| ()) }
            })
            .await?;
        self.create(DATABASE).await?;
        let daemon = self.start(DATABASE, &format!("{DATABASE}.*"), &[], &["--until-caught-up"])?;
        let started = daemon.started;
        let peak = daemon.until_it_ends().await?;
        let seconds = started.elapsed().as_secs_f64();
        self.texts_are_there(documents).await?;
        let bytes = documents as f64 * DOCUMENT as f64;
        case.add("peak memory, MiB", peak as f64 / MIB);
        case.add("duration, s", seconds);
        case.add("BSON copied, MiB/s", bytes / MIB / seconds);
        self.remove(DATABASE).await?;
        self.mongodb.database(DATABASE).drop().await?;
        Ok(case)
    }

    /// All texts are there in their whole length, which PostgreSQL knows without unpacking them.
    async fn texts_are_there(&self, documents: u64) -> Result<()> {
        let sql = format!("SELECT count(*), min(octet_length(text)), max(octet_length(text)) FROM {DATABASE}.texts");
        let row = self.postgres(DATABASE).await?.query_one(&sql, &[]).await?;
        let (rows, least, most): (i64, Option<i32>, Option<i32>) = (row.get(0), row.get(1), row.get(2));
        let whole = Some(i32::try_from(DOCUMENT)?);
        if u64::try_from(rows)? != documents || (documents > 0 && (least != whole || most != whole)) {
            return Err(format!("{rows} rows of {least:?} to {most:?} bytes instead of {documents}").into());
        }
        Ok(())
    }
}

/// A text that is different for each document and small when it is compressed: both servers keep little of it on disk.
fn text(id: i64) -> String {
    let mut text = String::with_capacity(DOCUMENT + 64);
    while text.len() < DOCUMENT {
        // Writing to a text does not fail.
        let _ = write!(text, "The harbour of document {id} is frozen in winter. ");
    }
    text.truncate(DOCUMENT);
    text
}
