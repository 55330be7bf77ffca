//! Forms per collection and per path.

use mongodb::bson::{Document, doc};

use crate::harness::case::Case;

fn documents(from: i32) -> Vec<Document> {
    vec![
        doc! {
            "_id": from, "o": {"x": 1, "p": {"y": 2}}, "l": [{"x": 1}, {"x": {"z": 2}}], "notes": 5,
            "flat": {"a": 1, "b": {"c": 2}}, "a.b": {"c": {"d": 1}}, "kept": [{"x": {"y": 1}}],
        },
        doc! {"_id": from + 1, "o": "text", "l": 7, "notes": {"n": [1]}, "flat": [1], "a.b": 3, "kept": {"no": "array"}},
        doc! {"_id": from + 2, "notes": [{"n": 1}], "flat": {"b": 5}, "kept": []},
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_collection_and_path_has_its_form() {
    let case = Case::new("pathforms").await;
    let mut config = case.config();
    let lines = "objects = \"jsonb\"\narrays = \"jsonb\"\n[collection.columns]\n\"notes\" = { form = \"jsonb\" }\n\
                 \"flat\" = { form = \"flatten\" }\n\"flat.b\" = { form = \"table\" }\n\"kept\" = { form = \"table\" }\n\
                 \"a\\\\.b\" = { form = \"table\" }";
    config.append(&case.entry("c", lines));
    let updates = [
        doc! {"$set": {"o.p.y": 3, "l.1.x.z": 3, "notes": {"deep": {"er": 1}}, "flat.a": 2, "flat.b.c": 3}},
        doc! {"$set": {"notes.deep.er": [1], "kept.0.x.y": 2, "kept.2": {"x": 1}, "flat.new": "n"}},
        doc! {"$unset": {"flat.b": "", "o": ""}, "$set": {"l": [], "notes": "text"}},
        doc! {"$set": {"flat": "none", "kept": 1}},
        doc! {"$set": {"flat": {"b": {"c": 9}}, "kept": [{"x": 3}]}},
    ];
    let _daemon = case.in_three_rounds(&config, documents, &updates).await;
    // Another collection has the forms of all.
    case.collection("other").insert_many(documents(0)).await.expect("inserted");
    case.expect_same("another collection").await;
    let tables = "SELECT tablename FROM pg_tables WHERE schemaname = '{db}' AND tablename LIKE 'c%' ORDER BY 1";
    let tables = tables.replace("{db}", &format!("{}db", case.prefix));
    assert_eq!(case.lines(&tables).await, ["c", "c_a.b", "c_flat_b", "c_kept"]);
    let columns = "SELECT array_to_string(path, '/'), column_name, column_type FROM tailwater.paths \
                   WHERE table_name = 'c' AND form = 'column' ORDER BY 1, 2";
    let expected = [
        "_id | _id | integer",
        "a.b | a.b | integer",
        "flat | flat | jsonb",
        "flat/a | flat_a | integer",
        "flat/b | flat_b | integer",
        "flat/new | flat_new | text",
        "kept | kept | jsonb",
        "l | l | jsonb",
        "notes | notes | jsonb",
        "o | o | jsonb",
    ];
    assert_eq!(case.lines(columns).await, expected);
    let other = "SELECT count(*) FROM tailwater.paths WHERE table_name LIKE 'other%' AND form <> 'column'";
    assert_eq!(case.lines(other).await, ["10"]);
}
