//! SQL text. Names arrive as identifiers that quote themselves, values only as parameters or COPY fields.

use std::fmt::Write;

use crate::model::identifier::Identifier;
use crate::model::table::{Column, Metadata, PgType, Table};
use crate::model::write_set::ColumnChange;

/// A column's definition. Text keys compare by bytes, as MongoDB compares strings without a collation.
#[must_use]
pub fn column_definition(column: &Column, is_key: bool) -> String {
    let collation = if is_key && column.ty == PgType::Text { " COLLATE \"C\"" } else { "" };
    format!("{} {}{collation}", column.name, column.ty)
}

/// `CREATE TABLE` with its primary key.
#[must_use]
pub fn create_table(table: &Table) -> String {
    let columns = definitions(table);
    let key = names(table.key_columns());
    format!("CREATE TABLE {} ({}, PRIMARY KEY ({key}))", table.qualified(), columns.join(", "))
}

/// Gives a table its primary key.
#[must_use]
pub fn add_key(table: &Table) -> String {
    format!("ALTER TABLE {} ADD PRIMARY KEY ({})", table.qualified(), names(table.key_columns()))
}

/// Takes a constraint from a table.
#[must_use]
pub fn drop_constraint(table: &Table, name: &Identifier) -> String {
    format!("ALTER TABLE {} DROP CONSTRAINT {name}", table.qualified())
}

/// `CREATE TABLE` as a person would write it, a line for each column.
#[must_use]
pub fn create_table_lines(table: &Table) -> String {
    let mut lines = definitions(table);
    lines.push(format!("PRIMARY KEY ({})", names(table.key_columns())));
    format!("CREATE TABLE {} (\n    {}\n)", table.qualified(), lines.join(",\n    "))
}

fn definitions(table: &Table) -> Vec<String> {
    let own = table.columns.iter().enumerate().map(|(i, column)| column_definition(column, i < table.key));
    own.chain(table.metadata.columns().map(|(name, ty)| metadata_definition(name, ty))).collect()
}

/// A metadata column's definition. `COPY` leaves times to their default, so that all rows of a transaction have one.
fn metadata_definition(name: &str, ty: PgType) -> String {
    let default = if name == Metadata::SYNCED_AT { " DEFAULT now()" } else { "" };
    format!("\"{name}\" {ty}{default}")
}

/// Adds a metadata column to a table that has rows: when they were written last is not known.
#[must_use]
pub fn add_metadata(table: &Table, name: &str, ty: PgType) -> String {
    let table = table.qualified();
    let default = if name == Metadata::SYNCED_AT {
        format!("; ALTER TABLE {table} ALTER COLUMN \"{name}\" SET DEFAULT now()")
    } else {
        String::new()
    };
    format!("ALTER TABLE {table} ADD COLUMN \"{name}\" {ty}{default}")
}

/// One `ALTER TABLE` for all changes of its columns: PostgreSQL makes them all in one pass over the rows (manual, ALTER
/// TABLE). `ALTER COLUMN … TYPE … USING …` keeps every value.
#[must_use]
pub fn alter(table: &Table, columns: &[ColumnChange]) -> String {
    let changed = columns.iter().filter_map(|change| Some((change, table.columns.get(change.index())?)));
    let actions: Vec<String> = changed.map(|(change, column)| action(change, column)).collect();
    format!("ALTER TABLE {} {}", table.qualified(), actions.join(", "))
}

/// `IF EXISTS` and RESTRICT: a table that a user dropped is gone already, a view on it must not go silently.
#[must_use]
pub fn drop_table(table: &Table) -> String {
    format!("DROP TABLE IF EXISTS {}", table.qualified())
}

/// Renames a table that was kept. `IF EXISTS`: a user may have dropped it since.
#[must_use]
pub fn move_aside(schema: &Identifier, from: &Identifier, to: &Identifier) -> String {
    format!("ALTER TABLE IF EXISTS {schema}.{from} RENAME TO {to}")
}

