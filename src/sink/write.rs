//! Net changes as few bulk statements: per table one DELETE per shape of key prefix, one upsert, and one UPDATE per set
//! of changed columns, each with one array parameter per column.

use std::collections::BTreeMap;

use deadpool_postgres::Object;
use futures_util::{StreamExt as _, stream};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::arrays::{ArrayParam, array_type};
use super::copy::copy_rows;
use super::faults::fault;
use super::fold::{Diffs, RowState, TableChanges, apply_here, set_json};
use super::merge::Few;
use super::sql;
use super::wide::{How, LeftOut, surely_fits, within_savepoint, write_fitting};
use crate::error::{Error, Kind, Result, Stage};
use crate::mapping::json_diff;
use crate::model::row::{Cell, Key, Row};
use crate::model::table::{PgType, SharedTable, Table};

/// Prepared statements that a connection keeps at most. Patches come with many sets of columns, and each statement costs
/// the server memory for as long as the connection lives.
const MAX_STATEMENTS: usize = 1000;

/// Bytes of cells in one statement, unless one row has more. Nothing is gained by larger ones, and they exist three
/// times on the way out. In PostgreSQL an array ends at 1 GiB; `jsonb` there takes up to six times its text (`[0,0,…]`).
const STATEMENT_BYTES: usize = 2 << 20;

/// New rows from which on they are copied: a COPY needs one more round trip than an upsert.
const COPY_ROWS: usize = 8;

/// Rows whose `jsonb` cells are read at a time.
const READ_ROWS: usize = 2000;

/// Tables whose statements are on their way at the same time: PostgreSQL has the next one when it is done with one.
const TABLES_AHEAD: usize = 8;

/// The same for tables of many rows: their statements take longer, and memory.
const LARGE_TABLES_AHEAD: usize = 2;

/// Rows of a table that are many.
const LARGE: usize = 100;

/// Writes net changes; returns the values for which their rows had no room. `merge`: the server knows MERGE.
///
/// # Errors
/// When PostgreSQL refuses a statement; [`Kind::NotExact`] when there were rows that should not have been there.
pub async fn write_tables(client: &Object, tables: Vec<TableChanges>, merge: bool) -> Result<Vec<LeftOut>> {
    // Savepoints are for the statements of one table.
    let (wide, plain): (Vec<_>, Vec<_>) = tables.into_iter().partition(|changes| changes.table.is_wide());
    let mut left_out = Vec::new();
    let rows: usize = plain.iter().map(|changes| changes.rows.len()).sum();
    let ahead = if rows > LARGE * plain.len() { LARGE_TABLES_AHEAD } else { TABLES_AHEAD };
    let mut writing = stream::iter(plain.into_iter().map(|changes| write(client, changes, merge))).buffered(ahead);
    let mut consequence = None;
    while let Some(written) = writing.next().await {
        match written {
            Ok(left) => left_out.extend(left),
            // What comes after the statement that failed may be heard of before it.
            Err(error) if is_consequence(&error) => consequence = Some(error),
            Err(error) => return Err(error),
        }
    }
    if let Some(error) = consequence {
        return Err(error);
    }
    for changes in wide {
        left_out.extend(write(client, changes, merge).await?);
    }
    Ok(left_out)
}

