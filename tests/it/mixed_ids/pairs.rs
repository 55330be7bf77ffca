//! Every type of id beside every other, in both orders, with rows at two depths: copied, followed, and over a kill.

use mongodb::bson::{doc, rawdoc};

use super::fields;
use super::ids::Id;
use crate::harness::case::Case;

/// A type, whether it is a number that a `numeric` key can hold beside integers, and two ids of it.
type Kind = (&'static str, [Id; 2]);

fn kinds() -> Vec<Kind> {
    vec![
        ("int", [Id::int(1), Id::int(-2)]),
        ("long", [Id::long(1 << 60), Id::long(-7)]),
        ("fraction", [Id::double(0.1), Id::double(-2.5)]),
        ("wide", [Id::double(1.5e300), Id::double(4.611686018427388e18)]),
        ("decimal", [Id::decimal("0.1"), Id::decimal("1E+23")]),
        ("text", [Id::text("01".repeat(12)), Id::text("é")]),
        ("oid", [Id::oid(1), Id::oid(2)]),
        ("bool", [Id::boolean(true), Id::boolean(false)]),
        ("date", [Id::date(0), Id::date(-62_135_596_800_001)]),
        ("uuid", [Id::binary(4, &[1; 16]), Id::binary(4, &[2; 16])]),
        ("bytes", [Id::binary(0, &[1; 16]), Id::binary(0, b"")]),
        ("user", [Id::binary(128, &[1; 16]), Id::binary(128, b"")]),
        (
            "object",
            [Id::object(&[("a", Id::int(1)), ("b", Id::int(2))]), Id::object(&[("b", Id::int(2)), ("a", Id::int(1))])],
        ),
        ("rare", [Id::timestamp(1, 2), Id::code("1")]),
    ]
}

/// Whether two types are still one kind of number.
fn stay_numbers(a: &str, b: &str) -> bool {
    let numbers = [
        ("int", "long"),
        ("int", "fraction"),
        ("int", "decimal"),
        ("long", "fraction"),
        ("long", "decimal"),
        ("fraction", "wide"),
    ];
    a == b || numbers.contains(&(a, b)) || numbers.contains(&(b, a))
}

async fn insert(case: &Case, collection: &str, (_, ids): &Kind, from: i32) {
    for (n, id) in (from..).zip(ids) {
        case.insert_id(collection, id, &fields(n)).await;
    }
}

/// Updates all, replaces one and deletes one of each type, by their ids.
async fn change(case: &Case, collection: &str, kinds: [&Kind; 2]) {
    let update = doc! {"$inc": {"v": 10, "l.0.m.1.z": 10}, "$push": {"l.1.m": {"z": 5}}};
    case.collection(collection).update_many(doc! {}, update).await.expect("updated");
    for (_, [first, second]) in kinds {
        case.update_id(collection, first, rawdoc! { "v": 77, "l": [{ "y": 7, "m": [{ "z": 7 }] }] }).await;
        case.delete_id(collection, second).await;
    }
}

struct Pair {
    name: String,
    a: Kind,
    b: Kind,
}

/// Every ordered pair of types, in a collection of its own.
fn pairs(lead: &str) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for a in kinds() {
        for b in kinds().into_iter().filter(|b| b.0 != a.0) {
            pairs.push(Pair { name: format!("{lead}_{}_{}", a.0, b.0), a: a.clone(), b });
        }
    }
    pairs
}

