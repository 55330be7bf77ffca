//! The statements that write the catalog, each made once: the executor runs them, the SQL text holds them.
//!
//! In: a row of the catalog. Out: the statements that bring it there.

use std::borrow::Cow;

use super::chunks::{Chunk, Mark};
use super::statement::{Param, Statement};
use crate::model::bson::Document;
use crate::model::identifier::Identifier;
use crate::model::namespace::{CollectionId, Namespace};
use crate::model::table::Table;
use crate::model::write_set::{Anomaly, CollectionRow, PathRow, Quarantined};

/// A row of `tailwater.paths`, inserted or replaced.
pub fn path<'a>(pipeline: &'a str, row: &'a PathRow) -> Statement<'a> {
    let sql = "INSERT INTO tailwater.paths (pipeline, collection, namespace, path, form, schema_name, table_name, \
               column_name, column_type, bson_types, binary_subtype, key_columns) \
               VALUES ($1, $2::text::uuid, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
               ON CONFLICT (pipeline, collection, path, form, schema_name, table_name, (coalesce(column_name, ''))) \
               DO UPDATE SET namespace = EXCLUDED.namespace, column_type = EXCLUDED.column_type, \
               bson_types = EXCLUDED.bson_types, \
               binary_subtype = EXCLUDED.binary_subtype, key_columns = EXCLUDED.key_columns";
    let params = [
        pipeline.into(),
        row.collection.to_string().into(),
        row.namespace.to_string().into(),
        row.path.as_slice().into(),
        row.form.name().into(),
        row.schema.as_str().into(),
        row.table.as_str().into(),
        row.column.as_ref().map(|(name, _)| name.as_str()).into(),
        row.column.as_ref().map(|(_, ty)| ty.sql_name()).into(),
        Param::Texts(row.bson_types.iter().map(|ty| (*ty).to_owned()).collect()),
        Param::Integer(row.subtype.map(i32::from)),
        row.key_columns.as_slice().into(),
    ];
    Statement::new("writing tailwater.paths", sql, params)
}

/// A row of `tailwater.collections`, inserted or replaced, and what has the collection's name besides.
pub fn collection<'a>(pipeline: &'a str, row: &CollectionRow) -> [Statement<'a>; 2] {
    let (id, namespace) = (row.id.to_string(), row.namespace.to_string());
    let sql = "INSERT INTO tailwater.collections (pipeline, collection, namespace, copied, wide_ids) \
               VALUES ($1, $2::text::uuid, $3, $4, $5) ON CONFLICT (pipeline, collection) DO UPDATE SET \
               namespace = EXCLUDED.namespace, copied = EXCLUDED.copied, wide_ids = EXCLUDED.wide_ids";
    let params = [pipeline.into(), id.clone().into(), namespace.clone().into(), row.copied.into(), row.wide_ids.into()];
    let own = Statement::new("writing tailwater.collections", sql, params);
    // What waits in quarantine has the collection's name, as everything else of it.
    let sql = "UPDATE tailwater.quarantine SET namespace = $3 \
               WHERE pipeline = $1 AND collection = $2::text::uuid AND namespace <> $3";
    let params = [pipeline.into(), id.into(), namespace.into()];
    [own, Statement::new("writing tailwater.quarantine", sql, params)]
}

/// Takes a collection out of `collections` and `paths`. Its marks and its quarantine stay until it is really gone.
pub fn forget(pipeline: &str, id: CollectionId) -> [Statement<'_>; 2] {
    ["collections", "paths"].map(|table| take_out(pipeline, id, table))
}

/// Takes out the rest: a copy that comes later under the same UUID (out of the selection and back) starts anew.
pub fn gone(pipeline: &str, id: CollectionId) -> [Statement<'_>; 4] {
    ["snapshot_chunks", "quarantine", "recopies", "unmet"].map(|table| take_out(pipeline, id, table))
}

fn take_out<'a>(pipeline: &'a str, id: CollectionId, table: &str) -> Statement<'a> {
    let sql = format!("DELETE FROM tailwater.{table} WHERE pipeline = $1 AND collection = $2::text::uuid");
    let params = vec![pipeline.into(), id.to_string().into()];
    Statement { what: "writing the catalog", sql: Cow::Owned(sql), params }
}

/// Notes that a table stays without its collection.
pub fn keep<'a>(pipeline: &'a str, table: &'a Table, id: CollectionId, namespace: &Namespace) -> Statement<'a> {
    let sql = "INSERT INTO tailwater.kept (pipeline, schema_name, table_name, was_named, collection, namespace) \
               VALUES ($1, $2, $3, $3, $4::text::uuid, $5) ON CONFLICT (pipeline, schema_name, table_name) DO UPDATE \
               SET was_named = EXCLUDED.was_named, collection = EXCLUDED.collection, namespace = EXCLUDED.namespace, \
               kept_at = now()";
    let (schema, name) = (table.schema.as_str().into(), table.name.as_str().into());
    let params = [pipeline.into(), schema, name, id.to_string().into(), namespace.to_string().into()];
    Statement::new("writing tailwater.kept", sql, params)
}