/// Writes the net changes of one table; returns the values for which their rows had no room.
///
/// # Errors
/// As [`write_tables`].
pub async fn write(client: &Object, changes: TableChanges, merge: bool) -> Result<Vec<LeftOut>> {
    let TableChanges { table, mut deletes, rows } = changes;
    if client.statement_cache.size() > MAX_STATEMENTS {
        client.statement_cache.clear();
    }
    let mut puts = Vec::new();
    let mut new = Vec::new();
    let mut patches = Vec::new();
    let mut unknown = Vec::new();
    for (key, state) in rows {
        match state {
            RowState::Put { mut row, diffs, fresh } => {
                apply_here(&table, &mut row, diffs, true).map_err(|error| not_json(&table, &error))?;
                if fresh { new.push((key, row)) } else { puts.push((key, row)) }
            }
            RowState::Patch(mut row, diffs) => {
                match apply_here(&table, &mut row, diffs, false).map_err(|error| not_json(&table, &error))? {
                    left if left.is_empty() => patches.push((key, row)),
                    left => unknown.push((key, row, left)),
                }
            }
        }
    }
    let few = if merge { Few::of(&table, &mut deletes, &mut new, &mut patches) } else { None };
    delete(client, &table, deletes).await?;
    if let Some(few) = few {
        few.write(client, &table).await?;
    }
    if new.len() >= COPY_ROWS && !table.is_wide() {
        copy_new(client, &table, new).await?;
    } else {
        puts.append(&mut new);
    }
    let mut left_out = upsert_all(client, &table, puts).await?;
    left_out.extend(update_all(client, &table, patches).await?);
    while !unknown.is_empty() {
        let rest = unknown.split_off(unknown.len().min(READ_ROWS));
        left_out.extend(update_unknown(client, &table, std::mem::replace(&mut unknown, rest)).await?);
    }
    Ok(left_out)
}

/// True when PostgreSQL refused a statement for an earlier one that it has refused.
fn is_consequence(error: &Error) -> bool {
    let refused = format!("SQLSTATE {}", SqlState::IN_FAILED_SQL_TRANSACTION.code());
    error.to_string().contains(&refused)
}

/// Copies rows of new documents, which costs PostgreSQL half of an upsert.
async fn copy_new(client: &Object, table: &SharedTable, rows: Vec<(Key, Row)>) -> Result<()> {
    copy_rows(client, table, rows).await.map_err(|error| refused_new(table, "copying into", error))
}

/// The error of a statement that takes some rows for new.
pub(super) fn refused_new(table: &Table, what: &str, error: tokio_postgres::Error) -> Error {
    if error.code() == Some(&SqlState::UNIQUE_VIOLATION) {
        let message = format!("{} has rows of documents that were inserted just now", table.qualified());
        return Error::new(Kind::NotExact, Stage::Sink, message).caused_by(error);
    }
    fault(Stage::Sink, &format!("{what} {}", table.qualified()), &error)
}

/// Writes whole rows, a statement for as many as its size allows.
async fn upsert_all(client: &Object, table: &SharedTable, rows: Vec<(Key, Row)>) -> Result<Vec<LeftOut>> {
    let (sure, risky): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(key, row)| surely_fits(table, key, row));
    for rows in pieces(sure) {
        upsert(client, table, &rows).await?;
    }
    let mut left_out = Vec::new();
    for (key, row) in &risky {
        left_out.extend(write_fitting(client, table, key, row, How::Put).await?);
    }
    Ok(left_out)
}

/// Patches rows: those of a wide table behind a savepoint, by halves where one of them gets too wide.
async fn update_all(client: &Object, table: &SharedTable, rows: Vec<(Key, Row)>) -> Result<Vec<LeftOut>> {
    let mut left_out = Vec::new();
    let mut waiting = pieces(rows);
    waiting.reverse();
    while let Some(mut rows) = waiting.pop() {
        if !table.is_wide() {
            update(client, table, &rows).await?;
        } else if !within_savepoint(client, update(client, table, &rows)).await? {
            if let [(key, row)] = rows.as_slice() {
                left_out.extend(write_fitting(client, table, key, row, How::Patch).await?);
            } else {
                waiting.push(rows.split_off(rows.len() / 2));
                waiting.push(rows);
            }
        }
    }
    Ok(left_out)
}

