//! `on_type_conflict`: what happens to a value that its column does not hold.

use mongodb::bson::doc;

use crate::harness::case::Case;

#[tokio::test(flavor = "multi_thread")]
async fn null_stores_null_and_records_the_value() {
    let case = Case::new("conflictnull").await;
    let mut config = case.config();
    config.set("mapping.on_type_conflict", "\"null\"");
    let collection = case.collection("c");
    collection.insert_many((1..=3).map(|n| doc! {"_id": n, "n": n, "o": {"x": "s"}})).await.expect("inserted");
    collection.insert_one(doc! {"_id": 4, "n": "four", "o": {"x": 4}}).await.expect("inserted");
    let daemon = case.start(&config);
    case.settle().await;
    collection.insert_one(doc! {"_id": 5, "n": true, "o": "another form"}).await.expect("inserted");
    collection.update_one(doc! {"_id": 1}, doc! {"$set": {"n": [1], "o.x": 5}}).await.expect("updated");
    collection.update_one(doc! {"_id": 2}, doc! {"$set": {"n": 7_i64}}).await.expect("updated");
    case.settle().await;
    daemon.sigterm();
    let _daemon = case.start(&config);
    collection.update_one(doc! {"_id": 3}, doc! {"$set": {"n": 1.5}}).await.expect("updated");
    collection.update_one(doc! {"_id": 4}, doc! {"$set": {"n": 4}}).await.expect("updated");
    case.settle().await;
    let rows = "SELECT _id, n, pg_typeof(n), o FROM {db}.c ORDER BY 1";
    let expected = ["1 | -", "2 | 7", "3 | -", "4 | 4", "5 | -"]
        .map(|row| format!("{row} | integer | {}", if row.starts_with('5') { "another form" } else { "-" }));
    assert_eq!(case.lines(rows).await, expected);
    let expected = [
        "n type_conflict",
        "n type_conflict",
        "n type_conflict",
        "n type_conflict",
        "o.x type_conflict",
        "o.x type_conflict",
    ];
    assert_eq!(case.anomalies().await, expected);
    let original = "SELECT original FROM tailwater.anomalies WHERE document_id = '4' AND path = '{n}'";
    assert_eq!(case.lines(original).await, ["\"four\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn quarantine_takes_the_document() {
    let case = Case::new("conflictquarantine").await;
    let mut config = case.config();
    let own = "[collection.columns]\n\"n\" = { on_type_conflict = \"quarantine\" }";
    config.append(&case.entry("c", own));
    let collection = case.collection("c");
    collection.insert_many((1..=3).map(|n| doc! {"_id": n, "n": n, "m": n, "o": {"x": n}})).await.expect("inserted");
    collection.insert_one(doc! {"_id": 4, "n": "four", "m": 4}).await.expect("inserted");
    let daemon = case.start(&config);
    case.settle().await;
    collection.update_one(doc! {"_id": 1}, doc! {"$set": {"n": "one"}}).await.expect("updated");
    collection.update_one(doc! {"_id": 2}, doc! {"$set": {"m": "two"}}).await.expect("updated");
    case.settle().await;
    daemon.sigterm();
    let _daemon = case.start(&config);
    collection.update_one(doc! {"_id": 1}, doc! {"$set": {"m": 5}}).await.expect("updated");
    case.settle().await;
    assert_eq!(case.lines("SELECT _id, n, m FROM {db}.c ORDER BY 1").await, ["2 | 2 | \"two\"", "3 | 3 | 3"]);
    assert_eq!(case.lines("SELECT c__id FROM {db}.c_o ORDER BY 1").await, ["2", "3"]);
    let quarantine = "SELECT document_id, reason FROM tailwater.quarantine ORDER BY id";
    assert_eq!(case.lines(quarantine).await, ["4 | type_conflict", "1 | type_conflict", "1 | update_of_quarantined"]);
    // What can be stored again comes back.
    for id in [1, 4] {
        collection.replace_one(doc! {"_id": id}, doc! {"n": id, "m": id}).await.expect("replaced");
    }
    case.expect_equal().await;
}
