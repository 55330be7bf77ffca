//! What a document has that rows cannot have: a name twice, names that are not UTF-8.

use std::collections::BTreeSet;

use super::bson::{Fields, Value};
use super::differences::Lost;
use super::norm::{Norm, field_name};

/// Whether some document in it has a name twice.
pub fn has_a_name_twice(fields: &Fields) -> bool {
    let names: BTreeSet<String> = fields.iter().map(|(name, _)| field_name(name)).collect();
    names.len() < fields.len() || fields.iter().any(|(_, value)| twice_in(value))
}

fn twice_in(value: &Value) -> bool {
    match value {
        Value::Document(fields) | Value::CodeWithScope(_, fields) => has_a_name_twice(fields),
        Value::Array(items) => items.iter().any(twice_in),
        _ => false,
    }
}

/// Looks at every name of a document and tells what of it is lost, if it is stored at all.
pub fn lost_by_names(fields: &Fields) -> Vec<Lost> {
    let mut found = Vec::new();
    look(fields, &mut Vec::new(), &mut found);
    found
}

fn look(fields: &Fields, names: &mut Vec<String>, found: &mut Vec<Lost>) {
    let mut seen = BTreeSet::new();
    // The last one of equal names is the one that stays.
    for (name, value) in fields.iter().rev() {
        names.push(field_name(name));
        if seen.contains(names.last().expect("pushed")) {
            found.push(Lost { names: names.clone(), original: Norm::from_value(value) });
        } else {
            if std::str::from_utf8(name).is_err() && Norm::from_value(value) != Norm::Null {
                found.push(Lost { names: names.clone(), original: Norm::Binary(0, name.clone()) });
            }
            seen.insert(field_name(name));
            look_into(value, names, found);
        }
        names.pop();
    }
}

fn look_into(value: &Value, names: &mut Vec<String>, found: &mut Vec<Lost>) {
    match value {
        Value::Document(fields) => look(fields, names, found),
        Value::Array(items) => items.iter().for_each(|item| look_into(item, names, found)),
        Value::CodeWithScope(_, scope) => {
            names.push("$scope".to_owned());
            look(scope, names, found);
            names.pop();
        }
        _ => {}
    }
}
