//! Change decoding: bytes as replies of a change stream, as updates in the public form, as raw BSON.
//!
//! Beyond "no panic": well-formed events all come out, once, in order, with the documents that went in; a diff that comes
//! out of the public form can be read and applied; what the reader reads, the writer writes.

use tailwater::mapping::json_diff;
use tailwater::model::bson::{Doc, Document, Value};
use tailwater::model::change::{Change, Operation};
use tailwater::model::position::Position;
use tailwater::source::fuzzing::{Stream, public_diff, rewritten};

use super::input::Input;
use super::tree::{self, Fields, NULL, Names, Tree, binary, encode, int32, string, timestamp};

/// One run of the target.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(5) {
        0 => raw_replies(&mut input),
        1 => odd_events(&mut input),
        2 => good_events(&mut input),
        3 => public_form(&mut input),
        _ => raw_bson(&mut input),
    }
}

fn stream(input: &mut Input<'_>) -> Stream {
    let start = Position::parse("8200000000000000002B0429296E1404").expect("a token");
    Stream::new(start, input.one_in(2))
}

fn raw_replies(input: &mut Input<'_>) {
    let mut stream = stream(input);
    // A length that fits, so that more than the first four bytes matter.
    let mut bytes = input.rest().to_vec();
    if bytes.len() >= 5 {
        let length = i32::try_from(bytes.len()).expect("small").to_le_bytes();
        bytes[..4].copy_from_slice(&length);
        bytes.pop();
        bytes.push(0);
    }
    let _ = stream.reply(&bytes);
    let _ = stream.reply(&bytes);
}

fn field(name: &str, value: Tree) -> (Vec<u8>, Tree) {
    (name.as_bytes().to_vec(), value)
}

fn token(seconds: u32, ordinal: u32, rest: &str) -> Tree {
    Tree::Document(vec![field("_data", string(format!("82{seconds:08X}{ordinal:08X}{rest}")))])
}

fn namespace(database: &str, collection: &str) -> Tree {
    Tree::Document(vec![field("db", string(database)), field("coll", string(collection))])
}

fn reply(events: Vec<Fields>, token: Option<Tree>, time: Tree) -> Vec<u8> {
    let batch = Tree::Array(events.into_iter().map(Tree::Document).collect());
    let mut cursor = vec![field("nextBatch", batch)];
    cursor.extend(token.map(|token| field("postBatchResumeToken", token)));
    encode(&vec![field("cursor", Tree::Document(cursor)), field("operationTime", time)])
}

/// Events with fields of every kind, right and wrong, in any order and number.
fn odd_events(input: &mut Input<'_>) {
    const TYPES: [&str; 12] = [
        "insert",
        "replace",
        "update",
        "delete",
        "create",
        "drop",
        "rename",
        "dropDatabase",
        "invalidate",
        "modify",
        "createIndexes",
        "news",
    ];
    let mut stream = stream(input);
    for _ in 0..=input.below(3) {
        let mut events = Vec::new();
        for _ in 0..input.below(5) {
            let mut event = vec![field("operationType", string(input.pick(&TYPES)))];
            for _ in 0..input.below(12) {
                event.push(odd_field(input));
            }
            events.push(event);
        }
        let token = (!input.one_in(4)).then(|| token(u32::from(input.byte()), 1, "2B0429"));
        let bytes = reply(events, token, tree::scalar(input));
        let Ok(batch) = stream.reply(&bytes) else { return };
        for change in &batch.changes {
            readable(change);
        }
        if let (Some(watermark), Some(last)) = (&batch.watermark, batch.changes.last()) {
            assert!(*watermark > last.position, "a watermark is later than the changes before it");
        }
    }
}