/// Gives a table another name, then another schema, which must be there.
#[must_use]
pub fn rename_table(from: &Table, to: &Table) -> Vec<String> {
    let mut statements = Vec::new();
    if from.name != to.name {
        statements.push(format!("ALTER TABLE {} RENAME TO {}", from.qualified(), to.name));
    }
    if from.schema != to.schema {
        statements.push(format!("ALTER TABLE {}.{} SET SCHEMA {}", from.schema, to.name, to.schema));
    }
    statements
}

/// Gives the columns of a table that has its new name already theirs.
#[must_use]
pub fn rename_columns(from: &Table, to: &Table) -> Vec<String> {
    let renamed = from.columns.iter().zip(&to.columns).filter(|(old, new)| old.name != new.name);
    renamed
        .map(|(old, new)| format!("ALTER TABLE {} RENAME COLUMN {} TO {}", to.qualified(), old.name, new.name))
        .collect()
}

fn action(change: &ColumnChange, column: &Column) -> String {
    match change {
        ColumnChange::Add { .. } => format!("ADD COLUMN {}", column_definition(column, false)),
        ColumnChange::Widen { from, seen, subtype, .. } => {
            let using = widened(&column.name, *from, column.ty, seen, *subtype);
            format!("ALTER COLUMN {} TYPE {} USING {using}", column.name, column.ty)
        }
    }
}

/// A stored value as the wider type. A double goes to `numeric` through its shortest text, because PostgreSQL's own
/// cast rounds to 15 digits (`float8_numeric`).
pub fn widened(name: &Identifier, from: PgType, to: PgType, seen: &[&str], subtype: Option<u8>) -> String {
    match (from, to) {
        (PgType::Double, PgType::Numeric) => format!("{name}::text::numeric"),
        (_, PgType::Jsonb) => as_jsonb(name, from, seen, subtype),
        _ => format!("{name}::{to}"),
    }
}

/// A stored value as the relaxed Extended JSON that the mapping writes for it.
fn as_jsonb(name: &Identifier, from: PgType, seen: &[&str], subtype: Option<u8>) -> String {
    let object = |key: &str, value: String| format!("jsonb_build_object('{key}', {value})");
    let special = |key: &str| {
        let text = object(key, format!("{name}::text"));
        format!("CASE WHEN {name} IN ('NaN', 'Infinity', '-Infinity') THEN {text} ELSE to_jsonb({name}) END")
    };
    let filled = match from {
        PgType::Boolean | PgType::Integer | PgType::BigInt | PgType::Jsonb => format!("to_jsonb({name})"),
        PgType::Double => special("$numberDouble"),
        PgType::Numeric if seen.contains(&"decimal") => object("$numberDecimal", format!("{name}::text")),
        PgType::Numeric => special("$numberDouble"),
        PgType::Text if seen == ["objectId"] => object("$oid", name.to_string()),
        PgType::Text => format!("to_jsonb({name})"),
        PgType::Uuid => object("$uuid", format!("{name}::text")),
        PgType::TimestampTz => date_as_jsonb(name),
        PgType::Bytea => {
            let data = format!("translate(encode({name}, 'base64'), E'\\n', '')");
            let subtype = format!("'{:02x}'", subtype.unwrap_or(0));
            object("$binary", format!("jsonb_build_object('base64', {data}, 'subType', {subtype})"))
        }
    };
    format!("CASE WHEN {name} IS NOT NULL THEN {filled} END")
}

fn date_as_jsonb(name: &Identifier) -> String {
    let text = format!("to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')");
    let millis = format!("(extract(epoch FROM {name}) * 1000)::bigint::text");
    // The infinities stand for dates that PostgreSQL cannot hold; the originals are in tailwater.anomalies.
    format!(
        "CASE WHEN {name} >= '1970-01-01Z' AND {name} < '10000-01-01Z' THEN jsonb_build_object('$date', {text}) \
         WHEN isfinite({name}) THEN jsonb_build_object('$date', jsonb_build_object('$numberLong', {millis})) \
         ELSE jsonb_build_object('$date', {name}::text) END"
    )
}

