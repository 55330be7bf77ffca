//! Section 3: embedded documents and arrays of documents are child tables, other arrays are jsonb.

use mongodb::bson::{Document, doc};

use crate::harness::case::Case;

fn student(id: i32) -> Document {
    doc! {
        "_id": id, "name": "Ada", "phone": {"personal": "01", "work": "02"},
        "address": [{"city": "Basel"}, null, {"city": "Bern", "zip": 3000}],
        "courses": [{"title": "a", "exams": [{"score": 5}, {"score": 6}]}, {"title": "b", "exams": []}, {"exams": [{"score": 4}]}],
        "a": {"b": {"c": 1}}, "tags": ["x", "y"], "matrix": [[1], [2, 3]], "empty": [], "nothing": {},
    }
}

/// The golden tables, for a student copied and one followed.
#[tokio::test(flavor = "multi_thread")]
async fn documents_become_the_tables_of_the_contract() {
    let case = Case::new("nested").await;
    case.collection("student").insert_one(student(1)).await.expect("inserted");
    let _daemon = case.start(&case.config());
    case.settle().await;
    case.collection("student").insert_one(student(2)).await.expect("inserted");
    case.expect_equal().await;
    let tables = [
        "student",
        "student_a",
        "student_a_b",
        "student_address",
        "student_courses",
        "student_courses_exams",
        "student_nothing",
        "student_phone",
    ];
    assert_eq!(case.tables().await, tables);
    // An empty array decides no form, but it is kept (ADR 0007).
    assert_eq!(
        case.columns("student").await,
        ["_id integer", "empty jsonb", "matrix jsonb", "name text", "tags jsonb"]
    );
    assert_eq!(case.columns("student_phone").await, ["personal text", "student__id integer", "work text"]);
    assert_eq!(
        case.columns("student_address").await,
        ["_index integer", "city text", "student__id integer", "zip integer"]
    );
    assert_eq!(
        case.columns("student_courses_exams").await,
        ["_index integer", "courses__index integer", "score integer", "student__id integer"]
    );
    assert_eq!(case.columns("student_a_b").await, ["c integer", "student__id integer"]);
    assert_eq!(case.key("student").await, ["_id"]);
    assert_eq!(case.key("student_phone").await, ["student__id"]);
    assert_eq!(case.key("student_a_b").await, ["student__id"]);
    assert_eq!(case.key("student_address").await, ["student__id", "_index"]);
    assert_eq!(case.key("student_courses_exams").await, ["student__id", "courses__index", "_index"]);
    for id in [1, 2] {
        let rows = case
            .lines(&format!("SELECT _index, city, zip FROM {{db}}.student_address WHERE student__id = {id} ORDER BY 1"))
            .await;
        assert_eq!(rows, ["0 | Basel | -", "2 | Bern | 3000"]);
        let exams = "SELECT courses__index, _index, score FROM {db}.student_courses_exams WHERE student__id = ";
        assert_eq!(case.lines(&format!("{exams}{id} ORDER BY 1, 2")).await, ["0 | 0 | 5", "0 | 1 | 6", "2 | 0 | 4"]);
    }
    let forms = "SELECT array_to_string(path, '.'), form, table_name, column_name, column_type FROM tailwater.paths \
                 WHERE namespace LIKE '%.student' AND path[1] IN ('courses', '_id') OR namespace LIKE '%.student' AND path = '{}' \
                 ORDER BY path, form";
    assert_eq!(
        case.lines(forms).await,
        [
            " | root | student | - | -",
            "_id | column | student | _id | integer",
            "courses | array_table | student_courses | - | -",
            "courses.exams | array_table | student_courses_exams | - | -",
            "courses.exams.score | column | student_courses_exams | score | integer",
            "courses.title | column | student_courses | title | text",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_another_form_go_to_the_parents_table() {
    let case = Case::new("forms").await;
    let documents = |from: i32| {
        [
            doc! {"_id": from, "o": {"x": 1}, "l": [{"x": 1}], "deep": {"o": {"x": 1}}},
            doc! {"_id": from + 1, "o": 5, "l": 6, "deep": {"o": "text"}},
            doc! {"_id": from + 2, "o": [{"x": 1}], "l": {"x": 1}},
            doc! {"_id": from + 3, "o": [1, 2], "l": [{"x": 1}, "scalar", 7, null, [1]]},
            doc! {"_id": from + 4, "l": [1, {"x": 2}]},
        ]
    };
    case.collection("c").insert_many(documents(0)).await.expect("inserted");
    let _daemon = case.start(&case.config());
    case.settle().await;
    case.collection("c").insert_many(documents(10)).await.expect("inserted");
    case.collection("live").insert_many(documents(0)).await.expect("inserted");
    case.expect_equal().await;
    assert_eq!(case.columns("live").await, ["_id integer", "l jsonb", "o jsonb"]);
    assert_eq!(case.columns("live_deep").await, ["live__id integer", "o text"]);
    assert_eq!(case.columns("live_l").await, ["_index integer", "_value jsonb", "live__id integer", "x integer"]);
    let elements =
        case.lines("SELECT live__id, _index, x, _value FROM {db}.live_l WHERE live__id >= 3 ORDER BY 1, 2").await;
    assert_eq!(
        elements,
        [
            "3 | 0 | 1 | -",
            "3 | 1 | - | \"scalar\"",
            "3 | 2 | - | 7",
            "3 | 4 | - | [1]",
            "4 | 0 | - | 1",
            "4 | 1 | 2 | -"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_changes_its_form_there_and_back() {
    let case = Case::new("thereback").await;
    let collection = case.collection("c");
    collection
        .insert_one(doc! {"_id": 1, "v": {"a": {"b": [{"x": 1}]}}, "l": [{"x": {"y": 1}}]})
        .await
        .expect("inserted");
    let _daemon = case.start(&case.config());
    case.settle().await;
    for update in [
        doc! {"$set": {"v": 7, "l.0": "scalar"}},
        doc! {"$set": {"v": {"a": {"b": [{"x": 2}, {"x": 3}]}}, "l.0": {"x": {"y": 2}}}},
        doc! {"$set": {"v.a": "scalar", "l": "scalar"}},
        doc! {"$set": {"v.a": [1, 2], "l": {"x": 1}}},
        doc! {"$set": {"v": [{"a": 1}], "l": [{"x": 5}, {"x": {"y": 9}}]}},
        doc! {"$set": {"v.0.a": 2, "l.1.x.y": 10, "l.0.x": {"y": 1}}},
        doc! {"$unset": {"v": "", "l.0": ""}},
        doc! {"$set": {"v": {"a": {"b": []}}}},
    ] {
        collection.update_one(doc! {"_id": 1}, update.clone()).await.expect("updated");
        case.settle().await;
        let report = case.compare().await;
        assert!(report.findings.is_empty(), "after {update}: {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_values_stay_in_one_column_where_the_configuration_says_so() {
    let case = Case::new("onecolumn").await;
    case.collection("student").insert_one(student(1)).await.expect("inserted");
    let mut config = case.config();
    config.set("mapping.objects", "\"jsonb\"").set("mapping.arrays", "\"jsonb\"");
    let _daemon = case.start(&config);
    case.settle().await;
    let collection = case.collection("student");
    collection.insert_one(student(2)).await.expect("inserted");
    let update = doc! {"$set": {"a.b.c": 2, "phone.new": 1, "address.4.zip": 1}, "$pop": {"courses": -1}};
    collection.update_many(doc! {}, update).await.expect("updated");
    case.expect_equal().await;
    assert_eq!(case.tables().await, ["student"]);
    assert!(case.columns("student").await.contains(&"address jsonb".to_owned()));
}
