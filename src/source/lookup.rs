//! One document by its `_id`, for the quarantine. Updates are never looked up: the delta is the change.

use bson::{RawDocumentBuf, rawdoc};

use super::catalog::{raw, uuid_value};
use super::faults::malformed;
use super::scan::{BATCH, snapshot_concern};
use super::writer::Writer;
use super::{Source, primary};
use crate::error::{Error, Kind, Result, Stage};
use crate::model::bson::{Document, Value};
use crate::model::namespace::{CollectionId, Namespace};
use crate::model::position::ClusterTime;

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookUp {
    /// The document.
    Found(Document),
    /// The collection has no such document.
    Missing,
    /// The collection is gone.
    Gone,
    /// It cannot be read at that time, but at a later one.
    Later,
}

impl Source {
    /// The document with the `_id` of `key`, as it was at `at`, in the collection of that UUID, whatever its name is now.
    ///
    /// # Errors
    /// What `faults` makes of the server's answer.
    pub async fn look_up(
        &self,
        namespace: &Namespace,
        collection: CollectionId,
        key: &Document,
        at: ClusterTime,
    ) -> Result<LookUp> {
        let doing = format!("read a document of {namespace}");
        let command = command(collection, key, at)?;
        let found = self.find(namespace.clone(), command, primary(), BATCH, &doing).await;
        match found {
            Ok((_, _, reply)) => {
                let site = self.site(Stage::Source, &doing);
                let mut documents = reply.documents().map_err(|error| malformed(error, site))?;
                let document = documents.next().transpose().map_err(|error| malformed(error, site))?;
                Ok(document.map_or(LookUp::Missing, |document| LookUp::Found(document.to_owned())))
            }
            Err(error) if error.kind() == Kind::Interrupted => {
                let there = self.collection_by_id(&namespace.database, collection).await?.is_some();
                Ok(if there { LookUp::Later } else { LookUp::Gone })
            }
            Err(error) => Err(error),
        }
    }
}

/// The `find`, without its first field, which holds the name.
fn command(collection: CollectionId, key: &Document, at: ClusterTime) -> Result<RawDocumentBuf> {
    let defect = |error| Error::new(Kind::Defect, Stage::Source, "a document key of ours").caused_by(error);
    let id = key.as_doc().get("_id").map_err(defect)?.unwrap_or(Value::Null);
    let mut equal = Writer::new();
    equal.put(b"$eq", &id);
    let equal = equal.finish().map_err(defect)?;
    let mut filter = Writer::new();
    filter.put(b"_id", &Value::Document(equal.as_doc()));
    let filter = filter.finish().map_err(defect)?;
    let mut command = rawdoc! { "filter": raw(filter.as_doc())?, "limit": 1, "singleBatch": true };
    // By a collection's own collation two ids that are different to us may be equal.
    command.append(bson::cstr!("collation"), rawdoc! { "locale": "simple" });
    command.append(bson::cstr!("collectionUUID"), uuid_value(collection));
    command.append(bson::cstr!("readConcern"), snapshot_concern(at));
    Ok(command)
}
