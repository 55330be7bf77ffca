//! The source against a real MongoDB: what is promised about streams, snapshots and errors holds on the server.
//!
//! Every test works in databases of its own and looks at nothing else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bson::{Bson, Decimal128, Document, doc, rawdoc};
use mongodb::Client;
use tailwater::error::Kind;
use tailwater::model::bson::Document as Raw;
use tailwater::model::change::{Change, Operation};
use tailwater::model::namespace::Namespace;
use tailwater::model::position::Position;
use tailwater::model::secret::Secret;
use tailwater::source::{
    BATCH, ChangeStream, CollectionInfo, CollectionKind, CollectionSize, IdRange, Probe, ReadPreference, ReaderKind,
    Source, SourceOptions, Topology, UpdateForm,
};

use crate::harness::servers;

/// Longer than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Bench {
    uri: String,
    client: Client,
    source: Source,
    probe: Probe,
    database: String,
}

fn options(uri: &str) -> SourceOptions {
    let uri = Secret::new(uri);
    SourceOptions {
        uri,
        read_preference: ReadPreference::Primary,
        reader: ReaderKind::ChangeStream,
        updates: UpdateForm::Auto,
    }
}

impl Bench {
    async fn new(name: &str) -> Self {
        let uri = servers::shared().mongodb_uri.clone();
        let client = Client::with_uri_str(&uri).await.expect("the server answers");
        let database = format!("source_{name}_{}", std::process::id());
        client.database(&database).drop().await.expect("dropped");
        let source = Source::connect(&options(&uri)).await.expect("connects");
        let probe = source.probe().await.expect("can be followed");
        Self { uri, client, source, probe, database }
    }

    fn db(&self) -> mongodb::Database {
        self.client.database(&self.database)
    }

    fn collection(&self, name: &str) -> mongodb::Collection<Document> {
        self.db().collection(name)
    }

    async fn info(&self, name: &str) -> CollectionInfo {
        let namespace = Namespace::new(&self.database, name);
        self.source.collection(&namespace).await.expect("listed").expect("exists")
    }

    async fn stream(&self, from: Option<&Position>) -> ChangeStream {
        self.source.open_stream(&self.probe, from).await.expect("opens")
    }

    /// Reads until a document is inserted into the collection `end` of this database; gives what came before it.
    async fn read_to_the_end(&self, stream: &mut ChangeStream) -> Vec<Change> {
        let started = Instant::now();
        let mut all = Vec::new();
        loop {
            assert!(started.elapsed() < PATIENCE, "the end did not come");
            for change in stream.next().await.expect("follows").changes {
                if *change.namespace.database != *self.database {
                    continue;
                }
                if &*change.namespace.collection == "end" {
                    if matches!(change.operation, Operation::Insert { .. }) {
                        return all;
                    }
                } else {
                    all.push(change);
                }
            }
        }
    }

    async fn end(&self) {
        self.collection("end").insert_one(doc! {}).await.expect("written");
    }

    async fn done(self) {
        self.db().drop().await.expect("dropped");
    }
}

fn parsed(raw: &Raw) -> Document {
    Document::from_reader(raw.as_doc().bytes()).expect("decodes")
}

/// What a change says, without its position.
fn said(change: &Change) -> String {
    let what = match &change.operation {
        Operation::Insert { document } | Operation::Replace { document } => parsed(document).to_string(),
        Operation::Update { key, diff } => format!("{} {}", parsed(key), parsed(diff)),
        Operation::Delete { key } | Operation::Retry { key, .. } => parsed(key).to_string(),
        Operation::Rename { to, drop_target } => format!("{to} {drop_target:?}"),
        Operation::Create | Operation::Drop | Operation::DropDatabase => String::new(),
    };
    format!("{} {} {} {what}", change.operation.name(), change.namespace, change.collection)
}

