//! From an operation of an oplog entry to a change.
//!
//! In: an operation, which is an entry or an element of `applyOps`. Out: a [`Change`] in the form that the change stream gives
//! as well, or nothing for what cannot concern a copy: the server's own databases, `system.*`, views, time-series
//! collections, indexes and options. A kind of operation that this version does not know is reported once and passed over.

use std::collections::HashSet;

use tracing::warn;

use super::entry::first_name;
use crate::error::{Error, Kind, Result, Stage};
use crate::model::bson::{Doc, Malformed, Value};
use crate::model::change::{Change, Operation};
use crate::model::namespace::{CollectionId, Names, Namespace};
use crate::model::position::Position;
use crate::source::catalog::uuid;

/// Commands that change neither documents nor which collections there are.
const WITHOUT_DATA: [&[u8]; 13] = [
    b"createIndexes",
    b"dropIndexes",
    b"deleteIndexes",
    b"deleteIndex",
    b"startIndexBuild",
    b"commitIndexBuild",
    b"abortIndexBuild",
    b"collMod",
    b"dbCheck",
    b"createGlobalIndex",
    b"dropGlobalIndex",
    b"modifyCollectionShardingIndexCatalog",
    b"abortTransaction",
];

/// Turns operations into changes; remembers which unknown kinds it has reported.
#[derive(Debug, Default)]
pub struct Decoder {
    is_shard: bool,
    unnamed: Option<fn(&Namespace) -> CollectionId>,
    reported: HashSet<Box<[u8]>>,
    names: Names,
}

/// The fields of an operation.
#[derive(Default)]
struct Fields<'a> {
    operation: &'a [u8],
    namespace: &'a [u8],
    collection: Option<CollectionId>,
    object: Option<Doc<'a>>,
    key: Option<Doc<'a>>,
    from_migrate: bool,
}

impl<'a> Fields<'a> {
    fn read(operation: Doc<'a>) -> Result<Self, Malformed> {
        let mut fields = Self::default();
        for element in operation.elements() {
            match element? {
                (b"op", Value::String(text)) => fields.operation = text,
                (b"ns", Value::String(text)) => fields.namespace = text,
                (b"ui", value) => fields.collection = uuid(Some(value)),
                (b"o", Value::Document(object)) => fields.object = Some(object),
                (b"o2", Value::Document(key)) => fields.key = Some(key),
                (b"fromMigrate", Value::Boolean(yes)) => fields.from_migrate = yes,
                _ => {}
            }
        }
        Ok(fields)
    }

    fn lacks(&self, what: &str) -> Error {
        let message = format!("an oplog entry ({}) lacks its field {what}", label(self.operation));
        Error::new(Kind::Undeliverable, Stage::Source, message)
    }

    fn object(&self) -> Result<Doc<'a>> {
        self.object.ok_or_else(|| self.lacks("o"))
    }
}

impl Decoder {
    /// For the oplog of a server; what `fromMigrate` marks on a member of a shard was in the cluster before.
    #[must_use]
    pub fn of_server(is_shard: bool) -> Self {
        Self { is_shard, ..Self::default() }
    }

    /// For entries that may have been written by hand: `unnamed` says what identifies a collection that is named without
    /// its UUID.
    #[must_use]
    pub fn of_file(unnamed: fn(&Namespace) -> CollectionId) -> Self {
        Self { unnamed: Some(unnamed), ..Self::default() }
    }

    /// The change of an operation, `None` when it is of no interest. Its position is `position`, and its boundary false.
    ///
    /// # Errors
    /// [`Kind::Undeliverable`] when a part is missing, [`Kind::Unsupported`] for an update in a form from before MongoDB 5.0.
    pub fn decode(&mut self, operation: Doc<'_>, position: &Position) -> Result<Option<Change>> {
        let fields = Fields::read(operation).map_err(damaged)?;
        if fields.from_migrate && self.is_shard {
            return Ok(None);
        }
        let Some(found) = self.operation(&fields)? else { return Ok(None) };
        let (namespace, operation) = found;
        let to = if let Operation::Rename { to, .. } = &operation { Some(to) } else { None };
        // A rename out of an internal collection brings one into being, so both names must be internal.
        if namespace.is_internal() && to.is_none_or(Namespace::is_internal) {
            return Ok(None);
        }
        let collection = match (fields.collection, &operation, self.unnamed) {
            (_, Operation::DropDatabase, _) => CollectionId([0; 16]),
            (Some(id), ..) => id,
            (None, _, Some(unnamed)) => unnamed(&namespace),
            (None, Operation::Create | Operation::Drop | Operation::Rename { .. }, None) => return Ok(None),
            (None, ..) => return Err(fields.lacks("ui")),
        };
        Ok(Some(Change { position: position.clone(), namespace, collection, boundary: false, operation }))
    }

