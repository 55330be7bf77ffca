//! Random updates, read in both forms: either diff, applied step by step, gives what the server holds.
//!
//! The seed is printed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bson::{Bson, Document, bson, doc};
use mongodb::Client;
use tailwater::model::bson::Document as Raw;
use tailwater::model::change::Operation;
use tailwater::model::secret::Secret;
use tailwater::source::{ChangeStream, ReadPreference, ReaderKind, Source, SourceOptions, UpdateForm};

use crate::harness::servers;
use crate::workload::random::{Random, seed};

/// Random parts of updates.
struct Dice(Random);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0.below(sides)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }

    fn value(&mut self, depth: usize) -> Bson {
        match self.roll(if depth == 0 { 3 } else { 6 }) {
            0 => Bson::Int32(i32::try_from(self.roll(1000)).expect("fits")),
            1 => Bson::String(format!("s{}", self.roll(1000))),
            2 => Bson::Null,
            3 => Bson::Array((0..self.roll(5)).map(|_| self.value(depth - 1)).collect()),
            _ => Bson::Document(
                (0..self.roll(5)).map(|_| (self.pick(&NAMES).to_owned(), self.value(depth - 1))).collect(),
            ),
        }
    }
}

/// Names that paths can be built of, numbers among them.
const NAMES: [&str; 7] = ["a", "b", "c", "0", "1", "2", "10"];
/// Names that only a pipeline can set.
const DOTTED: [&str; 6] = ["a.b", "a.0", "0.1", ".c", "b.", "1.a.0"];

/// An update: by operators along a path that may or may not exist, or by a pipeline.
fn update(dice: &mut Dice) -> (Document, bool) {
    let depth = 1 + dice.roll(3);
    let path: Vec<&str> = (0..depth).map(|_| dice.pick(&NAMES)).collect();
    let path = path.join(".");
    let value = dice.value(2);
    let literal = || doc! { "$literal": value.clone() };
    let set_field = |name: &str, value: Bson| {
        doc! { "$replaceWith": { "$setField": { "field": { "$literal": name }, "input": "$$ROOT", "value": value } } }
    };
    match dice.roll(9) {
        0 | 1 => (doc! { "$set": { path: value } }, false),
        2 => (doc! { "$unset": { path: 1 } }, false),
        3 => (doc! { "$push": { path: value } }, false),
        4 => (doc! { "$push": { path: { "$each": [value], "$position": 0, "$slice": 6 } } }, false),
        5 => (doc! { "$pop": { path: 1 } }, false),
        6 => (set_field(dice.pick(&DOTTED), Bson::Document(literal())), true),
        7 => (set_field(dice.pick(&DOTTED), Bson::String("$$REMOVE".into())), true),
        _ => {
            let name = dice.pick(&["a", "b", "c"]);
            let keep = i32::try_from(dice.roll(4)).expect("fits") + 1;
            let array = format!("${name}");
            let cut = doc! { "$cond": [{ "$isArray": [&array] }, { "$slice": [&array, keep] }, literal()] };
            (doc! { "$set": { name: cut } }, true)
        }
    }
}

fn number(name: &str) -> usize {
    name.parse().expect("an index")
}

fn section(value: &Bson) -> &Document {
    value.as_document().expect("a section")
}

/// The oplog's rules for a `$v: 2` diff, for tests only.
fn apply(target: &mut Document, diff: &Document) {
    for (name, value) in diff {
        match name.split_at(1) {
            ("d", "") => section(value).keys().for_each(|field| drop(target.remove(field))),
            ("u", "") => section(value).iter().for_each(|(field, new)| drop(target.insert(field, new.clone()))),
            ("i", "") => {
                for (field, new) in section(value) {
                    target.remove(field);
                    target.insert(field, new.clone());
                }
            }
            ("s", field) => {
                if let Some(inside) = target.get_mut(field) {
                    apply_value(inside, section(value));
                }
            }
            _ => unreachable!("section {name}"),
        }
    }
}

fn apply_value(target: &mut Bson, diff: &Document) {
    let is_array = diff.contains_key("a");
    match target {
        Bson::Document(inside) if !is_array => apply(inside, diff),
        Bson::Array(elements) if is_array => apply_array(elements, diff),
        other => *other = Bson::Null,
    }
}

