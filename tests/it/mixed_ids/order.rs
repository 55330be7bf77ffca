//! Ids have the order of MongoDB's index: many are inserted into the real server and read back along it.

use std::cmp::Ordering;
use std::collections::HashSet;

use futures_util::TryStreamExt;
use mongodb::bson::{RawArrayBuf, RawDocumentBuf, doc, rawdoc};
use tailwater::mapping::identity;
use tailwater::model::bson::{self, Doc};
use tailwater::model::order::compare;

use super::ids::Id;
use crate::decode::bson::{Value, encode, fields};
use crate::harness::case::Case;
use crate::property::ids::{IdKind, id};
use crate::property::values;
use crate::workload::random::{Random, seed};

const RANDOM: usize = 6000;
const PAIRS: usize = 200_000;

/// Values that are near one another, by hand: edges of each type, and what decides last.
fn edges() -> Vec<Id> {
    let mut all = vec![
        Id::min(),
        Id::max(),
        Id::null(),
        Id::boolean(false),
        Id::boolean(true),
        Id::double(f64::NAN),
        Id::double(f64::INFINITY),
        Id::decimal("-Infinity"),
        Id::double(f64::MIN),
        Id::double(f64::MAX),
        Id::double(-0.0),
        Id::decimal_bits(0x3041_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFE),
        Id::decimal_bits(0x6C10_0000_0000_0000_0000_0000_0000_0005),
        Id::code_with_scope("a", &[]),
        Id::code_with_scope("a", &[("y", Id::int(1))]),
        Id::code_with_scope("a", &[("x", Id::int(2))]),
        Id::code_with_scope("a\0b", &[("x", Id::int(1))]),
        Id::db_pointer("b.a", 1),
        Id::db_pointer("a.bb", 1),
        Id::db_pointer("a.b", 2),
        Id::db_pointer("a.b\0c", 1),
    ];
    for text in ["", "a", "a\0", "a\0b", "a\u{1}", "ab", "A", "é", "e\u{301}", "z", "名", "🎓", "\u{ffff}"] {
        all.extend([Id::text(text), Id::code(text), Id::symbol(&format!("{text}s"))]);
    }
    all.extend([&b"\xff"[..], b"a\xfe", b"\xed\xa0\x80"].map(Id::text));
    for subtype in [0, 1, 2, 3, 4, 5, 128, 255] {
        for bytes in [&b"\0\0\0\0"[..], b"\x01\0\0\0a", b"\x02\0\0\0\xff\xff", &[7; 16], &[6; 300]] {
            // A wrong inner length is another matter.
            if subtype != 2 || bytes.len() < 10 {
                all.push(Id::binary(subtype, bytes));
            }
        }
    }
    for n in [i64::MIN, -62_135_596_800_001, -1, 0, 1, i64::MAX] {
        all.extend([Id::date(n), Id::long(n), Id::decimal(&n.to_string())]);
    }
    for (seconds, ordinal) in [(0, 1), (1, 0), (1, u32::MAX), (1 << 31, 0), (u32::MAX, 7)] {
        all.push(Id::timestamp(seconds, ordinal));
    }
    all.extend([0, 1, 127, 128, 255].map(Id::oid));
    all
}

/// Numbers around the same values in every type.
fn numbers(random: &mut Random) -> Vec<Id> {
    let mut all = Vec::new();
    for power in [0, 1, 31, 52, 53, 54, 62, 63] {
        let n = 2f64.powi(power);
        for by in -2..=2 {
            all.push(Id::long((1i64 << power.min(62)) + by));
            all.push(Id::double(f64::from_bits(n.to_bits().wrapping_add_signed(by))));
            all.push(Id::decimal(&format!("{}", (1i128 << power) + i128::from(by))));
            all.push(Id::decimal(&format!("-{}.{:02}", 1i128 << power, by + 2)));
        }
    }
    for _ in 0..400 {
        let n = match random.below(3) {
            0 => f64::from_bits(random.next()),
            1 => random.between(-(1 << 60), 1 << 60) as f64 * 2f64.powi(random.between(-70, 130) as i32),
            _ => random.between(-1000, 1000) as f64 / 10.0,
        };
        if n.is_finite() {
            let places = random.between(13, 33) as usize;
            all.extend([Id::double(n), Id::decimal(&format!("{n:.places$e}")), Id::decimal(&format!("{n:e}"))]);
        }
    }
    all
}