/// Cuts rows into pieces for one statement each.
fn pieces(rows: Vec<(Key, Row)>) -> Vec<Vec<(Key, Row)>> {
    let mut pieces = Vec::new();
    let (mut piece, mut bytes) = (Vec::new(), 0);
    for (key, row) in rows {
        let weight = row.weight();
        if bytes + weight > STATEMENT_BYTES && !piece.is_empty() {
            pieces.push(std::mem::take(&mut piece));
            bytes = 0;
        }
        bytes += weight;
        piece.push((key, row));
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

/// Writes one row.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn one_row(client: &Object, table: &Table, key: &Key, row: &Row, how: How) -> Result<()> {
    let rows = [(key.clone(), row.clone())];
    match how {
        How::Put => upsert(client, table, &rows).await,
        How::Patch => update(client, table, &rows).await,
    }
}

type Delete = (Key, Option<i32>);
type Deletes = std::collections::BTreeSet<Delete>;

async fn delete(client: &Object, table: &SharedTable, deletes: Deletes) -> Result<()> {
    let mut shapes: BTreeMap<(usize, bool), Vec<Delete>> = BTreeMap::new();
    for (key, from) in deletes {
        shapes.entry((key.cells().count(), from.is_some())).or_default().push((key, from));
    }
    for ((cells, with_from), deletes) in shapes {
        let mut params = key_arrays(table, cells);
        let mut first = ArrayParam::new(PgType::Integer);
        for (key, from) in &deletes {
            push_key(&mut params, key);
            if let Some(from) = from {
                first.push(Cell::Value(&from.to_be_bytes()));
            }
        }
        let mut types = key_types(table, cells);
        if with_from {
            params.push(first);
            types.push(Type::INT4_ARRAY);
        }
        execute(client, table, "deleting from", &sql::delete(table, cells, with_from), &types, &params).await?;
    }
    Ok(())
}

/// Deletes what lies below a root row that is not there.
///
/// # Errors
/// When PostgreSQL refuses a statement.
pub async fn delete_orphans(client: &Object, tables: &[SharedTable], key: &Key) -> Result<()> {
    let Some((root, below)) = tables.split_first() else { return Ok(()) };
    for table in below {
        let mut params = key_arrays(table, 1);
        push_key(&mut params, key);
        let sql = sql::delete_orphans(root, table);
        execute(client, table, "deleting from", &sql, &key_types(table, 1), &params).await?;
    }
    Ok(())
}

async fn upsert(client: &Object, table: &Table, rows: &[(Key, Row)]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut params: Vec<ArrayParam> = table.columns.iter().map(|column| ArrayParam::new(column.ty)).collect();
    for (key, row) in rows {
        push_key(&mut params, key);
        for (param, cell) in params.iter_mut().skip(table.key).zip(row.cells(table.key)) {
            param.push(cell);
        }
    }
    let mut types: Vec<Type> = table.columns.iter().map(|column| array_type(column.ty)).collect();
    push_metadata(table, rows.iter().map(|(_, row)| row), &mut params, &mut types);
    execute(client, table, "writing to", &sql::upsert(table), &types, &params).await
}

type Patches = Vec<(Key, Row, Diffs)>;

async fn update(client: &Object, table: &Table, patches: &[(Key, Row)]) -> Result<()> {
    let mut shapes: BTreeMap<Vec<usize>, Vec<&(Key, Row)>> = BTreeMap::new();
    for patch in patches {
        let changed: Vec<usize> = patch.1.mentioned().collect();
        if !changed.is_empty() || table.metadata.any() {
            shapes.entry(changed).or_default().push(patch);
        }
    }
    for (changed, rows) in shapes {
        let mut params = key_arrays(table, table.key);
        let mut types = key_types(table, table.key);
        for column in changed.iter().filter_map(|index| table.columns.get(*index)) {
            params.push(ArrayParam::new(column.ty));
            types.push(array_type(column.ty));
        }
        for (key, row) in &rows {
            push_key(&mut params, key);
            for (param, index) in params.iter_mut().skip(table.key).zip(&changed) {
                param.push(row.cell(*index));
            }
        }
        push_metadata(table, rows.iter().map(|(_, row)| row), &mut params, &mut types);
        execute(client, table, "updating", &sql::update(table, &changed), &types, &params).await?;
    }
    Ok(())
}

/// Reads the `jsonb` cells that diffs are for, applies them and writes the patches. Cells are small, mostly, and then
/// come with the first answer; rows with larger ones are read and written a few at a time.
async fn update_unknown(client: &Object, table: &SharedTable, mut patches: Patches) -> Result<Vec<LeftOut>> {
    let mut large: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
    for (column, waiting) in waiting(&patches) {
        for (at, size, stored) in read_cells(client, table, column, &waiting, &patches, Some(SMALL_CELL)).await? {
            match (stored, patches.get_mut(at)) {
                (Some(stored), Some((_, row, diffs))) => apply_to(table, row, column, &stored, diffs)?,
                _ => large.entry(at).or_default().push((column, size)),
            }
        }
    }
    let mut small = Vec::new();
    for (at, (key, row, _)) in patches.iter_mut().enumerate() {
        if !large.contains_key(&at) {
            small.push((key.clone(), std::mem::take(row)));
        }
    }
    let mut left_out = update_all(client, table, small).await?;
    for group in groups(large) {
        let mut columns: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, column) in group.iter().flat_map(|(at, cells)| cells.iter().map(move |(column, _)| (*at, *column))) {
            columns.entry(column).or_default().push(at);
        }
        for (column, waiting) in columns {
            for (at, _, stored) in read_cells(client, table, column, &waiting, &patches, None).await? {
                let (Some(stored), Some((_, row, diffs))) = (stored, patches.get_mut(at)) else { continue };
                apply_to(table, row, column, &stored, diffs)?;
            }
        }
        let mut rows = Vec::new();
        for (at, _) in group {
            if let Some((key, row, _)) = patches.get_mut(at) {
                rows.push((key.clone(), std::mem::take(row)));
            }
        }
        left_out.extend(update_all(client, table, rows).await?);
    }
    Ok(left_out)
}