fn apply_array(elements: &mut Vec<Bson>, diff: &Document) {
    for (name, value) in diff {
        match name.split_at(1) {
            ("a", _) => {}
            ("l", _) => {
                let length = value.as_i32().map(i64::from).or(value.as_i64()).expect("a length");
                elements.resize(usize::try_from(length).expect("fits"), Bson::Null);
            }
            (kind, index) => {
                let index = number(index);
                if elements.len() <= index {
                    elements.resize(index + 1, Bson::Null);
                }
                match kind {
                    "u" => elements[index] = value.clone(),
                    "s" => apply_value(&mut elements[index], section(value)),
                    _ => unreachable!("section {name}"),
                }
            }
        }
    }
}

fn parsed(raw: &Raw) -> Document {
    Document::from_reader(raw.as_doc().bytes()).expect("decodes")
}

/// Field order aside: the public form does not say where a field was put.
fn unordered(value: &Bson) -> Bson {
    match value {
        Bson::Document(inside) => {
            let sorted: BTreeMap<&String, Bson> = inside.iter().map(|(name, value)| (name, unordered(value))).collect();
            Bson::Document(sorted.into_iter().map(|(name, value)| (name.clone(), value)).collect())
        }
        Bson::Array(elements) => Bson::Array(elements.iter().map(unordered).collect()),
        other => other.clone(),
    }
}

/// Follows until `updates` updates or replaces of `database` came; gives the documents after each.
async fn states(stream: &mut ChangeStream, database: &str, updates: usize) -> (Vec<Document>, usize) {
    let started = Instant::now();
    let (mut current, mut states, mut diffs): (BTreeMap<String, Document>, _, _) = (BTreeMap::new(), Vec::new(), 0);
    while states.len() < updates {
        assert!(started.elapsed() < Duration::from_secs(60), "{} of {updates} came", states.len());
        for change in stream.next().await.expect("follows").changes {
            if *change.namespace.database != *database {
                continue;
            }
            match change.operation {
                Operation::Insert { document } | Operation::Replace { document } => {
                    let document = parsed(&document);
                    let id = document.get("_id").expect("an id").to_string();
                    if current.insert(id, document.clone()).is_some() {
                        states.push(document);
                    }
                }
                Operation::Update { key, diff } => {
                    let id = parsed(&key).get("_id").expect("an id").to_string();
                    let document = current.get_mut(&id).expect("inserted before");
                    apply(document, &parsed(&diff));
                    states.push(document.clone());
                    diffs += 1;
                }
                Operation::Delete { .. }
                | Operation::Retry { .. }
                | Operation::Create
                | Operation::Drop
                | Operation::Rename { .. } => {}
                Operation::DropDatabase => {}
            }
        }
    }
    (states, diffs)
}

