//! Section 5, as far as the first release goes: what PostgreSQL cannot hold is stored as said, and on record.

use mongodb::bson::{DateTime, RawBson, RawDocumentBuf, bson, cstr, doc, rawdoc};

use crate::harness::case::Case;

#[tokio::test(flavor = "multi_thread")]
async fn a_nul_is_removed_and_recorded() {
    let case = Case::new("nul").await;
    let document = |id: i32| {
        doc! {
            "_id": id, "text": "a\0b", "clean": "x", "list": ["\0", {"k": "y\0"}], "o": {"deep": "\0\0"}, "l": [{"z": "q\0"}],
        }
    };
    case.collection("c").insert_one(document(1)).await.expect("inserted");
    let _daemon = case.start(&case.config());
    case.settle().await;
    case.collection("c").insert_one(document(2)).await.expect("inserted");
    case.collection("c").update_one(doc! {"_id": 1}, doc! {"$set": {"clean": "n\0w"}}).await.expect("updated");
    case.expect_equal().await;
    let rows = case.lines("SELECT _id, text, clean, list FROM {db}.c ORDER BY 1").await;
    assert_eq!(rows, [r#"1 | ab | nw | ["", {"k": "y"}]"#, r#"2 | ab | x | ["", {"k": "y"}]"#]);
    let recorded = case
        .lines(
            "SELECT DISTINCT document_id, path[1] FROM tailwater.anomalies WHERE namespace LIKE '%.c' \
             ORDER BY document_id, path[1]",
        )
        .await;
    for expected in ["1 | clean", "1 | l", "1 | list", "1 | o", "1 | text", "2 | l", "2 | list", "2 | o", "2 | text"] {
        assert!(recorded.contains(&expected.to_owned()), "{expected} in {recorded:?}");
    }
    let original = "SELECT original #>> '{}' FROM tailwater.anomalies WHERE document_id = '1' AND path = '{text}'";
    assert!(!case.lines(original).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_outside_the_calendar_are_infinite_and_recorded() {
    let case = Case::new("dates").await;
    let _daemon = case.start(&case.config());
    case.settle().await;
    let dates = [i64::MIN, i64::MAX, 0].map(|millis| doc! {"at": DateTime::from_millis(millis)});
    for (id, mut document) in (1..).zip(dates) {
        document.insert("_id", id);
        case.collection("c").insert_one(document).await.expect("inserted");
    }
    case.expect_equal().await;
    assert_eq!(case.lines("SELECT at FROM {db}.c WHERE _id < 3 ORDER BY _id").await, ["-infinity", "infinity"]);
    let recorded = "SELECT document_id, array_to_string(path, '.') FROM tailwater.anomalies ORDER BY 1";
    assert_eq!(case.lines(recorded).await, ["1 | at", "2 | at"]);
}

/// An `_id` that PostgreSQL cannot hold means quarantine, never silence and never a stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_whose_id_does_not_fit_is_in_quarantine() {
    let case = Case::new("quarantine").await;
    let collection = case.collection("c");
    collection.insert_one(doc! {"_id": 1, "x": 1}).await.expect("inserted");
    let daemon = case.start(&case.config());
    case.settle().await;
    let ids = [bson!("\0"), bson!({"embedded": "\0"}), bson!("a\0b")];
    for id in &ids {
        collection.insert_one(doc! {"_id": id, "x": 2}).await.expect("inserted");
        collection.update_one(doc! {"_id": id}, doc! {"$set": {"x": 3}}).await.expect("updated");
    }
    collection.insert_one(doc! {"_id": 2, "x": 1}).await.expect("inserted");
    case.settle().await;
    assert_eq!(case.lines("SELECT _id FROM {db}.c ORDER BY 1").await, ["1", "2"]);
    let held =
        "SELECT count(DISTINCT document_id), bool_and(length(raw) > 10 AND reason <> '') FROM tailwater.quarantine";
    assert_eq!(case.lines(held).await, ["3 | t"]);
    let streaming = |s: &serde_json::Value| s["quarantined"].as_u64() == Some(3) && s["state"] == "streaming";
    daemon.until_status("three in quarantine while it streams", streaming).await;
}

/// MongoDB takes a document that has a name twice. A row cannot: copying it would meet its own key.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_with_a_name_twice_is_in_quarantine_and_stops_nobody() {
    let case = Case::new("twice").await;
    let twice = |id: i32, first: RawBson, second: RawBson| {
        let mut document = RawDocumentBuf::new();
        document.append(cstr!("_id"), id);
        document.append(cstr!("f"), first);
        document.append(cstr!("f"), second);
        document
    };
    let object = |n: i32| RawBson::Document(rawdoc! { "x": n });
    let raw = case.database("db").collection::<RawDocumentBuf>("c");
    raw.insert_one(rawdoc! { "_id": 1, "f": { "x": 1 } }).await.expect("inserted");
    raw.insert_one(twice(2, object(1), object(2))).await.expect("inserted");
    let daemon = case.start(&case.config());
    case.settle().await;
    raw.insert_one(twice(3, RawBson::Int32(1), object(2))).await.expect("inserted");
    raw.insert_one(twice(4, RawBson::Int32(1), RawBson::Null)).await.expect("inserted");
    raw.insert_one(twice(5, RawBson::Null, RawBson::Int32(1))).await.expect("inserted");
    case.settle().await;
    assert_eq!(case.lines("SELECT _id, f FROM {db}.c ORDER BY 1").await, ["1 | -"]);
    let waiting = "SELECT string_agg(document_id::text, ' ' ORDER BY id) FROM tailwater.quarantine WHERE reason = 'duplicate_field'";
    assert_eq!(case.lines(waiting).await, ["2 3 4 5"]);
    for id in 2..6 {
        raw.replace_one(doc! {"_id": id}, rawdoc! { "f": { "x": id } }).await.expect("replaced");
    }
    case.expect_equal().await;
    assert_eq!(case.lines("SELECT count(*) FROM tailwater.quarantine").await, ["0"]);
    daemon.sigterm();
}
