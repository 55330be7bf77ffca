//! `naming = "snake_case"`.

use mongodb::bson::{Document, doc};

use crate::harness::case::Case;
use crate::harness::wait::{self, LONG};

fn documents(from: i32) -> Vec<Document> {
    vec![
        doc! {"_id": from, "rollNo": 1, "examResults": [{"maxScore": 5, "subParts": [{"partNo": 1}]}], "homeAddress": {"zipCode": 1}},
        doc! {"_id": from + 1, "roll_no": 2, "HTTPServer": "x", "_Index": 1, "Roll_No": 3, "exam_results": [{"x": 1}]},
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_snake_case_and_never_meet() {
    let case = Case::new("snakecase").await;
    let mut config = case.config();
    config.set("mapping.naming", "\"snake_case\"");
    config.append(&case.entry("asGiven", "table = \"OwnName\""));
    let given = case.collection("asGiven");
    given.insert_one(doc! {"_id": 1, "fieldName": 1, "subTable": {"x": 1}}).await.expect("inserted");
    let updates = [
        doc! {"$set": {"rollNo": 5, "roll_no": 6, "examResults.0.maxScore": 7, "homeAddress.zipCode": 2}},
        doc! {"$set": {"newField": 1, "new_field": 2, "homeAddress": "none", "examResults.1.lateField": {"x": 1}}},
        doc! {"$unset": {"rollNo": "", "newField": ""}},
    ];
    let _daemon = case.in_three_rounds(&config, documents, &updates).await;
    let tables = "SELECT table_name, array_to_string(key_columns, ',') FROM tailwater.paths WHERE form <> 'column' \
                  AND table_name NOT LIKE 'zz%' AND path[1] IS DISTINCT FROM 'exam_results' ORDER BY 1";
    let expected = [
        "OwnName | _id",
        "OwnName_sub_table | OwnName__id",
        "c | _id",
        "c_exam_results | c__id,_index",
        "c_exam_results_late_field | c__id,exam_results__index",
        "c_exam_results_sub_parts | c__id,exam_results__index,_index",
        "c_home_address | c__id",
    ];
    assert_eq!(case.lines(tables).await, expected);
    let columns = "SELECT path[1], column_name FROM tailwater.paths WHERE table_name = 'c' AND form = 'column' \
                   AND column_name !~ '_[0-9a-f]{8}$' ORDER BY 1";
    let expected = [
        "HTTPServer | http_server",
        "_id | _id",
        "homeAddress | home_address",
        "newField | new_field",
        "rollNo | roll_no",
    ];
    assert_eq!(case.lines(columns).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_and_collections_are_named_so_too() {
    let case = Case::new("snakedatabase").await;
    let mut config = case.config();
    config.set("mapping.naming", "\"snake_case\"");
    let database = case.database("myDb");
    database.collection::<Document>("orderItems").insert_one(doc! {"_id": 1}).await.expect("inserted");
    let _daemon = case.start(&config);
    let tables = format!("SELECT tablename FROM pg_tables WHERE schemaname = '{}my_db' ORDER BY 1", case.prefix);
    for (name, expected) in [("orderItems", vec!["order_items"]), ("lateItems", vec!["late_items", "order_items"])] {
        database.collection::<Document>(name).insert_one(doc! {"_id": 2}).await.expect("inserted");
        let there = || async { (case.lines(&tables).await == expected).then_some(()) };
        wait::until(format!("tables {expected:?}"), LONG, || case.logs(), there).await;
    }
}
