//! Reading what an aggregation pipeline makes of a collection, as it was at one cluster time.
//!
//! In: a collection (by UUID), stages, a time. Out: the server's batches, as `scan` yields those of a range. Invariant: all
//! batches from the same cluster time, other collections that the stages read included. A result without an `_id` is
//! yielded as it is. Strings are compared by the collection's own collation, as for any aggregation of it.
//!
//! The server keeps old times for a while only (`minSnapshotHistoryWindowInSeconds`, 5 minutes by default), so a pipeline
//! that takes longer than that is cut by ids, or its server is told to keep more.

use std::collections::VecDeque;
use std::time::Duration;

use bson::{RawArrayBuf, RawDocumentBuf, rawdoc};

use super::catalog::{CollectionInfo, raw, uuid_value};
use super::scan::{BATCH, RangeReader, snapshot_concern};
use super::{More, Source};
use crate::error::Result;
use crate::model::bson::Document;
use crate::model::position::ClusterTime;

/// How long to wait for an answer: a `$group` or `$sort` reads everything before it yields anything.
const PATIENCE: Duration = Duration::from_secs(3600);

impl Source {
    /// Opens the results of `stages` over a collection at `at`, or at the current operation time.
    ///
    /// # Errors
    /// [`Kind::Interrupted`] when the collection is gone or the time is too old to be read; what `faults` makes of the
    /// server's answer to the stages.
    ///
    /// [`Kind::Interrupted`]: crate::error::Kind::Interrupted
    pub async fn read_derived(
        &self,
        collection: &CollectionInfo,
        stages: &[Document],
        at: Option<ClusterTime>,
    ) -> Result<RangeReader> {
        let at = match at {
            Some(at) => at,
            None => self.operation_time().await?,
        };
        let command = command(collection, stages, at)?;
        let doing = format!("derive from {}", collection.namespace);
        let on = self.inner.snapshot_reads.clone();
        let more = More { documents: Some(BATCH), patience: Some(PATIENCE), ..More::default() };
        let verb = bson::cstr!("aggregate");
        let opened = self.open_by_id(verb, collection.namespace.clone(), command, on, more, &doing).await?;
        self.reader(opened, VecDeque::new(), at, BATCH, doing)
    }
}

/// The `aggregate`, without its first field, which holds the name.
fn command(collection: &CollectionInfo, stages: &[Document], at: ClusterTime) -> Result<RawDocumentBuf> {
    let mut pipeline = RawArrayBuf::new();
    for stage in stages {
        pipeline.push(raw(stage.as_doc())?);
    }
    let mut command = rawdoc! { "pipeline": pipeline, "allowDiskUse": true };
    command.append(bson::cstr!("cursor"), rawdoc! { "batchSize": i64::from(BATCH) });
    command.append(bson::cstr!("collectionUUID"), uuid_value(collection.id));
    command.append(bson::cstr!("readConcern"), snapshot_concern(at));
    Ok(command)
}