fn odd_ids() -> Vec<Bson> {
    let decimal: Decimal128 = "1.10".parse().expect("decimal");
    vec![
        Bson::MinKey,
        Bson::MaxKey,
        Bson::Null,
        Bson::Int32(1),
        Bson::Int64(7),
        Bson::Double(-0.0),
        Bson::Double(f64::NAN),
        Bson::Decimal128(decimal),
        Bson::String("é".into()),
        Bson::Document(doc! { "a": 1, "b": Bson::MinKey }),
        Bson::Boolean(true),
        Bson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1, 2] }),
        Bson::ObjectId(bson::oid::ObjectId::new()),
        Bson::DateTime(bson::DateTime::from_millis(-5)),
        Bson::Timestamp(bson::Timestamp { time: 1, increment: 1 }),
        Bson::JavaScriptCode("f".into()),
    ]
}

#[tokio::test]
async fn every_kind_of_change_arrives_once_and_can_be_resumed_after() {
    let bench = Bench::new("kinds").await;
    let mut stream = bench.stream(None).await;
    let start = stream.position().clone();
    let t = bench.collection("t");
    for id in odd_ids() {
        t.insert_one(doc! { "_id": id, "n": 1 }).await.expect("written");
    }
    t.update_many(doc! {}, doc! { "$set": { "n": 2 }, "$push": { "l": 1 } }).await.expect("written");
    t.replace_one(doc! { "_id": 1 }, doc! { "x": 1 }).await.expect("written");
    t.delete_many(doc! { "n": 2 }).await.expect("written");
    t.insert_many((0..30).map(|n| doc! { "n": n })).await.expect("written");
    bench.collection("u").insert_one(doc! {}).await.expect("written");
    let rename = doc! { "renameCollection": format!("{}.t", bench.database), "to": format!("{}.u", bench.database), "dropTarget": true };
    bench.client.database("admin").run_command(rename).await.expect("renamed");
    bench.db().create_collection("view").view_on("u").pipeline([]).await.expect("made");
    bench.collection("u").drop().await.expect("dropped");
    bench.end().await;
    let all = bench.read_to_the_end(&mut stream).await;
    let names: Vec<&str> = all.iter().map(|change| change.operation.name()).collect();
    let count = |name| names.iter().filter(|found| **found == name).count();
    let odd = odd_ids().len();
    assert_eq!((count("insert"), count("update"), count("replace")), (odd + 31, odd, 1));
    assert_eq!((count("delete"), count("create"), count("rename"), count("drop")), (odd - 1, 2, 1, 1));
    assert!(all.iter().all(|change| change.boundary));
    assert!(all.windows(2).all(|pair| pair[0].position < pair[1].position));
    assert!(start < all[0].position);
    let rename = all.iter().find(|change| change.operation.name() == "rename").expect("one");
    assert!(matches!(&rename.operation, Operation::Rename { drop_target: Some(_), .. }));
    for (at, change) in all.iter().enumerate() {
        let again = Position::parse(&change.position.text()).expect("reads back");
        let mut stream = bench.stream(Some(&again)).await;
        let rest = bench.read_to_the_end(&mut stream).await;
        let wanted: Vec<String> = all[at + 1..].iter().map(said).collect();
        assert_eq!(rest.iter().map(said).collect::<Vec<_>>(), wanted, "after {}", said(change));
    }
    bench.done().await;
}

#[tokio::test]
async fn a_transaction_has_one_boundary_and_comes_out_at_once() {
    let bench = Bench::new("txn").await;
    let t = bench.collection("t");
    t.insert_one(doc! { "_id": "first" }).await.expect("written");
    let mut stream = bench.stream(None).await;
    let mut session = bench.client.start_session().await.expect("session");
    let mut delays = Vec::new();
    for size in [1, 2, 3, 2000] {
        session.start_transaction().await.expect("started");
        for part in 0..size {
            let document = doc! { "_id": format!("{size}/{part}"), "pad": "x".repeat(10_000) };
            t.insert_one(document).session(&mut session).await.expect("written");
        }
        session.commit_transaction().await.expect("committed");
        let committed = Instant::now();
        let mut seen = Vec::new();
        while !seen.last().is_some_and(|boundary| *boundary) {
            let batch = stream.next().await.expect("follows");
            let ours = batch.changes.iter().filter(|change| *change.namespace.database == *bench.database);
            let before = seen.len();
            seen.extend(ours.map(|change| change.boundary));
            let open = seen.len() > before && !seen.last().is_some_and(|boundary| *boundary);
            assert!(!open || (batch.watermark.is_none() && !batch.caught_up), "a watermark inside a transaction");
            assert!(committed.elapsed() < PATIENCE);
        }
        delays.push(committed.elapsed());
        assert_eq!(seen.len(), size);
        assert_eq!(seen.iter().filter(|boundary| **boundary).count(), 1);
    }
    println!("from commit to boundary: {delays:?}");
    assert!(delays[1] < Duration::from_secs(1), "{delays:?}");
    bench.done().await;
}

