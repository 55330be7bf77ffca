//! Net changes as few bulk statements: per table one DELETE per shape of key prefix, one upsert, and one UPDATE per set
//! of changed columns, each with one array parameter per column.

use std::collections::BTreeMap;

use deadpool_postgres::Object;
use tokio_postgres::types::{ToSql, Type};

use super::arrays::{ArrayParam, array_type};
use super::faults::fault;
use super::fold::{RowState, TableChanges, set_json};
use super::sql;
use crate::error::{Error, Kind, Result, Stage};
use crate::mapping::json_diff;
use crate::model::bson::Document;
use crate::model::row::{Cell, Key, Row};
use crate::model::table::{PgType, SharedTable, Table};

/// Prepared statements that a connection keeps at most. Patches come with many sets of columns, and each statement costs
/// the server memory for as long as the connection lives.
const MAX_STATEMENTS: usize = 500;

/// Writes the net changes of one table.
///
/// # Errors
/// When PostgreSQL refuses a statement.
pub async fn write(client: &Object, changes: TableChanges) -> Result<()> {
    let TableChanges { table, deletes, rows } = changes;
    if client.statement_cache.size() > MAX_STATEMENTS {
        client.statement_cache.clear();
    }
    delete(client, &table, deletes).await?;
    let mut puts = Vec::new();
    let mut patches = Vec::new();
    for (key, state) in rows {
        match state {
            RowState::Put(row) => puts.push((key, row)),
            RowState::Patch(row, diffs) => patches.push((key, row, diffs)),
        }
    }
    upsert(client, &table, &puts).await?;
    let patches = resolve_diffs(client, &table, patches).await?;
    update(client, &table, patches).await
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

async fn upsert(client: &Object, table: &SharedTable, rows: &[(Key, Row)]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut params: Vec<ArrayParam> = table.columns.iter().map(|column| ArrayParam::new(column.ty)).collect();
    for (key, row) in rows {
        push_key(&mut params, key);
        for (index, param) in params.iter_mut().enumerate().skip(table.key) {
            param.push(row.cell(index));
        }
    }
    let types: Vec<Type> = table.columns.iter().map(|column| array_type(column.ty)).collect();
    execute(client, table, "writing to", &sql::upsert(table), &types, &params).await
}

type Patches = Vec<(Key, Row, Vec<(usize, Document)>)>;

async fn update(client: &Object, table: &SharedTable, patches: Vec<(Key, Row)>) -> Result<()> {
    let mut shapes: BTreeMap<Vec<usize>, Vec<(Key, Row)>> = BTreeMap::new();
    for (key, row) in patches {
        let changed: Vec<usize> = row.mentioned().collect();
        if !changed.is_empty() {
            shapes.entry(changed).or_default().push((key, row));
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
        execute(client, table, "updating", &sql::update(table, &changed), &types, &params).await?;
    }
    Ok(())
}

/// Reads the `jsonb` cells that diffs are for, applies them, and leaves plain patches.
async fn resolve_diffs(client: &Object, table: &SharedTable, mut patches: Patches) -> Result<Vec<(Key, Row)>> {
    let mut columns: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, (_, _, diffs)) in patches.iter().enumerate() {
        for (column, _) in diffs {
            let waiting = columns.entry(*column).or_default();
            if waiting.last() != Some(&at) {
                waiting.push(at);
            }
        }
    }
    for (column, waiting) in columns {
        for (at, stored) in read_cells(client, table, column, &waiting, &patches).await? {
            let Some((_, row, diffs)) = patches.get_mut(at) else { continue };
            let diffs = diffs.iter().filter(|(of, _)| *of == column).map(|(_, diff)| diff);
            let text = json_diff::apply(&stored, diffs).map_err(|error| not_json(table, &error))?;
            set_json(row, column, &text);
        }
    }
    Ok(patches.into_iter().map(|(key, row, _)| (key, row)).collect())
}

fn not_json(table: &Table, error: &json_diff::DiffError) -> Error {
    let message = format!("a jsonb value of {} could not be changed: {error}", table.qualified());
    Error::new(Kind::Defect, Stage::Sink, message)
}

/// The texts of a `jsonb` column for the patches at those places, with the place.
async fn read_cells(
    client: &Object,
    table: &SharedTable,
    column: usize,
    waiting: &[usize],
    patches: &Patches,
) -> Result<Vec<(usize, String)>> {
    let Some(column) = table.columns.get(column) else { return Ok(Vec::new()) };
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
    let sql = sql::read_cells(table, column);
    let statement = client.prepare_typed_cached(&sql, &types).await.map_err(|error| failed(&error))?;
    let rows = client.query(&statement, &as_params(&params)).await.map_err(|error| failed(&error))?;
    let place = |row: &tokio_postgres::Row| usize::try_from(row.get::<_, i32>(0)).unwrap_or(usize::MAX);
    Ok(rows.iter().map(|row| (place(row), row.get(1))).collect())
}

fn key_arrays(table: &Table, cells: usize) -> Vec<ArrayParam> {
    table.key_columns().iter().take(cells).map(|column| ArrayParam::new(column.ty)).collect()
}

fn key_types(table: &Table, cells: usize) -> Vec<Type> {
    table.key_columns().iter().take(cells).map(|column| array_type(column.ty)).collect()
}

/// The key's cells go to the first arrays.
fn push_key(params: &mut [ArrayParam], key: &Key) {
    for (param, cell) in params.iter_mut().zip(key.cells()) {
        param.push(Cell::Value(cell));
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
    let failed = |error: &tokio_postgres::Error| fault(Stage::Sink, &format!("{what} {}", table.qualified()), error);
    let statement = client.prepare_typed_cached(sql, types).await.map_err(|error| failed(&error))?;
    client.execute(&statement, &as_params(params)).await.map(|_| ()).map_err(|error| failed(&error))
}
