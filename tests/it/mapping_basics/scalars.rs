//! Section 2: every scalar has its column type, and in an array its form in jsonb.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, DateTime, Decimal128, Document, Regex, Timestamp, bson, doc};

use crate::harness::case::Case;

fn every_scalar() -> Document {
    let binary = |subtype, bytes: &[u8]| Binary { subtype, bytes: bytes.to_vec() };
    doc! {
        "_id": 1,
        "double": 0.1, "string": "Zoë", "bool": true, "int": -7, "long": 9_007_199_254_740_993_i64,
        "decimal": "1234567890123456789012345678.901234".parse::<Decimal128>().expect("a decimal"),
        "date": DateTime::from_millis(-1), "oid": ObjectId::from_bytes([0xAB; 12]),
        "uuid": binary(BinarySubtype::Uuid, &[0x11; 16]), "bytes": binary(BinarySubtype::Generic, &[0, 1, 255]),
        "five": binary(BinarySubtype::Md5, &[5; 16]), "null": null,
        "regex": Regex { pattern: "^a".try_into().expect("a pattern"), options: "i".try_into().expect("options") },
        "timestamp": Timestamp { time: 7, increment: 3 },
        "min": bson::Bson::MinKey,
        "code": bson::Bson::JavaScriptCode("f()".into()),
    }
}

const TYPES: [&str; 15] = [
    "_id integer",
    "bool boolean",
    "bytes bytea",
    "code jsonb",
    "date timestamp with time zone",
    "decimal numeric",
    "double double precision",
    "five bytea",
    "int integer",
    "long bigint",
    "min jsonb",
    "oid text",
    "regex jsonb",
    "string text",
    "timestamp jsonb",
];

const VALUES: &str = "0.1 | Zoë | t | -7 | 9007199254740993 | 1234567890123456789012345678.901234 | 1969-12-31 23:59:59.999 \
     | abababababababababababab | 11111111-1111-1111-1111-111111111111 | \\x0001ff | \\x05050505050505050505050505050505 \
     | {\"$regularExpression\": {\"options\": \"i\", \"pattern\": \"^a\"}} | {\"$timestamp\": {\"i\": 3, \"t\": 7}} \
     | {\"$minKey\": 1} | {\"$code\": \"f()\"}";

