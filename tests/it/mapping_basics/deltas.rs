//! Section 6: updates as deltas at every depth, replaces and deletes as whole documents.

use mongodb::bson::{Document, bson, doc};
use mongodb::options::UpdateModifications;

use crate::harness::case::Case;

fn student() -> Document {
    doc! {
        "_id": 1, "n": 1, "phone": {"personal": "01", "ext": {"code": 7, "0": {"x": 1}}},
        "address": [{"city": "a", "rooms": [{"nr": 1}, {"nr": 2}]}, {"city": "b"}, {"city": "c", "rooms": [{"nr": 3}]}],
        "tags": [1, [2, {"k": 1}], {"a": {"b": [1, 2, 3]}}, 4], "0": {"1": {"2": [{"3": 1}]}},
    }
}

/// Applies one update after the other and compares after each.
async fn each(name: &str, updates: Vec<UpdateModifications>) {
    let case = Case::new(name).await;
    let collection = case.collection("student");
    collection.insert_one(student()).await.expect("inserted");
    collection
        .insert_one(doc! {"_id": 2, "address": [{"city": "untouched", "rooms": [{"nr": 9}]}]})
        .await
        .expect("inserted");
    let _daemon = case.start(&case.config());
    case.settle().await;
    for update in updates {
        let text = format!("{update:?}");
        let done = collection.update_one(doc! {"_id": 1}, update).await.unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(done.modified_count, 1, "{text}");
        case.settle().await;
        let report = case.compare().await;
        assert!(report.findings.is_empty(), "after {text}: {report}");
    }
}