/// Inserts rows from one array parameter per column, then those of [`metadata_types`]; an existing key is overwritten.
#[must_use]
pub fn upsert(table: &Table) -> String {
    let count = table.columns.len();
    let types = table.columns.iter().map(|column| column.ty).chain(metadata_types(table));
    let metadata = metadata_values(table, count, "NULL", "NULL");
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| column.name.to_string())
        .chain(metadata.iter().map(|(name, _)| name.clone()))
        .collect();
    let values: Vec<String> =
        (0..count).map(|i| format!("u.c{i}")).chain(metadata.into_iter().map(|(_, value)| value)).collect();
    let others = columns.get(table.key..).unwrap_or_default();
    let action = if others.is_empty() {
        "NOTHING".to_owned()
    } else {
        let sets: Vec<String> = others.iter().map(|column| format!("{column} = EXCLUDED.{column}")).collect();
        format!("UPDATE SET {}", sets.join(", "))
    };
    format!(
        "INSERT INTO {} ({}) SELECT {} FROM unnest({}) AS u({}) ON CONFLICT ({}) DO {action}",
        table.qualified(),
        columns.join(", "),
        values.join(", "),
        arrays(types, 1),
        aliases(count + metadata_types(table).count()),
        names(table.key_columns())
    )
}

/// Changes rows from an array that says what is done with each, and one array per column: 0 deletes the row, -1 puts it, anything
/// else changes the columns whose bits are set, where the row is there.
#[must_use]
pub fn merge(table: &Table) -> String {
    let columns: Vec<String> = table.columns.iter().map(|column| column.name.to_string()).collect();
    let values: Vec<String> = (1..=columns.len()).map(|i| format!("u.c{i}")).collect();
    let keys = columns.iter().zip(&values).take(table.key);
    let keys: Vec<String> = keys.map(|(column, value)| format!("t.{column} = {value}")).collect();
    let others = columns.iter().zip(&values).enumerate().skip(table.key);
    let sets = others.map(|(i, (column, value))| {
        let bit = 1_u64 << i;
        format!("{column} = CASE WHEN u.c0 & {bit} <> 0 THEN {value} ELSE t.{column} END")
    });
    let sets: Vec<String> = sets.collect();
    let action = if sets.is_empty() { "DO NOTHING".to_owned() } else { format!("UPDATE SET {}", sets.join(", ")) };
    let types = std::iter::once(PgType::BigInt).chain(table.columns.iter().map(|column| column.ty));
    format!(
        "MERGE INTO {} AS t USING unnest({}) AS u({}) ON {} WHEN MATCHED AND u.c0 = 0 THEN DELETE \
         WHEN MATCHED THEN {action} WHEN NOT MATCHED AND u.c0 = -1 THEN INSERT ({}) VALUES ({})",
        table.qualified(),
        arrays(types, 1),
        aliases(columns.len() + 1),
        keys.join(" AND "),
        columns.join(", "),
        values.join(", ")
    )
}

/// The arrays that stand for metadata, after all others: `_source`, and whether the document is deleted.
pub fn metadata_types(table: &Table) -> impl Iterator<Item = PgType> {
    let Metadata { source, deleted_at, .. } = table.metadata;
    source.then_some(PgType::Jsonb).into_iter().chain(deleted_at.then_some(PgType::Boolean))
}

/// Metadata columns and their values, from the arrays that begin at `first`; what a row does not say has the other two.
fn metadata_values(table: &Table, first: usize, source: &str, deleted_at: &str) -> Vec<(String, String)> {
    let mut at = first;
    let mut values = Vec::new();
    for (name, _) in table.metadata.columns() {
        let value = match name {
            Metadata::SOURCE => format!("coalesce(u.c{at}, {source})"),
            Metadata::DELETED_AT => format!("CASE WHEN u.c{at} THEN now() ELSE {deleted_at} END"),
            _ => "now()".to_owned(),
        };
        at += usize::from(name != Metadata::SYNCED_AT);
        values.push((format!("\"{name}\""), value));
    }
    values
}

