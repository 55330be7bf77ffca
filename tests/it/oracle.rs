//! The oracle itself: it accepts rows written by hand as the contract says, and no others.
//!
//! A comparison that cannot fail proves nothing, so every kind of damage is done once and must be found.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, DateTime, Decimal128, Document, bson, doc};

use crate::decode::compare::{Finding, Report};
use crate::harness::case::Case;

const TABLES: &str = r#"
CREATE SCHEMA tailwater;
CREATE TABLE tailwater.paths (namespace text, path text[], form text, schema_name text, table_name text,
    column_name text, column_type text, bson_types text[], key_columns text[]);
CREATE SCHEMA {db};
CREATE TABLE {db}.student (_id integer PRIMARY KEY, name text, "Grade" double precision, big numeric, born timestamptz,
    friend text, card uuid, photo bytea, tags jsonb, mixed jsonb, phone text, address jsonb);
CREATE TABLE {db}.student_phone (student__id integer PRIMARY KEY, personal text, work text);
CREATE TABLE {db}.student_address (student__id integer, _index integer, city text, _value jsonb, PRIMARY KEY (student__id, _index));
CREATE TABLE {db}.student_address_rooms (student__id integer, address__index integer, _index integer, nr integer,
    PRIMARY KEY (student__id, address__index, _index));
"#;

const PATHS: &str = r#"
INSERT INTO tailwater.paths SELECT '{ns}', path::text[], form, '{schema}', t, c, ty, types::text[] FROM (VALUES
    ('{}', 'root', 'student', NULL, NULL, NULL),
    ('{_id}', 'column', 'student', '_id', 'integer', '{int}'),
    ('{name}', 'column', 'student', 'name', 'text', '{string}'),
    ('{Grade}', 'column', 'student', 'Grade', 'double precision', '{double}'),
    ('{big}', 'column', 'student', 'big', 'numeric', '{decimal,long}'),
    ('{born}', 'column', 'student', 'born', 'timestamp with time zone', '{date}'),
    ('{friend}', 'column', 'student', 'friend', 'text', '{objectId}'),
    ('{card}', 'column', 'student', 'card', 'uuid', '{binData}'),
    ('{photo}', 'column', 'student', 'photo', 'bytea', '{binData}'),
    ('{tags}', 'column', 'student', 'tags', 'jsonb', '{array}'),
    ('{mixed}', 'column', 'student', 'mixed', 'jsonb', '{string,date}'),
    ('{phone}', 'object_table', 'student_phone', NULL, NULL, NULL),
    ('{phone}', 'column', 'student', 'phone', 'text', '{string}'),
    ('{phone,personal}', 'column', 'student_phone', 'personal', 'text', '{string}'),
    ('{phone,work}', 'column', 'student_phone', 'work', 'text', '{string}'),
    ('{address}', 'array_table', 'student_address', NULL, NULL, NULL),
    ('{address}', 'column', 'student', 'address', 'jsonb', '{object}'),
    ('{address}', 'column', 'student_address', '_value', 'jsonb', '{string}'),
    ('{address,city}', 'column', 'student_address', 'city', 'text', '{string}'),
    ('{address,rooms}', 'array_table', 'student_address_rooms', NULL, NULL, NULL),
    ('{address,rooms,nr}', 'column', 'student_address_rooms', 'nr', 'integer', '{int}')
) AS rows(path, form, t, c, ty, types);
"#;

const ROWS: &str = r#"
INSERT INTO {db}.student VALUES
    (1, 'Zoë "Z"', '-0', 9007199254740993, '2001-02-03 04:05:06.789+00', '507f1f77bcf86cd799439011',
     '00112233-4455-6677-8899-aabbccddeeff', '\x00ff', '[1, [2.5], {"$numberDecimal": "1.10"}]', '{"$date": "2020-01-01T00:00:00Z"}',
     NULL, NULL),
    (2, NULL, 'NaN', 1.5, NULL, NULL, NULL, NULL, '[]', '"text"', 'just a number', '{"a": null, "city": "Bern"}');
INSERT INTO {db}.student_phone VALUES (1, '01', NULL);
INSERT INTO {db}.student_address VALUES (1, 0, 'Basel', NULL), (1, 2, NULL, '"no document"'), (1, 3, NULL, NULL);
INSERT INTO {db}.student_address_rooms VALUES (1, 0, 0, 7), (1, 0, 1, NULL), (1, 3, 1, 9);
"#;

fn students() -> [Document; 2] {
    let uuid: Vec<u8> = (0..16).map(|n| n * 0x11).collect();
    [
        doc! {
            "_id": 1, "name": "Zoë \"Z\"", "Grade": -0.0, "big": 9_007_199_254_740_993_i64,
            "born": DateTime::from_millis(981_173_106_789),
            "friend": ObjectId::parse_str("507f1f77bcf86cd799439011").expect("an ObjectId"),
            "card": Binary { subtype: BinarySubtype::Uuid, bytes: uuid },
            "photo": Binary { subtype: BinarySubtype::Generic, bytes: vec![0, 255] },
            "tags": [1, [2.5], "1.1".parse::<Decimal128>().expect("a decimal")],
            "mixed": DateTime::from_millis(1_577_836_800_000),
            "phone": {"personal": "01", "work": null},
            "address": [
                {"city": "Basel", "rooms": [{"nr": 7}, {}, null]}, null, "no document", {"rooms": [null, {"nr": 9}]},
            ],
        },
        doc! {
            "_id": 2_i64, "Grade": f64::NAN, "big": "1.50".parse::<Decimal128>().expect("a decimal"), "tags": [],
            "mixed": "text", "phone": "just a number", "address": {"city": "Bern"}, "empty": [],
        },
    ]
}

