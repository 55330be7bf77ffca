//! What the property test found, one small test each, named by the fact.

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, JavaScriptCodeWithScope, RawDocumentBuf, doc};

use crate::decode::bson::{Fields, Value, encode, fields};
use crate::harness::case::Case;
use crate::harness::wait;

/// Inserts documents that the driver's own types refuse.
async fn insert(case: &Case, documents: Vec<Fields>) {
    let raw = documents.iter().map(|document| RawDocumentBuf::from_bytes(encode(document)).expect("a document"));
    case.database("db").collection::<RawDocumentBuf>("c").insert_many(raw).await.expect("inserted");
}

/// Rust's shortest digits of 1e23 lie exactly between two doubles; PostgreSQL, which widens the column, prints others.
#[tokio::test(flavor = "multi_thread")]
async fn a_double_key_is_the_same_digits_before_and_after_it_widens() {
    let case = Case::new("tie").await;
    let daemon = case.start(&case.config());
    let collection = case.collection("c");
    collection
        .insert_many([doc! {"_id": 1e23, "o": {"x": 1}}, doc! {"_id": 2.5, "o": {"x": 1}}])
        .await
        .expect("inserted");
    case.settle().await;
    collection.insert_one(doc! {"_id": 9_007_199_254_740_993_i64}).await.expect("inserted");
    collection.update_one(doc! {"_id": 1e23}, doc! {"$set": {"o.x": 2, "n": 1e23}}).await.expect("updated");
    case.expect_equal().await;
    collection.delete_one(doc! {"_id": 1e23}).await.expect("deleted");
    case.expect_equal().await;
    daemon.sigterm();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_name_that_is_not_utf8_is_on_record() {
    let case = Case::new("badname").await;
    let document = |id: i32| {
        let inner = Value::Document(vec![(b"\xff".to_vec(), Value::Int32(1))]);
        let array = Value::Array(vec![Value::Int32(1), inner.clone()]);
        let pairs = [("_id", Value::Int32(id)), ("o", inner), ("j", array)];
        let mut document = fields(pairs);
        document.push((b"caf\xe9".to_vec(), Value::Int32(id)));
        document
    };
    insert(&case, vec![document(1)]).await;
    let daemon = case.start(&case.config());
    case.settle().await;
    insert(&case, vec![document(2)]).await;
    assert_eq!(case.expect_equal().await.anomalies, 6);
    daemon.sigterm();
}

/// Not one row with the whole cell, or with the delta of it.
#[tokio::test(flavor = "multi_thread")]
async fn each_bad_string_of_a_jsonb_cell_is_on_record_at_its_place() {
    let case = Case::new("eachbad").await;
    let collection = case.collection("c");
    collection.insert_one(doc! {"_id": 1, "j": [1, {"a": "x\0", "b": ["fine", "y\0"]}]}).await.expect("inserted");
    let daemon = case.start(&case.config());
    case.settle().await;
    collection.update_one(doc! {"_id": 1}, doc! {"$set": {"j.1.c": {"d": "z\0"}}}).await.expect("updated");
    collection.update_one(doc! {"_id": 1}, doc! {"$push": {"j": "w\0"}}).await.expect("updated");
    case.expect_equal().await;
    let recorded =
        "SELECT array_to_string(path, '.'), original #>> '{$binary,base64}' FROM tailwater.anomalies ORDER BY id";
    assert_eq!(case.lines(recorded).await, ["j.a | eAA=", "j.b | eQA=", "j.c.d | egA=", "j | dwA="]);
    daemon.sigterm();
}

/// Sets fields of a document under names that the driver's own types refuse.
async fn set(case: &Case, id: i32, values: Fields) {
    let set = fields([("$set", Value::Document(values))]);
    let q = Value::Document(fields([("_id", Value::Int32(id))]));
    let update = Value::Document(fields([("q", q), ("u", Value::Document(set))]));
    let command = fields([("update", Value::text("c")), ("updates", Value::Array(vec![update]))]);
    let command = RawDocumentBuf::from_bytes(encode(&command)).expect("a command");
    let reply = case.database("db").run_raw_command(command).await.expect("updated");
    assert_eq!(reply.get_i32("nModified").ok(), Some(1), "{reply}");
}

/// An update does not tell of the other name that reads the same, so the document is read again as a whole.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_differ_in_bytes_that_are_not_utf8_are_a_name_twice_however_they_come() {
    let case = Case::new("badnames").await;
    let daemon = case.start(&case.config());
    case.settle().await;
    let bad = |byte: u8, value: i32| vec![(vec![byte], Value::Int32(value))];
    let document = |id: i32, array: bool| {
        let inner = Value::Document(bad(0xfe, 1));
        let held = if array { Value::Array(vec![Value::Null, inner]) } else { inner };
        [fields([("_id", Value::Int32(id))]), vec![(vec![0xff], Value::Int32(7)), (b"o".to_vec(), held)]].concat()
    };
    insert(&case, (1..=5).map(|id| document(id, id > 3)).collect()).await;
    set(&case, 1, bad(0xfe, 2)).await;
    set(&case, 2, bad(0xff, 2)).await;
    set(&case, 3, vec![(b"o.\xfd".to_vec(), Value::Int32(2))]).await;
    set(&case, 4, vec![(b"o.1.\xfd".to_vec(), Value::Int32(2))]).await;
    set(&case, 5, vec![(b"o.1.\xfe".to_vec(), Value::Int32(2))]).await;
    assert_eq!(case.expect_equal().await.quarantined, 3);
    let ids = "SELECT document_id::text FROM tailwater.quarantine WHERE reason = 'duplicate_field' ORDER BY 1";
    assert_eq!(case.lines(ids).await, ["1", "3", "4"]);
    daemon.sigterm();
}