    fn operation(&mut self, fields: &Fields<'_>) -> Result<Option<(Namespace, Operation)>> {
        let (database, collection) = names(fields.namespace);
        let namespace = self.names.get(database, collection);
        let operation = match fields.operation {
            b"i" => Operation::Insert { document: fields.object()?.to_owned() },
            b"d" => Operation::Delete { key: fields.object()?.to_owned() },
            b"u" => update(fields)?,
            b"n" => return Ok(None),
            b"c" => return self.command(&label(database), fields.object()?),
            other => {
                self.unknown(other);
                return Ok(None);
            }
        };
        Ok(Some((namespace, operation)))
    }

    fn command(&mut self, database: &str, command: Doc<'_>) -> Result<Option<(Namespace, Operation)>> {
        let Some(name) = first_name(command).map_err(damaged)? else { return Ok(None) };
        let get = |name: &str| command.get(name).map_err(damaged);
        let collection = match command.elements().next() {
            Some(Ok((_, Value::String(collection)))) => label(collection),
            _ => String::new(),
        };
        let namespace = Namespace::new(database, &collection);
        Ok(match name {
            // Neither has a storage of documents of its own.
            b"create" if get("viewOn")?.is_some() || get("timeseries")?.is_some() => None,
            b"create" => Some((namespace, Operation::Create)),
            b"drop" => Some((namespace, Operation::Drop)),
            b"dropDatabase" => Some((Namespace::new(database, ""), Operation::DropDatabase)),
            b"renameCollection" => {
                let Some(Value::String(to)) = get("to")? else {
                    let message = "an oplog entry (renameCollection) lacks its field to";
                    return Err(Error::new(Kind::Undeliverable, Stage::Source, message));
                };
                // Here the old name is a whole one.
                let [from, to] = [collection.as_bytes(), to].map(|name| {
                    let (database, collection) = names(name);
                    Namespace::new(&label(database), &label(collection))
                });
                Some((from, Operation::Rename { to, drop_target: uuid(get("dropTarget")?) }))
            }
            other => {
                if !WITHOUT_DATA.contains(&other) {
                    self.unknown(other);
                }
                None
            }
        })
    }

    fn unknown(&mut self, kind: &[u8]) {
        if self.reported.insert(kind.into()) {
            let kind = label(kind);
            warn!(%kind, "oplog entries of this kind are not known and passed over; copy the collections again that they name");
        }
    }
}

/// A replacement, or the `$v: 2` diff of an update.
fn update(fields: &Fields<'_>) -> Result<Operation> {
    let object = fields.object()?;
    let key = || fields.key.map(Doc::to_owned).ok_or_else(|| fields.lacks("o2"));
    let get = |name| object.get(name).map_err(damaged);
    match (get("$v")?, get("diff")?) {
        (Some(Value::Int32(2)), Some(Value::Document(diff))) => {
            Ok(Operation::Update { key: key()?, diff: diff.to_owned() })
        }
        (None, _) if !first_name(object).map_err(damaged)?.is_some_and(|name| name.starts_with(b"$")) => {
            Ok(Operation::Replace { document: object.to_owned() })
        }
        _ => Err(old_form()),
    }
}

fn old_form() -> Error {
    let message = "an update in the oplog is in a form from before MongoDB 5.0 ($v: 1, or update operators)";
    Error::new(Kind::Unsupported, Stage::Source, message)
        .remedy("raise the source's featureCompatibilityVersion to 5.0 or later, or read its change stream")
}

/// Database and collection; the name of a collection may have dots.
fn names(namespace: &[u8]) -> (&[u8], &[u8]) {
    let dot = namespace.iter().position(|byte| *byte == b'.').unwrap_or(namespace.len());
    let (database, rest) = namespace.split_at(dot);
    (database, rest.get(1..).unwrap_or_default())
}