fn odd_field(input: &mut Input<'_>) -> (Vec<u8>, Tree) {
    const DATABASES: [&str; 6] = ["d", "admin", "config", "local", "", "\u{FFFD}"];
    let document = |input: &mut Input<'_>| Tree::Document(tree::document(input, Names::Any, 3));
    let (name, good) = match input.below(12) {
        0 => ("_id", token(u32::from(input.byte()), u32::from(input.byte()), input.pick(&["", "2B", "0", "zz"]))),
        1 => ("clusterTime", timestamp(u32::from(input.byte()), u32::from(input.byte()))),
        2 => ("ns", namespace(input.pick(&DATABASES), input.pick(&["c", "system.x", "", "a.b"]))),
        3 => ("to", namespace(input.pick(&DATABASES), "to")),
        4 => ("collectionUUID", binary(input.pick(&[4, 4, 3]), &[input.byte(); 16])),
        5 => ("documentKey", document(input)),
        6 => ("fullDocument", document(input)),
        7 => {
            let mut fields = tree::document(input, Names::Clean, 2);
            let diff = tree::change(&mut fields, input, 0);
            let version = int32(if input.one_in(8) { 3 } else { 2 });
            ("rawUpdateDescription", Tree::Document(vec![field("$v", version), field("diff", Tree::Document(diff))]))
        }
        8 => ("updateDescription", Tree::Document(update_description(input))),
        9 => {
            let target = field("dropTarget", binary(4, &[input.byte(); 16]));
            ("operationDescription", Tree::Document(vec![target]))
        }
        10 => (input.pick(&["lsid", "txnNumber"]), tree::scalar(input)),
        _ => {
            let (part, of) = (int32(i32::from(input.byte()) - 2), int32(i32::from(input.byte()) - 2));
            ("splitEvent", Tree::Document(vec![field("fragment", part), field("of", of)]))
        }
    };
    if input.one_in(8) {
        return field(name, tree::value(input, Names::Any, 4));
    }
    field(name, good)
}

/// Everything in a change can be read, or is refused; nothing in between.
fn readable(change: &Change) {
    let document = match &change.operation {
        Operation::Insert { document } | Operation::Replace { document } => document,
        Operation::Update { diff, .. } => diff,
        Operation::Delete { key } => key,
        Operation::Retry { .. }
        | Operation::Create
        | Operation::Drop
        | Operation::Rename { .. }
        | Operation::DropDatabase => return,
    };
    assert!(change.weight() >= document.len());
    read(document.as_doc());
}

fn read(document: Doc<'_>) -> usize {
    document.elements().filter_map(Result::ok).map(|(_, value)| read_value(value)).sum()
}

fn read_value(value: Value<'_>) -> usize {
    match value {
        Value::Document(inner) | Value::Array(inner) | Value::CodeWithScope { scope: inner, .. } => 1 + read(inner),
        _ => 1,
    }
}

/// Well-formed events, whole and in parts, alone and in transactions, over any number of replies.
fn good_events(input: &mut Input<'_>) {
    let mut stream = stream(input);
    let mut sent: Vec<Fields> = Vec::new();
    let mut came: Vec<Change> = Vec::new();
    let mut time = 1;
    for _ in 0..=input.below(3) {
        let mut events = Vec::new();
        let transaction = input.one_in(2);
        for _ in 0..input.below(5) {
            if !transaction {
                time += 1;
            }
            let document = tree::document(input, Names::Any, 3);
            let place = sent.len();
            let mut event = vec![
                field("_id", token(time, 1, &format!("2B{place:04X}"))),
                field("operationType", string("insert")),
                field("clusterTime", timestamp(time, 1)),
                field("ns", namespace("d", "c")),
                field("collectionUUID", binary(4, &[7; 16])),
            ];
            if transaction {
                event.push(field("txnNumber", int32(1)));
            }
            let full = field("fullDocument", Tree::Document(document.clone()));
            events.extend(parts(input, event, full, time, place));
            sent.push(document);
        }
        time += 1;
        let bytes = reply(events, Some(token(time, 1, "2A")), timestamp(time, 1));
        let batch = stream.reply(&bytes).expect("a good reply");
        came.extend(batch.changes);
    }
    let bytes = reply(Vec::new(), Some(token(time + 1, 1, "2A")), timestamp(time + 1, 1));
    let last = stream.reply(&bytes).expect("an empty reply");
    came.extend(last.changes);
    assert!(last.caught_up && last.watermark.is_some(), "after an empty reply nothing is held back");
    assert_eq!(sent.len(), came.len(), "every event is one change");
    for (document, change) in sent.iter().zip(&came) {
        let Operation::Insert { document: found } = &change.operation else { panic!("an insert") };
        assert_eq!(found.as_doc().bytes(), encode(document), "the document as it was sent");
    }
    assert!(came.windows(2).all(|pair| pair[0].position < pair[1].position), "in order");
    assert!(came.last().is_none_or(|change| change.boundary), "the last change of all is a boundary");
}

