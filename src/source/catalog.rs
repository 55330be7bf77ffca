//! What the source holds: databases, collections, sizes, times.
//!
//! In: names. Out: facts at the time of asking. Invariant: a right that is missing is an error, never a shorter list
//! (asked without `authorizedDatabases: false`, MongoDB leaves out silently what a user may not see).

use bson::spec::BinarySubtype;
use bson::{Bson, Document, RawDocumentBuf, doc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::faults::{NAMESPACE_NOT_FOUND, UNAUTHORIZED, classify, malformed, server_code};
use super::{More, Source, primary};
use crate::error::{Error, Kind, Result, Stage};
use crate::model::bson::{Doc, Document as RawDocument, Malformed, Value};
use crate::model::namespace::{CollectionId, Namespace};
use crate::model::position::ClusterTime;

/// Databases listed at a time: one by one, a thousand databases far away would take minutes.
const LISTED_AT_ONCE: usize = 8;

/// What kind of thing a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectionKind {
    /// A collection, capped and clustered ones included.
    Collection,
    /// A view: a stored query, nothing to copy.
    View,
    /// A time-series collection: MongoDB publishes no changes of it.
    TimeSeries,
}

/// A collection of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionInfo {
    /// Its name when it was asked for.
    pub namespace: Namespace,
    /// Its UUID; all zero for views and time-series collections, which have none.
    pub id: CollectionId,
    /// What it is.
    pub kind: CollectionKind,
    /// True when it has an index on `_id` to cut ranges by. Capped collections of old servers may lack it.
    pub id_index: bool,
    /// What strings are compared by, as the server says it; `None`: by their bytes.
    pub collation: Option<RawDocument>,
}

/// How much a collection holds, by the server's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CollectionSize {
    /// Number of documents.
    pub documents: u64,
    /// Bytes of BSON, uncompressed.
    pub bytes: u64,
}

impl CollectionSize {
    /// Bytes of a document, on average.
    #[must_use]
    pub fn mean(&self) -> usize {
        usize::try_from(self.bytes.checked_div(self.documents).unwrap_or(0)).unwrap_or(usize::MAX)
    }
}

/// What the oplog reaches over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OplogWindow {
    /// Its oldest entry: a position before it is lost.
    pub first: ClusterTime,
    /// Its newest entry.
    pub last: ClusterTime,
}

impl Source {
    /// All user collections, views and time-series collections of all databases, sorted by name.
    ///
    /// # Errors
    /// [`Kind::Permission`] when a list is refused; what `faults` makes of the rest.
    pub async fn collections(&self) -> Result<Vec<CollectionInfo>> {
        let names = self.databases().await?;
        let lists = stream::iter(names.iter().map(|name| self.collections_of(name)));
        let lists: Vec<Vec<CollectionInfo>> = lists.buffer_unordered(LISTED_AT_ONCE).try_collect().await?;
        let mut all: Vec<CollectionInfo> = lists.into_iter().flatten().collect();
        all.sort_by(|a, b| a.namespace.cmp(&b.namespace));
        Ok(all)
    }

    /// The collection of that name, `None` when there is none.
    ///
    /// # Errors
    /// As [`Source::collections`].
    pub async fn collection(&self, namespace: &Namespace) -> Result<Option<CollectionInfo>> {
        let all = self.collections_of(&namespace.database).await?;
        Ok(all.into_iter().find(|info| info.namespace == *namespace))
    }

    /// The collection with that UUID, under the name it has now; `None` when it is gone. A UUID never moves to another
    /// database.
    ///
    /// # Errors
    /// As [`Source::collections`].
    pub async fn collection_by_id(&self, database: &str, id: CollectionId) -> Result<Option<CollectionInfo>> {
        let all = self.collections_of(database).await?;
        Ok(all.into_iter().find(|info| info.id == id && info.kind == CollectionKind::Collection))
    }

