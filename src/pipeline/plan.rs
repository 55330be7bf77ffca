//! `tailwater plan`: what `run` would make of each collection, from a sample of its documents. Touches nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::prepare::SAMPLE;
use super::range::learn;
use crate::config::Config;
use crate::error::Result;
use crate::mapping::collection::{Collection, Output, Shared};
use crate::mapping::names::TableNames;
use crate::model::bson::Document;
use crate::model::row::{Key, Row};
use crate::model::table::{EXTRA_COLUMN, PgType, SharedTable};
use crate::model::write_set::{Anomaly, Form, PathRow};
use crate::source::{CollectionInfo, CollectionKind, CollectionSize, Source};

/// A sampled document of this size or more is worth a word: sixteen times that is the most that MongoDB takes.
const LARGE_DOCUMENT_BYTES: usize = 1 << 20;

/// What `run` would make of one collection.
#[derive(Debug)]
pub struct CollectionPlan {
    /// The collection and what it is.
    pub info: CollectionInfo,
    /// How large it is.
    pub size: CollectionSize,
    /// Documents that were looked at.
    pub sampled: usize,
    /// The tables that would be made, the root's first.
    pub tables: Vec<SharedTable>,
    /// What someone should know before, a sentence each.
    pub risks: Vec<String>,
}

/// Samples every selected collection and plans its tables, by the same inference as `run`'s, for an empty target.
///
/// # Errors
/// When the source cannot be read.
pub async fn plan(config: &Config) -> Result<Vec<CollectionPlan>> {
    let source = Source::connect(&config.source).await?;
    source.probe().await?;
    let shared = Shared {
        names: Arc::new(TableNames::default()),
        options: Arc::new(config.mapping),
        collections: Arc::new(config.collections.clone()),
    };
    let mut found = source.collections().await?;
    found.retain(|info| config.filter.selects(&info.namespace));
    found.sort_by_key(|info| info.namespace.to_string());
    let mut plans = Vec::with_capacity(found.len());
    for info in found {
        plans.push(plan_one(&source, info, &shared).await?);
    }
    Ok(plans)
}

async fn plan_one(source: &Source, info: CollectionInfo, shared: &Shared) -> Result<CollectionPlan> {
    if info.kind != CollectionKind::Collection {
        let risks = vec![format!("is no plain collection ({:?}) and is not replicated", info.kind)];
        return Ok(CollectionPlan { info, size: CollectionSize::default(), sampled: 0, tables: Vec::new(), risks });
    }
    let size = source.size(&info.namespace).await?;
    let now = source.operation_time().await?;
    let documents = source.sample(&info, now, SAMPLE).await?;
    let mut mapping = Collection::new(info.id, info.namespace.clone(), shared.clone());
    for document in &documents {
        learn(&mut mapping, document.as_doc());
    }
    let risks = risks(&mut mapping, &documents, shared.options.max_columns);
    Ok(CollectionPlan { info, size, sampled: documents.len(), tables: mapping.tables().to_vec(), risks })
}

fn risks(mapping: &mut Collection, documents: &[Document], max_columns: usize) -> Vec<String> {
    let mut risks = mixed_paths(&mapping.path_rows());
    risks.extend(bad_values(mapping, documents));
    for table in mapping.tables().iter().filter(|table| table.columns.len() > max_columns / 2) {
        let columns = table.columns.len();
        risks.push(format!("{} has {columns} columns already, of {max_columns} (mapping.max_columns)", table.name));
    }
    let largest = documents.iter().map(Document::len).max().unwrap_or(0);
    if largest >= LARGE_DOCUMENT_BYTES {
        risks.push(format!("the largest document looked at has {} MiB", largest >> 20));
    }
    risks
}

/// Paths whose values are of several types.
fn mixed_paths(rows: &[PathRow]) -> Vec<String> {
    let nested: HashMap<&[String], Form> =
        rows.iter().filter(|row| row.form != Form::Column).map(|row| (row.path.as_slice(), row.form)).collect();
    let mut risks = Vec::new();
    for row in rows {
        let Some((name, ty)) = &row.column else { continue };
        if name.as_str() == EXTRA_COLUMN {
            risks.push(format!("{} is full (mapping.max_columns): other fields go into its column {name}", row.table));
            continue;
        }
        let (path, types) = (row.path.join("."), row.bson_types.join(" and "));
        match nested.get(row.path.as_slice()) {
            // The root's own row, and a table's `_value`, are no mismatch of a field.
            Some(Form::ObjectTable) => risks.push(format!("{path} holds documents, but also {types}: column {name}")),
            Some(Form::ArrayTable) if row.bson_types != ["array"] => {
                risks.push(format!("{path} holds arrays of documents, but also {types}: column {name}"));
            }
            _ if row.bson_types.len() > 1 && matches!(ty, PgType::Jsonb | PgType::Numeric) => {
                risks.push(format!("{path} holds {types}, so its column is {ty}"));
            }
            _ => {}
        }
    }
    risks.sort();
    risks
}

/// Values that would be stored otherwise, and documents that would not be stored.
fn bad_values(mapping: &mut Collection, documents: &[Document]) -> Vec<String> {
    let mut seen = Seen::default();
    let mut rejected: BTreeMap<&'static str, u64> = BTreeMap::new();
    for document in documents {
        if let Err(reject) = mapping.document(document.as_doc(), false, &mut seen) {
            *rejected.entry(reject.0).or_default() += 1;
        }
    }
    let of = documents.len();
    let values = seen.0.into_iter().map(|((path, reason), n)| {
        format!("{path}: {n} values in {of} documents would be recorded in tailwater.anomalies ({reason})")
    });
    let documents = rejected.into_iter().map(|(reason, n)| {
        format!("{n} of {of} documents would go to tailwater.quarantine ({reason}) instead of a table")
    });
    values.chain(documents).collect()
}

/// Counts anomalies by path and reason.
#[derive(Default)]
struct Seen(BTreeMap<(String, &'static str), u64>);

impl Output for Seen {
    fn put(&mut self, _: &SharedTable, _: &Key, _: &Row) {}
    fn patch(&mut self, _: &SharedTable, _: &Key, _: Row, _: Vec<(usize, Document)>) {}
    fn delete(&mut self, _: &SharedTable, _: &Key, _: Option<i32>) {}
    fn anomaly(&mut self, anomaly: Anomaly) {
        *self.0.entry((anomaly.path.join("."), anomaly.reason)).or_default() += 1;
    }
}
