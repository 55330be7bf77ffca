//! Cutting a collection into ranges of `_id` that can be read one by one, and looking at some documents beforehand.
//!
//! In: a collection and its size. Out: ranges in index order that together hold every document once, whatever the types
//! of the `_id`s. Split points come from the server, sorted and made distinct by the server, because the order of the
//! index (mixed types, collations, equal numbers of different types) is the server's.

use bson::{RawDocumentBuf, rawdoc};

use super::catalog::{CollectionInfo, CollectionKind, CollectionSize, raw, uuid_value};
use super::faults::{Site, classify, malformed};
use super::scan::snapshot_concern;
use super::{More, Source, primary};
use crate::error::{Result, Stage};
use crate::model::bson::{Doc, Document, Malformed, Value};
use crate::model::position::ClusterTime;

/// The most ranges of one collection: each is a row in the checkpoint.
const MOST_RANGES: u64 = 4096;
/// Documents up to which the index is walked: some million entries per second. A sample of a small collection is far from
/// even (a freshly loaded one of 17,000 documents gave 20 times the same few, seen on 8.2).
const MOST_COUNTED: u64 = 5_000_000;
/// Documents sampled per range: with one, the largest of many ranges is several times the mean; with ten, less than twice.
const SAMPLES_PER_RANGE: u64 = 10;
/// The most documents sampled: each is a random read, on a cold disk some 10 ms.
const MOST_SAMPLES: u64 = 8192;
/// The server walks the whole collection for a sample of 5 % and more; this stays below.
const SMALLEST_SHARE: u64 = 25;
/// Bytes of documents that are looked at beforehand, but for one that is larger.
const SAMPLE_BYTES: usize = 8 << 20;
/// Longer `_id`s are no split points: each is kept in the checkpoint, and an `_id` may have megabytes.
const LONGEST_BOUND: i32 = 1024;

/// A range of `_id`s in index order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdRange {
    /// `{_id: bound}`, inclusive; `None`: from the first.
    pub lower: Option<Document>,
    /// `{_id: bound}`, exclusive; `None`: to the last.
    pub upper: Option<Document>,
}

impl Source {
    /// Ranges of about `target_bytes` each; one open range for what is small or has no index on `_id`.
    ///
    /// # Errors
    /// What `faults` makes of the server's answer.
    pub async fn plan_ranges(
        &self,
        collection: &CollectionInfo,
        size: &CollectionSize,
        target_bytes: u64,
    ) -> Result<Vec<IdRange>> {
        let wanted = size.bytes.div_ceil(target_bytes.max(1)).min(MOST_RANGES);
        if wanted < 2 || !collection.id_index || collection.kind != CollectionKind::Collection {
            return Ok(vec![IdRange::default()]);
        }
        let doing = format!("plan the copy of {}", collection.namespace);
        let site = self.site(Stage::Snapshot, &doing);
        if size.documents <= MOST_COUNTED {
            return self.count_ranges(collection, size.documents.div_ceil(wanted), site).await;
        }
        let samples = (wanted * SAMPLES_PER_RANGE).min(MOST_SAMPLES).min(size.documents / SMALLEST_SHARE);
        let pipeline = bson::rawbson!([
            { "$sample": { "size": i64::try_from(samples).unwrap_or(i64::MAX) } },
            { "$project": { "_id": 1 } },
            { "$match": { "$expr": { "$lt": [{ "$bsonSize": "$$ROOT" }, LONGEST_BOUND] } } },
            { "$group": { "_id": "$_id" } },
            { "$sort": { "_id": 1 } },
        ]);
        let mut command = rawdoc! { "aggregate": &*collection.namespace.collection, "pipeline": pipeline };
        command.append(bson::cstr!("cursor"), rawdoc! {});
        command.append(bson::cstr!("allowDiskUse"), true);
        command.append(bson::cstr!("collectionUUID"), uuid_value(collection.id));
        let ids = self.all(&collection.namespace.database, command, site).await?;
        Ok(cut(&ids, wanted))
    }

    /// Ranges of so many documents each, found by walking the index.
    async fn count_ranges(&self, collection: &CollectionInfo, documents: u64, site: Site<'_>) -> Result<Vec<IdRange>> {
        // The first that is not too long is taken.
        const CANDIDATES: i64 = 8;
        let mut ranges = Vec::new();
        let mut lower: Option<Document> = None;
        for _ in 1..MOST_RANGES {
            let mut command = rawdoc! { "find": &*collection.namespace.collection, "hint": { "_id": 1 } };
            if let Some(lower) = &lower {
                command.append(bson::cstr!("min"), raw(lower.as_doc())?);
                command.append(bson::cstr!("max"), rawdoc! { "_id": bson::RawBson::MaxKey });
            }
            command.append(bson::cstr!("projection"), rawdoc! { "_id": 1 });
            command.append(bson::cstr!("skip"), i64::try_from(documents.max(1)).unwrap_or(i64::MAX));
            command.append(bson::cstr!("limit"), CANDIDATES);
            command.append(bson::cstr!("collectionUUID"), uuid_value(collection.id));
            let ids = self.all(&collection.namespace.database, command, site).await?;
            let short = |id: &Document| i32::try_from(id.len()).is_ok_and(|bytes| bytes < LONGEST_BOUND);
            let bound = ids.into_iter().find(|id| short(id) && is_a_bound(id.as_doc()).unwrap_or(false));
            let Some(bound) = bound else { break };
            ranges.push(IdRange { lower: lower.take(), upper: Some(bound.clone()) });
            lower = Some(bound);
        }
        ranges.push(IdRange { lower, upper: None });
        Ok(ranges)
    }