/// Notes the new name of a table that was kept.
pub fn aside<'a>(pipeline: &'a str, schema: &'a Identifier, from: &'a Identifier, to: &'a Identifier) -> Statement<'a> {
    let sql = "UPDATE tailwater.kept SET table_name = $4 WHERE pipeline = $1 AND schema_name = $2 AND table_name = $3";
    let params = [pipeline.into(), schema.as_str().into(), from.as_str().into(), to.as_str().into()];
    Statement::new("writing tailwater.kept", sql, params)
}

/// A value that is not stored as it was.
pub fn anomaly<'a>(pipeline: &'a str, anomaly: &'a Anomaly, position: Option<&'a str>) -> Statement<'a> {
    let sql = "INSERT INTO tailwater.anomalies (pipeline, namespace, document_id, path, reason, original, position) \
               VALUES ($1, $2, $3::text::jsonb, $4, $5, $6::text::jsonb, $7)";
    let params = [
        pipeline.into(),
        anomaly.namespace.to_string().into(),
        anomaly.document_id.as_str().into(),
        Param::Texts(anomaly.path.iter().map(|name| name.replace('\0', "")).collect()),
        anomaly.reason.into(),
        anomaly.original.as_str().into(),
        position.into(),
    ];
    Statement::new("writing tailwater.anomalies", sql, params)
}

/// A schema change, as it was made.
pub fn event<'a>(pipeline: &'a str, kind: &'a str, detail: &'a str) -> Statement<'a> {
    let sql = "INSERT INTO tailwater.events (pipeline, kind, detail) VALUES ($1, $2, $3)";
    Statement::new("writing tailwater.events", sql, [pipeline.into(), kind.into(), detail.into()])
}

/// A document that is not stored.
pub fn quarantine<'a>(pipeline: &'a str, document: &'a Quarantined, position: Option<&'a str>) -> Statement<'a> {
    let sql = "INSERT INTO tailwater.quarantine (pipeline, collection, namespace, document_id, id_key, raw, reason, \
               position, document_key, retry_at) VALUES ($1, $2::text::uuid, $3, $4::text::jsonb, $5, $6, $7, $8, $9, \
               CASE WHEN $10 THEN clock_timestamp() END)";
    let params = [
        pipeline.into(),
        document.collection.to_string().into(),
        document.namespace.to_string().into(),
        document.document_id.as_str().into(),
        document.id_key.as_str().into(),
        bytes(Some(&document.raw)),
        document.reason.into(),
        position.into(),
        bytes(document.key.as_ref()),
        document.retry.into(),
    ];
    Statement::new("writing tailwater.quarantine", sql, params)
}

/// A document of the quarantine is gone from the source, or is replaced.
pub fn release<'a>(pipeline: &'a str, collection: CollectionId, id_key: &'a str) -> Statement<'a> {
    let sql = "DELETE FROM tailwater.quarantine WHERE pipeline = $1 AND collection = $2::text::uuid \
               AND md5(id_key) = md5($3) AND id_key = $3";
    let params = [pipeline.into(), collection.to_string().into(), id_key.into()];
    Statement::new("writing tailwater.quarantine", sql, params)
}

/// A range of a snapshot that is to be copied.
pub fn chunk<'a>(pipeline: &'a str, id: CollectionId, namespace: &Namespace, chunk: &'a Chunk) -> Statement<'a> {
    let sql = "INSERT INTO tailwater.snapshot_chunks (pipeline, collection, namespace, chunk, lower_bound, \
               upper_bound) VALUES ($1, $2::text::uuid, $3, $4, $5, $6)";
    let params = [
        pipeline.into(),
        id.to_string().into(),
        namespace.to_string().into(),
        Param::Integer(Some(chunk.number)),
        bytes(chunk.lower.as_ref()),
        bytes(chunk.upper.as_ref()),
    ];
    Statement::new("writing tailwater.snapshot_chunks", sql, params)
}

/// A range of a snapshot that is copied.
pub fn mark<'a>(pipeline: &'a str, mark: &Mark) -> Statement<'a> {
    let sql = "UPDATE tailwater.snapshot_chunks SET done = true, cluster_seconds = $4, cluster_ordinal = $5, \
               documents = $6, bytes = $7, done_at = now() \
               WHERE pipeline = $1 AND collection = $2::text::uuid AND chunk = $3 AND NOT done";
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let params = [
        pipeline.into(),
        mark.collection.to_string().into(),
        Param::Integer(Some(mark.number)),
        i64::from(mark.time.seconds).into(),
        i64::from(mark.time.ordinal).into(),
        count(mark.documents).into(),
        count(mark.bytes).into(),
    ];
    Statement::new("marking a range", sql, params)
}

fn bytes(document: Option<&Document>) -> Param<'_> {
    Param::Bytes(document.map(|document| document.as_doc().bytes()))
}