/// Updates the columns at `changed` of existing rows: one array per key column, then one per changed column, then those
/// of [`metadata_types`].
#[must_use]
pub fn update(table: &Table, changed: &[usize]) -> String {
    let columns: Vec<&Column> = changed.iter().filter_map(|index| table.columns.get(*index)).collect();
    let types = table.key_columns().iter().map(|column| column.ty).chain(columns.iter().map(|column| column.ty));
    let count = table.key + columns.len();
    let own = columns.iter().enumerate().map(|(i, column)| format!("{} = u.c{}", column.name, table.key + i));
    let (source, deleted_at) = (format!("t.\"{}\"", Metadata::SOURCE), format!("t.\"{}\"", Metadata::DELETED_AT));
    let metadata = metadata_values(table, count, &source, &deleted_at);
    let sets: Vec<String> = own.chain(metadata.into_iter().map(|(name, value)| format!("{name} = {value}"))).collect();
    format!(
        "UPDATE {} AS t SET {} FROM unnest({}) AS u({}) WHERE {}",
        table.qualified(),
        sets.join(", "),
        arrays(types.chain(metadata_types(table)), 1),
        aliases(count + metadata_types(table).count()),
        matches(table, table.key, "u")
    )
}

/// Deletes the rows whose first `cells` key columns are in the arrays; with `from`, a last array of `integer` gives the
/// first value of the next key column that goes.
#[must_use]
pub fn delete(table: &Table, cells: usize, from: bool) -> String {
    let mut types: Vec<PgType> = table.key_columns().iter().take(cells).map(|column| column.ty).collect();
    let mut condition = matches(table, cells, "u");
    if let (true, Some(index)) = (from, table.columns.get(cells)) {
        types.push(PgType::Integer);
        let _ = write!(condition, " AND t.{} >= u.c{cells}", index.name);
    }
    let count = types.len();
    format!(
        "DELETE FROM {} AS t USING unnest({}) AS u({}) WHERE {condition}",
        table.qualified(),
        arrays(types.into_iter(), 1),
        aliases(count)
    )
}

/// Deletes the rows whose first key column is in the array and not in the root's table.
#[must_use]
pub fn delete_orphans(root: &Table, table: &Table) -> String {
    let key = root.key_columns().first().map(|column| column.name.to_string()).unwrap_or_default();
    let rootless = format!("NOT EXISTS (SELECT FROM {} AS r WHERE r.{key} = u.c0)", root.qualified());
    format!("{} AND {rootless}", delete(table, 1, false))
}

/// Reads one `jsonb` column of the rows whose keys are in the arrays; the last array numbers them. NULLs are left out, but
/// for `_extra`, where NULL is an object without fields. Cells that are stored in more than `limit` bytes come with their
/// size only.
#[must_use]
pub fn read_cells(table: &Table, index: usize, limit: Option<i32>) -> Option<String> {
    let name = &table.columns.get(index)?.name;
    let types = table.key_columns().iter().map(|column| column.ty).chain([PgType::Integer]);
    let (value, condition) = if table.is_extra(index) {
        (format!("coalesce(t.{name}, '{{}}')"), String::new())
    } else {
        (format!("t.{name}"), format!(" WHERE t.{name} IS NOT NULL"))
    };
    let size = format!("pg_column_size({value})");
    let text = match limit {
        Some(limit) => format!("CASE WHEN {size} <= {limit} THEN {value}::text END"),
        None => format!("{value}::text"),
    };
    Some(format!(
        "SELECT u.c{}, {size}, {text} FROM unnest({}) AS u({}) JOIN {} AS t ON {}{condition}",
        table.key,
        arrays(types, 1),
        aliases(table.key + 1),
        table.qualified(),
        matches(table, table.key, "u"),
    ))
}

