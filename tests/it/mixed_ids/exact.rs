//! The keys that PostgreSQL makes of what its tables hold are, bit for bit, those of the ids that come in.

use mongodb::bson::doc;

use super::fields;
use super::ids::Id;
use crate::harness::case::Case;
use crate::workload::random::{Random, seed};

const IDS: usize = 250;

fn double(random: &mut Random) -> f64 {
    const EDGES: [f64; 8] = [0.0, -0.0, 5e-324, f64::MAX, f64::MIN, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    match random.below(6) {
        0 => *random.pick(&EDGES),
        1 => f64::from_bits(random.next()),
        // Around the edges between the forms of a number.
        2 => random.between(-9, 9) as f64 * 2f64.powi(random.between(-54, -40) as i32) + random.between(-3, 3) as f64,
        3 => random.between(-(1 << 53), 1 << 53) as f64 * 2f64.powi(random.between(0, 140) as i32),
        4 => random.between(-1_000_000, 1_000_000) as f64 / 1000.0,
        _ => random.between(-4, 4) as f64,
    }
}

fn decimal(random: &mut Random) -> Id {
    const EDGES: [&str; 7] =
        ["0", "-0E-10", "NaN", "Infinity", "-Infinity", "9.999999999999999999999999999999999E+6144", "1E-6176"];
    match random.below(4) {
        0 => Id::decimal(EDGES[random.below(EDGES.len())]),
        1 => Id::decimal(&format!("{}E{}", random.between(-(1 << 50), 1 << 50), random.between(-60, 60))),
        2 => Id::decimal(&format!("{}.{:03}00", random.between(-99, 99), random.below(1000))),
        _ => Id::decimal(&random.between(-5, 5).to_string()),
    }
}

fn text(random: &mut Random) -> String {
    let letters = ['a', 'é', '\\', '"', '\'', '\u{1}', '\n', '😀', '0', ' '];
    (0..random.below(12)).map(|_| *random.pick(&letters)).collect()
}

fn bytes(random: &mut Random) -> Vec<u8> {
    (0..random.below(40)).map(|_| random.next() as u8).collect()
}

fn date(random: &mut Random) -> i64 {
    // All that `timestamptz` holds.
    random.between(-210_866_803_200_000, 9_224_318_015_999_999) / [1, 1000, 1_000_000][random.below(3)]
}

/// An id of that kind of key.
fn id(kind: &str, random: &mut Random) -> Id {
    let long = |random: &mut Random| random.next() as i64 >> random.below(63);
    match kind {
        "bool" => Id::boolean(random.percent(50)),
        "int" => Id::int(random.next() as i32 >> random.below(31)),
        "long" => Id::long(long(random)),
        "double" => Id::double(double(random)),
        "decimal" => decimal(random),
        "long_decimal" if random.percent(50) => Id::long(long(random)),
        "long_decimal" => decimal(random),
        // No double that `numeric` would not hold exactly enough.
        "long_double" if random.percent(50) => Id::long(long(random)),
        "long_double" => match double(random) {
            n if n.is_finite() && n.abs() >= 9_007_199_254_740_992.0 => Id::double(n.signum() * 0.375),
            n => Id::double(n),
        },
        "text" => Id::text(text(random)),
        "oid" => Id::oid(random.next() as u8),
        "date" => Id::date(date(random)),
        "uuid" => Id::binary(4, &random.next().to_be_bytes().repeat(2)),
        "bytes" => Id::binary(0, &bytes(random)),
        "user" => Id::binary(0x80, &bytes(random)),
        other => panic!("no kind {other}"),
    }
}

const KINDS: [(&str, &str); 13] = [
    ("bool", "boolean"),
    ("int", "integer"),
    ("long", "bigint"),
    ("double", "double precision"),
    ("decimal", "numeric"),
    ("long_decimal", "numeric"),
    ("long_double", "numeric"),
    ("text", "text"),
    ("oid", "text"),
    ("date", "timestamp with time zone"),
    ("uuid", "uuid"),
    ("bytes", "bytea"),
    ("user", "bytea"),
];

#[tokio::test(flavor = "multi_thread")]
async fn stored_ids_get_the_keys_of_the_ids_that_they_were() {
    let case = Case::new("exact").await;
    let mut random = Random::new(seed("exact"), 0);
    let mut expected = Vec::new();
    for (kind, _) in KINDS {
        let mut keys = Vec::new();
        for n in 0..IDS {
            let id = id(kind, &mut random);
            // Some are one id to MongoDB.
            if case.insert_raw(kind, &id.with(&fields(n as i32))).await.is_none() {
                keys.push(id.key());
            }
        }
        keys.sort();
        expected.push(keys);
    }
    let _daemon = case.start(&case.config());
    case.settle().await;
    for (kind, column_type) in KINDS {
        case.expect_plain(kind, column_type).await;
        case.insert_id(kind, &Id::min(), &doc! {}).await;
    }
    case.expect_equal().await;
    for ((kind, _), keys) in KINDS.iter().zip(&expected) {
        case.expect_keyed(kind).await;
        let of = |table: &str, key: &str| {
            format!(
                "SELECT DISTINCT encode({key}, 'hex') FROM {{db}}.{table} WHERE {key} <> '\\x{}' ORDER BY 1",
                Id::min().key()
            )
        };
        assert_eq!(case.lines(&of(kind, "_key")).await, *keys, "{kind}");
        for child in ["l", "l_m"] {
            assert_eq!(
                case.lines(&of(&format!("{kind}_{child}"), &format!("{kind}__key"))).await,
                *keys,
                "{kind} {child}"
            );
        }
        case.collection(kind)
            .update_many(doc! {"v": {"$gt": -1}}, doc! {"$inc": {"v": 1, "l.0.m.0.z": 1}})
            .await
            .expect("updated");
        case.collection(kind).delete_many(doc! {"v": {"$mod": [3, 0]}}).await.expect("deleted");
    }
    case.expect_equal().await;
}
