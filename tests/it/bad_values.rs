//! One value in every hundredth document that PostgreSQL cannot hold: every other document is exact, every bad value is on
//! record with its original, and all counters say the same.

use std::collections::BTreeMap;

use mongodb::bson::RawDocumentBuf;
use serde_json::{Value as Json, json};

use crate::decode::bson::{Fields, Value, encode, fields};
use crate::harness::case::Case;
use crate::harness::http;

const DOCUMENTS: usize = 10_000;
const BAD_EVERY: usize = 100;

/// Where the bad value is, and what is on record for it; without a place the document goes to quarantine.
struct Bad {
    place: &'static str,
    reason: &'static str,
    original: Json,
}

fn binary(base64: &str) -> Json {
    json!({"$binary": {"base64": base64, "subType": "00"}})
}

fn student(n: usize) -> Fields {
    let text = |lead: &str| Value::text(&format!("{lead} {n}"));
    let address = |street: Value| Value::Document(fields([("street", street), ("zip", Value::Int32(n as i32))]));
    fields([
        ("_id", Value::text(&format!("{n:05}"))),
        ("name", text("name")),
        ("born", Value::DateTime(n as i64 * 86_400_000)),
        ("phone", Value::Document(fields([("work", text("work"))]))),
        ("address", Value::Array(vec![address(text("first")), address(text("second"))])),
        ("tags", Value::Array(vec![text("tag"), Value::Int32(1)])),
    ])
}

/// A student with one bad value, of a kind that depends on `n`.
fn bad_student(n: usize) -> (Fields, Bad) {
    const TWICE: usize = 9;
    let kind = n / BAD_EVERY % 10;
    let nul = || Value::String(b"a\0b".to_vec());
    let latin = || Value::String(b"caf\xe9".to_vec());
    let one = |name: &str, value| Value::Document(fields([(name, value)]));
    let (nul_bytes, latin_bytes) = (binary("YQBi"), binary("Y2Fm6Q=="));
    let (field, value, place, reason, original): (&[u8], _, _, _, _) = match kind {
        0 => (b"name", nul(), "name", "nul_removed", nul_bytes),
        1 => (b"name", latin(), "name", "invalid_utf8", latin_bytes),
        2 => (b"born", Value::DateTime(i64::MAX), "born", "date_out_of_range", date(i64::MAX)),
        3 => (b"phone", one("work", latin()), "phone.work", "invalid_utf8", latin_bytes),
        4 => {
            let address = Value::Array(vec![one("zip", Value::Int32(1)), one("street", nul())]);
            (b"address", address, "address.street", "nul_removed", nul_bytes)
        }
        5 => (b"tags", Value::Array(vec![Value::Int32(1), nul()]), "tags", "nul_removed", nul_bytes),
        6 => {
            let address = Value::Array(vec![one("since", Value::DateTime(i64::MIN))]);
            (b"address", address, "address.since", "date_out_of_range", date(i64::MIN))
        }
        7 => (b"caf\xe9", Value::Int32(1), "caf\u{fffd}", "invalid_utf8_name", latin_bytes),
        8 => (b"_id", Value::String(format!("{n}\0").into_bytes()), "", "id_not_representable", Json::Null),
        _ => (b"name", Value::Int32(1), "", "duplicate_field", Json::Null),
    };
    let mut student = student(n);
    student.retain(|(known, _)| known != field || kind == TWICE);
    student.push((field.to_vec(), value));
    (student, Bad { place, reason, original })
}

fn date(millis: i64) -> Json {
    json!({"$date": {"$numberLong": millis.to_string()}})
}

/// Writes the students from `from` on and returns what is bad about them.
async fn write(case: &Case, from: usize, until: usize) -> BTreeMap<String, Bad> {
    let mut all_bad = BTreeMap::new();
    let mut documents = Vec::new();
    for n in from..until {
        let (document, bad) = if n % BAD_EVERY == 7 {
            let (document, bad) = bad_student(n);
            (document, Some(bad))
        } else {
            (student(n), None)
        };
        all_bad.extend(bad.map(|bad| (format!("{n:05}"), bad)));
        documents.push(RawDocumentBuf::from_bytes(encode(&document)).expect("a document"));
    }
    let collection = case.database("db").collection::<RawDocumentBuf>("student");
    collection.insert_many(documents).await.expect("inserted");
    all_bad
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_value_is_on_record_and_every_other_document_exact() {
    let case = Case::new("bad_values").await;
    let mut bad = write(&case, 0, DOCUMENTS / 2).await;
    let daemon = case.start(&case.config());
    case.settle().await;
    bad.extend(write(&case, DOCUMENTS / 2, DOCUMENTS).await);
    let report = case.expect_equal().await;
    assert_eq!(bad.len(), DOCUMENTS / BAD_EVERY);

    let recorded: BTreeMap<String, Bad> = bad.into_iter().filter(|(_, bad)| !bad.place.is_empty()).collect();
    let quarantined = DOCUMENTS / BAD_EVERY - recorded.len();
    assert_eq!((report.anomalies, report.quarantined), (recorded.len(), quarantined), "{report}");
    let rows = case
        .rows("SELECT document_id #>> '{}', array_to_string(path, '.'), reason, original FROM tailwater.anomalies ORDER BY 1")
        .await;
    assert_eq!(rows.len(), recorded.len());
    for (row, (id, bad)) in rows.iter().zip(&recorded) {
        let cell = |i: usize| row[i].as_deref().unwrap_or("-");
        assert_eq!((cell(0), cell(1), cell(2)), (id.as_str(), bad.place, bad.reason));
        assert_eq!(serde_json::from_str::<Json>(cell(3)).expect("JSON"), bad.original, "{id}");
    }

    let by_reason = case.lines("SELECT reason, count(*) FROM tailwater.anomalies GROUP BY 1 ORDER BY 1").await;
    let (code, metrics) = http::get(daemon.port, "/metrics").expect("the daemon answers");
    assert_eq!(code, 200);
    let counted: Vec<String> = by_reason
        .iter()
        .map(|line| line.split_once(" | ").expect("two columns"))
        .map(|(reason, n)| format!("tailwater_anomalies_total{{reason=\"{reason}\"}} {n}"))
        .collect();
    let said: Vec<&str> = metrics.lines().filter(|line| line.starts_with("tailwater_anomalies_total{")).collect();
    assert_eq!(said, counted);
    assert!(metrics.contains(&format!("\ntailwater_quarantined_documents {quarantined}\n")), "{metrics}");
    let status = daemon.until_state("streaming").await;
    assert_eq!(
        (&status["anomalies"], &status["quarantined"]),
        (&json!(recorded.len()), &json!(quarantined)),
        "{status}"
    );
    let held = "SELECT count(*), count(DISTINCT id_key) FROM tailwater.quarantine";
    assert_eq!(case.lines(held).await, [format!("{quarantined} | {quarantined}")]);
    daemon.sigterm();
}
