//! The catalogue of configuration keys: one row each.
//!
//! What `tailwater init` writes, what an unknown key is compared with, and what the reference in `docs/operations.md` is
//! checked against. The reading itself is in `super`; a test makes sure that both know the same keys.

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its full name, `section.key`.
    pub name: &'static str,
    /// Its default as TOML, empty when there is none.
    pub default: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
}

const fn key(name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key { name, default, help }
}

/// Every key outside `[[collection]]`, in the order of the file.
pub const KEYS: [Key; 28] = [
    key("pipeline", r#""default""#, "one checkpoint, one writer; a second daemon of that name stands by"),
    key("source.uri", "", "connection string of the replica set or of mongos"),
    key("source.uri_file", "", "or a file that holds it"),
    key(
        "source.reader",
        r#""auto""#,
        "how changes are read: change_stream, oplog (local.oplog.rs of a replica set), or auto: the oplog where it may be read",
    ),
    key("source.include", "[]", "globs over database.collection; empty: everything but admin, config, local"),
    key("source.exclude", "[]", "globs over database.collection; wins over include"),
    key(
        "source.read_preference",
        r#""secondaryPreferred""#,
        "members the snapshot reads: primary, primaryPreferred, secondary, secondaryPreferred, nearest",
    ),
    key(
        "source.updates",
        r#""auto""#,
        "form of update events: auto, raw (the oplog's diff), public (updateDescription)",
    ),
    key("target.uri", "", "connection string of the PostgreSQL database"),
    key("target.uri_file", "", "or a file that holds it"),
    key("target.max_connections", "16", "connections at most, 3 or more"),
    key(
        "mapping.objects",
        r#""table""#,
        "embedded documents: table (a child table), jsonb (one column) or flatten (columns of the table around)",
    ),
    key("mapping.arrays", r#""table""#, "arrays of documents: table (a child table) or jsonb (one column)"),
    key("mapping.naming", r#""preserve""#, "names: preserve (as in MongoDB) or snake_case (rollNo becomes roll_no)"),
    key(
        "mapping.on_type_conflict",
        r#""widen""#,
        "values that their column's type does not hold: widen (the column), null (and an anomaly) or quarantine",
    ),
    key(
        "mapping.on_drop",
        r#""drop""#,
        "tables of a dropped collection: drop, or keep until their name is wanted again",
    ),
    key("mapping.synced_at", "false", "root tables get _synced_at: when the document was written last"),
    key("mapping.source", "false", "root tables get _source: which change wrote the document last"),
    key("mapping.soft_delete", "false", "root tables get _deleted_at, and deleted documents stay"),
    key("mapping.foreign_keys", r#""cutover""#, "when child tables get foreign keys: cutover or never"),
    key(
        "mapping.max_columns",
        "800",
        "columns of one table; fields that come later go into its column _extra; 1 to 1500",
    ),
    key("snapshot.parallel", "4", "ranges copied at the same time, 1 to 64"),
    key(
        "snapshot.max_bytes_per_second",
        r#""""#,
        r#"what the copy may read from the source in a second; KiB, MiB or GiB, at least 1MiB; "" is no limit"#,
    ),
    key("limits.memory_limit", r#""256MiB""#, "changes that wait in memory; KiB, MiB or GiB, at least 16MiB"),
    key(
        "on.history_lost",
        r#""stop""#,
        "when the oplog no longer reaches back to the position: stop, or resnapshot (copy again, in place)",
    ),
    key("http.listen", r#""127.0.0.1:9187""#, r#"metrics, probes, status and a page for people; "" switches it off"#),
    key("log.format", r#""auto""#, "text, json, or auto: text on a terminal, JSON otherwise"),
    key("log.level", r#""info""#, "error, warn, info, debug or trace"),
];

/// The keys of one `[[collection]]` entry.
pub const COLLECTION_KEYS: [Key; 9] = [
    key("namespace", "", "the collection, database.collection"),
    key("table", "", "its table in PostgreSQL, table or schema.table"),
    key("objects", "", "as mapping.objects, for this collection"),
    key("arrays", "", "as mapping.arrays, for this collection"),
    key("on_type_conflict", "", "as mapping.on_type_conflict, for this collection"),
    key("pipeline", "", "the table gets this aggregation's results, once, and does not follow"),
    key("ids_file", "", "a CSV file; the table gets only documents with an id of its first column, once"),
    key("ids_field", "", "the field that has those ids, _id if not set"),
    key("columns", "", "type, form and on_type_conflict of single paths"),
];

/// The known name that someone who wrote `unknown` most likely meant.
pub fn nearest<'k>(unknown: &str, keys: &'k [Key]) -> Option<&'k str> {
    let last = |name: &str| name.rsplit('.').next().map(str::to_owned);
    let same_key_elsewhere = || keys.iter().find(|key| last(key.name) == last(unknown)).map(|key| key.name);
    keys.iter()
        .map(|key| (distance(unknown, key.name), key.name))
        .min()
        // A third of the letters wrong is a typing error, more is another word.
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(2))
        .map(|(_, name)| name)
        .or_else(same_key_elsewhere)
}

/// Edits (insert, delete, replace, each of one character) that turn one text into the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for (to, pair) in b.iter().zip(row.windows(2)) {
            let (diagonal, above) = (pair.first().copied().unwrap_or(0), pair.last().copied().unwrap_or(0));
            left = (diagonal + usize::from(from != *to)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{COLLECTION_KEYS, KEYS, Key, distance, nearest};

    #[test]
    fn the_documentation_has_a_row_for_every_key() {
        let documentation = include_str!("../../docs/operations.md");
        let code = |text: &str| if text.is_empty() { "–".to_owned() } else { format!("`{text}`") };
        let rows = KEYS.iter().map(|key| format!("| `{}` | {} | {} |", key.name, code(key.default), key.help));
        let missing: Vec<_> = rows.filter(|row| !documentation.lines().any(|line| line == row)).collect();
        assert!(missing.is_empty(), "rows missing in docs/operations.md:\n{}", missing.join("\n"));
    }

    #[test]
    fn the_documentation_has_every_key_of_a_collection() {
        let documentation = include_str!("../../docs/operations.md");
        let has = |key: &Key| {
            let starts = [format!("{} = ", key.name), format!("[collection.{}]", key.name)];
            let explained = |line: &str| starts.iter().any(|start| line.starts_with(start)) && line.contains(" # ");
            documentation.lines().any(explained)
        };
        let missing: Vec<_> = COLLECTION_KEYS.iter().filter(|key| !has(key)).map(|key| key.name).collect();
        assert!(missing.is_empty(), "not under [[collection]] in docs/operations.md: {missing:?}");
    }

    #[test]
    fn edits_are_counted() {
        for (a, b, expected) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("uri", "url", 1)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn the_nearest_key_is_the_one_meant() {
        assert_eq!(nearest("source.url", &KEYS), Some("source.uri"));
        assert_eq!(nearest("source_uri", &KEYS), Some("source.uri"));
        assert_eq!(nearest("snapshot.paralel", &KEYS), Some("snapshot.parallel"));
        assert_eq!(nearest("include", &KEYS), Some("source.include"), "the right key in the wrong section");
        assert_eq!(nearest("colour.scheme", &KEYS), None);
        assert_eq!(nearest("tabel", &COLLECTION_KEYS), Some("table"));
    }
}
