//! A change's schema changes put together: what a table that they also create does not need is left out, and each other
//! table is altered once, which rewrites its rows once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::model::table::{SharedTable, TableId};
use crate::model::write_set::{ColumnChange, Ddl, PathRow};

/// Schema changes that lead to the same tables and catalog rows in fewer steps. A table that is created is created as it
/// is at the end; of several rows of one path the last stays.
#[must_use]
pub fn compact(ddl: Vec<Ddl>) -> Vec<Ddl> {
    let latest = latest(&ddl);
    let mut created = HashSet::new();
    let mut kept = Vec::with_capacity(ddl.len());
    for change in ddl {
        match change {
            Ddl::CreateTable(table) => {
                created.insert(table.id);
                kept.push(Ddl::CreateTable(latest.get(&table.id).cloned().unwrap_or(table)));
            }
            Ddl::Alter { ref table, .. } if created.contains(&table.id) => {}
            Ddl::Path(row) => {
                let same = |other: &Ddl| matches!(other, Ddl::Path(old) if same_place(old, &row));
                kept.retain(|other| !same(other));
                kept.push(Ddl::Path(row));
            }
            Ddl::Rekey(mut rekey) => {
                rekey.tables.retain(|(_, after)| !created.contains(&after.id));
                if !rekey.tables.is_empty() {
                    kept.push(Ddl::Rekey(rekey));
                }
            }
            Ddl::Alter { .. }
            | Ddl::DropTable(_)
            | Ddl::Keep { .. }
            | Ddl::Aside { .. }
            | Ddl::Keys(_)
            | Ddl::RenameTable { .. }
            | Ddl::Collection(_)
            | Ddl::Forget(_)
            | Ddl::Gone(_) => kept.push(change),
        }
    }
    together(kept)
}

/// The tables that change, as they are at the end.
fn latest(ddl: &[Ddl]) -> HashMap<TableId, SharedTable> {
    let mut latest = HashMap::new();
    for change in ddl {
        if let Ddl::Alter { table, .. } = change {
            latest.insert(table.id, Arc::clone(table));
        }
        if let Ddl::Rekey(rekey) = change {
            latest.extend(rekey.tables.iter().map(|(_, after)| (after.id, Arc::clone(after))));
        }
    }
    latest
}

/// Each `Alter` joins the one before it of the same table, unless that table got another name or key between them.
fn together(ddl: Vec<Ddl>) -> Vec<Ddl> {
    let mut kept: Vec<Ddl> = Vec::with_capacity(ddl.len());
    let mut places: HashMap<TableId, usize> = HashMap::new();
    for change in ddl {
        match change {
            Ddl::Alter { table, columns } => match places.get(&table.id).and_then(|place| kept.get_mut(*place)) {
                Some(Ddl::Alter { table: earlier, columns: first }) => {
                    *earlier = table;
                    join(first, columns);
                }
                _ => {
                    places.insert(table.id, kept.len());
                    kept.push(Ddl::Alter { table, columns });
                }
            },
            Ddl::RenameTable { .. } | Ddl::Rekey(_) => {
                places.clear();
                kept.push(change);
            }
            // What is dropped or kept for its user is not altered afterwards.
            Ddl::CreateTable(_)
            | Ddl::DropTable(_)
            | Ddl::Keep { .. }
            | Ddl::Aside { .. }
            | Ddl::Keys(_)
            | Ddl::Path(_)
            | Ddl::Collection(_)
            | Ddl::Forget(_)
            | Ddl::Gone(_) => kept.push(change),
        }
    }
    kept
}

/// A column that is changed twice changes once, from what it was at first to the type that the table has at the end.
fn join(first: &mut Vec<ColumnChange>, then: Vec<ColumnChange>) {
    for change in then {
        if first.iter().all(|earlier| earlier.index() != change.index()) {
            first.push(change);
        }
    }
}

