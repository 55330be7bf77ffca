//! Rows that are too wide for a page of PostgreSQL: the longest values are left out, each with its row in
//! `tailwater.anomalies`.
//!
//! In: one row of a table with hundreds of columns. Out: the row as far as PostgreSQL takes it, and what was left out.
//! How much room a row needs is for PostgreSQL to say: it depends on compression, on the order of the columns and on
//! columns that are not ours. So it is asked, behind a savepoint, and only where a row may be too wide at all.

use std::cmp::Reverse;

use deadpool_postgres::Object;

use super::faults::fault;
use super::write::one_row;
use crate::error::{Kind, Result, Stage};
use crate::model::position::Position;
use crate::model::row::{Cell, Key, Row};
use crate::model::table::{PgType, Table};
use crate::model::write_set::Anomaly;

/// `MaxHeapTupleSize` of PostgreSQL with pages of 8 KiB.
const PAGE_ROOM: usize = 8160;

/// A value that was left out, and the change that brought it; none for one of the snapshot.
pub type LeftOut = (Anomaly, Option<Position>);

/// What is done with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It is exactly this.
    Put,
    /// Its mentioned cells change, if it exists.
    Patch,
}

/// How large a value may become in a row.
#[derive(Debug, Clone, Copy)]
enum Room {
    /// As nobody wishes it: alignment lost at each value, nothing compressed.
    AtMost,
    /// As it mostly is.
    Likely,
}

/// True when a whole row surely fits.
#[must_use]
pub fn surely_fits(table: &Table, key: &Key, row: &Row) -> bool {
    !table.is_wide() || room(table, key, row, Room::AtMost) <= PAGE_ROOM
}

fn room(table: &Table, key: &Key, row: &Row, how: Room) -> usize {
    /// Header, null bitmap, their padding, and the bitmap's share of columns that are not ours.
    const HEADER: usize = 64;
    let keys = table.key_columns().iter().zip(key.cells()).map(|(column, cell)| stored(column.ty, cell.len(), how));
    let others = table.columns.iter().enumerate().skip(table.key).map(|(at, column)| match row.cell(at) {
        Cell::Absent | Cell::Null => 0,
        Cell::Value(bytes) => stored(column.ty, bytes.len(), how),
    });
    HEADER + table.columns.len() / 8 + keys.sum::<usize>() + others.sum::<usize>()
}

/// Bytes of one value in its row (PostgreSQL's `heap_toast_insert_or_update`).
fn stored(ty: PgType, bytes: usize, how: Room) -> usize {
    /// A pointer to a value that is stored out of line.
    const POINTER: usize = 18;
    /// What is no longer than this with its header stays in the row, and may need padding.
    const STAYS: usize = 24;
    let (size, padding) = match ty {
        PgType::Boolean => (1, 0),
        PgType::Integer => (4, 3),
        PgType::BigInt | PgType::Double | PgType::TimestampTz => (8, 7),
        PgType::Uuid => (16, 0),
        PgType::Text | PgType::Bytea if bytes < STAYS - 3 => (bytes + 1, 0),
        PgType::Text | PgType::Bytea => (POINTER, STAYS + 3 - POINTER),
        // Their size in a row is not that of their text.
        PgType::Numeric | PgType::Jsonb => (POINTER, STAYS + 3 - POINTER),
    };
    match how {
        Room::AtMost => size + padding,
        Room::Likely => size,
    }
}

/// Writes one row, without its longest values if it must be. Part of the caller's transaction.
///
/// # Errors
/// When PostgreSQL refuses it for another reason, or whatever is left out.
pub async fn write_fitting(client: &Object, table: &Table, key: &Key, row: &Row, how: How) -> Result<Vec<LeftOut>> {
    let order = longest_first(table, row);
    let guess = if how == How::Put { guess(table, key, row, &order) } else { 0 };
    // `least` is the least number to leave out that is not known to be too small, `most` one that is enough.
    let (mut least, mut most, mut probe, mut step) = (0, None, guess.min(order.len()), 1);
    loop {
        let tried = without(row, order.get(..probe).unwrap_or_default());
        if within_savepoint(client, one_row(client, table, key, &tried, how)).await? {
            let first = most.is_none();
            most = Some(probe);
            if probe == least {
                break;
            }
            probe = if first { probe - 1 } else { least.midpoint(probe) };
        } else {
            least = probe + 1;
            match most {
                Some(most) if most == least => break,
                Some(most) => probe = least.midpoint(most),
                None if least > order.len() => return Err(no_room(table)),
                None => {
                    probe = (least + step).min(order.len());
                    step *= 2;
                }
            }
        }
    }
    let left_out = order.get(..most.unwrap_or_default()).unwrap_or_default();
    let originals = left_out.iter().flat_map(|column| row.originals(*column));
    Ok(originals.map(|original| (original.anomaly.clone(), original.position.clone())).collect())
}

/// The columns whose value can be left out, the longest first, of equal ones the last first.
fn longest_first(table: &Table, row: &Row) -> Vec<usize> {
    let length = |column: usize| if let Cell::Value(bytes) = row.cell(column) { bytes.len() } else { 0 };
    let mut columns: Vec<usize> = (table.key..table.columns.len())
        .filter(|column| matches!(row.cell(*column), Cell::Value(_)) && !row.originals(*column).is_empty())
        .collect();
    columns.sort_by_key(|column| Reverse((length(*column), *column)));
    columns
}

/// How many values will have to go.
fn guess(table: &Table, key: &Key, row: &Row, order: &[usize]) -> usize {
    let mut room = room(table, key, row, Room::Likely);
    let mut count = 0;
    for column in order {
        if room <= PAGE_ROOM {
            break;
        }
        if let (Some(definition), Cell::Value(bytes)) = (table.columns.get(*column), row.cell(*column)) {
            room -= stored(definition.ty, bytes.len(), Room::Likely);
        }
        count += 1;
    }
    count
}

fn without(row: &Row, columns: &[usize]) -> Row {
    let mut row = row.clone();
    for column in columns {
        row.set_null(*column);
    }
    row
}

/// Does something behind a savepoint; false, and undone, when a limit of PostgreSQL is in the way.
///
/// # Errors
/// Any other error.
pub async fn within_savepoint(client: &Object, doing: impl Future<Output = Result<()>>) -> Result<bool> {
    let failed = |error: tokio_postgres::Error| fault(Stage::Sink, "setting a savepoint", &error);
    client.batch_execute("SAVEPOINT wide_row").await.map_err(failed)?;
    match doing.await {
        Ok(()) => {
            client.batch_execute("RELEASE wide_row").await.map_err(failed)?;
            Ok(true)
        }
        Err(error) if error.kind() == Kind::TooLarge => {
            client.batch_execute("ROLLBACK TO wide_row; RELEASE wide_row").await.map_err(failed)?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn no_room(table: &Table) -> crate::error::Error {
    let message = format!("a row of {} is over PostgreSQL's limit, whatever is left out of it", table.qualified());
    crate::error::Error::new(Kind::TooLarge, Stage::Sink, message)
        .remedy("columns of your own take room too; drop them, or set mapping.max_columns lower and copy it again")
}
