//! Nested documents of a school, and paths into them.

use mongodb::bson::{Array, Bson, Document};

use super::random::Random;
use super::values::{self, Kind};

/// What lies at a path.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    Scalar(Kind),
    /// An embedded document.
    Object(Fields),
    /// An array of documents, now and then with a null or a scalar among them.
    Objects(Fields),
    /// An array of scalars.
    Scalars(Kind),
    /// An array of arrays of numbers.
    Matrix,
    /// An embedded document, an array, or a scalar: never the form that it had first.
    Flexible(Fields),
}

/// The fields of a document.
pub type Fields = &'static [(&'static str, Shape)];

use Shape::{Flexible, Matrix, Object, Objects, Scalar, Scalars};

const DEEP: Fields = &[("deep", Scalar(Kind::Text)), ("n", Scalar(Kind::Long)), ("list", Scalars(Kind::Int))];
const EXTENSION: Fields =
    &[("code", Scalar(Kind::Int)), ("area", Scalar(Kind::Number)), ("more", Object(DEEP)), ("none", Object(&[]))];
const PHONE: Fields = &[("personal", Scalar(Kind::Text)), ("work", Scalar(Kind::Text)), ("ext", Object(EXTENSION))];
const BED: Fields = &[("kind", Scalar(Kind::Text)), ("width", Scalar(Kind::Double))];
const ROOM: Fields = &[("nr", Scalar(Kind::Int)), ("tags", Scalars(Kind::Text)), ("beds", Objects(BED))];
const GEO: Fields = &[("lat", Scalar(Kind::Double)), ("lon", Scalar(Kind::Double))];
const ADDRESS: Fields =
    &[("street", Scalar(Kind::Text)), ("zip", Scalar(Kind::Number)), ("geo", Object(GEO)), ("rooms", Objects(ROOM))];
const EXAMINER: Fields = &[("name", Scalar(Kind::Text)), ("id", Scalar(Kind::ObjectId))];
const EXAM: Fields = &[("score", Scalar(Kind::Number)), ("at", Scalar(Kind::Date)), ("by", Object(EXAMINER))];
const COURSE: Fields =
    &[("_id", Scalar(Kind::ObjectId)), ("title", Scalar(Kind::Text)), ("exams", Objects(EXAM)), ("any", Flexible(GEO))];

/// A student.
pub const STUDENT: Fields = &[
    ("name", Scalar(Kind::Text)),
    ("rollNo", Scalar(Kind::Int)),
    ("rollno", Scalar(Kind::Long)),
    ("Grade", Scalar(Kind::Number)),
    ("average", Scalar(Kind::Double)),
    ("fee", Scalar(Kind::Decimal)),
    ("active", Scalar(Kind::Bool)),
    ("born", Scalar(Kind::Date)),
    ("mentor", Scalar(Kind::ObjectId)),
    ("friend", Scalar(Kind::Reference)),
    ("card", Scalar(Kind::Uuid)),
    ("photo", Scalar(Kind::Bytes)),
    ("note", Scalar(Kind::Anything)),
    ("odd \"name\"", Scalar(Kind::Text)),
    ("phone", Object(PHONE)),
    ("address", Objects(ADDRESS)),
    ("courses", Objects(COURSE)),
    ("tags", Scalars(Kind::Text)),
    ("marks", Scalars(Kind::Anything)),
    ("matrix", Matrix),
    ("flexible", Flexible(PHONE)),
];

/// A student with this `_id`; about half of the fields are there.
pub fn student(random: &mut Random, id: Bson) -> Document {
    let mut student = Document::new();
    student.insert("_id", id);
    student.extend(document(random, STUDENT));
    student
}

/// A document of these fields.
pub fn document(random: &mut Random, fields: Fields) -> Document {
    let mut document = Document::new();
    for (name, shape) in fields {
        if random.percent(55) {
            document.insert(*name, fill(random, shape));
        }
    }
    document
}

/// A value of this shape.
pub fn fill(random: &mut Random, shape: &Shape) -> Bson {
    match shape {
        Scalar(kind) => values::value(random, *kind),
        Object(fields) => Bson::Document(document(random, fields)),
        Objects(fields) => Bson::Array(objects(random, fields)),
        Scalars(kind) => Bson::Array((0..random.below(4)).map(|_| values::value(random, *kind)).collect()),
        Matrix => Bson::Array((0..random.below(3)).map(|_| fill(random, &Scalars(Kind::Number))).collect()),
        Flexible(fields) => match random.below(4) {
            0 => values::value(random, Kind::Text),
            1 => fill(random, &Objects(fields)),
            2 => fill(random, &Scalars(Kind::Int)),
            _ => fill(random, &Object(fields)),
        },
    }
}

fn objects(random: &mut Random, fields: Fields) -> Array {
    (0..random.below(4)).map(|_| element(random, fields)).collect()
}

/// An element of an array of documents.
pub fn element(random: &mut Random, fields: Fields) -> Bson {
    match random.below(40) {
        0 => Bson::Null,
        1 => values::value(random, Kind::Anything),
        _ => Bson::Document(document(random, fields)),
    }
}

/// A place in a student and what belongs there.
#[derive(Debug, Clone)]
pub struct Place {
    pub path: String,
    pub shape: Shape,
    /// An element of an array: unset leaves a null there.
    pub is_element: bool,
}

/// A random place below one of the fields, at any depth.
pub fn place(random: &mut Random) -> Place {
    let (name, shape) = random.pick(STUDENT);
    let mut place = Place { path: (*name).to_owned(), shape: *shape, is_element: false };
    while random.percent(65) {
        let Some(deeper) = step(random, &place) else { break };
        place = deeper;
    }
    place
}

fn step(random: &mut Random, place: &Place) -> Option<Place> {
    match place.shape {
        Objects(fields) if !place.is_element => {
            // Mostly an element that exists, sometimes one beyond the end.
            let index = if random.percent(85) { random.below(3) } else { random.below(7) };
            Some(Place { path: format!("{}.{index}", place.path), shape: Object(fields), is_element: true })
        }
        Object(fields) | Flexible(fields) if !fields.is_empty() => {
            let (name, shape) = random.pick(fields);
            Some(Place { path: format!("{}.{name}", place.path), shape: *shape, is_element: false })
        }
        Scalars(kind) => {
            let index = random.below(6);
            Some(Place { path: format!("{}.{index}", place.path), shape: Scalar(kind), is_element: true })
        }
        _ => None,
    }
}