#[tokio::test]
async fn a_watermark_moves_while_idle_and_time_goes_on() {
    let bench = Bench::new("idle").await;
    let mut stream = bench.stream(None).await;
    let started = Instant::now();
    let mut moved = 0;
    bench.collection("elsewhere").insert_one(doc! {}).await.expect("written");
    // The server writes a no-op every 10 s when nothing else happens; other tests' writes move the position as well.
    while moved < 2 && started.elapsed() < PATIENCE {
        let before = stream.position().clone();
        let batch = stream.next().await.expect("follows");
        if let Some(watermark) = batch.watermark {
            assert!(watermark > before);
            assert_eq!(*stream.position(), watermark);
        }
        moved += i32::from(*stream.position() > before);
        assert!(batch.server_time >= before.cluster_time());
    }
    assert_eq!(moved, 2);
    bench.done().await;
}

#[tokio::test]
async fn documents_at_the_limit_arrive_whole() {
    let bench = Bench::new("large").await;
    let t = bench.collection("t");
    let mut public = bench.probe.clone();
    public.updates = UpdateForm::Public;
    let mut streams = [bench.stream(None).await, bench.source.open_stream(&public, None).await.expect("opens")];
    // With 3 kB the server fails to split what it could send whole.
    for length in [10, 3_000] {
        let id = "i".repeat(length);
        let rest = 16_777_216 - 100 - length;
        t.insert_one(doc! { "_id": &id, "a": "x".repeat(rest) }).await.expect("written");
        t.replace_one(doc! { "_id": &id }, doc! { "a": "y".repeat(rest) }).await.expect("written");
        t.update_one(doc! { "_id": &id }, doc! { "$set": { "a": "z".repeat(rest) } }).await.expect("written");
        t.delete_one(doc! { "_id": &id }).await.expect("written");
    }
    bench.end().await;
    for stream in &mut streams {
        let all = bench.read_to_the_end(stream).await;
        let names: Vec<&str> = all.iter().map(|change| change.operation.name()).collect();
        let once = ["insert", "replace", "update", "delete"];
        assert_eq!(names, [&["create"][..], &once, &once].concat());
    }
    bench.done().await;
}

#[tokio::test]
async fn text_that_is_not_utf8_passes_untouched() {
    let bench = Bench::new("utf8").await;
    bench.collection("t").insert_one(doc! { "_id": 0 }).await.expect("written");
    let mut stream = bench.stream(None).await;
    let mut broken =
        rawdoc! { "insert": "t", "documents": [{ "_id": "QQ", "WW": "EE" }], "ordered": true }.into_bytes();
    for byte in &mut broken {
        if matches!(byte, b'Q' | b'W' | b'E') {
            *byte = 0xFF;
        }
    }
    let command = bson::RawDocumentBuf::from_bytes(broken).expect("length is right");
    bench.db().run_raw_command(command).await.expect("the server takes it");
    bench.end().await;
    let all = bench.read_to_the_end(&mut stream).await;
    let [Change { operation: Operation::Insert { document }, position, .. }] = &all[..] else { panic!("{all:?}") };
    assert_eq!(document.as_doc().bytes().iter().filter(|byte| **byte == 0xFF).count(), 6);
    let mut again = bench.stream(Some(position)).await;
    assert_eq!(bench.read_to_the_end(&mut again).await.len(), 0);
    let info = bench.info("t").await;
    assert_eq!(read(&bench, &info, &IdRange::default()).await.len(), 2);
    bench.done().await;
}

