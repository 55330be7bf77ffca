//! `objects = "flatten"`: columns of the table around instead of child tables.

use mongodb::bson::{Document, doc};

use crate::harness::case::Case;

fn documents(from: i32) -> Vec<Document> {
    vec![
        doc! {
            "_id": from, "phone": {"personal": "01", "work": "02", "ext": {"code": 7, "list": [1, 2]}},
            "address": [{"city": "a", "geo": {"lat": 1.5, "lon": 2, "marks": [{"m": 1}]}}, {"city": "b"}],
            "a": {"b": {"c": {"d": 1}}, "courses": [{"title": "t", "exams": [{"score": 5}], "by": {"name": "n"}}]},
        },
        doc! {"_id": from + 1, "phone": "none", "a": {"b": [1, 2], "courses": {"no": "array"}}, "address": [5, {"geo": 7}]},
        doc! {"_id": from + 2, "phone": {"ext": "scalar"}, "a": [{"x": 1}], "phone_work": "a field of that name", "address": {"x": 1}},
        doc! {"_id": from + 3, "a": {"b": {"c": 5}}, "address": [{"geo": {"lat": 3}}]},
    ]
}

fn updates() -> Vec<Document> {
    vec![
        doc! {"$set": {"phone.work": "03", "phone.ext.code": 8, "a.b.c.d": 2}},
        doc! {"$unset": {"phone.personal": ""}, "$push": {"phone.ext.list": 3}},
        doc! {"$set": {"phone.ext.more": {"x": 1}, "a.courses.0.exams.0.score": 6, "a.courses.0.by.name": "m"}},
        doc! {"$push": {"a.courses": {"title": "u", "exams": [{"score": 1}, {"score": 2}]}}},
        doc! {"$set": {"address.0.geo.lat": 9.5, "address.0.geo.marks.1": {"m": 2}, "address.1.geo": {"lon": 4}}},
        doc! {"$set": {"phone": {"work": "04"}}},
        doc! {"$set": {"phone": 5, "address.0.geo": "scalar"}},
        doc! {"$set": {"phone": {"ext": {"list": []}}, "address.0.geo": {"lat": 1, "marks": [{"m": 3}]}}},
        doc! {"$set": {"a": {"b": 7, "courses": [{"by": {"name": "x", "age": 1}}]}}},
        doc! {"$set": {"a.b": {"c": {"d": 3}}}, "$unset": {"address.0": ""}},
        doc! {"$rename": {"phone.ext": "moved"}, "$set": {"phone.last": 1}},
        doc! {"$unset": {"a": "", "phone": "", "moved": ""}},
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn flattened_documents_read_back() {
    let case = Case::new("flatten").await;
    let mut config = case.config();
    config.set("mapping.objects", "\"flatten\"");
    let _daemon = case.in_three_rounds(&config, documents, &updates()).await;
    let columns = "SELECT array_to_string(path, '.'), form, table_name, column_name FROM tailwater.paths \
                   WHERE path[1] IN ('phone', 'address') AND table_name LIKE 'c%' AND column_name IS DISTINCT FROM '_value' ORDER BY 1, 2";
    let expected = [
        "address | array_table | c_address | -",
        "address | column | c | address",
        "address.city | column | c_address | city",
        "address.geo | column | c_address | geo",
        "address.geo.lat | column | c_address | geo_lat",
        "address.geo.lon | column | c_address | geo_lon",
        "address.geo.marks | array_table | c_address_geo_marks | -",
        "address.geo.marks.m | column | c_address_geo_marks | m",
        "phone | column | c | phone",
        "phone.ext | column | c | phone_ext",
        "phone.ext.code | column | c | phone_ext_code",
        "phone.ext.list | column | c | phone_ext_list",
        "phone.ext.more.x | column | c | phone_ext_more_x",
        "phone.last | column | c | phone_last",
        "phone.personal | column | c | phone_personal",
        "phone.work | column | c | phone_work",
    ];
    assert_eq!(case.lines(columns).await, expected);
    let key = "SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey) WHERE indisprimary \
               AND indrelid = '{db}.c_a_courses_exams'::regclass ORDER BY array_position(indkey::int2[], attnum)";
    assert_eq!(case.lines(key).await, ["c__id", "courses__index", "_index"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn flattened_documents_overflow_and_are_renamed() {
    let case = Case::new("flattenfull").await;
    let mut config = case.config();
    config.set("mapping.objects", "\"flatten\"").set("mapping.max_columns", "5");
    let _daemon = case.in_three_rounds(&config, documents, &updates()).await;
    let to = format!("{}db.renamed", case.prefix);
    let command = doc! {"renameCollection": format!("{}db.c", case.prefix), "to": to};
    case.mongo.database("admin").run_command(command).await.expect("renamed");
    let update = doc! {"$set": {"phone.work": "x", "fresh.a.b": 1}};
    case.collection("renamed").update_many(doc! {"phone": {"$type": "object"}}, update).await.expect("updated");
    case.expect_same("a rename").await;
}

/// The price of the form: no column tells a document without values from none.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_flattened_document_reads_back_as_missing() {
    let case = Case::new("flattenempty").await;
    let mut config = case.config();
    config.set("mapping.objects", "\"flatten\"");
    case.collection("c")
        .insert_many([doc! {"_id": 1, "o": {"x": 1}}, doc! {"_id": 2, "o": {}}])
        .await
        .expect("inserted");
    let _daemon = case.start(&config);
    case.settle().await;
    case.collection("c").update_one(doc! {"_id": 1}, doc! {"$unset": {"o.x": ""}}).await.expect("updated");
    case.settle().await;
    assert_eq!(case.lines("SELECT * FROM {db}.c ORDER BY 1").await, ["1 | -", "2 | -"]);
}
