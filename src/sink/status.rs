//! What the target's catalog alone can tell of a pipeline, for when its daemon does not answer.

use std::collections::HashSet;

use super::faults::fault;
use super::options::TargetOptions;
use super::target::Target;
use crate::error::{Error, Kind, Result, Stage};
use crate::model::namespace::Namespace;
use crate::telemetry::status::{DatabaseStatus, SnapshotStatus, Status};

/// What the target's catalog knows about a pipeline whose daemon does not answer. The state is `halted`: nobody works.
///
/// # Errors
/// When the target does not answer either, or holds no catalog of that pipeline.
pub async fn status_from_target(target: &TargetOptions, pipeline: &str) -> Result<Status> {
    let target = Target::connect(target, pipeline).await?;
    let client = target.client().await?;
    let failed = |error: &tokio_postgres::Error| fault(Stage::Sink, "reading the catalog", error);
    if !target.has_catalog().await? {
        return Err(never_ran(pipeline));
    }
    let checkpoints = target.checkpoints().await?;
    let Some(floor) = checkpoints.floor else { return Err(never_ran(pipeline)) };
    let snapshot_time = target.snapshot_time().await?.unwrap_or_default();
    let known = target.known().await?;
    let copied = known.collections.iter().all(|collection| collection.copied);
    let names: HashSet<&Namespace> = known.collections.iter().map(|row| &row.namespace).collect();
    let mut databases: Vec<&str> = names.iter().map(|name| &*name.database).collect();
    databases.sort_unstable();
    databases.dedup();
    let sql = "SELECT (SELECT count(*) FROM tailwater.anomalies WHERE pipeline = $1), \
               coalesce((SELECT sum(documents)::int8 FROM tailwater.snapshot_chunks WHERE pipeline = $1), 0), \
               (SELECT count(DISTINCT (collection, id_key)) FROM tailwater.quarantine WHERE pipeline = $1), \
               coalesce((SELECT sum(bytes)::int8 FROM tailwater.snapshot_chunks WHERE pipeline = $1), 0)";
    let counts = client.query_one(sql, &[&pipeline]).await.map_err(|error| failed(&error))?;
    let count = |column: usize| u64::try_from(counts.get::<_, i64>(column)).unwrap_or(0);
    let database = |name: &str| {
        let position = checkpoints.lanes.get(name).unwrap_or(&floor).max(&floor).cluster_time();
        let consistent = copied && position > snapshot_time;
        DatabaseStatus { name: name.to_owned(), consistent, lag_seconds: None, position: position.to_string() }
    };
    Ok(Status {
        pipeline: pipeline.to_owned(),
        state: "halted".to_owned(),
        reason: Some("no daemon answers; this is what the target's catalog says".to_owned()),
        lag_seconds: None,
        oplog_window_seconds: None,
        changes_applied: 0,
        changes_per_second: None,
        anomalies: count(0),
        quarantined: count(2),
        snapshot: SnapshotStatus { documents_done: count(1), bytes_done: count(3), ..SnapshotStatus::default() },
        databases: databases.into_iter().map(database).collect(),
        can_cutover: false,
        uptime_seconds: None,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// The error of a command that needs a catalog where there is none.
#[must_use]
pub fn never_ran(pipeline: &str) -> Error {
    Error::new(Kind::Unavailable, Stage::Sink, format!("the target has no catalog of pipeline {pipeline:?}"))
        .remedy("check the pipeline's name, or start it with `tailwater run`")
}
