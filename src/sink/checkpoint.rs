//! Positions in PostgreSQL. A lane's row moves in the same transaction as the rows it stands for, by compare-and-set.

use std::collections::HashMap;

use deadpool_postgres::Object;
use tokio_postgres::Row;

use super::faults::fault;
use super::fence::Fence;
use super::statement::Statement;
use super::target::Target;
use crate::error::{Error, Kind, Result, Stage};
use crate::model::position::{ClusterTime, Position};

/// The lane name of the floor: the position from which a restart reads.
pub(super) const FLOOR: &str = "";

/// What was committed before.
#[derive(Debug, Clone, Default)]
pub struct Checkpoints {
    /// Everything up to here is committed in every lane; `None` before the first start.
    pub floor: Option<Position>,
    /// Lanes that are further; a change at or before a lane's position is already applied.
    pub lanes: HashMap<String, Position>,
}

impl Target {
    /// Reads the positions of this pipeline.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn checkpoints(&self) -> Result<Checkpoints> {
        let client = self.client().await?;
        let sql = "SELECT lane, token FROM tailwater.checkpoint WHERE pipeline = $1";
        let rows = client.query(sql, &[&&**self.pipeline()]).await;
        let rows = rows.map_err(|error| fault(Stage::Sink, "reading tailwater.checkpoint", &error))?;
        let mut checkpoints = Checkpoints::default();
        for row in &rows {
            let (lane, position) = lane(row)?;
            if lane == FLOOR {
                checkpoints.floor = Some(position);
            } else {
                checkpoints.lanes.insert(lane, position);
            }
        }
        Ok(checkpoints)
    }
}

fn lane(row: &Row) -> Result<(String, Position)> {
    let token: String = row.get(1);
    let damaged = |error| Error::new(Kind::Defect, Stage::Sink, "tailwater.checkpoint is damaged").caused_by(error);
    Ok((row.get(0), Position::parse(&token).map_err(damaged)?))
}

/// Moves the row of a lane from `old`, which must still be there, to `new`. Part of the caller's transaction.
///
/// # Errors
/// [`Kind::Fenced`] when the row is not at `old`: somebody else has written it.
pub async fn move_lane(
    client: &Object,
    fence: &Fence,
    lane: &str,
    old: Option<&Position>,
    new: &Position,
) -> Result<()> {
    let failed = |error: &tokio_postgres::Error| fault(Stage::Sink, "moving the position", error);
    let time = new.cluster_time();
    let (seconds, ordinal) = (i64::from(time.seconds), i64::from(time.ordinal));
    let (pipeline, old) = (&&**fence.pipeline(), old.map(Position::text));
    let sql = match old {
        Some(_) => {
            "UPDATE tailwater.checkpoint SET token = $3, cluster_seconds = $4, cluster_ordinal = $5, \
             committed_at = now() WHERE pipeline = $1 AND lane = $2 AND token = $6"
        }
        None => {
            "INSERT INTO tailwater.checkpoint (pipeline, lane, token, cluster_seconds, cluster_ordinal) \
             SELECT $1, $2, $3, $4, $5 WHERE $6::text IS NULL ON CONFLICT DO NOTHING"
        }
    };
    let statement = client.prepare_cached(sql).await.map_err(|error| failed(&error))?;
    let moved = client.execute(&statement, &[pipeline, &lane, &new.text(), &seconds, &ordinal, &old]).await;
    if moved.map_err(|error| failed(&error))? == 1 { Ok(()) } else { Err(fence.fenced()) }
}

/// The statement by which a text says where a lane stands, whatever stood there.
pub(super) fn set_lane<'a>(pipeline: &'a str, lane: &'a str, position: &Position) -> Statement<'a> {
    let sql = "INSERT INTO tailwater.checkpoint (pipeline, lane, token, cluster_seconds, cluster_ordinal) \
               VALUES ($1, $2, $3, $4, $5) ON CONFLICT (pipeline, lane) DO UPDATE SET token = EXCLUDED.token, \
               cluster_seconds = EXCLUDED.cluster_seconds, cluster_ordinal = EXCLUDED.cluster_ordinal, \
               committed_at = now()";
    let ClusterTime { seconds, ordinal } = position.cluster_time();
    let (seconds, ordinal) = (i64::from(seconds), i64::from(ordinal));
    let params = [pipeline.into(), lane.into(), position.text().into(), seconds.into(), ordinal.into()];
    Statement::new("moving the position", sql, params)
}

/// Moves the floor. Opens and commits a transaction of its own.
///
/// # Errors
/// As [`move_lane`].
pub async fn move_floor(client: &Object, fence: &Fence, old: Option<&Position>, new: &Position) -> Result<()> {
    fence.begin(client).await?;
    move_lane(client, fence, FLOOR, old, new).await?;
    client.batch_execute("COMMIT").await.map_err(|error| fault(Stage::Sink, "committing the floor", &error))
}
