//! `max_columns`: what comes when a table is full lies in its `_extra`.

use mongodb::bson::{Document, doc};

use crate::harness::case::Case;
use crate::harness::daemon::{command, write_config};

fn documents(from: i32) -> Vec<Document> {
    let wide: Document = (0..20).map(|n| (format!("f{n:02}"), n.into())).collect();
    let first = doc! {"_id": from, "a": 1, "b": "x", "c": {"d": 1, "e": [1, {"f": 2}]}, "l": [{"x": 1, "y": 2, "z": 3, "w": [1]}, "s", null, {"w": 5}]};
    let second = doc! {"_id": from + 1, "a": 2, "wide": wide.clone(), "late": {"x": [{"y": 1}]}, "lates": [{"x": 1}]};
    let mut third = doc! {"_id": from + 2};
    third.extend(wide);
    vec![first, second, third, doc! {"_id": from + 3, "only": true}]
}

fn updates() -> Vec<Document> {
    vec![
        doc! {"$set": {"q": 1, "r": {"s": {"t": [1, 2]}}}},
        doc! {"$set": {"r.s.t.1": "two", "r.s.u": 7_i64, "a": 3}},
        doc! {"$unset": {"q": "", "never": ""}, "$set": {"v": "replaced"}},
        doc! {"$rename": {"v": "w"}, "$push": {"r.s.t": {"$each": [1.5, null]}}},
        doc! {"$set": {"l.0.more": {"deep": 1}, "l.0.w.3": 2, "l.3.x": 1, "l.1": {"fresh": 1}}},
        doc! {"$unset": {"l.0.more": "", "l.3.w": ""}},
        doc! {"$set": {"c": "no document any more", "a": {"no": "number"}}},
        doc! {"$set": {"c": {"d": 2, "late": {"x": 1}}, "r": 5}},
        doc! {"$set": {"c.late.x": 2, "c.late.y": [], "r": []}},
        doc! {"$unset": {"c": "", "r": "", "l": ""}},
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_beyond_the_limit_lie_in_one_column() {
    let case = Case::new("overflow").await;
    let mut config = case.config();
    config.set("mapping.max_columns", "4");
    let _daemon = case.in_three_rounds(&config, documents, &updates()).await;
    let widths = "SELECT relname, relnatts FROM pg_class WHERE relnamespace = to_regnamespace('{db}') AND relkind = 'r' \
                  AND relnatts > 5";
    assert_eq!(case.lines(widths).await, ["c_l | 6"], "four columns, `_value` and `_extra`");
    let catalog = "SELECT array_to_string(path, '.'), form, column_type, bson_types FROM tailwater.paths \
                   WHERE column_name = '_extra' AND table_name IN ('c', 'c_l') ORDER BY 1";
    assert_eq!(case.lines(catalog).await, [" | column | jsonb | {object}", "l | column | jsonb | {object}"]);
    assert_eq!(case.lines("SELECT count(*) FROM {db}.c WHERE _extra ? 'f19'").await, ["3"]);
}

/// Over PostgreSQL's own limit, in one document and one field at a time.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_fields_are_replicated() {
    let case = Case::new("overflowmany").await;
    let wide = |id: i32| -> Document {
        let id = std::iter::once(("_id".to_owned(), id.into()));
        id.chain((0..2000).map(|n| (format!("f{n}"), n.into()))).collect()
    };
    case.collection("copied").insert_one(wide(1)).await.expect("inserted");
    let _daemon = case.start(&case.config());
    case.settle().await;
    case.collection("followed").insert_one(wide(1)).await.expect("inserted");
    let one_by_one = (0..1000).map(|n| doc! {"_id": n, format!("g{n}"): n});
    case.collection("onebyone").insert_many(one_by_one).await.expect("inserted");
    case.collection("copied").update_one(doc! {"_id": 1}, doc! {"$inc": {"f7": 1, "f1999": 1}}).await.expect("updated");
    case.expect_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_table_stays_full_when_the_limit_is_raised() {
    let case = Case::new("overflowraised").await;
    let mut config = case.config();
    config.set("mapping.max_columns", "2");
    case.collection("c").insert_one(doc! {"_id": 1, "a": 1, "b": 2}).await.expect("inserted");
    let daemon = case.start(&config);
    case.expect_equal().await;
    daemon.sigterm();
    config.set("mapping.max_columns", "100");
    let _daemon = case.start(&config);
    case.collection("c").update_one(doc! {"_id": 1}, doc! {"$set": {"b": 3, "d": 4}}).await.expect("updated");
    case.expect_equal().await;
    assert_eq!(case.lines("SELECT a, _extra FROM {db}.c").await, [r#"1 | {"b": 3, "d": 4}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_jsonb_cannot_hold_is_recorded_from_the_overflow_too() {
    let case = Case::new("overflownul").await;
    let mut config = case.config();
    config.set("mapping.max_columns", "1");
    case.collection("c").insert_one(doc! {"_id": 1, "a": "b\0c"}).await.expect("inserted");
    let _daemon = case.start(&config);
    case.settle().await;
    case.collection("c").update_one(doc! {"_id": 1}, doc! {"$set": {"d": "e\0f"}}).await.expect("updated");
    case.settle().await;
    assert_eq!(case.lines("SELECT _extra FROM {db}.c").await, [r#"{"a": "bc", "d": "ef"}"#]);
    assert_eq!(case.anomalies().await, ["a nul_removed", "d nul_removed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_says_that_a_table_is_full() {
    let case = Case::new("overflowplan").await;
    let mut config = case.config();
    config.set("mapping.max_columns", "2");
    case.collection("c").insert_one(doc! {"_id": 1, "a": 1, "b": 2}).await.expect("inserted");
    let file = write_config(&case.dir, &config);
    let planned = command(&["plan", "-c", file.to_str().expect("UTF-8")]);
    assert!(planned.stdout.contains("other fields go into its column \"_extra\""), "{}", planned.stdout);
    assert!(planned.stdout.contains("\"_extra\" jsonb"), "{}", planned.stdout);
}
