//! The fields of a node: found by name, and faster by place, since documents of one collection mostly have their fields in one
//! order.
//!
//! Invariants: a name is there once; places never change, so that one which was looked up stays good.

use std::collections::HashMap;

use super::shape::Field;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    list: Vec<(Box<str>, Field)>,
    places: HashMap<Box<str>, usize>,
    /// After the field that was found last.
    next: usize,
}

impl Fields {
    /// The place of a field. A name that is not UTF-8 is none's.
    pub fn place(&mut self, name: &[u8]) -> Option<usize> {
        let is_at = |place: usize| self.list.get(place).is_some_and(|(known, _)| known.as_bytes() == name);
        // Documents may lack some; the one that follows is often near.
        let guessed = (self.next..self.next + 2).chain([0]).find(|place| is_at(*place));
        let place = match guessed {
            Some(place) => place,
            None => *self.places.get(str::from_utf8(name).ok()?)?,
        };
        self.next = place + 1;
        Some(place)
    }

    /// Name and field at a place.
    pub fn at(&mut self, place: usize) -> Option<(&str, &mut Field)> {
        self.list.get_mut(place).map(|(name, field)| (&**name, field))
    }

    /// The field of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Field> {
        self.list.get(*self.places.get(name)?).map(|(_, field)| field)
    }

    /// The field of a name, to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Field> {
        self.list.get_mut(*self.places.get(name)?).map(|(_, field)| field)
    }

    /// True when there is a field of that name.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// The field of a name, made where it is missing.
    pub fn get_or_insert_with(&mut self, name: &str, make: impl FnOnce() -> Field) -> &mut Field {
        let place = match self.places.get(name) {
            Some(place) => *place,
            None => {
                let place = self.list.len();
                self.places.insert(name.into(), place);
                self.list.push((name.into(), make()));
                place
            }
        };
        let (_, field) = self.list.get_mut(place).expect("places are those of the list");
        field
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Names and fields, in the order in which they were first seen.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Field)> {
        self.list.iter().map(|(name, field)| (&**name, field))
    }

    /// The same, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Field)> {
        self.list.iter_mut().map(|(name, field)| (&**name, field))
    }

    /// The fields.
    pub fn values(&self) -> impl Iterator<Item = &Field> {
        self.list.iter().map(|(_, field)| field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::options::{NestedForm, OnTypeConflict};
    use crate::mapping::policy::FieldOptions;

    #[test]
    fn a_field_is_found_wherever_it_stands() {
        let (objects, arrays, on_conflict) = (NestedForm::Table, NestedForm::Table, OnTypeConflict::Widen);
        let options = FieldOptions { objects, arrays, on_conflict, fixed: None, jsonb: false };
        let mut fields = Fields::default();
        let names: Vec<String> = (0..50).map(|n| format!("field {n}")).collect();
        for name in &names {
            assert_eq!(fields.place(name.as_bytes()), None);
            fields.get_or_insert_with(name, || Field::new(options)).last_row = 7;
        }
        let forwards = 0..50;
        let backwards = (0..50).rev();
        let gaps = (0..50).step_by(7);
        for place in forwards.chain(backwards).chain(gaps) {
            assert_eq!(fields.place(names[place].as_bytes()), Some(place));
            let (name, field) = fields.at(place).expect("a field");
            assert_eq!((name, field.last_row), (names[place].as_str(), 7));
        }
        assert_eq!((fields.place(b"other"), fields.place(b"field \xff")), (None, None));
        assert_eq!(fields.get_or_insert_with("field 3", || unreachable!("it is there")).last_row, 7);
        assert_eq!(fields.iter().count(), 50);
    }
}
