//! Where an id lies under a collation: what `places` says is what ranges of the `_id` index hold.

use bson::{Binary, Bson, DateTime, Decimal128, RawDocumentBuf, Timestamp, doc, oid::ObjectId};
use mongodb::options::Hint;
use tailwater::model::bson::{Document as Raw, Value};
use tailwater::model::order::compare;
use tailwater::source::{BATCH, CollectionInfo, IdRange, Source};

use crate::harness::case::Case;
use crate::harness::source::read_all;
use crate::workload::random::{Random, seed};

/// Some that a collation takes for equal, some that look like expressions, some whose order is not that of their bytes.
const TEXTS: [&str; 24] = [
    "", "a", "A", "b", "B", "ab", "aB", "a b", "a-b", "a\0b", "é", "e", "É", "ß", "ss", "z", "$a", "$$ROOT", "10", "9",
    "日本", "🎓", "{", "~",
];

struct Bench {
    case: Case,
    source: Source,
}

impl Bench {
    async fn new(name: &str) -> Self {
        let case = Case::new(name).await;
        let source = case.source().await;
        Self { case, source }
    }

    async fn info(&self, name: &str) -> CollectionInfo {
        self.case.info(&self.source, name).await
    }

    /// The `{_id: …}` of every document, along the index.
    async fn along_the_index(&self, name: &str) -> Vec<Raw> {
        let collection = self.case.database("db").collection::<RawDocumentBuf>(name);
        let found = collection.find(doc! {}).hint(Hint::Keys(doc! {"_id": 1})).sort(doc! {"_id": 1});
        let mut found = found.await.expect("found");
        let mut ids = Vec::new();
        while found.advance().await.expect("read") {
            ids.push(Raw::new(found.current().as_bytes().to_vec()).expect("a document"));
        }
        ids
    }

    async fn ids_in(&self, info: &CollectionInfo, range: &IdRange) -> Vec<Raw> {
        read_all(self.source.read_range(info, range, None, BATCH).await.expect("opens")).await
    }
}

fn raw(id: impl Into<Bson>) -> Raw {
    Raw::new(doc! {"_id": id.into()}.to_vec().expect("BSON")).expect("a document")
}

fn value(document: &Raw) -> Value<'_> {
    document.as_doc().get("_id").expect("valid").expect("there")
}

/// Ids of every type that a collation allows, and strings in documents and arrays.
fn ids() -> Vec<Bson> {
    let mut all = vec![
        Bson::MinKey,
        Bson::Null,
        Bson::Boolean(false),
        Bson::Boolean(true),
        Bson::MaxKey,
        Bson::Double(f64::NAN),
        Bson::Double(f64::INFINITY),
        Bson::Double(9_007_199_254_740_992.0),
        Bson::Int64(9_007_199_254_740_993),
        Bson::Timestamp(Timestamp { time: u32::MAX, increment: 1 }),
        Bson::JavaScriptCode("a".into()),
        Bson::JavaScriptCode("A".into()),
        Bson::Document(doc! {}),
    ];
    for text in TEXTS {
        all.push(text.into());
        all.extend(
            [doc! {"a": text}, doc! {"a": [text, 1]}, doc! {"a": {"b": text}}, doc! {"a": 1, "b": text}]
                .map(Bson::from),
        );
        all.push(doc! {"a": [{"$literal": text}]}.into());
        all.push(Bson::Binary(Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: text.into() }));
    }
    for n in -30..30_i32 {
        all.extend([Bson::Int32(n), Bson::Double(f64::from(n) + 0.1)]);
        all.push(Bson::Decimal128(format!("{n}.1").parse::<Decimal128>().expect("a decimal")));
        all.push(Bson::DateTime(DateTime::from_millis(i64::from(n) * 1_000_000_000_000)));
        all.push(Bson::ObjectId(ObjectId::new()));
        all.push(format!("k{n}").into());
    }
    all
}

