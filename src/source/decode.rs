//! From an event to a change.
//!
//! In: the fields of an event. Out: a [`Change`], or the reason why there is none. Only what cannot concern a copy is
//! left out: the server's own databases, views, time-series collections, indexes and options; a type that this version
//! does not know is reported once and passed over, because stopping for it would stop everything else.

use std::collections::HashSet;

use tracing::{debug, warn};

use super::event::{Fields, text};
use super::faults::{Site, malformed};
use super::public_form;
use super::reply::position;
use crate::error::{Error, Kind, Result, Stage};
use crate::model::bson::{Doc, Document, Value};
use crate::model::change::{Change, Operation};
use crate::model::namespace::{CollectionId, Names, Namespace};

/// Turns events into changes; remembers which unknown types it has reported.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    reported: HashSet<Box<[u8]>>,
    names: Names,
}

/// Types that change neither documents nor which collections there are.
const WITHOUT_DATA: [&[u8]; 9] = [
    b"createIndexes",
    b"dropIndexes",
    b"modify",
    b"startIndexBuild",
    b"commitIndexBuild",
    b"abortIndexBuild",
    b"shardCollection",
    b"refineCollectionShardKey",
    b"endOfTransaction",
];

impl Decoder {
    /// The change of an event, `None` when it is of no interest. The boundary is not known here and left false.
    pub(super) fn decode(&mut self, fields: &Fields<'_>, site: Site<'_>) -> Result<Option<Change>> {
        let namespace = self.names.get(fields.database.unwrap_or_default(), fields.collection_name.unwrap_or_default());
        let to = renamed(fields).map_err(|error| malformed(error, site))?;
        // A rename out of an internal collection brings one into being, so both names must be internal.
        if namespace.is_internal() && to.as_ref().is_none_or(Namespace::is_internal) {
            return Ok(None);
        }
        let Some(operation) = self.operation(fields, to, site)? else { return Ok(None) };
        let collection = match (fields.collection, &operation) {
            (Some(id), _) => id,
            (None, Operation::DropDatabase) => CollectionId([0; 16]),
            (None, Operation::Create | Operation::Drop | Operation::Rename { .. }) => {
                // Only what has no storage of its own comes without a UUID.
                debug!(%namespace, operation = operation.name(), "a view or time-series collection is not followed");
                return Ok(None);
            }
            (None, _) => return Err(lacks(fields, "collectionUUID", site)),
        };
        let token = fields.token.ok_or_else(|| lacks(fields, "_id", site))?;
        let position = position(token, site)?;
        Ok(Some(Change { position, namespace, collection, boundary: false, operation }))
    }

    fn operation(&mut self, fields: &Fields<'_>, to: Option<Namespace>, site: Site<'_>) -> Result<Option<Operation>> {
        let document = || need(fields.document, fields, "fullDocument", site);
        let key = || need(fields.key, fields, "documentKey", site);
        Ok(Some(match fields.operation {
            b"insert" => Operation::Insert { document: document()? },
            b"replace" => Operation::Replace { document: document()? },
            b"update" => Operation::Update { key: key()?, diff: diff(fields, site)? },
            b"delete" => Operation::Delete { key: key()? },
            b"create" => Operation::Create,
            b"drop" => Operation::Drop,
            b"rename" => {
                let to = to.ok_or_else(|| lacks(fields, "to", site))?;
                Operation::Rename { to, drop_target: fields.drop_target }
            }
            b"dropDatabase" => Operation::DropDatabase,
            other => {
                self.unknown(other);
                return Ok(None);
            }
        }))
    }

    fn unknown(&mut self, operation: &[u8]) {
        if !WITHOUT_DATA.contains(&operation) && self.reported.insert(operation.into()) {
            let operation = String::from_utf8_lossy(operation);
            warn!(%operation, "events of this type are not known and passed over; copy the collections again that they name");
        }
    }
}

fn diff(fields: &Fields<'_>, site: Site<'_>) -> Result<Document> {
    if let Some(raw) = fields.raw_update {
        let part = |name| raw.get(name).map_err(|error| malformed(error, site));
        return match (part("$v")?, part("diff")?) {
            (Some(Value::Int32(2)), Some(Value::Document(diff))) => Ok(diff.to_owned()),
            _ => {
                let message = format!("{} sent an update in an oplog version other than 2", site.hosts);
                let remedy = "set source.updates to \"public\"";
                Err(Error::new(Kind::Unsupported, Stage::Source, message).remedy(remedy))
            }
        };
    }
    let update = fields.public_update.ok_or_else(|| lacks(fields, "rawUpdateDescription", site))?;
    public_form::diff(update).map_err(|error| match error {
        public_form::Fault::Malformed(error) => malformed(error, site),
        public_form::Fault::Ambiguous => {
            let message = format!(
                "an update of {}.{} names one path for two places, and the public form cannot tell them apart",
                label(fields.database),
                label(fields.collection_name)
            );
            Error::new(Kind::Undeliverable, Stage::Source, message)
                .remedy("set source.updates to \"raw\", or copy the collection again")
        }
    })
}

fn renamed(fields: &Fields<'_>) -> Result<Option<Namespace>, crate::model::bson::Malformed> {
    let Some(to) = fields.to else { return Ok(None) };
    Ok(Some(Namespace::new(&label(text(to, "db")?), &label(text(to, "coll")?))))
}

