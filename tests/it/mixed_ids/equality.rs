//! Two ids have one key exactly when MongoDB takes them for one: each pair is inserted into the real server.

use mongodb::bson::doc;

use super::ids::Id;
use crate::harness::case::Case;
use crate::workload::random::{Random, seed};

const DUPLICATE_KEY: i32 = 11000;

/// MongoDB's word on a pair: whether the second is refused because of the first.
async fn are_one(case: &Case, a: &Id, b: &Id) -> bool {
    case.collection("pairs").delete_many(doc! {}).await.expect("deleted");
    case.insert_id("pairs", a, &doc! {}).await;
    match case.insert_raw("pairs", &b.with(&doc! {})).await {
        None => false,
        Some(DUPLICATE_KEY) => true,
        Some(other) => panic!("error {other} for {b:?}"),
    }
}

fn one(name: &str, value: Id) -> Id {
    Id::object(&[(name, value)])
}

fn numbers() -> Vec<(Id, Id)> {
    let nan = |bits: u64| Id::double(f64::from_bits(bits));
    vec![
        (Id::int(1), Id::double(1.0)),
        (Id::int(1), Id::long(1)),
        (Id::int(1), Id::decimal("1")),
        (Id::double(1.0), Id::decimal("1.000")),
        (Id::int(1), Id::int(2)),
        (Id::int(0), Id::double(-0.0)),
        (Id::int(0), Id::decimal("-0")),
        (Id::double(-0.0), Id::decimal("0E+500")),
        (nan(0x7FF8_0000_0000_0000), nan(0xFFF8_0000_0000_0001)),
        (nan(0x7FF8_0000_0000_0000), Id::decimal("NaN")),
        (Id::decimal("NaN"), Id::decimal_bits(0x7E00_0000_0000_0001_0000_0000_0000_0005)),
        (Id::double(f64::INFINITY), Id::decimal("Infinity")),
        (Id::double(f64::NEG_INFINITY), Id::decimal("-Infinity")),
        (Id::double(f64::INFINITY), Id::decimal("-Infinity")),
        (Id::double(0.1), Id::decimal("0.1")),
        (Id::double(0.1), Id::decimal("0.1000000000000000055511151231257827")),
        (Id::double(0.5), Id::decimal("0.50")),
        (Id::double(1e23), Id::decimal("1E+23")),
        (Id::double(1e22), Id::decimal("1E+22")),
        (Id::double(2f64.powi(62)), Id::long(1 << 62)),
        (Id::double(2f64.powi(62)), Id::long(4_611_686_018_427_388_000)),
        (Id::double(2f64.powi(62)), Id::decimal("4.611686018427388E+18")),
        (Id::double(2f64.powi(53)), Id::long((1 << 53) + 1)),
        (Id::double(-2f64.powi(63)), Id::long(i64::MIN)),
        (Id::double(2f64.powi(63)), Id::long(i64::MAX)),
        (Id::double(2f64.powi(112)), Id::decimal("5192296858534827628530496329220096")),
        (Id::double(2f64.powi(-48)), Id::decimal("3.552713678800500929355621337890625E-15")),
        (Id::double(5e-324), Id::decimal("4.940656458412465441765687928682214E-324")),
        // A coefficient of more than 34 digits is zero (IEEE 754-2008, 3.5.2), in both ways to write it.
        (Id::decimal_bits(0x3041_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF), Id::int(0)),
        (Id::decimal_bits(0x6C10_0000_0000_0000_0000_0000_0000_0005), Id::int(0)),
        (Id::decimal_bits(0x7800_0000_0000_0001_0000_0000_0000_0005), Id::double(f64::INFINITY)),
    ]
}

fn scalars() -> Vec<(Id, Id)> {
    let inner = |declared: i32| [&declared.to_le_bytes()[..], b"abc"].concat();
    vec![
        (Id::text("1"), Id::int(1)),
        (Id::text("a"), Id::symbol("a")),
        (Id::text("a"), Id::code("a")),
        (Id::text("a"), Id::text("A")),
        (Id::text("a\0b"), Id::text("a")),
        (Id::text(b"\xff"), Id::text(b"\xfe")),
        (Id::text(b"\xff"), Id::text("\u{fffd}")),
        (Id::text("é"), Id::text("e\u{301}")),
        (Id::oid(1), Id::text("01".repeat(12))),
        (Id::oid(1), Id::binary(0, &[1; 12])),
        (Id::boolean(true), Id::int(1)),
        (Id::boolean(false), Id::null()),
        (Id::date(1000), Id::long(1000)),
        (Id::date(1000), Id::timestamp(1, 0)),
        (Id::timestamp(1, 2), Id::timestamp(2, 1)),
        (Id::date(i64::MAX), Id::date(i64::MAX - 1)),
        (Id::binary(0, b"abc"), Id::binary(5, b"abc")),
        (Id::binary(0, b"abc"), Id::binary(0, b"abcd")),
        (Id::binary(2, &inner(3)), Id::binary(2, &inner(3))),
        (Id::binary(2, &inner(3)), Id::binary(2, &inner(9))),
        (Id::binary(2, &inner(3)), Id::binary(0, b"abc")),
        (Id::binary(3, &[7; 16]), Id::binary(4, &[7; 16])),
        (Id::code("a"), Id::code_with_scope("a", &[])),
        (Id::code_with_scope("a", &[("x", Id::int(1))]), Id::code_with_scope("a", &[("x", Id::double(1.0))])),
        (Id::code_with_scope("a", &[]), Id::code_with_scope("a", &[("x", Id::int(1))])),
        (Id::db_pointer("a.b", 1), Id::db_pointer("a.c", 1)),
        (Id::db_pointer("a.b", 1), Id::oid(1)),
        (Id::min(), Id::max()),
        (Id::min(), Id::min()),
        (Id::null(), Id::null()),
    ]
}