/// What a range holds has that range's place, in any order of asking and in more than one command; `bounds` are some of
/// what lies along the index.
async fn expect_places_of_ranges(bench: &Bench, name: &str) {
    let info = bench.info(name).await;
    let stored = bench.along_the_index(name).await;
    // MinKey and MaxKey are no bounds.
    let usable = &stored[1..stored.len() - 1];
    let mut random = Random::new(seed(name), 0);
    for step in [2, 7, 100] {
        let bounds: Vec<Raw> = usable.iter().step_by(step).cloned().collect();
        let mut expected = Vec::new();
        for place in 0..=bounds.len() {
            let lower = place.checked_sub(1).map(|before| bounds[before].clone());
            let range = IdRange { lower, upper: bounds.get(place).cloned() };
            expected.extend(bench.ids_in(&info, &range).await.into_iter().map(|id| (id, place)));
        }
        assert_eq!(expected.len(), stored.len(), "{name} {step}");
        let asked: Vec<(Raw, usize)> = (0..2500).map(|_| random.pick(&expected).clone()).collect();
        let (ids, places): (Vec<Raw>, Vec<usize>) = asked.into_iter().unzip();
        assert_eq!(bench.source.places(&info, &bounds, &ids).await.expect("told"), places, "{name} {step}");
    }
    assert_eq!(bench.source.places(&info, &[], &stored).await.expect("told"), vec![0; stored.len()]);
    assert_eq!(bench.source.places(&info, usable, &[]).await.expect("told"), Vec::<usize>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_those_of_the_index_whatever_the_collation() {
    let bench = Bench::new("places").await;
    let collations = [
        ("insensitive", doc! {"locale": "en", "strength": 2}),
        ("numeric", doc! {"locale": "en", "strength": 1, "numericOrdering": true}),
        ("shifted", doc! {"locale": "de", "strength": 4, "alternate": "shifted"}),
        ("backwards", doc! {"locale": "fr_CA", "strength": 3, "backwards": true, "caseLevel": true}),
        ("simple", doc! {"locale": "simple"}),
    ];
    for (name, collation) in collations {
        let create = doc! {"create": name, "collation": collation};
        bench.case.database("db").run_command(create).await.expect("created");
        let mut random = Random::new(seed(name), 1);
        let mut ids = ids();
        while !ids.is_empty() {
            let id = ids.swap_remove(random.below(ids.len()));
            // Refused when it is equal to one that is there.
            let _ = bench.case.collection(name).insert_one(doc! {"_id": id}).await;
        }
        assert!(bench.case.collection(name).count_documents(doc! {}).await.expect("counted") > 400);
        assert_eq!(bench.info(name).await.collation.is_some(), name != "simple");
        expect_places_of_ranges(&bench, name).await;
    }
}

/// An id that is not stored has the place of the stored one that it is equal to.
#[tokio::test(flavor = "multi_thread")]
async fn ids_need_not_exist_and_equal_ones_share_a_place() {
    let bench = Bench::new("absent").await;
    let create = doc! {"create": "c", "collation": {"locale": "en", "strength": 2}};
    bench.case.database("db").run_command(create).await.expect("created");
    let info = bench.info("c").await;
    let bounds = [raw(1), raw("$b"), raw("b"), raw("C"), raw(doc! {"x": "b"})];
    let asked = [
        (raw(Bson::MinKey), 0),
        (raw(0.5), 0),
        (raw(1.0), 1),
        (raw("$B"), 2),
        (raw("a"), 2),
        (raw("B"), 3),
        (raw("bz"), 3),
        (raw("c"), 4),
        (raw("Z"), 4),
        (raw(doc! {"x": "A"}), 4),
        (raw(doc! {"x": "B"}), 5),
        (raw(Bson::MaxKey), 5),
    ];
    let (ids, places): (Vec<Raw>, Vec<usize>) = asked.into_iter().unzip();
    assert_eq!(bench.source.places(&info, &bounds, &ids).await.expect("told"), places);
}

/// Without a collation the server's answer is the product's own order.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_collation_places_are_those_of_our_own_order() {
    let bench = Bench::new("plain_places").await;
    bench.case.collection("c").insert_one(doc! {"_id": 1}).await.expect("inserted");
    let info = bench.info("c").await;
    assert_eq!(info.collation, None);
    let ids: Vec<Raw> = ids().into_iter().map(raw).collect();
    let mut bounds: Vec<Raw> = ids.iter().step_by(5).cloned().collect();
    bounds.sort_by(|a, b| compare(&value(a), &value(b)).expect("valid"));
    let ours =
        |asked: &Raw| bounds.partition_point(|bound| compare(&value(bound), &value(asked)).expect("valid").is_le());
    let places: Vec<usize> = ids.iter().map(ours).collect();
    assert_eq!(bench.source.places(&info, &bounds, &ids).await.expect("told"), places);
}
