//! What the documents of one collection have in common: a tree of fields, each with a kind that it mostly keeps.

use super::names;
use super::values::{self, Kind};
use crate::decode::bson::{Fields, Value};
use crate::workload::random::Random;

/// One field of a collection's documents.
#[derive(Debug, Clone)]
pub struct Field {
    pub name: Vec<u8>,
    pub shape: Shape,
    /// In so many of a hundred documents something else is there.
    noise: usize,
}

/// What lies there.
#[derive(Debug, Clone)]
pub enum Shape {
    Scalar(Kind),
    Object(Vec<Field>),
    /// An array of documents.
    Objects(Vec<Field>),
    /// An array of scalars.
    Scalars(Kind),
    /// An array of arrays of either.
    Matrix(Kind),
}

/// The fields of a collection, or of a nested document.
pub fn tree(random: &mut Random, depth: usize) -> Vec<Field> {
    let count = if depth == 0 { 5 + random.below(6) } else { 1 + random.below(4) };
    let mut fields: Vec<Field> = Vec::new();
    for _ in 0..count {
        let name = names::field(random);
        if fields.iter().any(|f| f.name == name) || depth == 0 && name == b"_id" {
            continue;
        }
        let noise = if random.percent(65) { 0 } else { 1 + random.below(25) };
        fields.push(Field { name, shape: shape(random, depth), noise });
    }
    fields
}

fn shape(random: &mut Random, depth: usize) -> Shape {
    const DEEPEST: usize = 3;
    let kind = values::kind(random);
    match random.below(20) {
        0..4 if depth < DEEPEST => Shape::Object(tree(random, depth + 1)),
        4..8 if depth < DEEPEST => Shape::Objects(tree(random, depth + 1)),
        8 | 9 => Shape::Scalars(kind),
        10 => Shape::Matrix(kind),
        _ => Shape::Scalar(kind),
    }
}

/// A document of these fields, mostly.
pub fn document(random: &mut Random, tree: &[Field]) -> Fields {
    let mut fields = Fields::new();
    for field in tree {
        if random.percent(60) {
            fields.push((field.name.clone(), value(random, field)));
        }
    }
    match random.below(150) {
        0 => {
            let extra = names::field(random);
            if extra != b"_id" && !fields.iter().any(|(name, _)| *name == extra) {
                fields.push((extra, anything(random, 2)));
            }
        }
        1 if !fields.is_empty() => {
            let twice = random.pick(&fields).0.clone();
            fields.push((twice, values::scalar(random)));
        }
        _ => {}
    }
    // The order of fields is nobody's business.
    if fields.len() > 1 && random.percent(30) {
        let (a, b) = (random.below(fields.len()), random.below(fields.len()));
        fields.swap(a, b);
    }
    fields
}

/// A value for that field.
pub fn value(random: &mut Random, field: &Field) -> Value {
    if field.noise > 0 && random.percent(field.noise) { anything(random, 2) } else { fill(random, &field.shape) }
}

fn fill(random: &mut Random, shape: &Shape) -> Value {
    if random.percent(4) {
        return Value::Null;
    }
    match shape {
        Shape::Scalar(kind) => values::value(random, *kind),
        Shape::Object(fields) => Value::Document(document(random, fields)),
        Shape::Objects(fields) => Value::Array((0..random.below(5)).map(|_| element(random, fields)).collect()),
        Shape::Scalars(kind) => Value::Array((0..random.below(5)).map(|_| values::value(random, *kind)).collect()),
        Shape::Matrix(kind) => {
            let row = |random: &mut Random| fill(random, &Shape::Scalars(*kind));
            Value::Array((0..random.below(4)).map(|_| row(random)).collect())
        }
    }
}

/// An element of an array of documents.
pub fn element(random: &mut Random, fields: &[Field]) -> Value {
    match random.below(25) {
        0 => Value::Null,
        1 => anything(random, 1),
        _ => Value::Document(document(random, fields)),
    }
}

/// Any value, nested up to that many levels.
pub fn anything(random: &mut Random, levels: usize) -> Value {
    match random.below(10) {
        0 | 1 if levels > 0 => {
            let mut fields = Fields::new();
            for _ in 0..random.below(4) {
                let name = names::field(random);
                if fields.iter().all(|(n, _)| *n != name) || random.percent(10) {
                    fields.push((name, anything(random, levels - 1)));
                }
            }
            Value::Document(fields)
        }
        2 | 3 if levels > 0 => Value::Array((0..random.below(4)).map(|_| anything(random, levels - 1)).collect()),
        _ => values::scalar(random),
    }
}