#[tokio::test]
async fn both_forms_of_an_update_give_the_same_document() {
    let seed = seed("source_updates");
    let uri = servers::shared().mongodb_uri.clone();
    let database = format!("source_updates_{}", std::process::id());
    let client = Client::with_uri_str(&uri).await.expect("the server answers");
    let documents = client.database(&database).collection::<Document>("t");
    documents.drop().await.expect("dropped");
    let options = SourceOptions {
        uri: Secret::new(uri),
        read_preference: ReadPreference::Primary,
        reader: ReaderKind::ChangeStream,
        updates: UpdateForm::Auto,
    };
    let source = Source::connect(&options).await.expect("connects");
    let raw = source.probe().await.expect("can be followed");
    let mut public = raw.clone();
    assert_eq!(raw.updates, UpdateForm::Raw);
    public.updates = UpdateForm::Public;
    let mut raw_stream = source.open_stream(&raw, None).await.expect("opens");
    let mut public_stream = source.open_stream(&public, None).await.expect("opens");

    let mut dice = Dice(Random::new(seed, 0));
    let (mut states_wanted, mut refused) = (Vec::new(), 0);
    for id in 0..40 {
        // The padding keeps the server from writing a replacement instead of a diff.
        let mut start = doc! { "_id": id, "pad": "x".repeat(4000) };
        for name in NAMES.iter().chain(&DOTTED) {
            if dice.roll(2) == 0 {
                start.insert(*name, dice.value(3));
            }
        }
        documents.insert_one(&start).await.expect("written");
        for _ in 0..40 {
            let (update, pipeline) = update(&mut dice);
            let done = if pipeline {
                documents.update_one(doc! { "_id": id }, vec![update]).await
            } else {
                documents.update_one(doc! { "_id": id }, update).await
            };
            match done {
                Ok(result) if result.modified_count == 1 => {
                    states_wanted.push(documents.find_one(doc! { "_id": id }).await.expect("read").expect("there"));
                }
                Ok(_) => {}
                // A path through something that is no document.
                Err(_) => refused += 1,
            }
        }
    }
    let (raw_states, raw_diffs) = states(&mut raw_stream, &database, states_wanted.len()).await;
    let (public_states, public_diffs) = states(&mut public_stream, &database, states_wanted.len()).await;
    println!("{} updates, {raw_diffs} diffs, {refused} refused", states_wanted.len());
    assert_eq!(raw_diffs, public_diffs);
    assert!(raw_diffs > 500, "{raw_diffs} diffs");
    for ((wanted, raw), public) in states_wanted.iter().zip(&raw_states).zip(&public_states) {
        assert_eq!(
            raw.to_vec().expect("encodes"),
            wanted.to_vec().expect("encodes"),
            "raw form: {raw} is not {wanted}"
        );
        let (public, wanted) = (Bson::Document(public.clone()), Bson::Document(wanted.clone()));
        assert_eq!(unordered(&public), unordered(&wanted), "public form");
    }
    documents.drop().await.expect("dropped");
}

#[tokio::test]
async fn one_update_of_a_dotted_field_and_of_the_field_inside_is_told_apart() {
    let uri = servers::shared().mongodb_uri.clone();
    let database = format!("source_dotted_{}", std::process::id());
    let client = Client::with_uri_str(&uri).await.expect("the server answers");
    let documents = client.database(&database).collection::<Document>("t");
    documents.drop().await.expect("dropped");
    let options = SourceOptions {
        uri: Secret::new(uri),
        read_preference: ReadPreference::Primary,
        reader: ReaderKind::ChangeStream,
        updates: UpdateForm::Public,
    };
    let source = Source::connect(&options).await.expect("connects");
    let probe = source.probe().await.expect("can be followed");
    let mut stream = source.open_stream(&probe, None).await.expect("opens");
    let set = |input: Bson, field: &str, value: i32| bson!({ "$setField": { "field": field, "input": input, "value": value } });
    let start = doc! { "_id": 1, "pad": "x".repeat(4000), "a.b": 0, "a.c.d": 0, "0.0": 0,
    "a": { "b": 0, "c": { "d": 0 }, "c.d": 0, "pad": "y".repeat(500) }, "0": [0, 1, 2, 3, 4, 5, 6, 7] };
    documents.insert_one(&start).await.expect("written");
    let updates = [
        vec![doc! { "$set": { "a.b": 1 } }, doc! { "$replaceWith": set("$$ROOT".into(), "a.b", 2) }],
        vec![doc! { "$replaceWith": set("$$ROOT".into(), "a.b", 3) }, doc! { "$set": { "a.b": 4 } }],
        vec![
            doc! { "$set": { "a.c.d": 5 } },
            doc! { "$set": { "a": set("$a".into(), "c.d", 6) } },
            doc! { "$replaceWith": set("$$ROOT".into(), "a.c.d", 7) },
        ],
        vec![
            doc! { "$replaceWith": set("$$ROOT".into(), "0.0", 8) },
            doc! { "$set": { "0": { "$concatArrays": [[9], { "$slice": ["$0", 1, 7] }] } } },
        ],
    ];
    let mut wanted = Vec::new();
    for update in &updates {
        documents.update_one(doc! { "_id": 1 }, update.clone()).await.expect("written");
        wanted.push(documents.find_one(doc! {}).await.expect("read").expect("there"));
    }
    let (found, diffs) = states(&mut stream, &database, updates.len()).await;
    assert_eq!((found, diffs), (wanted, updates.len()));
    documents.drop().await.expect("dropped");
}
