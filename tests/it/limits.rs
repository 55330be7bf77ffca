//! Rows that are wider than a page of PostgreSQL: the longest values are left out and on record, no more than must be,
//! and everything else goes on.

use mongodb::bson::{Binary, Bson, DateTime, Decimal128, Document, doc, spec::BinarySubtype};
use serde_json::{Value as Json, json};

use crate::harness::case::Case;
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::wait::LONG;
use crate::workload::random::Random;

/// Values of one kind.
#[derive(Debug, Clone, Copy)]
enum Values {
    Longs,
    ShortTexts,
    LongTexts,
    /// Compressed, they stay in the row.
    Repetitions,
    Decimals,
    Uuids,
    Json,
    Dates,
    Mixed,
}

const ALL: [Values; 9] = [
    Values::Longs,
    Values::ShortTexts,
    Values::LongTexts,
    Values::Repetitions,
    Values::Decimals,
    Values::Uuids,
    Values::Json,
    Values::Dates,
    Values::Mixed,
];

impl Values {
    fn value(self, random: &mut Random, at: usize) -> Bson {
        let letters = |random: &mut Random, n: usize| -> String {
            (0..n).map(|_| char::from(b'a' + u8::try_from(random.below(26)).expect("a letter"))).collect()
        };
        match self {
            Values::Longs => Bson::Int64(random.next().cast_signed()),
            Values::ShortTexts => Bson::String(letters(random, 19)),
            Values::LongTexts => Bson::String(letters(random, 150)),
            Values::Repetitions => Bson::String("ab".repeat(100)),
            Values::Decimals => {
                Bson::Decimal128("1234567890123456789012345678901234".parse::<Decimal128>().expect("a decimal"))
            }
            Values::Uuids => {
                let bytes = [random.next().to_le_bytes(), random.next().to_le_bytes()].concat();
                Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes })
            }
            Values::Json => Bson::Array(vec![letters(random, 60).into(), Bson::Int32(1)]),
            Values::Dates => Bson::DateTime(DateTime::from_millis(i64::try_from(random.below(1 << 40)).expect("fits"))),
            Values::Mixed => ALL[at % 8].value(random, at),
        }
    }

    fn document(self, random: &mut Random, id: i32, fields: usize) -> Document {
        let values = (0..fields).map(|at| (format!("f{at:04}"), self.value(random, at)));
        std::iter::once(("_id".to_owned(), Bson::Int32(id))).chain(values).collect()
    }
}

/// Wide tables, in a place that is small where the test is about many rows.
fn config(case: &Case) -> Config {
    let mut config = case.config();
    config.set("mapping.max_columns", "1500");
    config
}

/// Every value of `documents` is in its row or on record; what is on record could not have been kept.
async fn expect_all_accounted_for(case: &Case, name: &str, documents: &[Document]) -> usize {
    let rows = case.lines(&format!("SELECT to_jsonb(t) FROM {{db}}.\"{name}\" AS t ORDER BY _id")).await;
    assert_eq!(rows.len(), documents.len(), "{name}");
    let recorded = format!(
        "SELECT document_id, path[1], original FROM tailwater.anomalies WHERE reason = 'row_too_wide' \
         AND namespace = '{}db.{name}'",
        case.prefix
    );
    let recorded = case.rows(&recorded).await;
    let mut left_out = 0;
    for (document, row) in documents.iter().zip(&rows) {
        let row: Json = serde_json::from_str(row).expect("JSON");
        for (field, value) in document {
            let (id, canonical) = (document["_id"].to_string(), canonical(value));
            let original = recorded.iter().any(|record| {
                record[0].as_deref() == Some(&*id)
                    && record[1].as_deref() == Some(field)
                    && serde_json::from_str::<Json>(record[2].as_deref().expect("an original")).expect("JSON")
                        == canonical
            });
            assert!(
                row[field].is_null() == original,
                "{name} {id} {field}: stored {}, recorded {original}",
                row[field]
            );
            left_out += usize::from(original);
        }
    }
    left_out
}

/// Canonical Extended JSON of the values of this test.
fn canonical(value: &Bson) -> Json {
    match value {
        Bson::Int32(n) => json!({"$numberInt": n.to_string()}),
        Bson::Int64(n) => json!({"$numberLong": n.to_string()}),
        Bson::String(text) => json!(text),
        Bson::Decimal128(n) => json!({"$numberDecimal": n.to_string()}),
        Bson::DateTime(at) => json!({"$date": {"$numberLong": at.timestamp_millis().to_string()}}),
        Bson::Array(elements) => elements.iter().map(canonical).collect(),
        Bson::Binary(uuid) => {
            let hex: String = uuid.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
            json!({"$uuid": parts.join("-")})
        }
        other => panic!("{other}"),
    }
}