/// A name as a label: the server accepts names that are not UTF-8, and the UUID is what identifies.
fn label(name: Option<&[u8]>) -> String {
    String::from_utf8_lossy(name.unwrap_or_default()).into_owned()
}

fn need(part: Option<Doc<'_>>, fields: &Fields<'_>, name: &str, site: Site<'_>) -> Result<Document> {
    part.map(Doc::to_owned).ok_or_else(|| lacks(fields, name, site))
}

fn lacks(fields: &Fields<'_>, name: &str, site: Site<'_>) -> Error {
    let operation = String::from_utf8_lossy(fields.operation);
    let message = format!("{} sent an event {operation:?} without {name}", site.hosts);
    Error::new(Kind::Unsupported, Stage::Source, message)
}

#[cfg(test)]
mod tests {
    use bson::spec::BinarySubtype;
    use bson::{Document as Map, doc};

    use super::{Decoder, Fields};
    use crate::error::{Error, Stage};
    use crate::model::bson::Document;
    use crate::model::change::{Change, Operation};
    use crate::model::namespace::{CollectionId, Namespace};
    use crate::source::faults::Site;

    const SITE: Site<'static> = Site { stage: Stage::Source, doing: "test", hosts: "h:1" };

    fn uuid(byte: u8) -> bson::Binary {
        bson::Binary { subtype: BinarySubtype::Uuid, bytes: vec![byte; 16] }
    }

    fn decode(rest: Map) -> Result<Option<Change>, Error> {
        let mut event = doc! { "_id": { "_data": "826B035AF800000002" }, "collectionUUID": uuid(7) };
        event.extend(rest);
        let event = Document::new(event.to_vec().expect("encodes")).expect("valid");
        let mut fields = Fields::default();
        fields.absorb(event.as_doc()).expect("valid");
        Decoder::default().decode(&fields, SITE)
    }

    fn ns() -> Map {
        doc! { "db": "d", "coll": "c.e" }
    }

    fn bytes(map: &Map) -> Vec<u8> {
        map.to_vec().expect("encodes")
    }

    #[test]
    fn documents_keys_and_diffs_are_passed_as_they_lie() {
        let document = doc! { "_id": 1, "a": [1, { "b": bson::Bson::Undefined }] };
        let insert = decode(doc! { "operationType": "insert", "ns": ns(), "fullDocument": document.clone() });
        let change = insert.expect("valid").expect("of interest");
        assert_eq!((change.namespace, change.collection), (Namespace::new("d", "c.e"), CollectionId([7; 16])));
        assert!(
            matches!(&change.operation, Operation::Insert { document: d } if d.as_doc().bytes() == bytes(&document))
        );
        let raw = doc! { "$v": 2, "diff": { "u": { "a": 1 } } };
        let update = decode(
            doc! { "operationType": "update", "ns": ns(), "documentKey": { "_id": 1 }, "rawUpdateDescription": raw },
        );
        let operation = update.expect("valid").expect("of interest").operation;
        assert!(
            matches!(&operation, Operation::Update { diff, .. } if diff.as_doc().bytes() == bytes(&doc! { "u": { "a": 1 } }))
        );
    }

    #[test]
    fn a_rename_keeps_the_old_name_and_names_what_is_lost() {
        let event = doc! { "operationType": "rename", "ns": ns(), "to": { "db": "d", "coll": "n" },
        "operationDescription": { "to": { "db": "d", "coll": "n" }, "dropTarget": uuid(9) } };
        let change = decode(event).expect("valid").expect("of interest");
        assert_eq!(change.namespace, Namespace::new("d", "c.e"));
        let Operation::Rename { to, drop_target } = change.operation else { panic!("a rename") };
        assert_eq!((to, drop_target), (Namespace::new("d", "n"), Some(CollectionId([9; 16]))));
    }

    #[test]
    fn only_what_concerns_no_copy_is_left_out() {
        let skipped = |event| decode(event).expect("valid").is_none();
        assert!(skipped(doc! { "operationType": "createIndexes", "ns": ns() }));
        assert!(skipped(doc! { "operationType": "somethingNew", "ns": ns() }));
        assert!(skipped(doc! { "operationType": "insert", "ns": { "db": "config", "coll": "x" } }));
        assert!(skipped(doc! { "operationType": "drop", "ns": { "db": "d", "coll": "system.views" } }));
        assert!(skipped(doc! { "operationType": "create", "ns": ns(), "collectionUUID": bson::Bson::Null }));
        assert!(skipped(doc! { "operationType": "dropDatabase", "ns": { "db": "admin" } }));
        let hidden = doc! { "db": "d", "coll": "system.resharding.1" };
        assert!(!skipped(doc! { "operationType": "rename", "ns": hidden, "to": ns() }));
        let gone =
            decode(doc! { "operationType": "dropDatabase", "ns": { "db": "d" }, "collectionUUID": bson::Bson::Null });
        assert_eq!(gone.expect("valid").expect("of interest").collection, CollectionId([0; 16]));
    }

    #[test]
    fn an_event_that_lacks_a_part_is_an_error() {
        assert!(decode(doc! { "operationType": "insert", "ns": ns() }).is_err());
        assert!(decode(doc! { "operationType": "update", "ns": ns(), "documentKey": { "_id": 1 } }).is_err());
        let other = doc! { "$v": 3, "diff": {} };
        assert!(decode(doc! { "operationType": "update", "ns": ns(), "documentKey": { "_id": 1 }, "rawUpdateDescription": other }).is_err());
    }
}
