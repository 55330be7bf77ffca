//! Updates by every operator whose delta differs, at random places.

use mongodb::bson::{Bson, Document, bson, doc};
use mongodb::options::UpdateModifications;

use super::documents::{Place, Shape, element, fill, place};
use super::random::Random;
use super::values::{self, Kind};

/// One update. Some are refused by MongoDB because the document has something else at that place: that changes nothing.
pub fn update(random: &mut Random, step: usize) -> UpdateModifications {
    match random.below(12) {
        0 => UpdateModifications::Pipeline(pipeline(random)),
        1 => UpdateModifications::Document(new_field(random, step)),
        _ => UpdateModifications::Document(operators(random)),
    }
}

/// One to three operators at places that do not touch each other.
fn operators(random: &mut Random) -> Document {
    let mut update = Document::new();
    let mut taken: Vec<String> = Vec::new();
    for _ in 0..=random.below(3) {
        let place = place(random);
        let top = place.path.split('.').next().unwrap_or_default().to_owned();
        if taken.contains(&top) {
            continue;
        }
        taken.push(top);
        let (operator, argument) = operator(random, &place);
        match update.get_mut(operator) {
            Some(Bson::Document(fields)) => drop(fields.insert(place.path, argument)),
            _ => drop(update.insert(operator, doc! {place.path: argument})),
        }
    }
    update
}

fn operator(random: &mut Random, place: &Place) -> (&'static str, Bson) {
    if random.percent(15) {
        return ("$unset", bson!(""));
    }
    match place.shape {
        Shape::Scalar(Kind::Int | Kind::Long | Kind::Number) if random.percent(50) => ("$inc", bson!(1)),
        Shape::Scalar(Kind::Double | Kind::Decimal) if random.percent(30) => ("$mul", bson!(2)),
        Shape::Objects(fields) if random.percent(75) => {
            let item = element(random, fields);
            let pull = doc! {"nr": {"$lt": 0}};
            array_operator(random, item, pull.into())
        }
        Shape::Scalars(kind) if random.percent(75) => {
            let item = values::value(random, kind);
            array_operator(random, item.clone(), item)
        }
        Shape::Matrix if random.percent(50) => {
            let item = fill(random, &Shape::Scalars(Kind::Int));
            array_operator(random, item.clone(), item)
        }
        shape => ("$set", fill(random, &shape)),
    }
}

fn array_operator(random: &mut Random, item: Bson, pull: Bson) -> (&'static str, Bson) {
    match random.below(8) {
        0 => ("$pull", pull),
        1 => ("$pop", bson!(1)),
        2 => ("$pop", bson!(-1)),
        3 => ("$push", bson!({"$each": [item.clone(), item], "$position": 1})),
        4 => ("$push", bson!({"$each": [item], "$slice": -2})),
        5 => ("$push", bson!({"$each": [item], "$slice": 3})),
        6 => ("$addToSet", item),
        _ => ("$push", item),
    }
}

/// A field that no document had before, at the root or below; its name comes again in later steps.
fn new_field(random: &mut Random, step: usize) -> Document {
    const STEPS_PER_NAME: usize = 200;
    // A real application has an end to its fields as well.
    const NAMES: usize = 12;
    let number = (step / STEPS_PER_NAME).min(NAMES - 1);
    let name = format!("new_{number}");
    let path = match random.below(4) {
        0 => format!("phone.{name}"),
        1 => format!("address.0.{name}"),
        2 => format!("courses.1.exams.0.{name}"),
        _ => name,
    };
    // One type for each name, mostly.
    let kind = if random.percent(95) {
        [Kind::Int, Kind::Text, Kind::Date, Kind::Number, Kind::Bool][number % 5]
    } else {
        Kind::Anything
    };
    let value = match number % 4 {
        0 => bson!({"inner": values::value(random, kind)}),
        1 => bson!([{"item": values::value(random, kind)}]),
        _ => values::value(random, kind),
    };
    doc! {"$set": {path: value}}
}

/// An aggregation pipeline as an update: MongoDB reports it as the smallest delta it finds.
fn pipeline(random: &mut Random) -> Vec<Document> {
    match random.below(7) {
        0 => vec![doc! {"$set": {"rollNo": {"$literal": values::value(random, Kind::Int)}, "copy": "$name"}}],
        1 => vec![doc! {"$set": {"address": {"$slice": ["$address", 2]}}}],
        2 => vec![doc! {"$unset": ["phone.work", "matrix"]}],
        3 => {
            let item = bson!({"$literal": {"title": values::text(random)}});
            vec![doc! {"$set": {"courses": {"$concatArrays": [[item], {"$ifNull": ["$courses", []]}]}}}]
        }
        4 => vec![doc! {"$replaceWith": {"$mergeObjects": ["$$ROOT", {"merged": {"at": "$born", "of": "$phone"}}]}}],
        5 => vec![doc! {"$set": {"address": {"$reverseArray": "$address"}}}],
        _ => vec![doc! {"$set": {"phone": {"$ifNull": ["$phone", {}]}}}, doc! {"$set": {"phone.ext.code": 7}}],
    }
}