async fn read(bench: &Bench, info: &CollectionInfo, range: &IdRange) -> Vec<Raw> {
    let mut reader = bench.source.read_range(info, range, None, BATCH).await.expect("opens");
    let mut all = Vec::new();
    while let Some(batch) = reader.next_batch().await.expect("reads") {
        assert!(batch.bytes() > 0);
        all.extend(batch.docs().map(|doc| doc.expect("valid").to_owned()));
    }
    all
}

/// Reads by ranges and compares with all documents, as a multiset.
async fn ranges_cover(bench: &Bench, name: &str, documents: usize) -> usize {
    let info = bench.info(name).await;
    let size = bench.source.size(&info.namespace).await.expect("measured");
    assert_eq!(size.documents, u64::try_from(documents).expect("fits"));
    let ranges = bench.source.plan_ranges(&info, &size, size.bytes / 20).await.expect("planned");
    let mut found: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for range in &ranges {
        for document in read(bench, &info, range).await {
            *found.entry(document.as_doc().bytes().to_vec()).or_default() += 1;
        }
    }
    assert_eq!(found.len(), documents, "{name}: {} ranges", ranges.len());
    assert!(found.values().all(|times| *times == 1), "{name}: a document came twice");
    ranges.len()
}

#[tokio::test]
async fn ranges_hold_every_document_once_whatever_its_id() {
    let bench = Bench::new("ranges").await;
    let db = bench.db();
    let clustered = doc! { "create": "clustered", "clusteredIndex": { "key": { "_id": 1 }, "unique": true } };
    db.run_command(clustered).await.expect("made");
    db.run_command(doc! { "create": "capped", "capped": true, "size": 10_000_000 }).await.expect("made");
    let collation =
        doc! { "create": "collated", "collation": { "locale": "en", "strength": 1, "numericOrdering": true } };
    db.run_command(collation).await.expect("made");
    for name in ["plain", "clustered", "capped", "collated"] {
        let mut ids = odd_ids();
        for n in 0..500_i32 {
            ids.push(Bson::Int32(n + 10));
            ids.push(Bson::Double(f64::from(n) + 10.5));
            ids.push(Bson::String(format!("k{n}")));
            ids.push(Bson::Document(doc! { "n": n }));
            ids.push(Bson::ObjectId(bson::oid::ObjectId::new()));
        }
        let documents = ids.len();
        let all = ids.into_iter().map(|id| doc! { "_id": id, "pad": "x".repeat(50) });
        bench.collection(name).insert_many(all).await.expect("written");
        let ranges = ranges_cover(&bench, name, documents).await;
        assert!(ranges > 10, "{name}: {ranges} ranges");
    }
    let plain = bench.info("plain").await;
    let sample = bench.source.sample(&plain, bench.source.operation_time().await.expect("time"), 101).await;
    assert_eq!(sample.expect("sampled").len(), 101);
    bench.done().await;
}