/// The event as it is, or cut in two as `$changeStreamSplitLargeEvent` does.
fn parts(input: &mut Input<'_>, mut event: Fields, full: (Vec<u8>, Tree), time: u32, place: usize) -> Vec<Fields> {
    if !input.one_in(3) {
        event.push(full);
        return vec![event];
    }
    let split = |n| field("splitEvent", Tree::Document(vec![field("fragment", int32(n)), field("of", int32(2))]));
    event[0] = field("_id", token(time, 1, &format!("2A{place:04X}")));
    event.push(split(1));
    vec![event, vec![field("_id", token(time, 1, &format!("2B{place:04X}"))), split(2), full]]
}

fn update_description(input: &mut Input<'_>) -> Fields {
    const PATHS: [&str; 14] =
        ["a", "b", "a.b", "a.0", "a.0.b", "a.1.2", "0", "a.", ".a", "", "a.b.c", "a.4294967296", "a.-1", "b.0"];
    let path = |input: &mut Input<'_>| {
        if input.one_in(6) { tree::name(input, Names::Any) } else { input.pick(&PATHS).as_bytes().to_vec() }
    };
    let set = (0..input.below(5)).map(|_| (path(input), tree::value(input, Names::Any, 4))).collect();
    let gone = (0..input.below(4)).map(|_| string(path(input))).collect();
    let cut = (0..input.below(3)).map(|_| {
        let size = if input.one_in(8) { tree::scalar(input) } else { int32(i32::from(input.byte())) };
        Tree::Document(vec![field("field", string(path(input))), field("newSize", size)])
    });
    let cut = cut.collect();
    let step = |input: &mut Input<'_>| match input.below(4) {
        0 => int32(i32::from(input.byte())),
        1 => tree::scalar(input),
        _ => string(input.pick(&PATHS)),
    };
    let meanings = (0..input.below(3))
        .map(|_| (path(input), Tree::Array((0..input.below(4)).map(|_| step(input)).collect())))
        .collect();
    vec![
        field("updatedFields", Tree::Document(set)),
        field("removedFields", Tree::Array(gone)),
        field("truncatedArrays", Tree::Array(cut)),
        field("disambiguatedPaths", if input.one_in(4) { NULL } else { Tree::Document(meanings) }),
    ]
}

fn public_form(input: &mut Input<'_>) {
    let description = Document::new(encode(&update_description(input))).expect("a document");
    let Some(diff) = public_diff(description.as_doc()) else { return };
    well_formed(diff.as_doc());
    for stored in [r#"{"a":[{"b":1},[1,2,3]],"b":{"c":null}}"#, "[1]", "null"] {
        let applied = json_diff::apply(stored, [&diff]).expect("a diff of a value that is known");
        serde_json::from_str::<serde_json::Value>(&applied).expect("JSON");
    }
}

/// All of it can be read.
fn well_formed(document: Doc<'_>) {
    for element in document.elements() {
        if let (_, Value::Document(inner) | Value::Array(inner)) = element.expect("well formed") {
            well_formed(inner);
        }
    }
}

fn raw_bson(input: &mut Input<'_>) {
    let bytes = if input.one_in(2) {
        let bytes = encode(&tree::document(input, Names::Any, 0));
        let document = Doc::new(&bytes).expect("a document");
        let again = rewritten(document).expect("well formed");
        // Of data of subtype 2 that is shorter than its inner length only the data is read.
        assert_eq!(again.as_doc().bytes(), bytes, "written as it was read");
        bytes
    } else {
        let rest = input.rest();
        let length = i32::try_from(rest.len() + 5).expect("small").to_le_bytes();
        [&length[..], rest, &[0]].concat()
    };
    let document = Doc::new(&bytes).expect("a length that fits");
    let _ = (document.get("a"), document.is_empty(), read(document));
    let Ok(again) = rewritten(document) else { return };
    let values = |document: Doc<'_>| format!("{:?}", document.elements().collect::<Vec<_>>());
    assert_eq!(values(again.as_doc()), values(document), "what was read is what was written");
}
