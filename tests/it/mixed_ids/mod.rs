//! Section 2, `_id`: ids of every type, mixed in one collection, and the moment at which `_key` becomes the key.
//!
//! - `ids`: ids of every type, byte by byte
//! - `equality`: which ids are one, MongoDB's word against the product's
//! - `order`: which id comes before which in the index, MongoDB's word against the product's
//! - `pairs`: every type beside every other, copied and followed, over a kill
//! - `exact`: the keys that PostgreSQL makes of what it holds are those of the ids that come in
//! - `numbers`: which mixtures of numbers stay numbers
//! - `odd`: long ids, ids that cannot be stored, names, renames, collations
//! - `many`: large tables

mod equality;
mod exact;
mod ids;
mod many;
mod numbers;
mod odd;
mod order;
mod pairs;

use mongodb::bson::raw::CString;
use mongodb::bson::{Document, RawArrayBuf, RawDocumentBuf, doc, rawdoc};

use crate::harness::case::Case;
use ids::Id;

/// A document with rows in tables at two depths.
fn fields(n: i32) -> Document {
    doc! {"v": n, "l": [{"y": n, "m": [{"z": n}, {"z": n}]}, {"y": n}]}
}

impl Case {
    async fn by_id(&self, name: &str, collection: &str, list: &str, statement: RawDocumentBuf) {
        let mut statements = RawArrayBuf::new();
        statements.push(statement);
        let mut command = RawDocumentBuf::new();
        command.append(CString::try_from(name).expect("a name"), collection);
        command.append(CString::try_from(list).expect("a name"), statements);
        let answer = self.database("db").run_raw_command(command).await.expect("the command runs");
        assert_eq!(answer.get_i32("n").expect("a count"), 1, "{name} in {collection}: {answer:?}");
    }

    /// An update by operators, or a replacement, of the document of that id.
    async fn update_id(&self, collection: &str, id: &Id, update: RawDocumentBuf) {
        self.by_id("update", collection, "updates", rawdoc! { "q": id.with(&doc! {}), "u": update }).await;
    }

    async fn delete_id(&self, collection: &str, id: &Id) {
        self.by_id("delete", collection, "deletes", rawdoc! { "q": id.with(&doc! {}), "limit": 1 }).await;
    }

    /// The key columns of a collection's three tables, and the type of `_id`.
    async fn keys(&self, collection: &str) -> (Vec<String>, String) {
        let mut keys = Vec::new();
        for table in ["", "_l", "_l_m"] {
            keys.push(self.key(&format!("{collection}{table}")).await.remove(0));
        }
        let columns = self.columns(collection).await;
        let id = columns.iter().find_map(|column| column.strip_prefix("_id ")).unwrap_or_default();
        (keys, id.to_owned())
    }

    async fn expect_keyed(&self, collection: &str) {
        let child = format!("{collection}__key");
        let keys = vec!["_key".to_owned(), child.clone(), child];
        assert_eq!(self.keys(collection).await, (keys, "jsonb".to_owned()), "{collection}");
    }

    async fn expect_plain(&self, collection: &str, column_type: &str) {
        let child = format!("{collection}__id");
        let keys = vec!["_id".to_owned(), child.clone(), child];
        assert_eq!(self.keys(collection).await, (keys, column_type.to_owned()), "{collection}");
    }
}
