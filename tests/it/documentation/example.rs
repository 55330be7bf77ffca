//! One example: options, operations, and the tables that they give.
//!
//! Paragraphs, parted by empty lines: TOML starts with a `[`; a table starts with `table`, its header and its rows follow;
//! everything else is operations, one a line unless the next line is indented.

use super::extended_json::Json;

/// One block of a page.
#[derive(Debug, Clone)]
pub struct Example {
    /// Where it begins.
    pub line: usize,
    /// Marked as one that copying gives other rows of: its point is the order of what happens.
    followed_only: bool,
    /// Configuration, as TOML; the database is called `school`.
    pub options: String,
    pub operations: Vec<Operation>,
    pub tables: Vec<Table>,
}

/// Something that is done to MongoDB.
#[derive(Debug, Clone)]
pub enum Operation {
    Insert { collection: String, document: Json },
    Update { collection: String, filter: Json, update: Json },
    Replace { collection: String, filter: Json, document: Json },
    Delete { collection: String, filter: Json },
    Create { collection: String },
    View { collection: String, of: String },
    Rename { collection: String, to: String },
    Drop { collection: String },
    DropDatabase,
}

/// A table as the page shows it. In names, `#` stands for any hexadecimal digit.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The schema, where it is not the example's database.
    pub schema: Option<String>,
    pub name: String,
    /// The columns of the primary key.
    pub key: Vec<String>,
    /// Names and types; the catalog's have no types.
    pub columns: Vec<(String, String)>,
    pub rows: Vec<Vec<String>>,
}

const TYPES: [&str; 10] =
    ["text", "integer", "bigint", "numeric", "double precision", "boolean", "timestamptz", "uuid", "bytea", "jsonb"];

impl Example {
    pub fn parse(line: usize, kind: &str, text: &[&str]) -> Self {
        let followed_only = match kind.trim() {
            "" => false,
            "followed" => true,
            other => panic!("line {line}: an example is not {other}"),
        };
        let mut example =
            Self { line, followed_only, options: String::new(), operations: Vec::new(), tables: Vec::new() };
        for paragraph in text.split(|line| line.trim().is_empty()).filter(|paragraph| !paragraph.is_empty()) {
            if paragraph[0].starts_with('[') {
                example.options.push_str(&(paragraph.join("\n") + "\n"));
            } else if let Some(title) = paragraph[0].strip_prefix("table ") {
                example.tables.push(Table::parse(line, title, &paragraph[1..]));
            } else {
                example.operations.extend(operations(line, paragraph));
            }
        }
        assert!(!example.operations.is_empty(), "line {line}: nothing is done");
        example
    }

    /// True when copying must give the same as following.
    pub fn is_copied(&self) -> bool {
        !self.followed_only && self.operations.iter().all(|operation| matches!(operation, Operation::Insert { .. }))
    }
}

fn operations(line: usize, text: &[&str]) -> Vec<Operation> {
    let mut joined: Vec<String> = Vec::new();
    for part in text {
        match joined.last_mut() {
            Some(last) if part.starts_with(' ') => last.push_str(part),
            _ => joined.push((*part).to_owned()),
        }
    }
    let wrong = |operation: &String| panic!("line {line}: cannot be read: {operation}");
    joined.iter().map(|text| operation(text).unwrap_or_else(|| wrong(text))).collect()
}

/// `collection verb arguments`.
fn operation(text: &str) -> Option<Operation> {
    if text == "dropDatabase" {
        return Some(Operation::DropDatabase);
    }
    let (collection, rest) = name(text)?;
    let (verb, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let values = || Json::read_all(rest).ok();
    Some(match verb {
        "insert" => {
            let [document] = values()?.try_into().ok()?;
            Operation::Insert { collection, document }
        }
        "update" => {
            let [filter, update] = values()?.try_into().ok()?;
            Operation::Update { collection, filter, update }
        }
        "replace" => {
            let [filter, document] = values()?.try_into().ok()?;
            Operation::Replace { collection, filter, document }
        }
        "delete" => {
            let [filter] = values()?.try_into().ok()?;
            Operation::Delete { collection, filter }
        }
        "rename" => Operation::Rename { collection, to: name(rest)?.0 },
        "view" => Operation::View { collection, of: name(rest)?.0 },
        "create" if rest.is_empty() => Operation::Create { collection },
        "drop" if rest.is_empty() => Operation::Drop { collection },
        _ => return None,
    })
}

/// A name at the start of a text, in quotes where it has a space or a dot, and the rest.
fn name(text: &str) -> Option<(String, &str)> {
    match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').map(|(name, rest)| (name.to_owned(), rest.trim_start())),
        None => Some(text.split_once(' ').map_or((text.to_owned(), ""), |(name, rest)| (name.to_owned(), rest))),
    }
}