/// `COPY … FROM STDIN (FORMAT binary)` of every column and `_source`; other metadata have their defaults.
#[must_use]
pub fn copy(table: &Table) -> String {
    let source = if table.metadata.source { format!(", \"{}\"", Metadata::SOURCE) } else { String::new() };
    format!("COPY {} ({}{source}) FROM STDIN (FORMAT binary)", table.qualified(), names(&table.columns))
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| column.name.to_string()).collect::<Vec<_>>().join(", ")
}

fn arrays(types: impl Iterator<Item = PgType>, first: usize) -> String {
    types.enumerate().map(|(i, ty)| format!("${}::{ty}[]", first + i)).collect::<Vec<_>>().join(", ")
}

fn aliases(count: usize) -> String {
    (0..count).map(|i| format!("c{i}")).collect::<Vec<_>>().join(", ")
}

fn matches(table: &Table, cells: usize, alias: &str) -> String {
    let pairs: Vec<String> = table
        .key_columns()
        .iter()
        .take(cells)
        .enumerate()
        .map(|(i, column)| format!("t.{} = {alias}.c{i}", column.name))
        .collect();
    pairs.join(" AND ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::table::TableId;

    fn table() -> Table {
        let name = |name| Identifier::new(name).expect("fits");
        let column = |text, ty| Column { name: name(text), ty };
        Table {
            id: TableId::fresh(),
            schema: name("My-Db"),
            name: name("a"),
            key: 2,
            columns: vec![
                column("s__id", PgType::Text),
                column("_index", PgType::Integer),
                column("x\"y", PgType::Jsonb),
            ],
            metadata: Metadata::default(),
        }
    }

    #[test]
    fn statements_quote_every_name() {
        let table = table();
        assert_eq!(
            create_table(&table),
            "CREATE TABLE \"My-Db\".\"a\" (\"s__id\" text COLLATE \"C\", \"_index\" integer, \"x\"\"y\" jsonb, \
             PRIMARY KEY (\"s__id\", \"_index\"))"
        );
        assert_eq!(
            delete(&table, 1, true),
            "DELETE FROM \"My-Db\".\"a\" AS t USING unnest($1::text[], $2::integer[]) AS u(c0, c1) \
             WHERE t.\"s__id\" = u.c0 AND t.\"_index\" >= u.c1"
        );
        assert_eq!(
            merge(&table),
            "MERGE INTO \"My-Db\".\"a\" AS t USING unnest($1::bigint[], $2::text[], $3::integer[], $4::jsonb[]) AS u(c0, c1, \
             c2, c3) ON t.\"s__id\" = u.c1 AND t.\"_index\" = u.c2 WHEN MATCHED AND u.c0 = 0 THEN DELETE \
             WHEN MATCHED THEN UPDATE SET \"x\"\"y\" = CASE WHEN u.c0 & 4 <> 0 THEN u.c3 ELSE t.\"x\"\"y\" END \
             WHEN NOT MATCHED AND u.c0 = -1 THEN INSERT (\"s__id\", \"_index\", \"x\"\"y\") VALUES (u.c1, u.c2, u.c3)"
        );
        assert_eq!(
            update(&table, &[2]),
            "UPDATE \"My-Db\".\"a\" AS t SET \"x\"\"y\" = u.c2 FROM unnest($1::text[], $2::integer[], $3::jsonb[]) \
             AS u(c0, c1, c2) WHERE t.\"s__id\" = u.c0 AND t.\"_index\" = u.c1"
        );
    }

    #[test]
    fn a_double_becomes_numeric_through_its_text() {
        let name = Identifier::new("n").expect("fits");
        assert_eq!(widened(&name, PgType::Double, PgType::Numeric, &[], None), "\"n\"::text::numeric");
        assert_eq!(widened(&name, PgType::Integer, PgType::BigInt, &[], None), "\"n\"::bigint");
    }
}