    /// Number of documents and bytes; zero for what is missing or has no storage.
    ///
    /// # Errors
    /// What `faults` makes of the server's answer.
    pub async fn size(&self, namespace: &Namespace) -> Result<CollectionSize> {
        // CommandNotSupportedOnView.
        const ON_VIEW: i32 = 166;
        let doing = format!("measure {namespace}");
        let site = self.site(Stage::Source, &doing);
        let command = doc! { "collStats": &*namespace.collection };
        match self.try_command(&namespace.database, command, site).await? {
            Ok(stats) => Ok(CollectionSize { documents: count(&stats, "count"), bytes: count(&stats, "size") }),
            Err(error) if matches!(server_code(&error), Some(NAMESPACE_NOT_FOUND | ON_VIEW)) => {
                Ok(CollectionSize::default())
            }
            Err(error) => Err(classify(&error, site)),
        }
    }

    /// A cluster time that snapshot reads can use, not older than anything that a stream of this source has shown.
    ///
    /// A primary that was cut off may still answer with an older time; a copy read there would lack changes that the
    /// stream has already passed. Hence the newest time of all replies counts. When it is newer than what the majority
    /// has, the read waits.
    ///
    /// # Errors
    /// What `faults` makes of the server's answer.
    pub async fn operation_time(&self) -> Result<ClusterTime> {
        let site = self.site(Stage::Source, "ask for the operation time");
        self.command("admin", doc! { "ping": 1 }, site).await?;
        Ok(self.newest())
    }

    /// What the oplog reaches over; `None` where it cannot be seen (sharded clusters, restricted services, no right).
    ///
    /// # Errors
    /// What `faults` makes of the server's answer, a missing right apart.
    pub async fn oplog_window(&self) -> Result<Option<OplogWindow>> {
        if let Some(first) = self.oplog_end(1).await? {
            return Ok(self.oplog_end(-1).await?.map(|last| OplogWindow { first, last }));
        }
        // Who may not read the oplog itself may be allowed to read this.
        let site = self.site(Stage::Source, "measure the oplog");
        let command = doc! { "serverStatus": 1, "oplog": 1, "metrics": 0, "wiredTiger": 0, "tcmalloc": 0, "locks": 0 };
        match self.try_command("admin", command, site).await? {
            Ok(status) => Ok(status.get_document("oplog").ok().and_then(|oplog| {
                let end = |name| oplog.get_timestamp(name).ok().map(cluster_time);
                Some(OplogWindow { first: end("earliestOptime")?, last: end("latestOptime")? })
            })),
            Err(error) if server_code(&error) == Some(UNAUTHORIZED) => Ok(None),
            Err(error) => Err(classify(&error, site)),
        }
    }

    async fn oplog_end(&self, direction: i32) -> Result<Option<ClusterTime>> {
        // On a mongos `local` cannot be read at all: NamespaceNotFound, InvalidNamespace, IllegalOperation.
        const NOT_HERE: [i32; 4] = [UNAUTHORIZED, NAMESPACE_NOT_FOUND, 73, 20];
        let site = self.site(Stage::Source, "measure the oplog");
        let command = doc! {
            "find": "oplog.rs", "sort": { "$natural": direction }, "projection": { "ts": 1 }, "limit": 1,
            "singleBatch": true,
        };
        match self.try_command("local", command, site).await? {
            Ok(reply) => Ok(first_of(&reply).and_then(|entry| entry.get_timestamp("ts").ok()).map(cluster_time)),
            Err(error) if server_code(&error).is_some_and(|code| NOT_HERE.contains(&code)) => Ok(None),
            Err(error) => Err(classify(&error, site)),
        }
    }

    /// The names of the user databases.
    pub(super) async fn databases(&self) -> Result<Vec<String>> {
        let site = self.site(Stage::Source, "list the databases");
        let command = doc! { "listDatabases": 1, "nameOnly": true, "authorizedDatabases": false };
        let reply = self.command("admin", command, site).await?;
        let list = reply.get_array("databases").map(Vec::as_slice).unwrap_or_default();
        let names = list.iter().filter_map(|entry| entry.as_document()?.get_str("name").ok());
        Ok(names.filter(|name| !Namespace::new(name, "").is_internal()).map(str::to_owned).collect())
    }

