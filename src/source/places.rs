//! Where `_id`s lie among bounds, in the order of a collection's own collation.
//!
//! In: bounds in index order, and ids, `{_id: …}` each. Out: for each id, how many bounds are not after it. Without a
//! collation `model/order.rs` knows that; with one only the server does, and it is asked: its expressions compare by the
//! command's collation just as the index does, strings inside documents too (`tests/it/places.rs`). No collection is read,
//! so an id need not exist.

use bson::{RawArrayBuf, RawDocumentBuf, rawdoc};

use super::Source;
use super::catalog::{CollectionInfo, raw};
use super::faults::{Site, malformed};
use crate::error::{Error, Kind, Result, Stage};
use crate::model::bson::{Document, Value};

/// Ids in one command. The server looks up a thousand among a thousand bounds in some 10 ms (measured on 8.2).
const AT_ONCE: usize = 1000;
/// Bytes of ids in one command, which may have 16 MiB and also holds the bounds, each at most 1 KiB. An id that alone has
/// more is asked about alone.
const BYTES_AT_ONCE: usize = 4 << 20;

impl Source {
    /// For each of `ids`, the number of `bounds` that are less than it or equal; `bounds` are in ascending order.
    ///
    /// # Errors
    /// What `faults` makes of the server's answer.
    pub async fn places(
        &self,
        collection: &CollectionInfo,
        bounds: &[Document],
        ids: &[Document],
    ) -> Result<Vec<usize>> {
        if bounds.is_empty() {
            return Ok(vec![0; ids.len()]);
        }
        let doing = format!("compare ids of {}", collection.namespace);
        let site = self.site(Stage::Snapshot, &doing);
        let mut places = Vec::with_capacity(ids.len());
        let mut rest = ids;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(fitting(rest));
            let command = command(collection, bounds, now)?;
            let answer = self.all(&collection.namespace.database, command, site).await?;
            if answer.len() != now.len() {
                let message = format!("asked for the places of {} ids, MongoDB told {}", now.len(), answer.len());
                return Err(Error::new(Kind::Defect, site.stage, message));
            }
            for told in &answer {
                places.push(place(told, site)?);
            }
            rest = later;
        }
        Ok(places)
    }
}

/// How many ids go into the next command, at least one.
fn fitting(ids: &[Document]) -> usize {
    let mut bytes = 0;
    let fits = |id: &&Document| {
        bytes += id.len();
        bytes <= BYTES_AT_ONCE
    };
    ids.iter().take(AT_ONCE).take_while(fits).count().max(1)
}

/// Ids become documents, and each finds its place by halving: `low` bounds are not after it, all from `high` on are.
fn command(collection: &CollectionInfo, bounds: &[Document], ids: &[Document]) -> Result<RawDocumentBuf> {
    // Enough halvings for every one of them.
    let halvings = i32::try_from(usize::BITS - bounds.len().leading_zeros()).unwrap_or(i32::MAX);
    let all = i32::try_from(bounds.len()).unwrap_or(i32::MAX);
    // Literal, because a string may begin with `$` and a field's name too.
    let bounds = rawdoc! { "$literal": literals(bounds)? };
    let not_after = rawdoc! { "$lte": [{ "$arrayElemAt": [bounds, "$$middle"] }, "$$ROOT"] };
    let halve = rawdoc! { "$let": {
        "vars": { "middle": { "$toInt": { "$divide": [{ "$add": ["$$value.low", "$$value.high"] }, 2] } } },
        "in": { "$cond": [
            not_after,
            { "low": { "$add": ["$$middle", 1] }, "high": "$$value.high" },
            { "low": "$$value.low", "high": "$$middle" },
        ] },
    } };
    let found = rawdoc! { "$cond": [{ "$gte": ["$$value.low", "$$value.high"] }, "$$value", halve] };
    let place = rawdoc! { "$reduce": {
        "input": { "$range": [0, halvings] },
        "initialValue": { "low": 0, "high": all },
        "in": found,
    } };
    let mut command = rawdoc! {
        "aggregate": 1,
        "pipeline": [
            { "$documents": { "$literal": literals(ids)? } },
            { "$project": { "_id": 0, "place": place } },
        ],
        "cursor": { "batchSize": i32::try_from(ids.len()).unwrap_or(i32::MAX) },
    };
    if let Some(collation) = &collection.collation {
        command.append(bson::cstr!("collation"), raw(collation.as_doc())?);
    }
    Ok(command)
}

fn literals(documents: &[Document]) -> Result<RawArrayBuf> {
    let mut array = RawArrayBuf::new();
    for document in documents {
        array.push(raw(document.as_doc())?);
    }
    Ok(array)
}

fn place(told: &Document, site: Site<'_>) -> Result<usize> {
    let place = told.as_doc().get("place").map_err(|error| malformed(error, site))?;
    let Some(Value::Document(place)) = place else { return Err(unexpected(site)) };
    let low = place.get("low").map_err(|error| malformed(error, site))?;
    let Some(Value::Int32(low)) = low else { return Err(unexpected(site)) };
    usize::try_from(low).map_err(|_| unexpected(site))
}

fn unexpected(site: Site<'_>) -> Error {
    Error::new(Kind::Defect, site.stage, "MongoDB told no place of an id")
}