#[tokio::test(flavor = "multi_thread")]
async fn every_scalar_has_its_column_type() {
    let case = Case::new("scalars").await;
    case.collection("copied").insert_one(every_scalar()).await.expect("inserted");
    let _daemon = case.start(&case.config());
    case.settle().await;
    case.collection("followed").insert_one(every_scalar()).await.expect("inserted");
    case.expect_equal().await;
    for table in ["copied", "followed"] {
        let mut columns = case.columns(table).await;
        // Whether a field that was always null has a column is not said anywhere.
        columns.retain(|column| !column.starts_with("null ") && column != "uuid uuid");
        assert_eq!(columns, TYPES, "{table}");
        let values = case
            .lines(&format!(
                "SELECT double, string, bool, int, long, decimal, date AT TIME ZONE 'UTC', oid, uuid, bytes, five, regex, \
                 timestamp, min, code FROM {{db}}.{table}"
            ))
            .await;
        assert_eq!(values, [VALUES], "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_at_their_limits_are_exact() {
    let case = Case::new("limits").await;
    let decimal = |text: &str| text.parse::<Decimal128>().expect("a decimal");
    let documents = |from: i32| {
        [
            doc! {"_id": from, "d": f64::NAN, "i": i32::MIN, "l": i64::MIN, "n": decimal("NaN"), "t": DateTime::from_millis(0)},
            doc! {"_id": from + 1, "d": f64::INFINITY, "i": i32::MAX, "l": i64::MAX, "n": decimal("Infinity")},
            doc! {"_id": from + 2, "d": f64::NEG_INFINITY, "i": 0, "l": 0_i64, "n": decimal("-Infinity")},
            doc! {"_id": from + 3, "d": -0.0, "n": decimal("9.999999999999999999999999999999999E+6144")},
            doc! {"_id": from + 4, "d": f64::MAX, "n": decimal("1E-6176")},
            doc! {"_id": from + 5, "d": f64::MIN_POSITIVE / 4.0, "t": DateTime::from_millis(253_402_300_799_999)},
            doc! {"_id": from + 6, "d": 0.1 + 0.2, "t": DateTime::from_millis(-210_866_803_200_000)},
        ]
    };
    case.collection("c").insert_many(documents(0)).await.expect("inserted");
    let _daemon = case.start(&case.config());
    case.settle().await;
    case.collection("c").insert_many(documents(10)).await.expect("inserted");
    case.expect_equal().await;
    let expected = ["NaN | NaN", "Infinity | Infinity", "-Infinity | -Infinity"];
    for (id, expected) in [0, 10].into_iter().flat_map(|from| (from..).zip(expected)) {
        assert_eq!(case.lines(&format!("SELECT d, n FROM {{db}}.c WHERE _id = {id}")).await, [expected]);
    }
    let zeros = case.lines("SELECT d FROM {db}.c WHERE _id IN (3, 13)").await;
    assert_eq!(zeros, ["-0", "-0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn jsonb_holds_relaxed_extended_json() {
    let case = Case::new("jsonb").await;
    let list = bson!([
        1, 9_007_199_254_740_993_i64, 0.5, f64::NAN, "text", true, null,
        "1.10".parse::<Decimal128>().expect("a decimal"),
        DateTime::from_millis(1500), DateTime::from_millis(-1),
        ObjectId::from_bytes([0xAB; 12]),
        Binary { subtype: BinarySubtype::Generic, bytes: vec![1, 2, 3] },
        [1, [2]],
        {"b": 1, "a": {"c": []}},
    ]);
    case.collection("copied").insert_one(doc! {"_id": 1, "list": list.clone()}).await.expect("inserted");
    let _daemon = case.start(&case.config());
    case.settle().await;
    case.collection("followed").insert_one(doc! {"_id": 1, "list": list}).await.expect("inserted");
    case.expect_equal().await;
    for table in ["copied", "followed"] {
        assert_eq!(case.columns(table).await, ["_id integer", "list jsonb"]);
        let expected = r#"[1, 9007199254740993, 0.5, {"$numberDouble": "NaN"}, "text", true, null, {"$numberDecimal": "1.10"}, {"$date": "1970-01-01T00:00:01.500Z"}, {"$date": {"$numberLong": "-1"}}, {"$oid": "abababababababababababab"}, {"$binary": {"base64": "AQID", "subType": "00"}}, [1, [2]], {"a": {"c": []}, "b": 1}]"#;
        assert_eq!(case.lines(&format!("SELECT list FROM {{db}}.{table}")).await, [expected]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_every_scalar_type_are_keys() {
    let case = Case::new("ids").await;
    let binary = |subtype, bytes: &[u8]| Binary { subtype, bytes: bytes.to_vec() };
    let ids = [
        ("int", bson!(1), bson!(2), "integer"),
        ("long", bson!(1_i64 << 40), bson!(2_i64 << 40), "bigint"),
        ("double", bson!(1.5), bson!(2.5), "double precision"),
        ("text", bson!("b"), bson!("B"), "text"),
        ("oid", bson!(ObjectId::from_bytes([1; 12])), bson!(ObjectId::from_bytes([2; 12])), "text"),
        ("uuid", bson!(binary(BinarySubtype::Uuid, &[1; 16])), bson!(binary(BinarySubtype::Uuid, &[2; 16])), "uuid"),
        ("bytes", bson!(binary(BinarySubtype::Generic, &[1])), bson!(binary(BinarySubtype::Generic, &[2, 0])), "bytea"),
        ("date", bson!(DateTime::from_millis(1)), bson!(DateTime::from_millis(2)), "timestamp with time zone"),
        ("bool", bson!(true), bson!(false), "boolean"),
    ];
    let document = |id| doc! {"_id": id, "v": 1, "o": {"x": 1}, "l": [{"x": 1}]};
    for (name, first, _, _) in &ids {
        case.collection(name).insert_one(document(first)).await.expect("inserted");
    }
    let _daemon = case.start(&case.config());
    case.settle().await;
    for (name, first, second, _) in &ids {
        case.collection(name).insert_one(document(second)).await.expect("inserted");
        let update = doc! {"$inc": {"v": 1, "o.x": 1, "l.0.x": 1}};
        case.collection(name).update_many(doc! {}, update).await.expect("updated");
        case.collection(name).delete_one(doc! {"_id": first}).await.expect("deleted");
    }
    case.expect_equal().await;
    for (name, _, _, column_type) in &ids {
        let id = format!("_id {column_type}");
        assert!(case.columns(name).await.contains(&id), "{name}: {id}");
        assert_eq!(case.key(name).await, ["_id"]);
        let root_id = format!("{name}__id");
        assert!(case.columns(&format!("{name}_l")).await.contains(&format!("{root_id} {column_type}")), "{name}");
        assert_eq!(case.key(&format!("{name}_l")).await, [root_id.as_str(), "_index"]);
        assert_eq!(case.lines(&format!("SELECT v FROM {{db}}.{name}")).await, ["2"], "{name}");
    }
    let collation = "SELECT DISTINCT collation_name FROM information_schema.columns \
                     WHERE column_name IN ('_id', 'text__id', 'oid__id') AND data_type = 'text' AND table_schema LIKE '%ids%'";
    assert_eq!(case.lines(collation).await, ["C"]);
}