    async fn collections_of(&self, database: &str) -> Result<Vec<CollectionInfo>> {
        let doing = format!("list the collections of {database}");
        let site = self.site(Stage::Source, &doing);
        let command = bson::rawdoc! { "listCollections": 1, "cursor": {} };
        let opened = self.open(database, command, primary(), More::default(), site).await?;
        let (mut replies, first) = opened.map_err(|error| classify(&error, site))?;
        let mut list = Vec::new();
        let mut next = Some(first);
        while let Some(reply) = next {
            for entry in reply.documents().map_err(|error| malformed(error, site))? {
                let info =
                    entry.and_then(|entry| collection(database, entry)).map_err(|error| malformed(error, site))?;
                list.extend(info.filter(|info| !info.namespace.is_internal()));
            }
            next = replies.next(site).await?;
        }
        Ok(list)
    }
}

/// One entry of `listCollections`. A name that is not UTF-8 becomes a label with replacement characters.
fn collection(database: &str, entry: Doc<'_>) -> Result<Option<CollectionInfo>, Malformed> {
    let (mut name, mut kind, mut id, mut id_index) = (None, CollectionKind::Collection, CollectionId([0; 16]), false);
    let mut collation = None;
    for element in entry.elements() {
        match element? {
            (b"name", Value::String(text)) => name = Some(String::from_utf8_lossy(text)),
            (b"type", Value::String(b"view")) => kind = CollectionKind::View,
            (b"type", Value::String(b"timeseries")) => kind = CollectionKind::TimeSeries,
            (b"info", Value::Document(info)) => {
                if let Some(uuid) = uuid(info.get("uuid")?) {
                    id = uuid;
                }
            }
            (b"idIndex", _) => id_index = true,
            (b"options", Value::Document(options)) => {
                id_index |= options.get("clusteredIndex")?.is_some();
                collation = collation_of(options)?;
            }
            _ => {}
        }
    }
    if kind != CollectionKind::Collection {
        id = CollectionId([0; 16]);
    }
    let namespace = name.map(|name| Namespace::new(database, &name));
    Ok(namespace.map(|namespace| CollectionInfo { namespace, id, kind, id_index, collation }))
}

fn collation_of(options: Doc<'_>) -> Result<Option<RawDocument>, Malformed> {
    match options.get("collation")? {
        Some(Value::Document(collation)) if collation.get("locale")? != Some(Value::String(b"simple")) => {
            Ok(Some(collation.to_owned()))
        }
        _ => Ok(None),
    }
}

/// A UUID, when the value is one.
pub(super) fn uuid(value: Option<Value<'_>>) -> Option<CollectionId> {
    match value {
        Some(Value::Binary { subtype: 4, bytes }) => bytes.try_into().ok().map(CollectionId),
        _ => None,
    }
}

/// A UUID as a command wants it.
pub(super) fn uuid_value(id: CollectionId) -> bson::Binary {
    bson::Binary { subtype: BinarySubtype::Uuid, bytes: id.0.to_vec() }
}

/// One of our documents as a command wants it; what lies inside passes untouched.
pub(super) fn raw(document: Doc<'_>) -> Result<RawDocumentBuf> {
    RawDocumentBuf::from_bytes(document.bytes().to_vec())
        .map_err(|error| Error::new(Kind::Defect, Stage::Source, "a document of ours is no BSON").caused_by(error))
}

pub(super) fn cluster_time(time: bson::Timestamp) -> ClusterTime {
    ClusterTime { seconds: time.time, ordinal: time.increment }
}

fn first_of(reply: &Document) -> Option<&Document> {
    reply.get_document("cursor").ok()?.get_array("firstBatch").ok()?.first()?.as_document()
}

/// A counter, whatever number type the server used.
fn count(stats: &Document, name: &str) -> u64 {
    match stats.get(name) {
        Some(Bson::Int32(n)) => u64::try_from(*n).unwrap_or(0),
        Some(Bson::Int64(n)) => u64::try_from(*n).unwrap_or(0),
        Some(Bson::Double(n)) => format!("{n:.0}").parse().unwrap_or(0),
        _ => 0,
    }
}
