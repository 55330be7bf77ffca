//! Values: every type, strings and names that break texts, diffs of jsonb, keys that change.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Decimal128, Document, Regex, Timestamp, cstr, doc};

use super::{expect_equal_after, without_target, write_text};
use crate::harness::case::Case;
use crate::harness::daemon::Daemon;
use crate::harness::wait;

const NASTY: [&str; 14] = [
    "it's",
    "back\\slash \\n",
    "new\nline\r\n\ttab",
    "'; DROP TABLE x; --",
    "$$ $1 $body$",
    ":name :'name' :\"name\"",
    "\\x41 \\u0041 E'",
    "\u{1}\u{7f}\u{85}\u{2028}\u{2029}",
    "é 名 😀 \u{202e}abc",
    "\\copy \\q",
    "\"quoted\" \"\"",
    "%s %I {}",
    " leading and trailing ",
    "\\",
];

/// Follows what `act` does into a text, and compares.
async fn follow(case: &Case, act: impl AsyncFn()) {
    let file = case.dir.join("followed.sql");
    let config = without_target(case);
    let daemon = Daemon::start(&case.dir, &config, &["--sql-out", file.to_str().expect("a plain name")]);
    daemon.until_state("streaming").await;
    act().await;
    case.collection("zz_last").insert_one(doc! {"_id": 1}).await.expect("inserted");
    let arrived = || async { std::fs::read_to_string(&file).ok()?.contains("\"zz_last\" (\"_id\")").then_some(()) };
    wait::until("the last change in the text", wait::LONG, || daemon.log_tail(), arrived).await;
    daemon.sigterm();
    expect_equal_after(case, &file).await;
}

fn scalars() -> Vec<Bson> {
    let binary = |subtype, bytes: &[u8]| Bson::Binary(Binary { subtype, bytes: bytes.into() });
    let decimal = |text: &str| Bson::Decimal128(text.parse::<Decimal128>().expect("a decimal"));
    let mut values: Vec<Bson> = NASTY.iter().map(|text| (*text).into()).collect();
    values.extend(
        [0.1, -0.0, 1.0, 1e300, 5e-324, f64::MAX, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 123_456_789.123_456_78]
            .map(Bson::from),
    );
    values.extend([i32::MIN, -1, 0, i32::MAX].map(Bson::from));
    values.extend([i64::MIN, -1, i64::MAX].map(Bson::from));
    values.extend(["0", "1.50", "-1E-30", "9.999999999999999999999999999999999E+40", "NaN", "-Infinity"].map(decimal));
    let dates =
        [0, -1, 951_782_400_120, -62_135_596_800_001, 253_402_300_800_000, i64::MIN, i64::MAX, -210_000_000_000_000];
    values.extend(dates.map(|millis| Bson::DateTime(DateTime::from_millis(millis))));
    values.extend([true.into(), false.into(), Bson::Null, Bson::Undefined, Bson::MinKey, Bson::MaxKey]);
    values.push(binary(BinarySubtype::Uuid, &[0xAB; 16]));
    values.push(binary(BinarySubtype::Generic, &[0, 39, 92, 255]));
    values.push(Bson::ObjectId(ObjectId::from_bytes([7; 12])));
    values.push(Bson::RegularExpression(Regex { pattern: cstr!("a'\\d").into(), options: cstr!("i").into() }));
    values.push(Bson::Timestamp(Timestamp { time: 7, increment: 8 }));
    values.push(Bson::JavaScriptCode("f('\\n')".into()));
    values
}