fn same_place(a: &PathRow, b: &PathRow) -> bool {
    // An array's own path may have two columns, `_value` and `_extra`.
    let column = |row: &PathRow| row.column.as_ref().map(|(name, _)| name.clone());
    (&a.path, a.form, &a.schema, &a.table, column(a)) == (&b.path, b.form, &b.schema, &b.table, column(b))
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;
    use crate::mapping::collection::{Collection, Nothing, Shared};
    use crate::model::bson::Document;
    use crate::model::namespace::{CollectionId, Namespace};
    use crate::model::table::{PgType, Table};

    fn collection() -> Collection {
        let shared = Shared { names: Arc::default(), options: Arc::default(), collections: Arc::default() };
        Collection::new(CollectionId([1; 16]), Namespace::parse("db.c").expect("a name"), shared)
    }

    /// The schema changes of some documents together.
    fn learn(collection: &mut Collection, documents: &[bson::Document]) -> Vec<Ddl> {
        for document in documents {
            let document = Document::new(document.to_vec().expect("bson")).expect("bson");
            collection.document(document.as_doc(), false, &mut Nothing).expect("stored");
        }
        compact(collection.take_ddl())
    }

    fn kind(change: &Ddl) -> &'static str {
        if let Ddl::Alter { .. } = change {
            return "alter";
        }
        if let Ddl::RenameTable { .. } = change { "rename" } else { "" }
    }

    fn names(table: &Table) -> Vec<&str> {
        table.columns.iter().map(|column| column.name.as_str()).collect()
    }

    /// The tables that get another key, and the columns of those that are made.
    fn keys(ddl: &[Ddl]) -> (Vec<&str>, Vec<Vec<&str>>) {
        let (mut rekeyed, mut created) = (Vec::new(), Vec::new());
        for change in ddl {
            if let Ddl::Rekey(rekey) = change {
                rekeyed.extend(rekey.tables.iter().map(|(_, table)| table.name.as_str()));
            }
            if let Ddl::CreateTable(table) = change {
                created.push(names(table));
            }
        }
        (rekeyed, created)
    }

    #[test]
    fn tables_that_are_made_with_another_key_do_not_get_it_twice() {
        let mut collection = collection();
        learn(&mut collection, &[doc! {"_id": 1, "a": {"x": 1}}]);
        let ddl = learn(&mut collection, &[doc! {"_id": 2, "b": {"x": 1}}, doc! {"_id": "s", "c": {"x": 1}, "d": 1}]);
        assert_eq!(keys(&ddl), (vec!["c", "c_a"], vec![vec!["c__key", "x"], vec!["c__key", "x"]]));
        assert_eq!(collection.tables().first().map(|root| names(root)), Some(vec!["_key", "_id", "d"]));
    }

    #[test]
    fn a_table_is_altered_once_however_many_columns_change() {
        let mut collection = collection();
        learn(&mut collection, &[doc! {"_id": 1, "a": 1, "b": 1}]);
        let documents = [doc! {"_id": 2, "a": 1i64, "c": 1}, doc! {"_id": 3, "a": "s", "c": "s", "b": 1i64}];
        let ddl = learn(&mut collection, &documents);
        let mut alters = ddl.iter().filter_map(|change| {
            if let Ddl::Alter { table, columns } = change { Some((table, columns)) } else { None }
        });
        let (table, columns) = alters.next().expect("one ALTER");
        assert!(alters.next().is_none());
        let kinds: Vec<_> = columns.iter().map(|change| (change.index(), change.from())).collect();
        assert_eq!(kinds, [(1, Some(PgType::Integer)), (3, None), (2, Some(PgType::Integer))]);
        let types: Vec<_> = table.columns.iter().map(|column| column.ty).collect();
        assert_eq!(types, [PgType::Integer, PgType::Jsonb, PgType::BigInt, PgType::Jsonb]);
    }

    #[test]
    fn a_table_that_gets_another_name_is_altered_before_and_after_it() {
        let mut collection = collection();
        learn(&mut collection, &[doc! {"_id": 1, "a": 1}]);
        collection.rename(Namespace::parse("db.d").expect("a name"));
        let ddl = learn(&mut collection, &[doc! {"_id": 2, "a": 1i64}]);
        let kinds: Vec<_> = ddl.iter().map(kind).filter(|kind| !kind.is_empty()).collect();
        assert_eq!(kinds, ["rename", "alter"]);
    }

    #[test]
    fn tables_that_are_all_new_are_made_as_they_are_at_the_end() {
        let ddl = learn(&mut collection(), &[doc! {"_id": 1, "a": {"x": 1}}, doc! {"_id": "s"}]);
        assert_eq!(keys(&ddl), (vec![], vec![vec!["_key", "_id"], vec!["c__key", "x"]]));
    }
}