/// Documents of whatever there is, of few names and lengths, so that many begin alike.
fn nested(random: &mut Random, of: &[Id]) -> Vec<Id> {
    let unusual = [Id::undefined(), Id::regex("a", "i"), Id::regex("a", ""), Id::regex("ab", ""), Id::array(&[])];
    let mut all = vec![Id::object(&[])];
    for _ in 0..1500 {
        let mut value = || match random.below(3) {
            0 => random.pick(&unusual).clone(),
            1 => Id::int(random.between(0, 2) as i32),
            _ => random.pick(of).clone(),
        };
        let (a, b, c) = (value(), value(), value());
        let name = *random.pick(&["a", "b", "aa", ""]);
        all.push(match random.below(5) {
            0 => Id::object(&[(name, a)]),
            1 => Id::object(&[(name, a), ("a", b)]),
            2 => Id::object(&[("a", Id::array(&[a, b]))]),
            3 => Id::object(&[("a", Id::array(&[a, Id::object(&[(name, b)]), c]))]),
            _ => Id::object(&[("a", Id::object(&[(name, a), ("b", b)])), ("b", c)]),
        });
    }
    all
}

/// Ids as the property tests make them. MongoDB looks into compressed columns, and those of chance are none.
fn random_id(random: &mut Random) -> Option<RawDocumentBuf> {
    let id = match random.below(3) {
        0 => Value::Document(fields([("a", values::scalar(random))])),
        _ => id(random, IdKind::Any),
    };
    let allowed = !format!("{id:?}").contains("Binary(7");
    allowed.then(|| RawDocumentBuf::from_bytes(encode(&fields([("_id", id)]))).expect("a document"))
}

async fn insert(case: &Case, documents: &[RawDocumentBuf]) {
    for some in documents.chunks(1000) {
        let mut list = RawArrayBuf::new();
        some.iter().for_each(|document| list.push(document.clone()));
        let command = rawdoc! { "insert": "order", "documents": list };
        let answer = case.database("db").run_raw_command(command).await.expect("the command runs");
        assert_eq!(answer.get_i32("n").expect("a count"), some.len() as i32, "{answer:?}");
    }
}

fn id_of(document: &RawDocumentBuf) -> bson::Value<'_> {
    Doc::new(document.as_bytes()).expect("a document").get("_id").expect("valid").expect("an id")
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_have_the_order_of_the_index() {
    let case = Case::new("order").await;
    let mut random = Random::new(seed("order"), 0);
    let mut ids = [edges(), numbers(&mut random)].concat();
    ids.extend(nested(&mut random, &ids));
    let mut documents: Vec<RawDocumentBuf> = ids.iter().map(|id| id.with(&doc! {})).collect();
    documents.extend((0..RANDOM).filter_map(|_| random_id(&mut random)));
    let mut keys = HashSet::new();
    documents.retain(|document| keys.insert(identity::key(id_of(document)).expect("valid")));
    insert(&case, &documents).await;
    let index = case.database("db").collection::<RawDocumentBuf>("order");
    let found = index.find(doc! {}).hint(mongodb::options::Hint::Keys(doc! {"_id": 1})).sort(doc! {"_id": 1});
    let stored: Vec<RawDocumentBuf> = found.await.expect("found").try_collect().await.expect("read");
    assert!(stored.len() == documents.len() && stored.len() > 4000, "{} of {}", stored.len(), documents.len());
    for pair in stored.windows(2) {
        let (a, b) = (id_of(&pair[0]), id_of(&pair[1]));
        assert_eq!(compare(&a, &b), Ok(Ordering::Less), "{a:?} {b:?}");
    }
    for _ in 0..PAIRS {
        let (i, j) = (random.below(stored.len()), random.below(stored.len()));
        let (a, b) = (id_of(&stored[i]), id_of(&stored[j]));
        assert_eq!(compare(&a, &b), Ok(i.cmp(&j)), "{a:?} {b:?}");
    }
}