/// Each value in a field of its own, in one that all share, in an array, below a document; as `_id` where it can be one.
fn documents() -> Vec<Document> {
    let each = scalars().into_iter().enumerate().map(|(i, value)| {
        let own = format!("f{i}");
        let number = i32::try_from(i).expect("few");
        doc! {"_id": number, own: value.clone(), "shared": value.clone(), "list": [value.clone(), 1], "sub": {"v": value.clone()}, "subs": [{"v": value}]}
    });
    each.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_survives_a_snapshot() {
    let case = Case::new("sql_types").await;
    case.collection("all").insert_many(documents()).await.expect("inserted");
    let file = write_text(&case, &without_target(&case), "out.sql");
    expect_equal_after(&case, &file).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_survives_the_stream() {
    let case = Case::new("sql_types_stream").await;
    follow(&case, async || {
        let all = case.collection("all");
        for document in documents() {
            let id = document.get("_id").cloned().expect("an id");
            all.insert_one(document.clone()).await.expect("inserted");
            let set = doc! {"$set": {"again": document.get("shared"), "sub.w": document.get("shared"), "list.0": document.get("shared")}};
            all.update_one(doc! {"_id": id}, set).await.expect("updated");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nasty_names_and_ids_are_written_on_one_line() {
    let case = Case::new("sql_names").await;
    follow(&case, async || {
        for (i, name) in NASTY.iter().enumerate() {
            // MongoDB takes neither $ in the name of a collection nor at the beginning of a field's.
            let field = name.replace('$', "S").replace('.', "_");
            let collection = case.collection(&format!("{i} {field}"));
            let document = doc! {"_id": *name, &field: 1, "sub": {&field: *name}, "subs": [{&field: [*name]}]};
            collection.insert_one(document).await.expect("inserted");
            let set = doc! {"$set": {format!("sub.{field}"): i32::try_from(i).expect("few"), "subs.0.x": true}};
            collection.update_one(doc! {"_id": *name}, set).await.expect("updated");
            if i % 3 == 0 {
                collection.delete_one(doc! {"_id": *name}).await.expect("deleted");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_several_types_get_another_key() {
    let case = Case::new("sql_rekey").await;
    let ids = |values: &[Bson]| -> Vec<Document> {
        let one = |id: &Bson| doc! {"_id": id.clone(), "a": {"b": 1}, "c": [{"d": 1}, {"d": "x"}]};
        values.iter().map(one).collect()
    };
    follow(&case, async || {
        let starts: [&[Bson]; 5] = [
            &[1.into(), 2_i64.into(), 2.5.into()],
            &["a'b".into(), "c\nd".into()],
            &[true.into(), false.into()],
            &[Bson::DateTime(DateTime::from_millis(7)), Bson::DateTime(DateTime::from_millis(-7))],
            &[Bson::ObjectId(ObjectId::from_bytes([7; 12]))],
        ];
        for (i, start) in starts.iter().enumerate() {
            let collection = case.collection(&format!("c'{i}\n%"));
            collection.insert_many(ids(start)).await.expect("inserted");
            let other = [Bson::from("other"), doc! {"x": 1}.into(), Bson::from(9), "y".repeat(3000).into()];
            for document in ids(&other) {
                collection.insert_one(document).await.expect("inserted");
            }
            collection.update_many(doc! {}, doc! {"$set": {"a.b": 2, "c.1.e": 5}}).await.expect("updated");
            collection.delete_one(doc! {"_id": start[0].clone()}).await.expect("deleted");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renames_and_drops_are_written() {
    let case = Case::new("sql_lifecycle").await;
    case.collection("copied").insert_one(doc! {"_id": 1, "a": {"b": [{"c": 1}]}}).await.expect("inserted");
    follow(&case, async || {
        let (db, admin) = (format!("{}db", case.prefix), case.mongo.database("admin"));
        let rename = async |from: &str, to: &str, drop: bool| {
            let command = doc! {"renameCollection": from, "to": to, "dropTarget": drop};
            admin.run_command(command).await.expect("renamed");
        };
        rename(&format!("{db}.copied"), &format!("{db}.moved"), false).await;
        case.collection("moved").insert_one(doc! {"_id": 2, "a": {"b": [{"c": 2}]}}).await.expect("inserted");
        case.collection("victim").insert_one(doc! {"_id": 1, "v": {"w": 1}}).await.expect("inserted");
        rename(&format!("{db}.moved"), &format!("{db}.victim"), true).await;
        case.collection("copied").insert_one(doc! {"_id": "again"}).await.expect("inserted");
        rename(&format!("{db}.copied"), &format!("{}other.copied", case.prefix), false).await;
        case.collection("gone").insert_one(doc! {"_id": 1, "x": [{"y": 1}]}).await.expect("inserted");
        case.collection("gone").drop().await.expect("dropped");
        case.database("third").collection("t").insert_one(doc! {"_id": 1}).await.expect("inserted");
        case.database("third").drop().await.expect("dropped");
    })
    .await;
}

/// PostgreSQL says how much room a row needs, so the text asks it.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_too_wide_lose_their_longest_values() {
    let case = Case::new("sql_wide").await;
    let row = |id: i32, from: usize, to: usize| {
        let fields = (from..to).map(|n| (format!("f{n:03}"), format!("{n:030}").into()));
        std::iter::once(("_id".to_owned(), Bson::from(id))).chain(fields).collect::<Document>()
    };
    case.collection("wide").insert_many([row(1, 0, 500), row(2, 0, 10)]).await.expect("inserted");
    follow(&case, async || {
        let wide = case.collection("wide");
        wide.insert_one(row(3, 0, 500)).await.expect("inserted");
        let mut set = row(2, 10, 500);
        set.remove("_id");
        wide.update_one(doc! {"_id": 2}, doc! {"$set": set}).await.expect("updated");
    })
    .await;
    let of_each = "SELECT document_id, count(*) > 20 FROM tailwater.anomalies WHERE reason = 'row_too_wide' GROUP BY 1 ORDER BY 1";
    assert_eq!(case.lines(of_each).await, ["1 | t", "2 | t", "3 | t"]);
}
