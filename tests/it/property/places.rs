//! Places in a document that an update can address, and what the collection has there.

use super::names::is_plain;
use super::shapes::{Field, Shape};
use crate::decode::bson::{Fields, Value};
use crate::workload::random::Random;

/// A place below the root of a document as it is now.
#[derive(Debug, Clone)]
pub struct Place<'d> {
    /// As an update operator names it.
    pub path: Vec<u8>,
    pub now: Option<&'d Value>,
    /// What the collection's documents mostly have there.
    pub field: Option<&'d Field>,
}

/// A random place at any depth, if the document has one that can be named.
pub fn place<'d>(random: &mut Random, document: &'d Fields, tree: &'d [Field]) -> Option<Place<'d>> {
    let mut place = root(random, document, tree)?;
    while random.percent(60) {
        match below(random, &place) {
            Some(deeper) => place = deeper,
            None => break,
        }
    }
    Some(place)
}

fn root<'d>(random: &mut Random, document: &'d Fields, tree: &'d [Field]) -> Option<Place<'d>> {
    let name = a_name(random, document, tree)?;
    Some(Place { path: name.clone(), now: value_of(document, &name), field: field_of(tree, &name) })
}

fn below<'d>(random: &mut Random, place: &Place<'d>) -> Option<Place<'d>> {
    match place.now? {
        Value::Document(fields) => {
            let inner = match place.field.map(|field| &field.shape) {
                Some(Shape::Object(inner) | Shape::Objects(inner)) => inner.as_slice(),
                _ => &[],
            };
            let name = a_name(random, fields, inner)?;
            let path = [&place.path, &b"."[..], &name].concat();
            Some(Place { path, now: value_of(fields, &name), field: field_of(inner, &name) })
        }
        Value::Array(items) => {
            // Mostly an element that exists, sometimes the next or one beyond.
            let index = if random.percent(80) { random.below(items.len()) } else { items.len() + random.below(3) };
            let path = [&place.path, format!(".{index}").as_bytes()].concat();
            Some(Place { path, now: items.get(index), field: place.field })
        }
        _ => None,
    }
}

fn a_name(random: &mut Random, document: &Fields, tree: &[Field]) -> Option<Vec<u8>> {
    for _ in 0..4 {
        let from_tree = !tree.is_empty() && (document.is_empty() || random.percent(50));
        let name = match from_tree {
            true => random.pick(tree).name.clone(),
            false if document.is_empty() => return None,
            false => random.pick(document).0.clone(),
        };
        if is_plain(&name) && name != b"_id" {
            return Some(name);
        }
    }
    None
}

fn value_of<'d>(document: &'d Fields, name: &[u8]) -> Option<&'d Value> {
    document.iter().find(|(n, _)| n == name).map(|(_, value)| value)
}

fn field_of<'d>(tree: &'d [Field], name: &[u8]) -> Option<&'d Field> {
    tree.iter().find(|field| field.name == name)
}