impl Table {
    /// `name (key, …)` or `schema.name`, then header and rows.
    fn parse(line: usize, title: &str, text: &[&str]) -> Self {
        let (full, key) = name(title).expect("a table has a name");
        let (schema, name) = match full.split_once('.') {
            Some((schema, name)) if !title.starts_with('"') => (Some(schema.to_owned()), name.to_owned()),
            _ => (None, full),
        };
        let key = key.trim_matches(['(', ')']).split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let mut lines = text.iter().map(|line| cells(line));
        let header = lines.next().unwrap_or_else(|| panic!("line {line}: table {name} has no header"));
        let typed = schema.as_deref() != Some("tailwater");
        let columns: Vec<_> = header
            .into_iter()
            .map(|column| if typed { split(line, &column) } else { (column, String::new()) })
            .collect();
        let rows: Vec<Vec<String>> = lines.collect();
        for row in &rows {
            assert_eq!(row.len(), columns.len(), "line {line}: a row of table {name} has other columns: {row:?}");
        }
        Self { schema, name, key, columns, rows }
    }

    /// As the page writes it.
    pub fn text(&self) -> String {
        let quote = if self.name.contains(['.', ' ']) { "\"" } else { "" };
        let schema = self.schema.as_ref().map(|schema| format!("{schema}.")).unwrap_or_default();
        let key = if self.key.is_empty() { String::new() } else { format!(" ({})", self.key.join(", ")) };
        let mut text = format!("table {schema}{quote}{}{quote}{key}\n", self.name);
        let header: Vec<String> =
            self.columns.iter().map(|(name, ty)| format!("{name} {ty}").trim_end().to_owned()).collect();
        let width = |i: usize| self.rows.iter().chain([&header]).map(|row| row[i].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..header.len()).map(width).collect();
        for row in [&header].into_iter().chain(&self.rows) {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            text.push_str(cells.join(" | ").trim_end());
            text.push('\n');
        }
        text
    }

    /// What is the same whatever the order of rows and columns; with a pattern's names in place of the ones they match, and
    /// `*` for every value in a column where the pattern has one.
    pub fn normal(&self, like: &[Table]) -> Self {
        let pattern = like.iter().find(|table| table.schema == self.schema && matches(&table.name, &self.name));
        let Some(pattern) = pattern else { return self.sorted() };
        let rename = |name: &String| {
            let known =
                pattern.columns.iter().map(|(name, _)| name).chain(&pattern.key).find(|wanted| matches(wanted, name));
            known.unwrap_or(name).clone()
        };
        let columns = self.columns.iter().map(|(name, ty)| (rename(name), ty.clone())).collect();
        let key = self.key.iter().map(rename).collect();
        let mut named = Self { name: pattern.name.clone(), key, columns, ..self.clone() };
        for (i, (name, _)) in named.columns.iter().enumerate() {
            let Some(shown) = pattern.columns.iter().position(|(shown, _)| shown == name) else { continue };
            if pattern.rows.iter().any(|row| row[shown] == "*") {
                for row in named.rows.iter_mut().filter(|row| row[i] != "NULL") {
                    "*".clone_into(&mut row[i]);
                }
            }
        }
        named.sorted()
    }

    fn sorted(&self) -> Self {
        let mut order: Vec<usize> = (0..self.columns.len()).collect();
        order.sort_by_key(|i| &self.columns[*i]);
        let mut rows: Vec<Vec<String>> =
            self.rows.iter().map(|row| order.iter().map(|i| row[*i].clone()).collect()).collect();
        rows.sort();
        let columns = order.iter().map(|i| self.columns[*i].clone()).collect();
        Self { columns, rows, ..self.clone() }
    }
}

/// True when a name is what a pattern says.
fn matches(pattern: &str, name: &str) -> bool {
    pattern.chars().count() == name.chars().count()
        && pattern.chars().zip(name.chars()).all(|(p, c)| p == c || (p == '#' && c.is_ascii_hexdigit()))
}

fn cells(line: &str) -> Vec<String> {
    line.split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// `name type`; a name may hold spaces.
fn split(line: usize, column: &str) -> (String, String) {
    let ty =
        TYPES.iter().find(|ty| column.strip_suffix(**ty).is_some_and(|name| name.is_empty() || name.ends_with(' ')));
    let ty = ty.unwrap_or_else(|| panic!("line {line}: column `{column}` has no type"));
    let name = column.strip_suffix(ty).unwrap_or_default();
    (name.strip_suffix(' ').unwrap_or_default().to_owned(), (*ty).to_owned())
}