fn nested() -> Vec<(Id, Id)> {
    let two = |a, b| Id::object(&[a, b]);
    let (x, y) = (("a", Id::int(1)), ("b", Id::int(2)));
    vec![
        (two(x.clone(), y.clone()), two(y.clone(), x.clone())),
        (two(x.clone(), y.clone()), two(x.clone(), ("b", Id::decimal("2.0")))),
        (two(x.clone(), ("a", Id::int(2))), two(("a", Id::int(2)), x.clone())),
        (two(x, y), one("a", Id::int(1))),
        (one("a", Id::int(1)), one("A", Id::int(1))),
        (one("a", Id::null()), Id::object(&[])),
        (one("a", Id::null()), one("a", Id::undefined())),
        (one("a", Id::symbol("s")), one("a", Id::text("s"))),
        (one("a", Id::boolean(true)), one("a", Id::int(1))),
        (one("a", Id::date(0)), one("a", Id::timestamp(0, 0))),
        (one("a", Id::regex("x", "i")), one("a", Id::regex("x", ""))),
        (one("a", Id::regex("x", "im")), one("a", Id::regex("x", "im"))),
        (one("a", Id::array(&[Id::int(1)])), one("a", Id::array(&[Id::double(1.0)]))),
        (one("a", Id::array(&[Id::int(1), Id::int(2)])), one("a", Id::array(&[Id::int(2), Id::int(1)]))),
        (one("a", Id::array(&[Id::int(1)])), one("a", one("0", Id::int(1)))),
        (one("a", Id::array(&[Id::array(&[])])), one("a", Id::array(&[]))),
        (one("a", Id::array(&[Id::null()])), one("a", Id::array(&[]))),
        (one("a", Id::array(&[Id::undefined()])), one("a", Id::array(&[Id::null()]))),
        (one("a", one("b", Id::int(1))), one("a.b", Id::int(1))),
        (one("", Id::int(1)), one("", Id::double(1.0))),
        (one("a", Id::object(&[])), one("a", Id::array(&[]))),
        (Id::object(&[]), Id::object(&[])),
        (one("a", Id::text("")), one("a", Id::null())),
        (one("a", Id::min()), one("a", Id::max())),
    ]
}

/// A double, and a decimal that is near it or it.
fn near(random: &mut Random) -> (Id, Id) {
    let n = match random.below(4) {
        0 => f64::from_bits(random.next()),
        1 => random.between(-(1 << 60), 1 << 60) as f64 * 2f64.powi(random.between(-70, 130) as i32),
        2 => random.between(-1000, 1000) as f64 / 8.0,
        _ => random.between(-(1 << 40), 1 << 40) as f64 / 1e6,
    };
    if !n.is_finite() {
        return (Id::double(n), Id::decimal("NaN"));
    }
    // 34 digits are all that a decimal128 has; they are exact for some doubles, and cut or rounded for most.
    let digits = [format!("{n:.33e}"), format!("{n:e}"), format!("{n:.15e}")];
    (Id::double(n), Id::decimal(&digits[random.below(3)]))
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_have_one_key_exactly_when_mongodb_takes_them_for_one() {
    let case = Case::new("equality").await;
    let mut random = Random::new(seed("equality"), 0);
    let mut pairs = [numbers(), scalars(), nested()].concat();
    pairs.extend((0..300).map(|_| near(&mut random)));
    let (mut wrong, mut equal) = (Vec::new(), 0);
    for (a, b) in &pairs {
        let one = are_one(&case, a, b).await;
        equal += usize::from(one);
        if one != (a.key() == b.key()) {
            wrong.push((one, a, b));
        }
    }
    println!("{} pairs, {equal} of them one id to MongoDB", pairs.len());
    assert!(wrong.is_empty(), "MongoDB says otherwise: {wrong:#?}");
    assert!(equal > 50 && pairs.len() - equal > 100, "{equal} of {}", pairs.len());
}

/// Types that MongoDB refuses as `_id`. Should one come from an old server, it has a key all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_mongodb_refuses_has_a_key_of_its_own() {
    let case = Case::new("refused").await;
    let refused = [Id::undefined(), Id::regex("a", ""), Id::array(&[Id::int(1)]), Id::object(&[("$a", Id::int(1))])];
    for id in &refused {
        assert!(case.insert_raw("pairs", &id.with(&doc! {})).await.is_some(), "{id:?}");
    }
    let mut keys: Vec<String> = refused.iter().chain(&[Id::null(), Id::text("a"), Id::int(1)]).map(Id::key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), refused.len() + 3);
}
