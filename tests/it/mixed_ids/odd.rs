//! Long ids, ids that cannot be stored, names that meet, renames, collations, and readers in the way of a new key.

use mongodb::bson::{RawDocumentBuf, doc, rawdoc};
use mongodb::options::Collation;

use super::fields;
use super::ids::Id;
use crate::harness::case::{Case, connect};
use crate::harness::wait::{self, LONG};

#[tokio::test(flavor = "multi_thread")]
async fn an_id_too_long_for_an_index_gets_a_key() {
    let case = Case::new("long_ids").await;
    let text = |c: char, n: usize| Id::text(c.to_string().repeat(n));
    case.insert_id("fits", &text('a', 2500), &fields(1)).await;
    case.insert_id("copied", &text('a', 100_000), &fields(1)).await;
    case.insert_id("bytes", &Id::binary(0, b"short"), &fields(1)).await;
    let _daemon = case.start(&case.config());
    case.settle().await;
    case.expect_plain("fits", "text").await;
    for (collection, id) in
        [("fits", text('b', 1_000_000)), ("copied", text('a', 100_001)), ("bytes", Id::binary(0, &[7; 3000]))]
    {
        case.insert_id(collection, &id, &fields(2)).await;
        case.update_id(collection, &id, rawdoc! { "$inc": { "l.0.m.0.z": 1 } }).await;
    }
    case.delete_id("copied", &text('a', 100_000)).await;
    case.expect_equal().await;
    for collection in ["fits", "copied", "bytes"] {
        case.expect_keyed(collection).await;
    }
}

