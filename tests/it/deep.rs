//! Documents as deep as MongoDB takes them: embedded documents, arrays of arrays, arrays of documents, mixed; copied,
//! inserted, updated at the deepest place and pushed to, as child tables and inside `jsonb`.

use mongodb::Collection;
use mongodb::bson::{Bson, Document, doc};

use crate::harness::case::Case;

/// What one level is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Object,
    Array,
    ArrayOfObjects,
    Mixed,
}

const LEVELS: [Level; 4] = [Level::Object, Level::Array, Level::ArrayOfObjects, Level::Mixed];

/// More than MongoDB takes.
const TOO_DEEP: usize = 260;

/// A value of `depth` levels around `leaf`. The name of a level's field is its letter, so that paths tell levels apart.
fn nested(level: Level, depth: usize, leaf: Bson) -> Bson {
    (0..depth).rev().fold(leaf, |inner, at| {
        let object = |inner| Bson::Document(doc! {"o": inner, "n": i32::try_from(at).expect("small")});
        match level {
            Level::Object => object(inner),
            Level::Array => Bson::Array(vec![inner]),
            Level::ArrayOfObjects if at % 2 == 1 => object(inner),
            Level::ArrayOfObjects => Bson::Array(vec![inner]),
            Level::Mixed if at % 3 == 2 => Bson::Array(vec![Bson::Null, inner]),
            Level::Mixed => object(inner),
        }
    })
}

/// The path of the leaf.
fn leaf(level: Level, depth: usize) -> String {
    let step = |at: usize| match level {
        Level::Object => "o",
        Level::Array => "0",
        Level::ArrayOfObjects if at % 2 == 1 => "o",
        Level::ArrayOfObjects => "0",
        Level::Mixed if at % 3 == 2 => "1",
        Level::Mixed => "o",
    };
    (0..depth).fold("v".to_owned(), |path, at| path + "." + step(at))
}

/// The greatest depth that an insert of `make(depth)` takes.
async fn deepest(collection: &Collection<Document>, make: impl Fn(usize) -> Document) -> usize {
    let (mut taken, mut refused) = (1, TOO_DEEP);
    while refused - taken > 1 {
        let depth = usize::midpoint(taken, refused);
        match collection.insert_one(make(depth)).await {
            Ok(_) => taken = depth,
            Err(_) => refused = depth,
        }
        collection.delete_many(doc! {}).await.expect("deleted");
    }
    collection.insert_one(make(taken)).await.expect("inserted");
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_depth_mongodb_takes_arrives() {
    let case = Case::new("deep").await;
    let mut depths = Vec::new();
    for level in LEVELS {
        let copied = case.collection(&format!("{level:?}"));
        let make = |depth| doc! {"_id": 1, "v": nested(level, depth, Bson::Int32(7))};
        depths.push((level, deepest(&copied, make).await));
    }
    println!("deepest by insert: {depths:?}");
    assert!(depths.iter().all(|(_, depth)| *depth >= 99), "MongoDB documents 100 levels: {depths:?}");
    let daemon = case.start(&case.config());
    case.expect_equal().await;
    for (level, depth) in &depths {
        for name in [format!("{level:?}"), format!("{level:?} followed")] {
            let collection = case.collection(&name);
            let document = |id: i32| doc! {"_id": id, "v": nested(*level, *depth, Bson::Int32(id))};
            collection.insert_many([document(2), document(3), document(4)]).await.expect("inserted");
            let path = leaf(*level, *depth);
            collection.update_one(doc! {"_id": 2}, doc! {"$set": {&path: 8}}).await.expect("set");
            collection.update_one(doc! {"_id": 2}, doc! {"$set": {&path: "text"}}).await.expect("set");
            collection.update_one(doc! {"_id": 3}, doc! {"$unset": {&path: 1}}).await.expect("unset");
            collection.replace_one(doc! {"_id": 4}, document(4)).await.expect("replaced");
        }
    }
    case.expect_equal().await;
    for (level, _) in &depths {
        case.collection(&format!("{level:?}")).delete_many(doc! {}).await.expect("deleted");
    }
    case.expect_equal().await;
    daemon.sigterm();
}

/// An update may go deeper than an insert, if the server lets it; and a document may grow level by level.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_grows_as_deep_as_updates_take_it() {
    let case = Case::new("deepupdate").await;
    let mut config = case.config();
    config.set("mapping.objects", "\"jsonb\"").set("mapping.arrays", "\"jsonb\"");
    let daemon = case.start(&config);
    case.settle().await;
    for level in LEVELS {
        let collection = case.collection(&format!("{level:?}"));
        collection.insert_one(doc! {"_id": 1, "v": nested(level, 90, Bson::Int32(0))}).await.expect("inserted");
        let (mut depth, mut step) = (90, 10);
        while step > 0 && depth < TOO_DEEP {
            let by_diff = matches!(level, Level::Object | Level::Array);
            let set = if by_diff {
                doc! {leaf(level, 90): nested(level, depth + step - 90, Bson::Int32(7))}
            } else {
                doc! {"v": nested(level, depth + step, Bson::Int32(7))}
            };
            if collection.update_one(doc! {"_id": 1}, doc! {"$set": set}).await.is_err() {
                step /= 10;
                continue;
            }
            depth += step;
            let at_the_leaf = doc! {"$set": {leaf(level, depth): 9}};
            collection.update_one(doc! {"_id": 1}, at_the_leaf).await.expect("set");
            case.settle().await;
        }
        println!("{level:?}: {depth} by update");
    }
    case.expect_equal().await;
    daemon.sigterm();
}

/// A primary key has 32 columns at most: arrays of documents inside 31 others are `jsonb`.
#[tokio::test(flavor = "multi_thread")]
async fn arrays_of_documents_end_where_keys_do() {
    let case = Case::new("deepkeys").await;
    let nested = |depth: usize, leaf: i32| {
        (0..depth).fold(Bson::Int32(leaf), |inner, _| Bson::Array(vec![doc! {"a": inner, "x": leaf}.into()]))
    };
    case.collection("c").insert_one(doc! {"_id": 1, "a": nested(40, 1)}).await.expect("inserted");
    let daemon = case.start(&case.config());
    case.expect_equal().await;
    let forms = "SELECT max(cardinality(key_columns)), count(*) FILTER (WHERE form = 'array_table'), \
                 count(*) FILTER (WHERE form = 'column' AND column_type = 'jsonb') FROM tailwater.paths \
                 WHERE namespace LIKE '%.c'";
    assert_eq!(case.lines(forms).await, ["32 | 31 | 1"]);
    let collection = case.collection("c");
    let path = |depth: usize| (0..depth).map(|_| "a.0.").collect::<String>() + "x";
    collection.insert_one(doc! {"_id": 2, "a": nested(40, 2)}).await.expect("inserted");
    for (depth, value) in [(31, 5), (32, 6), (40, 7)] {
        collection.update_many(doc! {}, doc! {"$set": {path(depth): value}}).await.expect("set");
    }
    // At the border, from an empty array on.
    let list = (0..31).map(|_| "a.0.").collect::<String>() + "b";
    collection.update_one(doc! {"_id": 1}, doc! {"$set": {&list: []}}).await.expect("set");
    case.settle().await;
    collection.update_one(doc! {"_id": 1}, doc! {"$push": {&list: {"y": 1}}}).await.expect("pushed");
    case.expect_equal().await;
    daemon.sigterm();
}