/// The two students in both servers.
async fn school(name: &str) -> Case {
    let case = Case::new(name).await;
    case.collection("student").insert_many(students()).await.expect("inserted");
    let schema = format!("{}db", case.prefix);
    let paths = PATHS.replace("{ns}", &format!("{schema}.student")).replace("{schema}", &schema);
    for sql in [TABLES, &paths, ROWS] {
        case.rows(sql).await;
    }
    case
}

fn paths_of(report: &Report) -> Vec<String> {
    let differences = report.findings.iter().flat_map(|finding| match finding {
        Finding::Different { differences, .. } => differences.clone(),
        _ => vec![],
    });
    differences.map(|d| d.path).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_by_the_contract_are_equal_to_their_documents() {
    let case = school("oracle_equal").await;
    let report = case.compare().await;
    assert!(report.findings.is_empty(), "{report}");
    assert_eq!((report.collections, report.documents), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_damage_to_a_value_is_found_where_it_is() {
    let case = school("oracle_values").await;
    for (damage, path) in [
        ("UPDATE {db}.student SET name = 'Zoe' WHERE _id = 1", ".name"),
        (r#"UPDATE {db}.student SET "Grade" = 0 WHERE _id = 1"#, ".Grade"),
        ("UPDATE {db}.student SET big = 9007199254740992 WHERE _id = 1", ".big"),
        ("UPDATE {db}.student SET born = born + interval '1 millisecond'", ".born"),
        ("UPDATE {db}.student SET photo = '\\x00' WHERE _id = 1", ".photo"),
        ("UPDATE {db}.student SET tags = '[1, [2.25], {\"$numberDecimal\": \"1.10\"}]' WHERE _id = 1", ".tags[1][0]"),
        ("UPDATE {db}.student SET tags = '[1]' WHERE _id = 2", ".tags"),
        ("UPDATE {db}.student SET mixed = '\"2020-01-01T00:00:00Z\"' WHERE _id = 1", ".mixed"),
        ("UPDATE {db}.student_phone SET work = '02'", ".phone.work"),
        ("DELETE FROM {db}.student_phone", ".phone"),
        ("UPDATE {db}.student_address SET _index = 1 WHERE _index = 2", ".address[1]"),
        ("DELETE FROM {db}.student_address_rooms WHERE nr = 9", ".address[3].rooms"),
        ("INSERT INTO {db}.student_address_rooms VALUES (1, 0, 2, NULL)", ".address[0].rooms[2]"),
    ] {
        case.rows("BEGIN").await;
        case.rows(damage).await;
        let report = case.compare().await;
        case.rows("ROLLBACK").await;
        assert!(paths_of(&report).contains(&path.to_owned()), "{damage}: {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_damage_to_the_rest_is_found() {
    let case = school("oracle_rest").await;
    let problem = |report: &Report, text: &str| {
        report.findings.iter().any(|f| matches!(f, Finding::Problem(p) if p.contains(text)))
    };
    for (damage, text) in [
        ("INSERT INTO {db}.student_phone VALUES (3, 'nobody')", "orphan"),
        ("INSERT INTO {db}.student_address_rooms VALUES (1, 1, 0, 1)", "orphan"),
        ("INSERT INTO {db}.student_phone VALUES (2, 'twice')", "two values"),
        ("CREATE TABLE {db}.student_left (a integer)", "not in tailwater.paths"),
        ("ALTER TABLE {db}.student ADD COLUMN unknown integer", "not in tailwater.paths"),
        ("ALTER TABLE {db}.student ALTER COLUMN big TYPE text", "is text, not numeric"),
        ("ALTER TABLE {db}.student_address DROP CONSTRAINT student_address_pkey", "no primary key"),
        ("UPDATE {db}.student SET born = born + interval '1 microsecond'", "milliseconds are exact"),
    ] {
        case.rows("BEGIN").await;
        case.rows(damage).await;
        let report = case.compare().await;
        case.rows("ROLLBACK").await;
        assert!(problem(&report, text), "{damage}: {report}");
    }
    case.rows("DELETE FROM {db}.student WHERE _id = 2").await;
    case.rows("INSERT INTO {db}.student (_id) VALUES (4)").await;
    let report = case.compare().await;
    let missing = |f: &&Finding| matches!(f, Finding::Missing { id, .. } if id.contains("digits: \"2\""));
    let extra = |f: &&Finding| matches!(f, Finding::Extra { .. });
    assert_eq!(report.findings.iter().filter(missing).count(), 1, "{report}");
    assert_eq!(report.findings.iter().filter(extra).count(), 1, "{report}");
    case.collection("student").drop().await.expect("dropped");
    let report = case.compare().await;
    assert!(report.findings.iter().any(|f| matches!(f, Finding::Gone(_))), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_text_column_reads_an_object_id_as_its_hex() {
    let case = school("oracle_shared").await;
    case.rows("UPDATE tailwater.paths SET bson_types = '{objectId,string}' WHERE column_name IN ('friend', 'name')")
        .await;
    let report = case.compare().await;
    assert!(report.findings.is_empty(), "{report}");
    let hex = bson!("507f1f77bcf86cd799439011");
    case.collection("student").update_one(doc! {"_id": 1}, doc! {"$set": {"friend": hex}}).await.expect("updated");
    let report = case.compare().await;
    assert!(report.findings.is_empty(), "{report}");
    case.rows("UPDATE tailwater.paths SET bson_types = '{objectId}' WHERE column_name = 'friend'").await;
    assert_eq!(paths_of(&case.compare().await), [".friend"]);
}