/// An id that PostgreSQL could hold only in part means quarantine, wherever in the id that part is; it changes no key.
#[tokio::test(flavor = "multi_thread")]
async fn ids_that_would_lose_something_are_in_quarantine() {
    let case = Case::new("lossy_ids").await;
    let nul = |n: Id| Id::object(&[("a", Id::text("x\0y")), ("n", n)]);
    let out_of_range = Id::date(i64::MAX);
    case.insert_id("ints", &Id::int(1), &fields(1)).await;
    case.insert_id("dates", &Id::date(1), &fields(1)).await;
    let _daemon = case.start(&case.config());
    case.settle().await;
    for id in
        [Id::text("\0"), Id::text(b"\xff"), nul(Id::int(1)), Id::object(&[("a", Id::array(&[Id::text(b"\xfe")]))])]
    {
        case.insert_id("ints", &id, &fields(2)).await;
    }
    case.insert_id("dates", &out_of_range, &fields(2)).await;
    // In jsonb nothing of such a date is lost.
    case.insert_id("objects", &Id::object(&[("at", out_of_range.clone())]), &fields(2)).await;
    case.insert_id("objects", &out_of_range, &fields(3)).await;
    case.settle().await;
    case.expect_plain("ints", "integer").await;
    case.expect_plain("dates", "timestamp with time zone").await;
    case.expect_keyed("objects").await;
    assert_eq!(case.lines("SELECT count(*) FROM {db}.objects").await, ["2"]);
    let held = "SELECT split_part(namespace, '.', 2), count(DISTINCT id_key) FROM tailwater.quarantine \
                WHERE reason = 'id_not_representable' GROUP BY 1 ORDER BY 1";
    assert_eq!(case.lines(held).await, ["dates | 1", "ints | 4"]);
    // An equal id is the same document, whatever its numbers' types.
    case.update_id("ints", &nul(Id::int(1)), nul(Id::double(1.0)).with(&fields(4))).await;
    case.settle().await;
    assert_eq!(case.lines(held).await, ["dates | 1", "ints | 4"]);
    case.delete_id("ints", &nul(Id::long(1))).await;
    case.settle().await;
    assert_eq!(case.lines(held).await, ["dates | 1", "ints | 3"]);
    case.collection("ints").delete_many(doc! {"_id": {"$ne": 1}}).await.expect("deleted");
    case.delete_id("dates", &out_of_range).await;
    case.expect_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_called_like_keys_keep_out_of_their_way() {
    let case = Case::new("key_names").await;
    let odd = doc! {"_key": 1, "l": [{"c__key": 2, "_key": 3, "c__id": 4}], "o": {"c__key": 5}};
    case.insert_id("c", &Id::int(1), &odd).await;
    case.insert_id("mixed", &Id::int(1), &odd).await;
    case.insert_id("mixed", &Id::min(), &odd).await;
    let config = case.config();
    let daemon = case.start(&config);
    case.settle().await;
    case.insert_id("c", &Id::text("x"), &odd).await;
    case.expect_equal().await;
    assert_eq!(case.key("c").await, ["_key"]);
    assert!(case.key("c_l").await[0].starts_with("c__key_"), "{:?}", case.key("c_l").await);
    daemon.sigterm();
    let _daemon = case.start(&config);
    case.collection("c")
        .update_many(doc! {}, doc! {"$inc": {"_key": 1, "l.0.c__key": 1, "o.c__key": 1}})
        .await
        .expect("updated");
    case.expect_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_takes_the_key_along() {
    let case = Case::new("key_rename").await;
    for (collection, id) in [("a", Id::int(1)), ("a", Id::oid(1)), ("later", Id::int(1))] {
        case.insert_id(collection, &id, &fields(1)).await;
    }
    let config = case.config();
    let daemon = case.start(&config);
    case.settle().await;
    let name = |name: &str| format!("{}{name}", case.prefix);
    for (from, to) in [("db.a", "db.b"), ("db.later", "db.sooner")] {
        let command = doc! {"renameCollection": name(from), "to": name(to)};
        case.mongo.database("admin").run_command(command).await.expect("renamed");
    }
    case.insert_id("sooner", &Id::null(), &fields(2)).await;
    case.update_id("b", &Id::oid(1), rawdoc! { "$inc": { "l.0.m.0.z": 1 } }).await;
    case.expect_equal().await;
    case.expect_keyed("b").await;
    case.expect_keyed("sooner").await;
    daemon.kill9();
    let _daemon = case.start(&config);
    case.collection("b").update_many(doc! {}, doc! {"$inc": {"l.0.m.0.z": 1}}).await.expect("updated");
    case.collection("sooner").drop().await.expect("dropped");
    case.expect_equal().await;
}

/// `_id`s are compared with the collection's collation, but MongoDB reports each as it is stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_collation_makes_no_difference() {
    let case = Case::new("collation").await;
    let collation = Collation::builder().locale("en").strength(mongodb::options::CollationStrength::Secondary).build();
    for name in ["c", "mixed"] {
        case.database("db").create_collection(name).collation(collation.clone()).await.expect("created");
        for id in ["a", "B", "c"] {
            case.insert_id(name, &Id::text(id), &fields(1)).await;
        }
        assert!(case.insert_raw(name, &Id::text("A").with(&doc! {})).await.is_some(), "one id to MongoDB");
    }
    case.insert_id("mixed", &Id::int(1), &fields(1)).await;
    let _daemon = case.start(&case.config());
    case.settle().await;
    for name in ["c", "mixed"] {
        case.update_id(name, &Id::text("A"), rawdoc! { "$inc": { "l.0.m.0.z": 1 } }).await;
        case.update_id(name, &Id::text("b"), rawdoc! { "v": 9 }).await;
        case.delete_id(name, &Id::text("C")).await;
        case.insert_id(name, &Id::text("C"), &fields(2)).await;
    }
    case.expect_equal().await;
    for name in ["c", "mixed"] {
        assert_eq!(case.lines(&format!("SELECT v FROM {{db}}.{name} WHERE _id::text LIKE '%C%'")).await, ["2"]);
    }
}

/// A long reader of one table keeps the new key waiting, and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn others_still_read_while_a_new_key_waits() {
    let case = Case::new("key_reader").await;
    case.insert_id("c", &Id::int(1), &fields(1)).await;
    let _daemon = case.start(&case.config());
    case.settle().await;
    let schema = format!("{}db", case.prefix);
    let (reader, other) = (connect(&case.postgres_uri).await, connect(&case.postgres_uri).await);
    reader.batch_execute(&format!("BEGIN; SELECT * FROM \"{schema}\".c_l_m")).await.expect("read");
    case.insert_id("c", &Id::text("x"), &fields(2)).await;
    let waits = || async { case.logs().contains("LOCK TABLE").then_some(()) };
    wait::until("the new key to wait", LONG, || case.logs(), waits).await;
    let read = format!("SET statement_timeout = '20s'; SELECT count(*) FROM \"{schema}\".c, \"{schema}\".c_l_m");
    other.batch_execute(&read).await.expect("read beside the waiting key");
    reader.batch_execute("COMMIT").await.expect("ended");
    case.expect_equal().await;
    case.expect_keyed("c").await;
}

/// A document is where its `_id` stands last or not at the start, too.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_need_not_come_first() {
    let case = Case::new("id_last").await;
    let _daemon = case.start(&case.config());
    case.settle().await;
    let mut documents: Vec<RawDocumentBuf> = Vec::new();
    for (n, id) in (0..).zip(["one", "two"]) {
        documents.push(rawdoc! { "v": n, "_id": { "text": id }, "l": [{ "y": n, "m": [{ "z": n }] }] });
    }
    case.database("db").collection::<RawDocumentBuf>("c").insert_many(documents).await.expect("inserted");
    case.insert_id("c", &Id::int(1), &fields(1)).await;
    case.expect_equal().await;
}