/// The columns that diffs are for, and the places of their patches.
fn waiting(patches: &Patches) -> BTreeMap<usize, Vec<usize>> {
    let mut columns: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, (_, _, diffs)) in patches.iter().enumerate() {
        for (column, _) in diffs {
            let waiting = columns.entry(*column).or_default();
            if waiting.last() != Some(&at) {
                waiting.push(at);
            }
        }
    }
    columns
}

/// Bytes that a cell may take in its row or out of line, compressed, to be read at once with up to [`READ_ROWS`] others.
const SMALL_CELL: i32 = 8000;

/// Bytes, counted the same way, that are read at a time beyond that.
const LARGE_CELLS: usize = 1 << 20;

/// A patch's place, and its columns with large cells and their sizes.
type Large = (usize, Vec<(usize, usize)>);

/// The patches with large cells, cut into groups that can be read at once.
fn groups(large: BTreeMap<usize, Vec<(usize, usize)>>) -> Vec<Vec<Large>> {
    let mut groups: Vec<Vec<Large>> = Vec::new();
    let mut bytes = 0;
    for patch in large {
        let size: usize = patch.1.iter().map(|(_, size)| size).sum();
        bytes += size;
        match groups.last_mut() {
            Some(group) if bytes <= LARGE_CELLS => group.push(patch),
            _ => {
                bytes = size;
                groups.push(vec![patch]);
            }
        }
    }
    groups
}

fn apply_to(table: &Table, row: &mut Row, column: usize, stored: &str, diffs: &Diffs) -> Result<()> {
    let diffs = diffs.iter().filter(|(of, _)| *of == column).map(|(_, diff)| diff);
    let text = json_diff::apply(stored, diffs).map_err(|error| not_json(table, &error))?;
    set_json(row, column, &text);
    Ok(())
}

fn not_json(table: &Table, error: &json_diff::DiffError) -> Error {
    let message = format!("a jsonb value of {} could not be changed: {error}", table.qualified());
    Error::new(Kind::Defect, Stage::Sink, message)
}

