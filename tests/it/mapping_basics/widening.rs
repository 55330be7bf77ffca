//! Section 4: a column starts with its first value's type and only ever widens, without loss.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Decimal128, bson, doc};

use crate::harness::case::Case;

fn decimal(text: &str) -> Bson {
    Bson::Decimal128(text.parse::<Decimal128>().expect("a decimal"))
}

/// Field by field: the values in their order, the type at the end, and the first value's text then.
fn ladder() -> Vec<(&'static str, Vec<Bson>, &'static str, &'static str)> {
    vec![
        ("int_long", vec![bson!(1), bson!(1_i64 << 40)], "bigint", "1"),
        ("int_long_decimal", vec![bson!(1), bson!(i64::MAX), decimal("1.5")], "numeric", "1"),
        ("long_int", vec![bson!(1_i64 << 40), bson!(1)], "bigint", "1099511627776"),
        ("int_double", vec![bson!(3), bson!(0.5)], "double precision", "3"),
        ("double_int", vec![bson!(0.1), bson!(i32::MAX)], "double precision", "0.1"),
        ("int_double_decimal", vec![bson!(3), bson!(0.1), decimal("2")], "numeric", "3"),
        ("double_decimal", vec![bson!(0.1), decimal("7")], "numeric", "0.1"),
        ("long_double", vec![bson!(9_007_199_254_740_993_i64), bson!(0.1)], "numeric", "9007199254740993"),
        ("double_long", vec![bson!(1e-7), bson!(i64::MAX)], "numeric", "0.0000001"),
        ("int_decimal", vec![bson!(1), decimal("0.10")], "numeric", "1"),
        ("int_text", vec![bson!(1), bson!("one")], "jsonb", "1"),
        ("text_int", vec![bson!("one"), bson!(1)], "jsonb", "\"one\""),
        ("bool_date", vec![bson!(true), bson!(DateTime::from_millis(5))], "jsonb", "true"),
        (
            "date_text",
            vec![bson!(DateTime::from_millis(5)), bson!("x")],
            "jsonb",
            r#"{"$date": "1970-01-01T00:00:00.005Z"}"#,
        ),
        ("decimal_text", vec![decimal("1.10"), bson!("x")], "jsonb", ""),
        ("double_text", vec![bson!(f64::NAN), bson!("x")], "jsonb", r#"{"$numberDouble": "NaN"}"#),
        ("text_oid", vec![bson!("plain"), bson!(ObjectId::from_bytes([0xAB; 12]))], "text", "plain"),
        ("oid_text", vec![bson!(ObjectId::from_bytes([0xAB; 12])), bson!("plain")], "text", "abababababababababababab"),
        ("oid_int", vec![bson!(ObjectId::from_bytes([0xAB; 12])), bson!(1)], "jsonb", ""),
        ("null_int", vec![Bson::Null, bson!(1), Bson::Null], "integer", "-"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_widen_along_the_ladder_only() {
    let case = Case::new("widening").await;
    let (live, nested) = (case.collection("live"), case.collection("nested"));
    live.insert_one(doc! {"_id": -1, "unrelated": 1}).await.expect("inserted");
    for (field, values, _, _) in ladder() {
        for (id, value) in (0..).zip(values) {
            case.collection(&format!("copied_{field}"))
                .insert_one(doc! {"_id": id, "v": value})
                .await
                .expect("inserted");
        }
    }
    let _daemon = case.start(&case.config());
    case.settle().await;
    for (field, values, _, _) in ladder() {
        for (id, value) in (0..).zip(values) {
            let set = doc! {"$set": {field: value.clone(), format!("o.{field}"): value.clone()}};
            live.update_one(doc! {"_id": id}, set).upsert(true).await.expect("updated");
            let element = doc! {"$push": {"list": {field: value}}};
            nested.update_one(doc! {"_id": 0}, element).upsert(true).await.expect("updated");
        }
    }
    case.expect_equal().await;
    for (field, _, column_type, first) in ladder() {
        for table in ["live", "live_o", "nested_list"] {
            let columns = case.columns(table).await;
            assert!(
                columns.contains(&format!("{field} {column_type}")),
                "{table}.{field} {column_type} in {columns:?}"
            );
        }
        if !first.is_empty() {
            let value = case.lines(&format!("SELECT {field} FROM {{db}}.live WHERE _id = 0")).await;
            assert_eq!(value, [first], "{field}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_changes_many_columns_rewrites_its_table_once() {
    let case = Case::new("rewrite").await;
    let collection = case.collection("c");
    collection.insert_one(doc! {"_id": 1, "a": 1, "b": 1, "c": "x", "l": [{"x": 1, "y": 1}]}).await.expect("inserted");
    let _daemon = case.start(&case.config());
    case.settle().await;
    let wider = doc! {"_id": 2, "a": 1_i64 << 40, "b": "b", "c": 1, "n": 1, "l": [{"x": "x", "y": 0.5, "z": true}]};
    collection.insert_one(wider).await.expect("inserted");
    case.expect_equal().await;
    let alters = "SELECT kind, detail LIKE '%.\"c\"%' FROM tailwater.events WHERE detail LIKE 'ALTER%' ORDER BY 2 DESC";
    assert_eq!(case.lines(alters).await, ["widen_column | t", "widen_column | f"], "one ALTER for each table");
    let columns = ["_id integer", "a bigint", "b jsonb", "c jsonb", "n integer"];
    assert_eq!(case.columns("c").await, columns);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_field_is_a_new_column_for_later_rows_only() {
    let case = Case::new("newfield").await;
    let collection = case.collection("c");
    collection.insert_one(doc! {"_id": 1, "a": 1, "l": [{"x": 1}]}).await.expect("inserted");
    let _daemon = case.start(&case.config());
    case.settle().await;
    collection.insert_one(doc! {"_id": 2, "b": "new"}).await.expect("inserted");
    collection.update_one(doc! {"_id": 1}, doc! {"$set": {"c": true, "l.0.y": 2}}).await.expect("updated");
    collection.update_one(doc! {"_id": 1}, doc! {"$unset": {"a": ""}}).await.expect("updated");
    case.expect_equal().await;
    let columns = ["_id integer", "a integer", "b text", "c boolean"];
    assert_eq!(case.columns("c").await, columns, "columns are never dropped");
    assert_eq!(case.lines("SELECT _id, a, b, c FROM {db}.c ORDER BY 1").await, ["1 | - | - | t", "2 | - | new | -"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_widen_among_numbers() {
    let case = Case::new("idwiden").await;
    let collection = case.collection("c");
    collection.insert_one(doc! {"_id": 1, "l": [{"x": 1}]}).await.expect("inserted");
    let _daemon = case.start(&case.config());
    case.settle().await;
    collection.insert_one(doc! {"_id": 1_i64 << 40, "l": [{"x": 2}]}).await.expect("inserted");
    collection.update_one(doc! {"_id": 1}, doc! {"$set": {"l.0.x": 3}}).await.expect("updated");
    case.expect_equal().await;
    assert!(case.columns("c").await.contains(&"_id bigint".to_owned()));
    assert!(case.columns("c_l").await.contains(&"c__id bigint".to_owned()));
}