/// An update changes the first of the two, and a row would show the second.
#[tokio::test(flavor = "multi_thread")]
async fn a_null_before_a_value_of_the_same_name_is_a_name_twice() {
    let case = Case::new("twicenull").await;
    let daemon = case.start(&case.config());
    case.settle().await;
    let twice = |id: i32| fields([("_id", Value::Int32(id)), ("a", Value::Null), ("a", Value::Boolean(false))]);
    insert(&case, vec![twice(1), fields([("_id", Value::Int32(2)), ("a", Value::Boolean(true))]), twice(3)]).await;
    case.collection("c").update_one(doc! {"_id": 3}, doc! {"$set": {"a": [5]}}).await.expect("updated");
    assert_eq!(case.expect_equal().await.quarantined, 2);
    daemon.sigterm();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_twice_within_jsonb_is_quarantine_too() {
    let case = Case::new("twicejson").await;
    let daemon = case.start(&case.config());
    case.settle().await;
    let twice = Value::Document(fields([("a", Value::Int32(1)), ("a", Value::Int32(2))]));
    let document = |id: i32, inner: Value| {
        fields([("_id", Value::Int32(id)), ("j", Value::Array(vec![Value::Null, Value::Int32(1), inner]))])
    };
    insert(&case, vec![document(1, twice), document(2, Value::Int32(2))]).await;
    assert_eq!(case.expect_equal().await.quarantined, 1);
    daemon.sigterm();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_string_in_a_scope_loses_its_nul_and_stays_a_string() {
    let case = Case::new("scope").await;
    let daemon = case.start(&case.config());
    case.settle().await;
    let code = JavaScriptCodeWithScope { code: "f()".to_owned(), scope: doc! {"x": "a\0b", "n": 1_i64} };
    case.collection("c").insert_one(doc! {"_id": 1, "f": code}).await.expect("inserted");
    assert_eq!(case.expect_equal().await.anomalies, 1);
    assert_eq!(case.lines("SELECT f #>> '{$scope,x}' FROM {db}.c").await, ["ab"]);
    daemon.sigterm();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quarantine_of_a_renamed_collection_has_its_new_name() {
    let case = Case::new("renamedq").await;
    let daemon = case.start(&case.config());
    case.settle().await;
    let collection = case.collection("c");
    let (from, to) = (format!("{}db.c", case.prefix), format!("{}db.d", case.prefix));
    let rename = doc! {"renameCollection": &from, "to": &to};
    collection.insert_many([doc! {"_id": "a"}, doc! {"_id": "b\0"}]).await.expect("inserted");
    case.mongo.database("admin").run_command(rename).await.expect("renamed");
    assert_eq!(case.expect_equal().await.quarantined, 1);
    assert_eq!(case.lines("SELECT DISTINCT namespace FROM tailwater.quarantine").await, [to]);
    daemon.sigterm();
}

/// Only 16 bytes of subtype 4 are a UUID.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_of_uuids_takes_other_data_of_subtype_4() {
    let case = Case::new("shortuuid").await;
    let daemon = case.start(&case.config());
    case.settle().await;
    let binary = |length: usize| Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: vec![7; length] });
    for (id, length) in [(1, 16), (2, 3), (3, 16), (4, 0), (5, 17)] {
        case.collection("c").insert_one(doc! {"_id": id, "u": binary(length)}).await.expect("inserted");
    }
    assert_eq!(case.expect_equal().await.quarantined, 0);
    daemon.sigterm();
}

/// Between the stream's start and the copy a document may be updated and deleted: the copy never has it, and the stream
/// meets the update first.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_before_the_copy_leaves_no_rows_below_a_document_that_is_gone_although_deleted_ones_stay() {
    let case = Case::new("orphans").await;
    let mut config = case.config();
    config.set("mapping.soft_delete", "true").set("source.exclude", "[\"*.c\"]");
    let collection = case.collection("c");
    let document = |id: i32| doc! {"_id": id, "l": [{"x": id}], "o": {"y": id}};
    collection.insert_many((1..4).map(document)).await.expect("inserted");
    let daemon = case.start(&config);
    case.settle().await;
    daemon.sigterm();
    collection.update_one(doc! {"_id": 1}, doc! {"$push": {"l": {"x": 5}}}).await.expect("updated");
    collection.update_one(doc! {"_id": 1}, doc! {"$set": {"o": {"y": 6}}}).await.expect("updated");
    collection.delete_one(doc! {"_id": 1}).await.expect("deleted");
    let daemon = case.start(config.set("source.exclude", "[]"));
    case.expect_equal().await;
    collection.delete_one(doc! {"_id": 2}).await.expect("deleted");
    case.expect_equal().await;
    let below = "SELECT c__id FROM {db}.c_l UNION ALL SELECT c__id FROM {db}.c_o ORDER BY 1";
    assert_eq!(case.lines(below).await, ["2", "2", "3", "3"], "what was there when it was deleted stays");
    daemon.sigterm();
}

