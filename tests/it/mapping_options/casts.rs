//! `type = …`: a column has the type that the configuration gives it.

use mongodb::bson::{Bson, DateTime, Document, doc, oid::ObjectId};

use crate::harness::case::Case;

const COLUMNS: &str = r#"[collection.columns]
"i" = { type = "integer" }
"n" = { type = "numeric" }
"d" = { type = "double precision" }
"b" = { type = "boolean" }
"t" = { type = "text" }
"at" = { type = "timestamptz" }
"u" = { type = "uuid" }
"j" = { type = "jsonb" }
"lines.price" = { type = "numeric" }
"q" = { type = "bigint", on_type_conflict = "quarantine" }"#;

fn good(id: i32) -> Document {
    doc! {
        "_id": id, "i": "12", "n": "12.50", "d": "0.1", "b": "true", "t": 5_i64, "at": "2024-03-01T12:00:00+02:00",
        "u": "00010203-0405-0607-0809-0a0b0c0d0e0f", "j": "text", "lines": [{"price": "1.10"}, {"price": 2}], "q": 3.0,
    }
}

fn bad(id: i32) -> Document {
    let object = Bson::Document(doc! {"x": 1});
    doc! {
        "_id": id, "i": 1.5, "n": "NaN", "d": "1e400", "b": 1, "t": object.clone(), "at": "yesterday", "u": "0001",
        "j": object, "lines": [{"price": "free"}],
    }
}

const ROWS: &str = "SELECT i, n, d, b, t, at AT TIME ZONE 'UTC', u, j, q FROM {db}.c WHERE _id = ";
const GOOD: &str =
    "12 | 12.5 | 0.1 | t | 5 | 2024-03-01 10:00:00 | 00010203-0405-0607-0809-0a0b0c0d0e0f | \"text\" | 3";
const BAD: &str = "- | - | - | - | - | - | - | {\"x\": 1} | -";

#[tokio::test(flavor = "multi_thread")]
async fn values_are_cast_or_recorded() {
    let case = Case::new("casts").await;
    let mut config = case.config();
    config.append(&case.entry("c", COLUMNS));
    let collection = case.collection("c");
    collection.insert_many([bad(1), good(2)]).await.expect("inserted");
    let daemon = case.start(&config);
    case.settle().await;
    collection.insert_many([bad(3), good(4)]).await.expect("inserted");
    case.settle().await;
    daemon.sigterm();
    let _daemon = case.start(&config);
    collection.insert_many([bad(5), good(6)]).await.expect("inserted");
    case.settle().await;
    for id in 1..=6 {
        let expected = if id % 2 == 0 { GOOD } else { BAD };
        assert_eq!(case.lines(&format!("{ROWS}{id}")).await, [expected], "{id}");
    }
    let prices = "SELECT c__id, _index, price FROM {db}.c_lines WHERE c__id > 4 ORDER BY 1, 2";
    assert_eq!(case.lines(prices).await, ["5 | 0 | -", "6 | 0 | 1.1", "6 | 1 | 2"]);
    let expected: Vec<String> = ["at", "b", "d", "i", "lines.price", "n", "t", "u"]
        .iter()
        .flat_map(|path| vec![format!("{path} cast_failed"); 3])
        .collect();
    assert_eq!(case.anomalies().await, expected);
    assert_eq!(case.lines("SELECT count(*) FROM tailwater.events WHERE kind = 'widen_column'").await, ["0"]);
    // A delta is cast too, and one that cannot be goes where the path's policy sends it.
    let update = doc! {"$set": {"i": "7", "t": true, "at": DateTime::from_millis(0), "lines.0.price": "3"}};
    collection.update_one(doc! {"_id": 2}, update).await.expect("updated");
    let update = doc! {"$set": {"i": {"x": 1}, "t": ObjectId::from_bytes([1; 12])}, "$unset": {"n": ""}};
    collection.update_one(doc! {"_id": 4}, update).await.expect("updated");
    collection.update_one(doc! {"_id": 6}, doc! {"$set": {"q": "six"}}).await.expect("updated");
    case.settle().await;
    let rows =
        case.lines("SELECT _id, i, t, n, extract(epoch FROM at)::int FROM {db}.c WHERE _id % 2 = 0 ORDER BY 1").await;
    assert_eq!(rows, ["2 | 7 | true | 12.5 | 0", "4 | - | 010101010101010101010101 | - | 1709287200"]);
    let quarantine = "SELECT document_id, reason FROM tailwater.quarantine";
    assert_eq!(case.lines(quarantine).await, ["6 | cast_failed"]);
}