/// The cells of a `jsonb` column for the patches at those places: the place, the size that is stored, and the text,
/// without those over `limit` bytes.
async fn read_cells(
    client: &Object,
    table: &Table,
    column: usize,
    waiting: &[usize],
    patches: &Patches,
    limit: Option<i32>,
) -> Result<Vec<(usize, usize, Option<String>)>> {
    let mut params = key_arrays(table, table.key);
    let mut numbers = ArrayParam::new(PgType::Integer);
    for at in waiting {
        let Some((key, _, _)) = patches.get(*at) else { continue };
        push_key(&mut params, key);
        numbers.push(Cell::Value(&i32::try_from(*at).unwrap_or(i32::MAX).to_be_bytes()));
    }
    params.push(numbers);
    let mut types = key_types(table, table.key);
    types.push(Type::INT4_ARRAY);
    let failed = |error: &tokio_postgres::Error| fault(Stage::Sink, &format!("reading {}", table.qualified()), error);
    let Some(sql) = sql::read_cells(table, column, limit) else { return Ok(Vec::new()) };
    let statement = client.prepare_typed_cached(&sql, &types).await.map_err(|error| failed(&error))?;
    let rows = client.query(&statement, &as_params(&params)).await.map_err(|error| failed(&error))?;
    let number = |row: &tokio_postgres::Row, at: usize| usize::try_from(row.get::<_, i32>(at)).unwrap_or(usize::MAX);
    Ok(rows.iter().map(|row| (number(row, 0), number(row, 1), row.get(2))).collect())
}

fn key_arrays(table: &Table, cells: usize) -> Vec<ArrayParam> {
    table.key_columns().iter().take(cells).map(|column| ArrayParam::new(column.ty)).collect()
}

fn key_types(table: &Table, cells: usize) -> Vec<Type> {
    table.key_columns().iter().take(cells).map(|column| array_type(column.ty)).collect()
}

/// The key's cells go to the first arrays.
pub(super) fn push_key(params: &mut [ArrayParam], key: &Key) {
    for (param, cell) in params.iter_mut().zip(key.cells()) {
        param.push(Cell::Value(cell));
    }
}

/// The arrays of [`sql::metadata_types`].
fn push_metadata<'r>(
    table: &Table,
    rows: impl Iterator<Item = &'r Row> + Clone,
    params: &mut Vec<ArrayParam>,
    types: &mut Vec<Type>,
) {
    for ty in sql::metadata_types(table) {
        let mut param = ArrayParam::new(ty);
        for row in rows.clone() {
            match (ty, row.source()) {
                (PgType::Boolean, _) => param.push(Cell::Value(&[u8::from(row.is_deleted())])),
                (_, Some(source)) => param.push(Cell::Value(&[&[1], source.as_bytes()].concat())),
                (_, None) => param.push(Cell::Null),
            }
        }
        params.push(param);
        types.push(array_type(ty));
    }
}

fn as_params(params: &[ArrayParam]) -> Vec<&(dyn ToSql + Sync)> {
    params.iter().map(|param| param as &(dyn ToSql + Sync)).collect()
}

async fn execute(
    client: &Object,
    table: &Table,
    what: &str,
    sql: &str,
    types: &[Type],
    params: &[ArrayParam],
) -> Result<()> {
    let failed = |error| fault(Stage::Sink, &format!("{what} {}", table.qualified()), &error);
    run(client, sql, types, params).await.map_err(failed)
}

/// Runs a statement that the connection has prepared, or prepares it.
pub(super) async fn run(
    client: &Object,
    sql: &str,
    types: &[Type],
    params: &[ArrayParam],
) -> std::result::Result<(), tokio_postgres::Error> {
    let statement = client.prepare_typed_cached(sql, types).await?;
    client.execute(&statement, &as_params(params)).await.map(|_| ())
}