    /// At most `n` documents, and some megabytes: the first half of them from the beginning in natural order, the others from its end, so
    /// that old and new forms are seen, and two looks at the same collection see the same.
    ///
    /// # Errors
    /// [`Kind::Interrupted`] when the collection was renamed or dropped meanwhile, or `at` is too old to be read.
    ///
    /// [`Kind::Interrupted`]: crate::error::Kind::Interrupted
    pub async fn sample(&self, collection: &CollectionInfo, at: ClusterTime, n: u32) -> Result<Vec<Document>> {
        if collection.kind != CollectionKind::Collection || n == 0 {
            return Ok(Vec::new());
        }
        let doing = format!("sample {}", collection.namespace);
        let site = self.site(Stage::Snapshot, &doing);
        let (first, last) = (i64::from(n.div_ceil(2)), i64::from(n / 2));
        let command = |direction: i32, limit: i64| {
            let mut command = rawdoc! { "find": &*collection.namespace.collection, "limit": limit };
            command.append(bson::cstr!("sort"), rawdoc! { "$natural": direction });
            command.append(bson::cstr!("collectionUUID"), uuid_value(collection.id));
            command.append(bson::cstr!("readConcern"), snapshot_concern(at));
            command
        };
        let database = &collection.namespace.database;
        let most = SAMPLE_BYTES / 2;
        let mut documents = self.some(database, command(1, first), most, site).await?;
        let all = i64::try_from(documents.len()).is_ok_and(|found| found < first)
            && documents.iter().map(Document::len).sum::<usize>() < most;
        if last > 0 && !all {
            documents.extend(self.some(database, command(-1, last), most, site).await?);
        }
        Ok(documents)
    }

    /// Every document that a command yields; only for what is known to be small.
    pub(super) async fn all(&self, database: &str, command: RawDocumentBuf, site: Site<'_>) -> Result<Vec<Document>> {
        self.some(database, command, usize::MAX, site).await
    }

    /// The documents that a command yields, until they have so many bytes; one at least.
    async fn some(
        &self,
        database: &str,
        command: RawDocumentBuf,
        most_bytes: usize,
        site: Site<'_>,
    ) -> Result<Vec<Document>> {
        let opened = self.open(database, command, primary(), More::default(), site).await?;
        let (mut replies, first) = opened.map_err(|error| classify(&error, site))?;
        let (mut documents, mut bytes) = (Vec::new(), 0);
        let mut next = Some(first);
        while let Some(reply) = next {
            for document in reply.documents().map_err(|error| malformed(error, site))? {
                let document = document.map_err(|error| malformed(error, site))?.to_owned();
                bytes += document.len();
                documents.push(document);
                if bytes >= most_bytes {
                    return Ok(documents);
                }
            }
            next = replies.next(site).await?;
        }
        Ok(documents)
    }
}

impl From<Document> for IdRange {
    /// What a stage lets through, kept in place of a bound.
    fn from(stage: Document) -> Self {
        Self { lower: Some(stage), upper: None }
    }
}

impl IdRange {
    /// The bounds as `min` and `max` of a `find`.
    pub(super) fn bounds(&self) -> Result<(Option<RawDocumentBuf>, Option<RawDocumentBuf>)> {
        let bound = |bound: &Option<Document>| bound.as_ref().map(|bound| raw(bound.as_doc())).transpose();
        Ok((bound(&self.lower)?, bound(&self.upper)?))
    }
}

/// Takes every k-th of the sorted, distinct `{_id}` documents as a split point.
fn cut(ids: &[Document], wanted: u64) -> Vec<IdRange> {
    let usable: Vec<&Document> = ids.iter().filter(|id| is_a_bound(id.as_doc()).unwrap_or(false)).collect();
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX).max(1);
    let step = usable.len().div_ceil(wanted).max(1);
    let splits = usable.into_iter().step_by(step).skip(1).cloned();
    let mut ranges = Vec::new();
    let mut lower = None;
    for split in splits {
        ranges.push(IdRange { lower: lower.take(), upper: Some(split.clone()) });
        lower = Some(split);
    }
    ranges.push(IdRange { lower, upper: None });
    ranges
}

/// MinKey and MaxKey lie outside what `min` and `max` can tell apart from "no bound" (measured on 8.2).
fn is_a_bound(id: Doc<'_>) -> Result<bool, Malformed> {
    Ok(!matches!(id.get("_id")?, None | Some(Value::MinKey | Value::MaxKey)))
}

#[cfg(test)]
mod tests {
    use super::{IdRange, cut};
    use crate::model::bson::{Document, Value};
    use crate::source::writer::Writer;

    fn id(value: &Value<'_>) -> Document {
        let mut writer = Writer::new();
        writer.put(b"_id", value);
        writer.finish().expect("valid")
    }

    #[test]
    fn ranges_touch_and_are_open_at_both_ends() {
        let ids: Vec<Document> = (0..100).map(|n| id(&Value::Int32(n))).collect();
        let ranges = cut(&ids, 10);
        assert_eq!(ranges.len(), 10);
        assert!(ranges.first().is_some_and(|range| range.lower.is_none()));
        assert!(ranges.last().is_some_and(|range| range.upper.is_none()));
        for pair in ranges.windows(2) {
            assert_eq!(pair[0].upper, pair[1].lower);
        }
    }

    #[test]
    fn the_ends_of_the_order_are_no_bounds() {
        let ids = [id(&Value::MinKey), id(&Value::Int32(1)), id(&Value::MaxKey)];
        assert_eq!(cut(&ids, 3), [IdRange::default()]);
        assert_eq!(cut(&[], 5), [IdRange::default()]);
        let ids = [id(&Value::MinKey), id(&Value::Int32(1)), id(&Value::Null), id(&Value::MaxKey)];
        assert_eq!(cut(&ids, 4).len(), 2);
    }
}
