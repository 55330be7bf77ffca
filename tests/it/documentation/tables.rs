//! What PostgreSQL holds of one example, as tables to compare with those of the page.

use super::PAGE;
use super::example::{Example, Table};
use crate::decode::rows::quote;
use crate::harness::case::Case;

/// Rows of these belong to an example too, whether it shows them or not.
const ALWAYS: [&str; 2] = ["anomalies", "quarantine"];

/// What is wrong with an example: both sides in the page's notation.
pub async fn compare(case: &Case, database: &str, how: &str, example: &Example) -> Option<String> {
    let found = found(case, database, example).await;
    let mut expected: Vec<Table> = example.tables.iter().map(|table| table.normal(&[])).collect();
    let mut actual: Vec<Table> = found.iter().map(|table| table.normal(&example.tables)).collect();
    expected.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
    actual.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
    if expected == actual {
        return None;
    }
    let text = |tables: &[Table]| tables.iter().map(|table| table.text() + "\n").collect::<String>();
    let (line, found, shown) = (example.line, text(&found), text(&example.tables));
    Some(format!("{PAGE}:{line}, {how}: the page shows\n\n{shown}and PostgreSQL holds\n\n{found}"))
}

async fn found(case: &Case, database: &str, example: &Example) -> Vec<Table> {
    let own = format!("{}{database}", case.prefix);
    let mut found = Vec::new();
    let mut schemas: Vec<Option<String>> = vec![None];
    let named = example.tables.iter().map(|table| &table.schema);
    schemas.extend(named.filter(|schema| schema.as_deref().is_some_and(|name| name != "tailwater")).cloned());
    schemas.dedup();
    for schema in schemas {
        let query = format!(
            "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace({}) AND relkind = 'r' \
             AND relname <> 'zz_sentinel' ORDER BY relname COLLATE \"C\"",
            literal(&quote(schema.as_ref().unwrap_or(&own)))
        );
        for name in case.lines(&query).await {
            found.push(table(case, schema.clone(), schema.as_ref().unwrap_or(&own), name).await);
        }
    }
    let shown: Vec<&Table> = example.tables.iter().filter(|t| t.schema.as_deref() == Some("tailwater")).collect();
    for name in ALWAYS.iter().filter(|name| shown.iter().all(|table| table.name != **name)) {
        let columns = vec![("namespace".to_owned(), String::new()), ("reason".to_owned(), String::new())];
        let table = catalog(case, &own, name, columns).await;
        found.extend((!table.rows.is_empty()).then_some(table));
    }
    for table in shown {
        found.push(catalog(case, &own, &table.name, table.columns.clone()).await);
    }
    found
}

/// A table of the example, all of it.
async fn table(case: &Case, schema: Option<String>, real: &str, name: String) -> Table {
    let full = literal(&format!("{}.{}", quote(real), quote(&name)));
    let columns = case
        .rows(&format!(
            "SELECT attname, replace(format_type(atttypid, atttypmod), 'timestamp with time zone', 'timestamptz') \
             FROM pg_attribute WHERE attrelid = {full}::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        ))
        .await;
    let text = |cell: &Option<String>| cell.clone().unwrap_or_else(|| "NULL".to_owned());
    let columns: Vec<(String, String)> = columns.iter().map(|row| (text(&row[0]), text(&row[1]))).collect();
    let key = case
        .lines(&format!(
            "SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey) \
             WHERE indrelid = {full}::regclass AND indisprimary ORDER BY array_position(indkey::int2[], attnum)"
        ))
        .await;
    let from = format!("{}.{}", quote(real), quote(&name));
    let rows = rows(case, &columns, &format!("{from} ORDER BY {}", order(&key))).await;
    Table { schema, name, key, columns, rows }
}

/// A table of the catalog: what concerns the example's database.
async fn catalog(case: &Case, database: &str, name: &str, columns: Vec<(String, String)>) -> Table {
    let of = literal(&format!("{database}."));
    let from = format!("tailwater.{name} WHERE starts_with(namespace, {of}) AND namespace NOT LIKE '%.zz_sentinel'");
    let rows = rows(case, &columns, &from).await;
    Table { schema: Some("tailwater".to_owned()), name: name.to_owned(), key: Vec::new(), columns, rows }
}

async fn rows(case: &Case, columns: &[(String, String)], from: &str) -> Vec<Vec<String>> {
    let text = |name: &str| match name {
        // The database has another name in the test than on the page.
        "namespace" => "'school.' || substr(namespace, strpos(namespace, '.') + 1)".to_owned(),
        name => format!("{}::text", quote(name)),
    };
    let list: Vec<String> = columns.iter().map(|(name, _)| text(name)).collect();
    let rows = case.rows(&format!("SET TimeZone = 'UTC'; SELECT {} FROM {from}", list.join(", "))).await;
    let cell = |cell: Option<String>| cell.unwrap_or_else(|| "NULL".to_owned());
    rows.into_iter().map(|row| row.into_iter().map(cell).collect()).collect()
}

fn order(key: &[String]) -> String {
    if key.is_empty() { "1".to_owned() } else { key.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ") }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
