//! Updates by every operator, made to fit the document as it is, so that most of them are taken.

use super::places::{Place, place};
use super::shapes::{self, Field, Shape};
use super::values::{self, Kind};
use crate::decode::bson::{Fields, Value, fields};
use crate::workload::random::Random;

/// What an update command has besides its query.
#[derive(Debug, Clone)]
pub struct Update {
    /// A document of operators, or a pipeline.
    pub change: Value,
    pub array_filters: Option<Value>,
}

/// One update of this document.
pub fn update(random: &mut Random, document: &Fields, tree: &[Field]) -> Update {
    match random.below(10) {
        0 | 1 => Update { change: pipeline(random, document, tree), array_filters: None },
        2 => filtered(random, document, tree),
        _ => Update { change: Value::Document(operators(random, document, tree)), array_filters: None },
    }
}

fn one(name: &str, value: Value) -> Value {
    Value::Document(fields([(name, value)]))
}

fn at(path: &[u8], value: Value) -> Value {
    Value::Document(vec![(path.to_vec(), value)])
}

/// One to four operators at places that do not touch each other.
fn operators(random: &mut Random, document: &Fields, tree: &[Field]) -> Fields {
    let mut update = Fields::new();
    let mut taken: Vec<Vec<u8>> = Vec::new();
    for _ in 0..=random.below(4) {
        let Some(place) = place(random, document, tree) else { break };
        let top = place.path.split(|b| *b == b'.').next().unwrap_or_default().to_vec();
        if taken.contains(&top) {
            continue;
        }
        taken.push(top);
        let (operator, argument) = operator(random, &place, &taken);
        let known = update.iter_mut().find(|(name, _)| name == operator.as_bytes());
        match known {
            Some((_, Value::Document(arguments))) => arguments.push((place.path, argument)),
            _ => update.push((operator.as_bytes().to_vec(), at(&place.path, argument))),
        }
    }
    if update.is_empty() { fields([("$set", one("f0", values::scalar(random)))]) } else { update }
}

fn operator(random: &mut Random, place: &Place<'_>, taken: &[Vec<u8>]) -> (&'static str, Value) {
    match random.below(20) {
        0 | 1 => return ("$unset", Value::text("")),
        2 => {
            let new = format!("f{}", random.below(12));
            if !taken.contains(&new.clone().into_bytes()) && !place.path.starts_with(new.as_bytes()) {
                return ("$rename", Value::text(&new));
            }
        }
        3 => return ("$set", shapes::anything(random, 2)),
        4 => return (*random.pick(&["$min", "$max"]), fresh(random, place)),
        _ => {}
    }
    match place.now {
        Some(Value::Int32(_) | Value::Int64(_)) if random.percent(30) => {
            let and = one(random.pick::<&str>(&["and", "or", "xor"]), Value::Int32(random.between(0, 255) as i32));
            if random.percent(20) { ("$bit", and) } else { arithmetic(random) }
        }
        Some(Value::Double(_) | Value::Decimal128(_)) if random.percent(40) => arithmetic(random),
        Some(Value::Array(items)) if random.percent(80) => array_operator(random, place, items),
        _ => ("$set", fresh(random, place)),
    }
}

fn arithmetic(random: &mut Random) -> (&'static str, Value) {
    let number = match random.below(4) {
        0 => Value::Int64(1 << random.below(50)),
        1 => Value::Double(0.5),
        2 => values::value(random, Kind::Decimal),
        _ => Value::Int32(random.between(-5, 5) as i32),
    };
    (*random.pick(&["$inc", "$mul"]), number)
}

/// A value that belongs there.
fn fresh(random: &mut Random, place: &Place<'_>) -> Value {
    match (place.field, place.now) {
        (Some(field), _) if !is_element(&place.path) => shapes::value(random, field),
        (Some(field), _) => item(random, field),
        (None, Some(Value::String(_))) => Value::String(values::text(random)),
        (None, Some(Value::Int32(_))) => values::value(random, Kind::Number),
        _ => values::scalar(random),
    }
}

fn is_element(path: &[u8]) -> bool {
    let last = path.rsplit(|b| *b == b'.').next().unwrap_or_default();
    path.contains(&b'.') && !last.is_empty() && last.iter().all(u8::is_ascii_digit)
}

/// An element of an array at that field.
fn item(random: &mut Random, field: &Field) -> Value {
    match &field.shape {
        Shape::Objects(inner) | Shape::Object(inner) => shapes::element(random, inner),
        Shape::Scalar(kind) | Shape::Scalars(kind) => values::value(random, *kind),
        Shape::Matrix(kind) => Value::Array((0..random.below(4)).map(|_| values::value(random, *kind)).collect()),
    }
}

fn new_item(random: &mut Random, place: &Place<'_>) -> Value {
    match place.field {
        Some(field) => item(random, field),
        None => values::scalar(random),
    }
}