#[tokio::test]
async fn a_range_is_read_as_it_was_and_found_by_its_uuid() {
    let bench = Bench::new("snapshot").await;
    let t = bench.collection("t");
    t.insert_many((0..5000).map(|n| doc! { "_id": n, "pad": "x".repeat(100) })).await.expect("written");
    let info = bench.info("t").await;
    let mut reader = bench.source.read_range(&info, &IdRange::default(), None, BATCH).await.expect("opens");
    let at = reader.cluster_time();
    t.delete_many(doc! { "_id": { "$gt": 10 } }).await.expect("written");
    let mut count = 0;
    while let Some(batch) = reader.next_batch().await.expect("reads") {
        count += batch.docs().count();
    }
    assert_eq!(count, 5000);
    let rename =
        doc! { "renameCollection": format!("{}.t", bench.database), "to": format!("{}.moved", bench.database) };
    bench.client.database("admin").run_command(rename).await.expect("renamed");
    t.insert_one(doc! { "_id": "another collection" }).await.expect("written");
    let mut reader =
        bench.source.read_range(&info, &IdRange::default(), None, BATCH).await.expect("follows the rename");
    assert!(reader.cluster_time() > at);
    assert_eq!(reader.next_batch().await.expect("reads").expect("some").docs().count(), 11);
    let found = bench.source.collection_by_id(&bench.database, info.id).await.expect("listed").expect("exists");
    assert_eq!(&*found.namespace.collection, "moved");
    bench.collection("moved").drop().await.expect("dropped");
    let error = bench.source.read_range(&info, &IdRange::default(), None, BATCH).await.expect_err("gone");
    assert_eq!(error.kind(), Kind::Interrupted, "{error}");
    let nothing = bench.source.size(&Namespace::new(&bench.database, "nothing")).await.expect("measured");
    assert_eq!(nothing, CollectionSize::default());
    let old = tailwater::model::position::ClusterTime { seconds: 1000, ordinal: 1 };
    let info = bench.info("t").await;
    let error = bench.source.read_range(&info, &IdRange::default(), Some(old), BATCH).await.expect_err("too old");
    assert_eq!(error.kind(), Kind::Interrupted, "{error}");
    bench.done().await;
}

#[tokio::test]
async fn the_catalogue_tells_collections_views_and_time_series_apart() {
    let bench = Bench::new("catalogue").await;
    let db = bench.db();
    bench.collection("b.c").insert_one(doc! {}).await.expect("written");
    db.run_command(doc! { "create": "a", "viewOn": "b.c", "pipeline": [] }).await.expect("made");
    db.run_command(doc! { "create": "z", "timeseries": { "timeField": "t" } }).await.expect("made");
    let all = bench.source.collections().await.expect("listed");
    assert!(all.is_sorted_by(|a, b| a.namespace < b.namespace));
    let ours = all.iter().filter(|info| *info.namespace.database == *bench.database);
    let ours: Vec<(&str, CollectionKind)> = ours.map(|info| (&*info.namespace.collection, info.kind)).collect();
    let wanted = [("a", CollectionKind::View), ("b.c", CollectionKind::Collection), ("z", CollectionKind::TimeSeries)];
    assert_eq!(ours, wanted);
    let view = bench.source.size(&Namespace::new(&bench.database, "a")).await.expect("measured");
    assert_eq!(view, CollectionSize::default());
    let window = bench.source.oplog_window().await.expect("asked");
    assert!(window.map_or(bench.probe.topology == Topology::Sharded, |window| window.first < window.last));
    bench.done().await;
}

#[tokio::test]
async fn errors_say_what_to_do_and_never_the_password() {
    let bench = Bench::new("errors").await;
    let cases = [
        ("mongodb://", Kind::Configuration),
        ("postgres://u:hunter2@h/", Kind::Configuration),
        ("mongodb://u:hunter2@h:port/", Kind::Configuration),
        ("mongodb://u:hunter2@h/?replicaset=rs0&nosuch=1&w=hunter2", Kind::Configuration),
        ("mongodb://u:hun/ter2@h/", Kind::Configuration),
        ("mongodb://u:hunter2@127.0.0.1:1/?serverSelectionTimeoutMS=300", Kind::Unavailable),
        ("mongodb://no.such.host.invalid/?serverSelectionTimeoutMS=300", Kind::Unavailable),
    ];
    for (uri, kind) in cases {
        let error = Source::connect(&options(uri)).await.expect_err("refused");
        println!("{error}");
        assert_eq!(error.kind(), kind, "{uri}: {error}");
        assert!(!format!("{error} {error:?}").contains("ter2"), "{error:?}");
    }
    let wrong = if bench.uri.contains("replicaSet=") {
        bench.uri.replace("replicaSet=rs0", "replicaSet=other")
    } else {
        format!("{}?replicaSet=other", bench.uri)
    };
    let error = Source::connect(&options(&wrong)).await.expect_err("refused");
    assert_eq!(error.kind(), Kind::Configuration, "{error}");
    bench.done().await;
}