/// The stream tells of the rename again at every start, and the list of collections does not have it: it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_was_renamed_into_the_selection_and_is_gone_is_no_reason_to_wait() {
    let case = Case::new("renamedin").await;
    let mut config = case.config();
    config.set("source.exclude", "[\"*.hidden_*\"]");
    case.collection("hidden_a").insert_one(doc! {"_id": 1}).await.expect("inserted");
    case.collection("hidden_b").insert_one(doc! {"_id": 1}).await.expect("inserted");
    let daemon = case.start(&config);
    case.settle().await;
    daemon.sigterm();
    let rename = async |from: &str, to: &str| {
        let name = |collection: &str| format!("{}db.{collection}", case.prefix);
        let rename = doc! {"renameCollection": name(from), "to": name(to)};
        case.mongo.database("admin").run_command(rename).await.expect("renamed");
    };
    rename("hidden_a", "a").await;
    case.collection("a").insert_one(doc! {"_id": 2}).await.expect("inserted");
    case.collection("a").drop().await.expect("dropped");
    rename("hidden_b", "b").await;
    rename("b", "hidden_b").await;
    let daemon = case.start(&config);
    case.collection("c").insert_one(doc! {"_id": 1}).await.expect("inserted");
    case.settle().await;
    // One that is still there is copied.
    rename("hidden_b", "b").await;
    let table = "SELECT 1 FROM pg_tables WHERE schemaname = 'SCHEMA' AND tablename = 'b'";
    let table = table.replace("SCHEMA", &format!("{}db", case.prefix));
    let there = || async { case.lines(&table).await.first().map(|_| ()) };
    wait::until("the renamed collection to be copied", wait::LONG, || case.logs(), there).await;
    case.settle().await;
    assert_eq!(case.lines("SELECT count(*) FROM {db}.b").await, ["1"]);
    daemon.sigterm();
}

/// MongoDB's delta of a document with a name twice does not say which of the two it means: applied over a later copy, in which
/// there is one, it took that one away.
#[tokio::test(flavor = "multi_thread")]
async fn a_delta_of_a_name_twice_is_not_applied_over_a_later_copy() {
    let case = Case::new("twice_beside").await;
    let field = |name: &str, value: i32| (name.as_bytes().to_vec(), Value::Int32(value));
    let document = [field("_id", 1), field("f", 1), field("f", 2)];
    insert(&case, vec![document.to_vec()]).await;
    let padding = "x".repeat(10_000);
    let large: Vec<_> = (0..500).map(|n| doc! {"_id": n, "text": &padding}).collect();
    case.collection("first").insert_many(large).await.expect("inserted");
    let mut config = case.config();
    config.set("snapshot.max_bytes_per_second", "\"1MiB\"").set("snapshot.parallel", "1");
    let daemon = case.start(&config);
    // The larger collection is copied first, and takes some seconds.
    daemon.until_state("snapshot").await;
    case.collection("c").update_one(doc! {"_id": 1}, doc! {"$unset": {"f": ""}}).await.expect("updated");
    assert_eq!(
        case.lines("SELECT count(*) FROM tailwater.snapshot_chunks WHERE namespace LIKE '%.c' AND done").await,
        ["0"]
    );
    case.expect_equal().await;
    assert_eq!(case.lines("SELECT f FROM {db}.c").await, ["2"]);
    daemon.sigterm();
}

/// New rows are copied without a look at what is there; whoever puts some there by hand must not stop the pipeline, or find
/// them mixed with the source's.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_should_not_be_there_give_way() {
    let case = Case::new("inexact").await;
    let daemon = case.start(&case.config());
    let collection = case.collection("c");
    let document = |id: i32| doc! {"_id": id, "n": id, "l": [{"x": id}]};
    collection.insert_one(document(0)).await.expect("inserted");
    case.expect_equal().await;
    case.rows("INSERT INTO {db}.c (_id, n) SELECT i, -1 FROM generate_series(1, 50) i").await;
    case.rows("INSERT INTO {db}.c_l (c__id, _index, x) SELECT i, j, -1 FROM generate_series(1, 50) i, generate_series(0, 3) j")
        .await;
    collection.insert_many((1..=50).map(document)).await.expect("inserted");
    case.expect_equal().await;
    collection.insert_many((51..=100).map(document)).await.expect("inserted");
    case.expect_equal().await;
    assert_eq!(case.logs().matches("going on without counting on their absence").count(), 1);
    daemon.sigterm();
}
