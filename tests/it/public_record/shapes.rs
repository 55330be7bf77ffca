//! Shapes of documents that other tools could not lay flat.

use mongodb::bson::{Bson, Document, bson, doc};

use super::runner::{Do, Entry, run};

#[tokio::test(flavor = "multi_thread")]
async fn shapes_that_others_could_not_lay_flat() {
    run("recordshapes", cases()).await;
}

pub fn cases() -> Vec<Entry> {
    [arrays(), objects()].concat()
}

fn arrays() -> Vec<Entry> {
    vec![
        Entry::new(
            "an_array_of_documents",
            vec![doc! {"_id": 1, "files": [{"data": "x.jpg", "name": "header"}, {"name": "foot"}]}],
        )
        .rows("SELECT _index, data, name FROM {t_files} ORDER BY 1", &["0 | x.jpg | header", "1 | - | foot"]),
        Entry::new(
            "an_array_of_texts",
            vec![doc! {"_id": 1, "countries": ["USA"]}, doc! {"_id": 2, "countries": ["Österreich", "USA"]}],
        )
        .rows("SELECT countries ->> 0 FROM {t} ORDER BY _id", &["USA", "Österreich"]),
        Entry::new("an_array_of_arrays", vec![doc! {"_id": 1, "m": [[1, 2], [3], []]}])
            .update(doc! {"$set": {"m.1.0": 9}})
            .rows("SELECT m FROM {t}", &["[[1, 2], [9], []]"]),
        Entry::new("documents_in_an_array_of_arrays", vec![doc! {"_id": 1, "m": [[{"a": 1}, {"a": 2}], [{"a": 3}]]}])
            .update(doc! {"$set": {"m.0.1.b": [1]}}),
        Entry::new(
            "documents_in_an_element",
            vec![doc! {"_id": 1, "l": [{"o": {"p": {"q": 1}}}, {"o": {"p": null}}, {"o": {}}]}],
        )
        .rows("SELECT l__index, q FROM {t_l_o_p}", &["0 | 1"]),
        Entry::new(
            "texts_in_an_element",
            vec![doc! {"_id": "507f", "posts": [{"name": "a", "tags": ["x", "y"]}, {"name": "b"}]}],
        )
        .rows("SELECT name, tags FROM {t_posts} ORDER BY _index", &["a | [\"x\", \"y\"]", "b | -"]),
        Entry::new(
            "arrays_in_an_element",
            vec![doc! {"_id": 1, "a": [{"b": [{"c": [{"d": 1}, {"d": 2}]}]}, {"b": [{}, {"c": []}]}]}],
        )
        .rows("SELECT a__index, b__index, _index, d FROM {t_a_b_c} ORDER BY 3", &["0 | 0 | 0 | 1", "0 | 0 | 1 | 2"]),
        Entry::new(
            "elements_with_different_fields",
            vec![doc! {"_id": 1, "l": [{"a": 1}, {"b": "x"}, {"a": 1.5, "c": {"d": 1}}]}],
        )
        .rows("SELECT a, b FROM {t_l} ORDER BY _index", &["1 | -", "- | x", "1.5 | -"]),
        Entry::new(
            "elements_of_different_types",
            vec![doc! {"_id": 1, "a1": [1, "c", {"v": "V"}], "a2": [{"v": 1}, 2, ["x"], "y"]}],
        )
        .rows(
            "SELECT _index, v, _value FROM {t_a2} ORDER BY 1",
            &["0 | 1 | -", "1 | - | 2", "2 | - | [\"x\"]", "3 | - | \"y\""],
        ),
        Entry::new("an_array_that_is_empty_first", vec![doc! {"_id": 1, "l": []}, doc! {"_id": 2, "l": []}])
            .update(doc! {"$push": {"l": {"a": 1}}})
            .rows("SELECT a FROM {t_l}", &["1"]),
        Entry::new("an_array_that_is_empty_again", vec![doc! {"_id": 1, "l": [{"a": 1}, {"a": 2}], "s": [1]}])
            .update(doc! {"$set": {"l": [], "s": []}})
            .rows("SELECT s FROM {t}", &["[]"])
            .rows("SELECT count(*) FROM (SELECT 1 FROM {t} WHERE _id = 1) AS one", &["1"]),
        Entry::new(
            "a_point",
            vec![doc! {"_id": 1, "location": {"type": "Point", "coordinates": [-73.856077, 40.848447]}}],
        )
        .rows("SELECT coordinates FROM {t_location}", &["[-73.856077, 40.848447]"]),
        Entry::new(
            "one_value_where_arrays_are",
            vec![doc! {"_id": 1, "l": [{"a": 1}]}, doc! {"_id": 2, "l": {"a": 2}}, doc! {"_id": 3, "l": "x"}],
        )
        .rows("SELECT _id, l FROM {t} ORDER BY 1", &["1 | -", "2 | {\"a\": 2}", "3 | \"x\""]),
        Entry::new(
            "an_array_where_texts_are",
            vec![doc! {"_id": 1, "mac": "00:11"}, doc! {"_id": 2, "mac": ["00:22", "00:33"]}],
        )
        .rows("SELECT mac FROM {t} ORDER BY _id", &["\"00:11\"", "[\"00:22\", \"00:33\"]"]),
    ]
}

