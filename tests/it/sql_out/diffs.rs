//! The text's own function applies diffs as the product does: compared on random values and diffs, and by hand.

use mongodb::bson::{Bson, Document, doc};
use tailwater::mapping::json::{self, Flavour};
use tailwater::mapping::json_diff;
use tailwater::model::bson::Document as Raw;
use tailwater::sink::text::{diff, preamble};
use tokio_postgres::Client;

use crate::harness::case::Case;
use crate::workload::random::{Random, seed};

const NAMES: [&str; 7] = ["a", "b", "", "a.b", "7", "q\"uo'te", "back\\slash"];

fn name(random: &mut Random) -> &'static str {
    NAMES[random.below(NAMES.len())]
}

fn value(random: &mut Random, depth: usize) -> Bson {
    match random.below(if depth == 0 { 6 } else { 9 }) {
        0 => Bson::Null,
        1 => (random.below(9) as i32).into(),
        2 => (i64::MAX - random.below(9) as i64).into(),
        3 => (random.below(99) as f64 / 8.0).into(),
        4 => (*random.pick(&["", "text", "it's \\ \"q\"", "new\nline"])).into(),
        5 => random.percent(50).into(),
        6 | 7 => (0..random.below(4))
            .fold(doc! {}, |mut all, _| {
                let (name, value) = (name(random), value(random, depth - 1));
                all.insert(name, value);
                all
            })
            .into(),
        _ => Bson::Array((0..random.below(5)).map(|_| value(random, depth - 1)).collect()),
    }
}

/// A diff that may or may not fit what it is applied to.
fn random_diff(random: &mut Random, depth: usize) -> Document {
    let mut diff = if random.percent(45) {
        doc! {"a": true}
    } else {
        doc! {}
    };
    let is_array = !diff.is_empty();
    for _ in 0..random.below(5) {
        let below = if depth == 0 {
            doc! {}
        } else {
            random_diff(random, depth - 1)
        };
        let place = random.below(8);
        if is_array {
            match random.below(5) {
                0 => diff.insert("l", random.below(7) as i32),
                1 | 2 => diff.insert(format!("u{place}"), value(random, 2)),
                3 => diff.insert(format!("s{place}"), below),
                _ => diff.insert(*random.pick(&["s3", "x5", "u9999999999", "u", "d"]), 1),
            };
        } else {
            let (field, set) = (name(random), value(random, 2));
            match random.below(7) {
                0 => diff.insert("d", doc! {field: false}),
                1 => diff.insert("u", doc! {field: set, name(random): 1}),
                2 => diff.insert("i", doc! {field: set}),
                3 => diff.insert("j", doc! {field: serde_json::to_string(&field).expect("JSON"), "x": 1}),
                4 => diff.insert(format!("S{field}"), below),
                5 => diff.insert(format!("s{field}"), below),
                _ => diff.insert(*random.pick(&["l", "x", "u5"]), 1),
            };
        }
    }
    diff
}

/// As it is stored.
fn text(value: &Bson) -> String {
    let document = raw(&doc! {"v": value.clone()});
    let value = document.as_doc().get("v").expect("BSON").expect("there");
    json::to_text(value, Flavour::Relaxed).expect("JSON")
}

fn raw(document: &Document) -> Raw {
    Raw::new(document.to_vec().expect("encodes")).expect("BSON")
}

/// Both ways, and whether `jsonb` holds them equal.
async fn compare(client: &Client, stored: &str, diff: &Document) {
    let bytes = raw(diff);
    let expected = json_diff::apply(stored, [&bytes]).expect("applies");
    let compiled = diff::as_json(bytes.as_doc()).expect("a diff");
    let sql = "SELECT applied = $3::text::jsonb, applied::text FROM pg_temp.apply_diff($1::text::jsonb, $2::text::jsonb) applied";
    let row = client.query_one(sql, &[&stored, &compiled, &expected]).await.expect("runs");
    let equal: bool = row.get(0);
    assert!(equal, "{stored}\n{diff}\n{compiled}\nis {}\nnot {expected}", row.get::<_, String>(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_of_applying_a_diff_agree() {
    let case = Case::new("sql_diffs").await;
    for statement in preamble() {
        case.postgres.batch_execute(&statement).await.expect("the preamble runs");
    }
    let mut random = Random::new(seed("sql_diffs"), 0);
    for _ in 0..3000 {
        let stored = text(&value(&mut random, 3));
        let diff = random_diff(&mut random, 3);
        compare(&case.postgres, &stored, &diff).await;
    }
    let given = [
        ("[1,2]", doc! {"a": true, "u4": 3}),
        ("[]", doc! {"a": true, "u2": [], "s1": {"u": {"x": 1}}}),
        ("[1,2,3]", doc! {"a": true, "l": 1}),
        ("[1]", doc! {"a": true, "u0": 9, "l": 3}),
        ("[[1,[2]]]", doc! {"a": true, "s0": {"a": true, "s1": {"a": true, "u3": Bson::Null, "l": 0}}}),
        (r#"[{"b":1}]"#, doc! {"a": true, "s0": {"u": {"b": 2i64}, "d": {"c": false}}}),
        (r#"{"w":{"n":0},"x":1}"#, doc! {"d": {"x": false}, "i": {"z": Bson::Null}, "sw": {"u": {"n": f64::NAN}}}),
        (r#"{"a":5}"#, doc! {"Sa": {"Sb": {"j": {"c": "[1,9223372036854775807]"}}}, "j": {"d": "null"}}),
        (r#"{"a":{"a":true}}"#, doc! {"sa": {"a": true, "u0": 1}}),
        ("5", doc! {"u": {"y": 1}}),
        ("null", doc! {"u": {"y": 1}}),
        ("[1]", doc! {"a": true, "l": i32::MAX, "u4294967295": 1, "u1": 2}),
    ];
    for (stored, diff) in &given {
        compare(&case.postgres, stored, diff).await;
    }
}