fn documents<const N: usize>(updates: [Document; N]) -> Vec<UpdateModifications> {
    updates.into_iter().map(UpdateModifications::Document).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sets_and_unsets_reach_every_depth() {
    let updates = documents([
        doc! {"$set": {"n": 2}},
        doc! {"$set": {"phone.ext.code": 8, "address.0.rooms.1.nr": 5}},
        doc! {"$set": {"phone.ext.0.x": 2, "0.1.2.0.3": 2}},
        doc! {"$set": {"0.1.2.2": {"3": 4}, "0.1.9": 1}},
        doc! {"$set": {"address.1.rooms": [{"nr": 6}, null, {"nr": 7}]}},
        doc! {"$set": {"address.0": {"city": "whole"}}},
        doc! {"$unset": {"address.1": ""}},
        doc! {"$unset": {"address.2.rooms.0": "", "phone.ext": ""}},
        doc! {"$set": {"address.1": {"rooms": [{"nr": 8}]}}},
        doc! {"$set": {"phone.ext.more.deeper.deepest": 1}},
        doc! {"$rename": {"phone.ext.more": "moved"}},
        doc! {"$unset": {"phone": "", "address": ""}},
        doc! {"$set": {"phone": {}, "address": []}},
        doc! {"$set": {"address": [{}]}},
        doc! {"$set": {"tags.1.1.k": 2, "tags.2.a.b.1": 9}},
        doc! {"$set": {"tags.7": {"padded": true}}},
        doc! {"$unset": {"tags.2.a": "", "tags.0": ""}},
    ]);
    each("deltasets", updates).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arrays_grow_shrink_and_shift() {
    let updates = documents([
        doc! {"$push": {"address": {"city": "d"}}},
        doc! {"$set": {"address.7": {"city": "far", "rooms": [{"nr": 4}]}}},
        doc! {"$set": {"address.7.rooms.3.nr": 5}},
        doc! {"$push": {"address": {"$each": [{"city": "first", "rooms": [{"nr": 0}]}], "$position": 0}}},
        doc! {"$push": {"address": {"$each": [], "$slice": 4}}},
        doc! {"$push": {"address": {"$each": [{"city": "last"}], "$slice": -3}}},
        doc! {"$pull": {"address": {"city": "b"}}},
        doc! {"$pop": {"address": -1}},
        doc! {"$pop": {"address": 1}},
        doc! {"$set": {"address": [{"city": "z"}, {"city": "y", "rooms": [{"nr": 1}, {"nr": 2}, {"nr": 3}]}, {"city": "x"}]}},
        doc! {"$push": {"address": {"$each": [], "$sort": {"city": 1}}}},
        doc! {"$pull": {"address.$[].rooms": {"nr": {"$lt": 3}}}},
        doc! {"$push": {"address.1.rooms": {"$each": [{"nr": 4}, {"nr": 5}], "$position": 0}}},
        doc! {"$pull": {"address": {}}},
        doc! {"$push": {"tags": 5}},
        doc! {"$push": {"tags": {"$each": [6, 7], "$position": 1, "$slice": 4}}},
        doc! {"$pop": {"tags": 1}},
        doc! {"$set": {"address": {"no": "array"}}},
    ]);
    // The pulls by position need arrays everywhere; that of rooms touches elements without them, which MongoDB refuses.
    let updates = updates.into_iter().enumerate().filter(|(i, _)| *i != 11).map(|(_, update)| update).collect();
    each("deltaarrays", updates).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_are_deltas_too() {
    let set = |fields: Document| UpdateModifications::Pipeline(vec![doc! {"$set": fields}]);
    let updates = vec![
        set(doc! {"n": {"$add": ["$n", 1]}, "copy": "$phone"}),
        set(doc! {"address": {"$slice": ["$address", 2]}}),
        set(doc! {"address": {"$reverseArray": "$address"}}),
        set(doc! {"address": {"$concatArrays": [[{"city": "new"}], "$address", [{"city": "newer"}]]}}),
        set(doc! {"phone": {"$mergeObjects": ["$phone", {"work": "02"}]}, "tags": {"$slice": ["$tags", -2]}}),
        UpdateModifications::Pipeline(vec![
            doc! {"$unset": ["phone.ext.code", "n"]},
            doc! {"$set": {"phone.ext.area": 1}},
        ]),
        UpdateModifications::Pipeline(vec![doc! {"$replaceWith": {"_id": "$_id", "all": "new", "phone": "$address"}}]),
    ];
    each("deltapipelines", updates).await;
}

/// A field whose name has a dot or a dollar is one field; beside it stands the nested one of the same spelling.
#[tokio::test(flavor = "multi_thread")]
async fn a_dotted_field_is_not_a_nested_one() {
    let set = |field: &str, value: i32| {
        let input = bson!({"field": {"$literal": field}, "input": "$$ROOT", "value": value});
        UpdateModifications::Pipeline(vec![doc! {"$replaceWith": {"$setField": input}}])
    };
    let updates = vec![
        set("a.b", 1),
        UpdateModifications::Document(doc! {"$set": {"a.b": 2}}),
        set("a.b", 3),
        UpdateModifications::Pipeline(vec![
            doc! {"$replaceWith": {"$setField": {"field": {"$literal": "a.b"}, "input": "$$ROOT", "value": 4}}},
            doc! {"$set": {"a.b": 5}},
        ]),
        set("$price", 6),
    ];
    each("deltadots", updates).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replaces_and_deletes_leave_nothing_behind() {
    let case = Case::new("replaces").await;
    let collection = case.collection("student");
    let others =
        (10..20).map(|id| doc! {"_id": id, "address": [{"rooms": [{"nr": id}]}], "phone": {"ext": {"code": id}}});
    collection.insert_one(student()).await.expect("inserted");
    collection.insert_many(others).await.expect("inserted");
    let _daemon = case.start(&case.config());
    case.settle().await;
    collection.replace_one(doc! {"_id": 1}, doc! {"n": 2, "address": [{"city": "only"}]}).await.expect("replaced");
    collection.delete_many(doc! {"_id": {"$gte": 15}}).await.expect("deleted");
    collection.replace_one(doc! {"_id": 10}, doc! {}).await.expect("replaced");
    case.expect_equal().await;
    assert_eq!(
        case.lines("SELECT city, student__id FROM {db}.student_address WHERE student__id = 1").await,
        ["only | 1"]
    );
    assert_eq!(case.lines("SELECT count(*) FROM {db}.student_address_rooms").await, ["4"]);
    // Insert, change, delete and insert again within what may be one batch.
    collection.insert_one(student_with_id(30)).await.expect("inserted");
    collection.update_one(doc! {"_id": 30}, doc! {"$set": {"address.1.rooms.0.nr": 1}}).await.expect("updated");
    collection.delete_one(doc! {"_id": 30}).await.expect("deleted");
    collection.insert_one(doc! {"_id": 30, "address": [{"city": "again"}]}).await.expect("inserted");
    collection.update_one(doc! {"_id": 30}, doc! {"$push": {"address": {"city": "more"}}}).await.expect("updated");
    collection.delete_one(doc! {"_id": 11}).await.expect("deleted");
    collection.insert_one(doc! {"_id": 11}).await.expect("inserted");
    case.expect_equal().await;
}

fn student_with_id(id: i32) -> Document {
    let mut student = student();
    student.insert("_id", id);
    student
}

/// What a transaction wrote is visible at once, that of an aborted one never.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_one_commit() {
    let case = Case::new("transactions").await;
    for name in ["left", "right"] {
        case.collection(name).insert_many((0..10).map(|id| doc! {"_id": id, "money": 100})).await.expect("inserted");
    }
    let _daemon = case.start(&case.config());
    case.settle().await;
    let mut session = case.mongo.start_session().await.expect("a session");
    for round in 0..100 {
        session.start_transaction().await.expect("started");
        for (name, by) in [("left", -1), ("right", 1)] {
            let update = doc! {"$inc": {"money": by}};
            case.collection(name)
                .update_one(doc! {"_id": round % 10}, update)
                .session(&mut session)
                .await
                .expect("updated");
        }
        if round % 10 == 9 {
            session.abort_transaction().await.expect("aborted");
        } else {
            session.commit_transaction().await.expect("committed");
        }
        let sum = case.lines("SELECT (SELECT sum(money) FROM {db}.left) + (SELECT sum(money) FROM {db}.right)").await;
        assert_eq!(sum, ["2000"], "after round {round}");
    }
    case.expect_equal().await;
    assert_eq!(case.lines("SELECT sum(money) FROM {db}.right").await, ["1090"]);
}