/// Putting any left out value back must fail: no more was left out than had to be.
async fn expect_no_room(case: &Case, name: &str) {
    let table = format!("\"{}db\".\"{name}\"", case.prefix);
    let sql = format!(
        "SELECT t._id::text, min(a.path[1]) FROM {table} AS t JOIN tailwater.anomalies a \
         ON a.document_id = to_jsonb(t._id) AND a.namespace = '{}db.{name}' GROUP BY 1",
        case.prefix
    );
    for row in case.rows(&sql).await {
        let (id, column) = (row[0].as_deref().expect("an id"), row[1].as_deref().expect("a column"));
        // The shortest value of the column's type that was left out is an upper bound for what could be put back.
        let typed = format!(
            "SELECT format_type(atttypid, -1) FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attname = '{column}'"
        );
        let value = match case.lines(&typed).await[0].as_str() {
            "bigint" => "1",
            "timestamp with time zone" => "now()",
            "uuid" => "gen_random_uuid()",
            "text" => "repeat(md5('x'), 5)",
            "numeric" => "1234567890123456789012345678901234",
            "jsonb" => "to_jsonb(md5('a') || md5('b') || md5('c'))",
            other => panic!("{other}"),
        };
        let put_back = format!("UPDATE {table} SET \"{column}\" = {value} WHERE _id = {id}");
        let refused = case.postgres.simple_query(&put_back).await.expect_err("there was room");
        assert_eq!(refused.code().map(|code| code.code()), Some("54000"), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_too_wide_lose_their_longest_values_and_no_more() {
    let case = Case::new("wide").await;
    let mut random = Random::new(1, 1);
    let widths = [250, 300, 340, 400, 430, 450, 480, 700, 900, 1000, 1020, 1200, 1490];
    let mut all = Vec::new();
    for values in ALL {
        let documents: Vec<Document> =
            (0..).zip(widths).map(|(id, fields)| values.document(&mut random, id, fields)).collect();
        case.collection(&format!("{values:?}")).insert_many(&documents).await.expect("inserted");
        all.push((values, documents));
    }
    let daemon = case.start(&config(&case));
    case.settle_within(LONG * 3).await; // thousands of new columns
    for (values, documents) in &all {
        case.collection(&format!("{values:?} followed")).insert_many(documents).await.expect("inserted");
    }
    case.settle_within(LONG * 3).await;
    let mut total = 0;
    for (values, documents) in &all {
        for name in [format!("{values:?}"), format!("{values:?} followed")] {
            let left_out = expect_all_accounted_for(&case, &name, documents).await;
            println!("{name}: {left_out} values left out");
            assert!(left_out > 0, "{name}");
            total += left_out;
            // Of mixed values the longest need not be those that take most room in the row.
            if !matches!(values, Values::Mixed) {
                expect_no_room(&case, &name).await;
            }
        }
    }
    expect_counted(&daemon, total).await;
    daemon.sigterm();
}

async fn expect_counted(daemon: &Daemon, total: usize) {
    let counted = |status: &Json| status["anomalies"].as_u64() == u64::try_from(total).ok();
    daemon.until_status("every value that was left out counted", counted).await;
}

/// The rest of the row is unknown to whoever applies a delta.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_makes_a_row_too_wide_is_left_out_in_part() {
    let case = Case::new("widepatch").await;
    let mut random = Random::new(2, 2);
    let narrow = Values::LongTexts.document(&mut random, 0, 430);
    let mut documents = vec![];
    for id in 0..40 {
        let mut document = narrow.clone();
        document.insert("_id", id);
        documents.push(document);
    }
    let collection = case.collection("c");
    collection.insert_many(&documents).await.expect("inserted");
    let daemon = case.start(&config(&case));
    case.settle().await;
    // Every third document gets more than it has room for; one set of columns, so one statement.
    for document in &mut documents {
        let id = document.get_i32("_id").expect("an id");
        let mut set = Document::new();
        for at in 0..30 {
            let text =
                if id % 3 == 0 { Values::LongTexts.value(&mut random, at) } else { Bson::String(format!("{id}")) };
            set.insert(format!("g{at:02}"), text);
        }
        collection.update_one(doc! {"_id": id}, doc! {"$set": set.clone()}).await.expect("updated");
        document.extend(set);
    }
    case.settle().await;
    let left_out = expect_all_accounted_for(&case, "c", &documents).await;
    assert!(left_out >= 14, "{left_out}");
    expect_no_room(&case, "c").await;
    // An insert and updates that are folded into it are one row.
    let mut session = case.mongo.start_session().await.expect("a session");
    session.start_transaction().await.expect("started");
    let mut folded = narrow.clone();
    folded.insert("_id", 100);
    collection.insert_one(&folded).session(&mut session).await.expect("inserted");
    let set: Document = (0..30).map(|at| (format!("g{at:02}"), Values::LongTexts.value(&mut random, at))).collect();
    collection.update_one(doc! {"_id": 100}, doc! {"$set": set.clone()}).session(&mut session).await.expect("updated");
    session.commit_transaction().await.expect("committed");
    folded.extend(set);
    documents.push(folded);
    case.settle().await;
    let left_out = expect_all_accounted_for(&case, "c", &documents).await;
    expect_counted(&daemon, left_out).await;
    daemon.sigterm();
}