fn array_operator(random: &mut Random, place: &Place<'_>, items: &[Value]) -> (&'static str, Value) {
    let some = if items.is_empty() { Value::Int32(1) } else { random.pick(items).clone() };
    let mut push =
        vec![(b"$each".to_vec(), Value::Array((0..1 + random.below(3)).map(|_| new_item(random, place)).collect()))];
    match random.below(10) {
        0 => ("$pullAll", Value::Array(vec![some])),
        1 if matches!(some, Value::Document(_) | Value::Regex(..)) => ("$pull", one("$exists", Value::Boolean(true))),
        1 => ("$pull", some),
        2 => ("$pop", Value::Int32(*random.pick(&[1, -1]))),
        3 => ("$addToSet", one("$each", Value::Array(vec![some, new_item(random, place)]))),
        4 => ("$push", new_item(random, place)),
        _ => {
            let number = |random: &mut Random, from, to| Value::Int32(random.between(from, to) as i32);
            if random.percent(50) {
                push.push((b"$position".to_vec(), number(random, -2, 3)));
            }
            if random.percent(25) {
                push.push((b"$sort".to_vec(), number(random, 0, 1)));
                if let Some((_, Value::Int32(order))) = push.last_mut() {
                    *order = *order * 2 - 1;
                }
            }
            if random.percent(40) {
                push.push((b"$slice".to_vec(), number(random, -3, 4)));
            }
            ("$push", Value::Document(push))
        }
    }
}

/// `$[]` and `$[e]` in an array of the document.
fn filtered(random: &mut Random, document: &Fields, tree: &[Field]) -> Update {
    for _ in 0..5 {
        let Some(place) = place(random, document, tree) else { break };
        let Some(Value::Array(items)) = place.now else { continue };
        let inner = match items.iter().find_map(|i| if let Value::Document(d) = i { Some(d) } else { None }) {
            Some(d) => d.iter().map(|(name, _)| name).find(|name| super::names::is_plain(name)).cloned(),
            None => None,
        };
        let below = inner.map(|name| [&b"."[..], &name].concat()).unwrap_or_default();
        let argument = if below.is_empty() { new_item(random, &place) } else { values::scalar(random) };
        if random.percent(40) {
            let path = [&place.path, &b".$[]"[..], &below].concat();
            return Update { change: one("$set", at(&path, argument)), array_filters: None };
        }
        let path = [&place.path, &b".$[e]"[..], &below].concat();
        let some = if items.is_empty() { Value::Int32(1) } else { random.pick(items).clone() };
        let filter = match random.below(3) {
            0 => one("e", one("$type", Value::text("object"))),
            1 => one("e", one("$ne", Value::Null)),
            _ => one("e", one("$eq", some)),
        };
        return Update { change: one("$set", at(&path, argument)), array_filters: Some(Value::Array(vec![filter])) };
    }
    Update { change: Value::Document(operators(random, document, tree)), array_filters: None }
}

/// An aggregation pipeline as an update: MongoDB reports it as the smallest delta that it finds.
fn pipeline(random: &mut Random, document: &Fields, tree: &[Field]) -> Value {
    let literal = |value| one("$literal", value);
    let mut stages = Vec::new();
    for _ in 0..=random.below(2) {
        let Some(place) = place(random, document, tree) else { continue };
        let reference = Value::String([&b"$"[..], &place.path].concat());
        let stage = match (random.below(9), place.now) {
            (0, _) => one("$unset", Value::String(place.path)),
            (1, Some(Value::Array(_))) => {
                let slice = Value::Array(vec![reference, Value::Int32(random.between(1, 3) as i32)]);
                one("$set", at(&place.path, one("$slice", slice)))
            }
            (2, Some(Value::Array(_))) => one("$set", at(&place.path, one("$reverseArray", reference))),
            (3, Some(Value::Array(_))) => {
                let new = Value::Array(vec![literal(new_item(random, &place))]);
                one("$set", at(&place.path, one("$concatArrays", Value::Array(vec![new, reference]))))
            }
            (4, _) => {
                let merged = Value::Document(shapes::document(random, tree));
                let both = Value::Array(vec![Value::text("$$ROOT"), literal(merged)]);
                one("$replaceWith", one("$mergeObjects", both))
            }
            (5, _) => one("$set", at(format!("f{}", random.below(12)).as_bytes(), reference)),
            (6 | 7, _) => set_field(random, tree),
            _ => one("$set", at(&place.path, literal(fresh(random, &place)))),
        };
        stages.push(stage);
    }
    if stages.is_empty() {
        stages.push(set_field(random, tree));
    }
    Value::Array(stages)
}

/// `$setField` takes every name that is UTF-8, dots and dollars too.
fn set_field(random: &mut Random, tree: &[Field]) -> Value {
    let field = random.pick(tree);
    let set = fields([
        ("field", one("$literal", Value::String(field.name.clone()))),
        ("input", Value::text("$$ROOT")),
        (
            "value",
            if random.percent(15) { Value::text("$$REMOVE") } else { one("$literal", shapes::value(random, field)) },
        ),
    ]);
    one("$replaceWith", one("$setField", Value::Document(set)))
}
