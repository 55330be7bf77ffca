//! Which mixtures of numbers stay numbers, and that equal numbers are one row whatever their type.

use mongodb::bson::{doc, rawdoc};

use super::fields;
use super::ids::Id;
use crate::harness::case::Case;

const WIDE: f64 = 4_611_686_018_427_387_904.0; // 2 to the 62; its shortest decimal is 4611686018427388000

async fn insert_all(case: &Case, collection: &str, ids: &[Id]) {
    for (n, id) in (0..).zip(ids) {
        case.insert_id(collection, id, &fields(n)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_numbers_and_fractions_are_one_numeric_key() {
    let case = Case::new("numeric_ids").await;
    let ids = [Id::int(1), Id::int(2), Id::double(2.5), Id::double(f64::NAN), Id::double(0.1), Id::long(i64::MAX)];
    let mut backwards = ids.to_vec();
    backwards.reverse();
    insert_all(&case, "copied", &ids).await;
    insert_all(&case, "doubles", &[Id::double(2.5), Id::double(3.0), Id::double(9_007_199_254_740_991.0)]).await;
    insert_all(&case, "decimals", &[Id::decimal("1.50"), Id::decimal("-0E+3")]).await;
    let _daemon = case.start(&case.config());
    case.settle().await;
    case.expect_plain("doubles", "double precision").await;
    insert_all(&case, "live", &ids).await;
    insert_all(&case, "backwards", &backwards).await;
    insert_all(&case, "doubles", &[Id::int(7), Id::long(i64::MIN), Id::double(1e-300)]).await;
    insert_all(&case, "decimals", &[Id::int(7), Id::long(i64::MIN), Id::decimal("1E+6144")]).await;
    for collection in ["copied", "live", "backwards", "doubles", "decimals"] {
        case.collection(collection).update_many(doc! {}, doc! {"$inc": {"l.1.y": 1}}).await.expect("updated");
    }
    case.expect_equal().await;
    for collection in ["copied", "live", "backwards", "doubles", "decimals"] {
        case.expect_plain(collection, "numeric").await;
    }
}

/// PostgreSQL prints a double that lies between two shortest decimals as the even one, Rust does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_double_between_two_decimals_is_found_again_in_a_wider_key() {
    let case = Case::new("tied_ids").await;
    #[allow(clippy::excessive_precision, reason = "each is the double itself, to its last digit")]
    let ties = [Id::double(107_935_303_879_446.125), Id::double(-1_627_897_894_678_908.25), Id::double(0.5)];
    insert_all(&case, "numeric", &ties).await;
    insert_all(&case, "keyed", &ties).await;
    let _daemon = case.start(&case.config());
    case.settle().await;
    insert_all(&case, "numeric", &[Id::long(i64::MAX)]).await;
    insert_all(&case, "keyed", &[Id::text("a")]).await;
    case.expect_equal().await;
    for collection in ["numeric", "keyed"] {
        case.collection(collection).update_many(doc! {}, doc! {"$inc": {"l.1.y": 1}}).await.expect("updated");
        case.delete_id(collection, &ties[0]).await;
    }
    case.expect_equal().await;
    case.expect_plain("numeric", "numeric").await;
}

/// In a `numeric` key these two would be one.
#[tokio::test(flavor = "multi_thread")]
async fn a_double_and_the_decimal_that_it_prints_as_are_two() {
    let case = Case::new("double_decimal").await;
    insert_all(&case, "a", &[Id::double(0.1)]).await;
    insert_all(&case, "b", &[Id::decimal("0.1"), Id::int(5)]).await;
    insert_all(&case, "c", &[Id::int(1), Id::double(0.1)]).await;
    insert_all(&case, "both", &[Id::double(0.1), Id::decimal("0.1")]).await;
    let _daemon = case.start(&case.config());
    case.settle().await;
    case.expect_plain("c", "numeric").await;
    insert_all(&case, "a", &[Id::decimal("0.1"), Id::decimal("0.1000000000000000055511151231257827")]).await;
    insert_all(&case, "b", &[Id::double(0.1)]).await;
    insert_all(&case, "c", &[Id::decimal("0.1")]).await;
    case.delete_id("b", &Id::decimal("0.1")).await;
    case.expect_equal().await;
    for collection in ["a", "b", "c", "both"] {
        case.expect_keyed(collection).await;
    }
}

/// A double of 2 to the 53 or more is a key beside other doubles only, and that is remembered over a kill.
#[tokio::test(flavor = "multi_thread")]
async fn wide_doubles_are_not_mixed_with_integers() {
    let case = Case::new("widedoubles").await;
    insert_all(&case, "copied", &[Id::double(WIDE), Id::double(0.5)]).await;
    insert_all(&case, "ints", &[Id::int(1), Id::long(1 << 62)]).await;
    let config = case.config();
    let daemon = case.start(&config);
    case.settle().await;
    insert_all(&case, "live", &[Id::double(0.5), Id::double(-WIDE)]).await;
    case.delete_id("live", &Id::double(-WIDE)).await;
    case.settle().await;
    case.expect_plain("copied", "double precision").await;
    case.expect_plain("live", "double precision").await;
    daemon.kill9();
    let _daemon = case.start(&config);
    insert_all(&case, "copied", &[Id::long(4_611_686_018_427_388_000), Id::int(5)]).await;
    insert_all(&case, "live", &[Id::int(5), Id::long(-4_611_686_018_427_388_000)]).await;
    insert_all(&case, "ints", &[Id::double(WIDE * 2.0)]).await;
    // The same ids by other types.
    case.update_id("copied", &Id::long(1 << 62), rawdoc! { "$set": { "v": 50 } }).await;
    case.update_id("ints", &Id::double(WIDE), rawdoc! { "$set": { "v": 50 } }).await;
    case.expect_equal().await;
    for collection in ["copied", "live", "ints"] {
        case.expect_keyed(collection).await;
    }
    // They read the same, and are two.
    let twins = "SELECT v FROM {db}.copied WHERE _id = '4611686018427388000' ORDER BY 1";
    assert_eq!(case.lines(twins).await, ["0", "50"]);
}

/// A replacement may change the type of an equal `_id`; the row shows the new one and stays one row.
#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_changes_the_type_of_an_equal_id() {
    let case = Case::new("retyped").await;
    insert_all(&case, "plain", &[Id::int(1), Id::int(2)]).await;
    insert_all(&case, "mixed", &[Id::int(1), Id::text("s"), Id::object(&[("a", Id::int(1))])]).await;
    let _daemon = case.start(&case.config());
    case.settle().await;
    let replacement = |id: &Id| id.with(&doc! {"v": 9, "l": [{"y": 8}]});
    for collection in ["plain", "mixed"] {
        let one = Id::decimal("1.0");
        case.update_id(collection, &Id::int(1), replacement(&one)).await;
        case.update_id(collection, &Id::long(1), rawdoc! { "$inc": { "v": 1, "l.0.y": 1 } }).await;
    }
    case.update_id("mixed", &Id::text("s"), replacement(&Id::symbol("s"))).await;
    case.update_id("mixed", &Id::object(&[("a", Id::int(1))]), replacement(&Id::object(&[("a", Id::decimal("1"))])))
        .await;
    case.expect_equal().await;
    case.expect_plain("plain", "numeric").await;
    let rows = case.lines("SELECT _id, v FROM {db}.mixed ORDER BY v DESC, _id").await;
    assert_eq!(rows[0], r#"{"$numberDecimal": "1.0"} | 10"#);
    assert!(rows.contains(&r#"{"a": {"$numberDecimal": "1"}} | 9"#.to_owned()), "{rows:?}");
    case.delete_id("mixed", &Id::double(1.0)).await;
    case.delete_id("plain", &Id::double(1.0)).await;
    case.expect_equal().await;
    assert_eq!(case.lines("SELECT count(*) FROM {db}.mixed").await, ["2"]);
}
