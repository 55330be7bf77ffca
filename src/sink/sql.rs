//! SQL text. Names arrive as identifiers that quote themselves, values only as parameters or COPY fields.

use std::fmt::Write;

use crate::model::identifier::Identifier;
use crate::model::table::{Column, PgType, Table};

/// A column's definition. Text keys compare by bytes, as MongoDB compares strings without a collation.
#[must_use]
pub fn column_definition(column: &Column, is_key: bool) -> String {
    let collation = if is_key && column.ty == PgType::Text { " COLLATE \"C\"" } else { "" };
    format!("{} {}{collation}", column.name, column.ty)
}

/// `CREATE TABLE` with its primary key.
#[must_use]
pub fn create_table(table: &Table) -> String {
    let columns: Vec<String> =
        table.columns.iter().enumerate().map(|(i, column)| column_definition(column, i < table.key)).collect();
    let key = names(table.key_columns());
    format!("CREATE TABLE {} ({}, PRIMARY KEY ({key}))", table.qualified(), columns.join(", "))
}

/// `CREATE TABLE` as a person would write it, a line for each column.
#[must_use]
pub fn create_table_lines(table: &Table) -> String {
    let mut lines: Vec<String> =
        table.columns.iter().enumerate().map(|(i, column)| column_definition(column, i < table.key)).collect();
    lines.push(format!("PRIMARY KEY ({})", names(table.key_columns())));
    format!("CREATE TABLE {} (\n    {}\n)", table.qualified(), lines.join(",\n    "))
}

/// `ALTER TABLE … ADD COLUMN` for the last column.
#[must_use]
pub fn add_column(table: &Table) -> Option<String> {
    let column = table.columns.last()?;
    Some(format!("ALTER TABLE {} ADD COLUMN {}", table.qualified(), column_definition(column, false)))
}

/// `ALTER TABLE … TYPE … USING …` that keeps every value.
#[must_use]
pub fn widen(table: &Table, index: usize, from: PgType, seen: &[&str], subtype: Option<u8>) -> Option<String> {
    let column = table.columns.get(index)?;
    let using = widened(&column.name, from, column.ty, seen, subtype);
    Some(format!("ALTER TABLE {} ALTER COLUMN {} TYPE {} USING {using}", table.qualified(), column.name, column.ty))
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

/// Inserts rows from one array parameter per column; an existing key is overwritten.
#[must_use]
pub fn upsert(table: &Table) -> String {
    let columns = names(&table.columns);
    let arrays = arrays(table.columns.iter().map(|column| column.ty), 1);
    let others = table.columns.get(table.key..).unwrap_or_default();
    let action = if others.is_empty() {
        "NOTHING".to_owned()
    } else {
        let sets: Vec<String> =
            others.iter().map(|column| format!("{} = EXCLUDED.{}", column.name, column.name)).collect();
        format!("UPDATE SET {}", sets.join(", "))
    };
    format!(
        "INSERT INTO {} ({columns}) SELECT * FROM unnest({arrays}) ON CONFLICT ({}) DO {action}",
        table.qualified(),
        names(table.key_columns())
    )
}

/// Updates the columns at `changed` of existing rows: one array per key column, then one per changed column.
#[must_use]
pub fn update(table: &Table, changed: &[usize]) -> String {
    let columns: Vec<&Column> = changed.iter().filter_map(|index| table.columns.get(*index)).collect();
    let types = table.key_columns().iter().map(|column| column.ty).chain(columns.iter().map(|column| column.ty));
    let sets: Vec<String> =
        columns.iter().enumerate().map(|(i, column)| format!("{} = u.c{}", column.name, table.key + i)).collect();
    format!(
        "UPDATE {} AS t SET {} FROM unnest({}) AS u({}) WHERE {}",
        table.qualified(),
        sets.join(", "),
        arrays(types, 1),
        aliases(table.key + columns.len()),
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

/// Reads one `jsonb` column of the rows whose keys are in the arrays; the last array numbers them.
#[must_use]
pub fn read_cells(table: &Table, column: &Column) -> String {
    let types = table.key_columns().iter().map(|column| column.ty).chain([PgType::Integer]);
    format!(
        "SELECT u.c{}, t.{}::text FROM unnest({}) AS u({}) JOIN {} AS t ON {} WHERE t.{} IS NOT NULL",
        table.key,
        column.name,
        arrays(types, 1),
        aliases(table.key + 1),
        table.qualified(),
        matches(table, table.key, "u"),
        column.name
    )
}

/// `COPY … FROM STDIN (FORMAT binary)` of every column.
#[must_use]
pub fn copy(table: &Table) -> String {
    format!("COPY {} ({}) FROM STDIN (FORMAT binary)", table.qualified(), names(&table.columns))
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