async fn check_keys(case: &Case, pairs: &[Pair]) {
    for Pair { name, a, b } in pairs {
        if stay_numbers(a.0, b.0) {
            assert_eq!(case.key(name).await, ["_id"], "{name}");
        } else {
            case.expect_keyed(name).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_type_comes_while_streaming() {
    let case = Case::new("pairs_copied").await;
    let pairs = pairs("c");
    for pair in &pairs {
        insert(&case, &pair.name, &pair.a, 0).await;
    }
    let config = case.config();
    let daemon = case.start(&config);
    case.settle().await;
    let (now, later) = pairs.split_at(pairs.len() / 2);
    for Pair { name, a, b } in now {
        insert(&case, name, b, 2).await;
        change(&case, name, [a, b]).await;
    }
    case.expect_equal().await;
    // The other half, with the daemon killed somewhere in it.
    for (i, Pair { name, a, b }) in later.iter().enumerate() {
        insert(&case, name, b, 2).await;
        if i == later.len() / 2 {
            daemon.kill9();
            break;
        }
        change(&case, name, [a, b]).await;
    }
    let done = later.len() / 2;
    for (i, Pair { name, a, b }) in later.iter().enumerate().skip(done) {
        if i > done {
            insert(&case, name, b, 2).await;
        }
        change(&case, name, [a, b]).await;
    }
    let daemon = case.start(&config);
    case.expect_equal().await;
    check_keys(&case, &pairs).await;
    // After a restart it knows each key from the catalog.
    daemon.sigterm();
    let _daemon = case.start(&config);
    for Pair { name, a, b } in &pairs {
        for (_, [first, _]) in [a, b] {
            case.update_id(name, first, rawdoc! { "$inc": { "v": 1, "l.0.m.0.z": 1 } }).await;
        }
        case.delete_id(name, &b.1[0]).await;
    }
    case.expect_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_types_come_while_streaming() {
    let case = Case::new("pairs_live").await;
    let _daemon = case.start(&case.config());
    case.settle().await;
    let pairs = pairs("s");
    for Pair { name, a, b } in &pairs {
        insert(&case, name, a, 0).await;
        insert(&case, name, b, 2).await;
        change(&case, name, [a, b]).await;
    }
    case.expect_equal().await;
    check_keys(&case, &pairs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_types_are_copied() {
    let case = Case::new("pairs_both").await;
    let mut pairs = pairs("b");
    pairs.retain(|Pair { a, b, .. }| a.0 < b.0);
    for Pair { name, a, b } in &pairs {
        insert(&case, name, a, 0).await;
        insert(&case, name, b, 2).await;
    }
    let _daemon = case.start(&case.config());
    case.expect_equal().await;
    for Pair { name, a, b } in &pairs {
        change(&case, name, [a, b]).await;
    }
    case.expect_equal().await;
    check_keys(&case, &pairs).await;
}

/// The types that are never a plain key, each alone in its collection.
#[tokio::test(flavor = "multi_thread")]
async fn ids_that_are_jsonb_from_the_first_one_on() {
    let case = Case::new("jsonb_first").await;
    let kinds = [
        ("object", Id::object(&[("a", Id::int(1))]), r#"{"a": 1}"#),
        ("timestamp", Id::timestamp(7, 1), r#"{"$timestamp": {"i": 1, "t": 7}}"#),
        ("code", Id::code("f()"), r#"{"$code": "f()"}"#),
        (
            "scope",
            Id::code_with_scope("f()", &[("x", Id::int(1))]),
            r#"{"$code": "f()", "$scope": {"x": {"$numberInt": "1"}}}"#,
        ),
        ("symbol", Id::symbol("s"), r#"{"$symbol": "s"}"#),
        (
            "pointer",
            Id::db_pointer("a.b", 1),
            r#"{"$dbPointer": {"$id": {"$oid": "010101010101010101010101"}, "$ref": "a.b"}}"#,
        ),
        ("min", Id::min(), r#"{"$minKey": 1}"#),
        ("max", Id::max(), r#"{"$maxKey": 1}"#),
        ("null", Id::null(), "null"),
    ];
    for (name, id, _) in &kinds {
        case.insert_id(&format!("copied_{name}"), id, &fields(1)).await;
    }
    let _daemon = case.start(&case.config());
    case.settle().await;
    for (name, id, _) in &kinds {
        case.insert_id(&format!("live_{name}"), id, &fields(1)).await;
        for lead in ["copied", "live"] {
            case.update_id(&format!("{lead}_{name}"), id, rawdoc! { "$set": { "l.0.m.0.z": 9 } }).await;
        }
    }
    case.expect_equal().await;
    for (name, id, json) in &kinds {
        for collection in [format!("copied_{name}"), format!("live_{name}")] {
            case.expect_keyed(&collection).await;
            let rows = case.lines(&format!("SELECT _id, encode(_key, 'hex') FROM {{db}}.{collection}")).await;
            assert_eq!(rows, [format!("{json} | {}", id.key())]);
            let catalog = format!(
                "SELECT key_columns, (SELECT column_type FROM tailwater.paths WHERE namespace = p.namespace AND path = '{{_id}}') \
                 FROM tailwater.paths p WHERE form = 'root' AND namespace LIKE '%.{collection}'"
            );
            assert_eq!(case.lines(&catalog).await, ["{_key} | jsonb"]);
        }
        case.delete_id(&format!("live_{name}"), id).await;
    }
    case.expect_equal().await;
}