/// A name as a label: the server accepts names that are not UTF-8, and the UUID is what identifies.
fn label(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

pub(super) fn damaged(error: Malformed) -> Error {
    Error::new(Kind::Undeliverable, Stage::Source, "an oplog entry is damaged").caused_by(error)
}

#[cfg(test)]
mod tests {
    use bson::spec::BinarySubtype;
    use bson::{Document as Map, doc};

    use super::Decoder;
    use crate::error::{Kind, Result};
    use crate::model::bson::Document;
    use crate::model::change::{Change, Operation};
    use crate::model::namespace::{CollectionId, Namespace};
    use crate::model::position::{ClusterTime, Position};

    fn uuid(byte: u8) -> bson::Binary {
        bson::Binary { subtype: BinarySubtype::Uuid, bytes: vec![byte; 16] }
    }

    fn with(decoder: &mut Decoder, operation: &Map) -> Result<Option<Change>> {
        let operation = Document::new(operation.to_vec().expect("encodes")).expect("valid");
        decoder.decode(operation.as_doc(), &Position::after(ClusterTime { seconds: 1, ordinal: 2 }, Some(3)))
    }

    fn decode(rest: Map) -> Result<Option<Change>> {
        let mut operation = doc! { "ns": "d.c.e", "ui": uuid(7) };
        operation.extend(rest);
        with(&mut Decoder::default(), &operation)
    }

    fn change(rest: Map) -> Change {
        decode(rest).expect("valid").expect("of interest")
    }

    #[test]
    fn documents_keys_and_diffs_are_passed_as_they_lie() {
        let document = doc! { "_id": 1, "a": [1, { "b": bson::Bson::Undefined }] };
        let bytes = document.to_vec().expect("encodes");
        let insert = change(doc! { "op": "i", "o": document.clone(), "o2": { "_id": 1 } });
        assert_eq!((insert.namespace, insert.collection), (Namespace::new("d", "c.e"), CollectionId([7; 16])));
        assert!(matches!(&insert.operation, Operation::Insert { document } if document.as_doc().bytes() == bytes));
        let replace = change(doc! { "op": "u", "o": document, "o2": { "_id": 1 } }).operation;
        assert!(matches!(&replace, Operation::Replace { document } if document.as_doc().bytes() == bytes));
        let diff = doc! { "u": { "a": 1 } };
        let update = change(doc! { "op": "u", "o": { "$v": 2, "diff": diff.clone() }, "o2": { "_id": 1 } }).operation;
        let bytes = diff.to_vec().expect("encodes");
        assert!(matches!(&update, Operation::Update { diff, .. } if diff.as_doc().bytes() == bytes));
        assert_eq!(change(doc! { "op": "d", "o": { "_id": 1 } }).operation.name(), "delete");
    }

    #[test]
    fn commands_name_collections_in_their_own_ways() {
        let command = |o: Map| change(doc! { "op": "c", "ns": "d.$cmd", "o": o });
        let created = command(doc! { "create": "x.y", "idIndex": {} });
        assert_eq!((created.namespace.to_string().as_str(), created.operation.name()), ("d.x.y", "create"));
        assert_eq!(command(doc! { "drop": "x" }).namespace, Namespace::new("d", "x"));
        let renamed = command(doc! { "renameCollection": "d.x", "to": "e.y.z", "dropTarget": uuid(9) });
        assert_eq!(renamed.namespace, Namespace::new("d", "x"));
        let Operation::Rename { to, drop_target } = renamed.operation else { panic!("a rename") };
        assert_eq!((to, drop_target), (Namespace::new("e", "y.z"), Some(CollectionId([9; 16]))));
        let plain = command(doc! { "renameCollection": "d.x", "to": "d.y", "dropTarget": false }).operation;
        assert!(matches!(plain, Operation::Rename { drop_target: None, .. }));
        let gone = with(&mut Decoder::default(), &doc! { "op": "c", "ns": "d.$cmd", "o": { "dropDatabase": 1 } });
        assert_eq!(gone.expect("valid").expect("of interest").collection, CollectionId([0; 16]));
    }

    #[test]
    fn only_what_concerns_no_copy_is_left_out() {
        let skipped = |rest| decode(rest).expect("valid").is_none();
        assert!(skipped(doc! { "op": "i", "ns": "config.x", "o": { "_id": 1 } }));
        assert!(skipped(doc! { "op": "i", "ns": "d.system.views", "o": { "_id": 1 } }));
        assert!(skipped(doc! { "op": "c", "ns": "d.$cmd", "o": { "create": "v", "viewOn": "c" } }));
        assert!(skipped(doc! { "op": "c", "ns": "d.$cmd", "o": { "create": "t", "timeseries": {} } }));
        assert!(skipped(doc! { "op": "c", "ns": "d.$cmd", "o": { "collMod": "c" } }));
        assert!(skipped(doc! { "op": "c", "ns": "d.$cmd", "o": { "somethingNew": "c" } }));
        assert!(skipped(doc! { "op": "zz", "o": {} }));
        let hidden = doc! { "renameCollection": "d.system.resharding.1", "to": "d.c" };
        assert!(!skipped(doc! { "op": "c", "ns": "d.$cmd", "o": hidden }));
        let moved = doc! { "op": "i", "ns": "d.c", "ui": uuid(1), "o": { "_id": 1 }, "fromMigrate": true };
        assert!(with(&mut Decoder::default(), &moved).expect("valid").is_some(), "convertToCapped copies so");
        let mut shard = Decoder::of_server(true);
        assert!(with(&mut shard, &moved).expect("valid").is_none());
    }

    #[test]
    fn an_old_form_is_refused_by_name() {
        for o in [doc! { "$v": 1, "$set": { "a": 1 } }, doc! { "$set": { "a": 1 } }, doc! { "$v": 2 }] {
            let error = decode(doc! { "op": "u", "o": o, "o2": { "_id": 1 } }).expect_err("old");
            assert_eq!(error.kind(), Kind::Unsupported);
        }
    }

    #[test]
    fn an_operation_that_lacks_a_part_is_an_error() {
        assert!(decode(doc! { "op": "i" }).is_err());
        assert!(decode(doc! { "op": "u", "o": { "$v": 2, "diff": {} } }).is_err());
        assert!(decode(doc! { "op": "c", "o": { "renameCollection": "d.x" } }).is_err());
        let without = doc! { "op": "i", "ns": "d.c", "o": { "_id": 1 } };
        assert!(with(&mut Decoder::default(), &without).is_err());
        let mut by_hand = Decoder::of_file(|_| CollectionId([5; 16]));
        let made = with(&mut by_hand, &without).expect("valid").expect("of interest");
        assert_eq!(made.collection, CollectionId([5; 16]));
    }
}