fn wide() -> Document {
    let mut document = doc! {"_id": 1};
    document.extend((0..300).map(|i| (format!("field {i}"), Bson::Int32(i))));
    document
}

fn chain(levels: usize) -> Bson {
    (0..levels).fold(bson!({"end": 1}), |inner, i| if i % 2 == 0 { bson!({"d": inner}) } else { bson!([inner]) })
}

fn objects() -> Vec<Entry> {
    vec![
        Entry::new(
            "fields_of_fields",
            vec![doc! {"_id": 1, "timeline": {"incident": {"year": 2010, "month": 4}}, "t": "x"}],
        )
        .rows("SELECT year, month FROM {t_timeline_incident}", &["2010 | 4"]),
        Entry::new(
            "one_value_where_objects_are",
            vec![doc! {"_id": 1, "o": {"a": 1}}, doc! {"_id": 2, "o": "concrete"}, doc! {"_id": 3, "o": ["x"]}],
        )
        .rows("SELECT _id, o FROM {t} ORDER BY 1", &["1 | -", "2 | \"concrete\"", "3 | [\"x\"]"]),
        Entry::new("an_object_where_one_value_was", vec![doc! {"_id": 1, "o": 5}, doc! {"_id": 2, "o": 6}])
            .update(doc! {"$set": {"o": {"a": {"b": 1}}}})
            .rows("SELECT o FROM {t} ORDER BY _id", &["{\"a\": {\"b\": 1}}", "6"]),
        Entry::new("an_object_that_becomes_null", vec![doc! {"_id": 1, "o": {"a": 1, "l": [{"b": 1}]}}])
            .update(doc! {"$set": {"o": null}})
            .rows("SELECT count(*) FROM {t}", &["1"]),
        Entry::new("nothing_but_an_id", vec![doc! {"_id": 1}, doc! {"_id": 2}])
            .rows("SELECT _id FROM {t} ORDER BY 1", &["1", "2"]),
        Entry::new("empty_objects", vec![doc! {"_id": 1, "o": {}, "l": [{}], "d": {"e": {}}}])
            .update(doc! {"$set": {"o.a": 1, "l.0.a": 1, "d.e.f": 1}}),
        Entry::new(
            "fields_of_only_some_documents",
            vec![doc! {"_id": 1, "name": "a"}, doc! {"_id": 2, "other": true}, doc! {"_id": 3}],
        )
        .rows("SELECT name, other FROM {t} ORDER BY _id", &["a | -", "- | t", "- | -"]),
        Entry::new("fields_that_come_later", vec![doc! {"_id": 1, "a": 1}])
            .then(Do::Insert(vec![doc! {"_id": 2, "a": 1, "new": "x", "o": {"n": 1}, "l": [{"n": 1}]}]))
            .update(doc! {"$set": {"newer": true}})
            .rows("SELECT new, newer FROM {t} ORDER BY _id", &["- | t", "x | -"]),
        Entry::new("three_hundred_fields", vec![wide()])
            .update(doc! {"$set": {"field 299": "x"}})
            .rows("SELECT \"field 0\", \"field 299\" FROM {t}", &["0 | \"x\""]),
        Entry::new("twenty_levels", vec![doc! {"_id": 1, "c": chain(20)}]),
    ]
}
