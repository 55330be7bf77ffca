//! Options that change between two runs.

use std::time::Duration;

use mongodb::bson::doc;

use crate::harness::case::Case;

#[tokio::test(flavor = "multi_thread")]
async fn forms_stay_and_the_log_says_so() {
    let case = Case::new("formsstay").await;
    case.collection("c").insert_one(doc! {"_id": 1, "o": {"x": 1}, "l": [{"x": 1}]}).await.expect("inserted");
    let mut config = case.config();
    let daemon = case.start(&config);
    case.expect_equal().await;
    daemon.sigterm();
    config.set("mapping.objects", "\"flatten\"").set("mapping.arrays", "\"jsonb\"");
    let daemon = case.start(&config);
    let update = doc! {"$set": {"o.x": 2, "o.late": {"y": 1}, "l.0.x": 2, "late": {"z": 1}}};
    case.collection("c").update_one(doc! {"_id": 1}, update).await.expect("updated");
    case.expect_equal().await;
    assert!(daemon.log_tail().contains("\"paths\":\"l, o\""), "{}", daemon.log_tail());
    let forms = "SELECT array_to_string(path, '.'), form, column_name FROM tailwater.paths WHERE namespace LIKE '%.c' \
                 AND (form <> 'column' OR path && '{late}') ORDER BY 1";
    let expected = [
        " | root | -",
        "l | array_table | -",
        "late.z | column | late_z",
        "o | object_table | -",
        "o.late.y | column | late_y",
    ];
    assert_eq!(case.lines(forms).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_type_than_the_columns_is_refused_at_the_start() {
    let case = Case::new("typerefused").await;
    case.collection("c").insert_one(doc! {"_id": 1, "n": "text", "m": 1}).await.expect("inserted");
    let mut config = case.config();
    let daemon = case.start(&config);
    case.expect_equal().await;
    daemon.sigterm();
    let columns = "[collection.columns]\n\"n\" = { type = \"uuid\" }\n\"m\" = { type = \"integer\" }";
    config.append(&case.entry("c", columns));
    let mut daemon = case.start(&config);
    let status = daemon.end_within(Duration::from_secs(30));
    let log = daemon.log_tail();
    assert_eq!(status.code(), Some(1), "{log}");
    let said = format!(
        "type = \\\"uuid\\\" is set for n of {0}db.c, and its column \\\"n\\\" of \\\"{0}db\\\".\\\"c\\\" is text",
        case.prefix
    );
    assert!(log.contains(&said), "{log}");
    assert!(!log.contains("for m of"), "{log}");
}
