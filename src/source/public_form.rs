//! The public form of an update, translated into the oplog's `$v: 2` diff.
//!
//! In: `updateDescription` as it lies in the event. Out: a diff that every reader's updates have. Paths with dots become
//! nested sections. What a path means is said by `disambiguatedPaths` (a string is a field, a number an index); without
//! an entry there, a number is an index, except at the top, which is no array.
//!
//! Two things are lost in the public form. Whether a field that was there is put at the end (`i`) is not said: all are
//! written as `u`, so only the order of fields can differ. And one update may change the field named `a.b` and the field
//! `b` inside `a`: the path then comes twice, and `disambiguatedPaths` has one entry. The server lists shallow fields
//! first (measured on 8.2), so repeated paths of one list are told apart by their order; spread over two lists they
//! cannot be, and that is an error rather than a guess.

use std::collections::HashMap;

use super::writer::Writer;
use crate::model::bson::{Doc, Document, Malformed, Value};

/// Steps of a path at most; MongoDB's documents have 180 levels (seen on 8.2), and what follows is recursive.
const DEEPEST: usize = 500;

/// Why there is no diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not the form that is expected.
    Malformed(Malformed),
    /// One path stands for two places.
    Ambiguous,
}

impl From<Malformed> for Fault {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

/// One step of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step<'a> {
    Field(&'a [u8]),
    Index(u32),
}

/// What happens at the end of a path.
#[derive(Debug, Clone, Copy)]
enum End<'a> {
    Set(Value<'a>),
    Remove,
    Truncate(Value<'a>),
}

/// What happens inside a document or an array.
#[derive(Debug, Default)]
struct Node<'a> {
    length: Option<Value<'a>>,
    entries: Vec<(Step<'a>, Entry<'a>)>,
    /// Where in `entries` a step is: an update may set a hundred thousand fields.
    places: HashMap<Step<'a>, usize>,
}

#[derive(Debug)]
enum Entry<'a> {
    Set(Value<'a>),
    Remove,
    Inside(Node<'a>),
}

/// Translates an `updateDescription`.
pub(super) fn diff(update: Doc<'_>) -> Result<Document, Fault> {
    let lists = Lists::read(update)?;
    let mut root = Node::default();
    for change in &lists.changes {
        root.insert(&lists.steps(change)?, change.end)?;
    }
    root.document()
}

struct Named<'a> {
    path: &'a [u8],
    end: End<'a>,
    /// How many of the same path came before it.
    nth: usize,
}

/// What is known of one path.
#[derive(Default)]
struct Path<'a> {
    /// How often it is changed.
    times: usize,
    /// Which lists it is changed in, one bit each.
    lists: u8,
    /// What it is said to mean, in order.
    meanings: Vec<Doc<'a>>,
}

#[derive(Default)]
struct Lists<'a> {
    changes: Vec<Named<'a>>,
    paths: HashMap<&'a [u8], Path<'a>>,
}

impl<'a> Lists<'a> {
    fn read(update: Doc<'a>) -> Result<Self, Malformed> {
        let mut lists = Self::default();
        for element in update.elements() {
            match element? {
                (b"updatedFields", Value::Document(fields)) => {
                    for field in fields.elements() {
                        let (path, value) = field?;
                        lists.push(path, End::Set(value), 1);
                    }
                }
                (b"removedFields", Value::Array(paths)) => {
                    for path in paths.elements() {
                        lists.push(string(path?.1)?, End::Remove, 2);
                    }
                }
                (b"truncatedArrays", Value::Array(arrays)) => {
                    for array in arrays.elements() {
                        lists.truncate(array?.1)?;
                    }
                }
                (b"disambiguatedPaths", Value::Document(meanings)) => {
                    for meaning in meanings.elements() {
                        if let (path, Value::Array(steps)) = meaning? {
                            lists.paths.entry(path).or_default().meanings.push(steps);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(lists)
    }

    fn push(&mut self, path: &'a [u8], end: End<'a>, list: u8) {
        let known = self.paths.entry(path).or_default();
        self.changes.push(Named { path, end, nth: known.times });
        known.times += 1;
        known.lists |= list;
    }

    fn truncate(&mut self, array: Value<'a>) -> Result<(), Malformed> {
        const EXPECTED: Malformed = Malformed { at: 0, expected: "a field and a newSize" };
        let Value::Document(array) = array else { return Err(EXPECTED) };
        let (Some(field), Some(size @ Value::Int32(0..))) = (array.get("field")?, array.get("newSize")?) else {
            return Err(EXPECTED);
        };
        self.push(string(field)?, End::Truncate(size), 4);
        Ok(())
    }

    /// What the path of this change means.
    fn steps(&self, change: &Named<'a>) -> Result<Vec<Step<'a>>, Fault> {
        let Some(path) = self.paths.get(change.path) else { return Err(Fault::Ambiguous) };
        let said = path.meanings.len();
        // The plain reading is the deepest, so among repeated paths it can only be the last.
        let counted = said == path.times || said + 1 == path.times;
        if !counted || (path.times > 1 && path.lists.count_ones() > 1) {
            return Err(Fault::Ambiguous);
        }
        let steps = match path.meanings.get(change.nth) {
            Some(steps) => said_steps(*steps)?,
            None => plain_steps(change.path),
        };
        if steps.len() > DEEPEST {
            return Err(Malformed { at: 0, expected: "a path that a document can have" }.into());
        }
        Ok(steps)
    }
}

/// A path or a field name; neither can hold U+0000.
fn string(value: Value<'_>) -> Result<&[u8], Malformed> {
    if let Value::String(text) = value
        && !text.contains(&0)
    {
        return Ok(text);
    }
    Err(Malformed { at: 0, expected: "a path" })
}

fn said_steps(steps: Doc<'_>) -> Result<Vec<Step<'_>>, Malformed> {
    const WRONG: Malformed = Malformed { at: 0, expected: "a name or an index" };
    let step = |value| {
        if let Value::Int32(index) = value {
            return u32::try_from(index).map(Step::Index).map_err(|_| WRONG);
        }
        string(value).map(Step::Field)
    };
    steps.elements().map(|element| step(element?.1)).collect()
}

fn plain_steps(path: &[u8]) -> Vec<Step<'_>> {
    let split = path.split(|byte| *byte == b'.').enumerate();
    split.map(|(at, name)| index(name).filter(|_| at > 0).map_or(Step::Field(name), Step::Index)).collect()
}

/// The number that `name` is, written as the server writes indexes: without sign and leading zeros.
fn index(name: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(name).ok()?;
    let number = text.parse::<u32>().ok()?;
    (number.to_string() == text).then_some(number)
}

impl<'a> Node<'a> {
    fn insert(&mut self, path: &[Step<'a>], end: End<'a>) -> Result<(), Fault> {
        let Some((first, rest)) = path.split_first() else {
            let End::Truncate(size) = end else { return Err(Fault::Ambiguous) };
            self.length = Some(size);
            return Ok(());
        };
        let place = self.places.get(first).copied();
        match (place.and_then(|place| self.entries.get_mut(place)), end, rest.is_empty()) {
            (None, End::Set(value), true) => self.push(*first, Entry::Set(value)),
            (None, End::Remove, true) => self.push(*first, Entry::Remove),
            (None, _, _) => {
                let mut inside = Node::default();
                inside.insert(rest, end)?;
                self.push(*first, Entry::Inside(inside));
            }
            (Some((_, Entry::Inside(inside))), End::Truncate(_), _) => inside.insert(rest, end)?,
            (Some((_, Entry::Inside(inside))), _, false) => inside.insert(rest, end)?,
            // The same place twice, or something inside what is replaced: a path was read wrongly.
            (Some(_), _, _) => return Err(Fault::Ambiguous),
        }
        Ok(())
    }

    fn push(&mut self, step: Step<'a>, entry: Entry<'a>) {
        self.places.insert(step, self.entries.len());
        self.entries.push((step, entry));
    }

    fn write(&self, name: &[u8], writer: &mut Writer) -> Result<(), Fault> {
        let inside = self.document()?;
        writer.put(&[b"s", name].concat(), &Value::Document(inside.as_doc()));
        Ok(())
    }

    fn document(&self) -> Result<Document, Fault> {
        let indexes = self.entries.iter().filter(|(step, _)| matches!(step, Step::Index(_))).count();
        if indexes == 0 && self.length.is_none() {
            return self.fields();
        }
        if indexes < self.entries.len() {
            return Err(Fault::Ambiguous);
        }
        self.elements()
    }

    /// The section of a document: `d`, `u`, then what lies deeper.
    fn fields(&self) -> Result<Document, Fault> {
        let (mut removed, mut set, mut writer) = (Writer::new(), Writer::new(), Writer::new());
        let (mut any_removed, mut any_set) = (false, false);
        for (step, entry) in &self.entries {
            let Step::Field(name) = step else { return Err(Fault::Ambiguous) };
            match entry {
                Entry::Remove => {
                    removed.put(name, &Value::Boolean(false));
                    any_removed = true;
                }
                Entry::Set(value) => {
                    set.put(name, value);
                    any_set = true;
                }
                Entry::Inside(_) => {}
            }
        }
        for (name, section, any) in [(&b"d"[..], removed, any_removed), (b"u", set, any_set)] {
            if any {
                writer.put(name, &Value::Document(section.finish()?.as_doc()));
            }
        }
        for (step, entry) in &self.entries {
            if let (Step::Field(name), Entry::Inside(inside)) = (step, entry) {
                inside.write(name, &mut writer)?;
            }
        }
        Ok(writer.finish()?)
    }

    /// The section of an array: its mark, its length, then its elements in ascending order.
    fn elements(&self) -> Result<Document, Fault> {
        let mut writer = Writer::new();
        writer.put(b"a", &Value::Boolean(true));
        if let Some(length) = &self.length {
            writer.put(b"l", length);
        }
        let mut elements: Vec<(u32, &Entry<'_>)> = Vec::with_capacity(self.entries.len());
        for (step, entry) in &self.entries {
            let Step::Index(index) = step else { return Err(Fault::Ambiguous) };
            elements.push((*index, entry));
        }
        elements.sort_by_key(|(index, _)| *index);
        for (index, entry) in elements {
            let index = index.to_string();
            match entry {
                Entry::Set(value) => writer.put(format!("u{index}").as_bytes(), value),
                Entry::Inside(inside) => inside.write(index.as_bytes(), &mut writer)?,
                // An element of an array is set to null, never removed.
                Entry::Remove => return Err(Fault::Ambiguous),
            }
        }
        Ok(writer.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, Document as Map, bson, doc};

    use super::{Fault, diff};
    use crate::model::bson::{Document, Value};
    use crate::source::writer::Writer;

    fn owned(map: &Map) -> Document {
        Document::new(map.to_vec().expect("encodes")).expect("valid")
    }

    fn translated(updated: Map, removed: Bson, truncated: Bson, meanings: Map) -> Result<Map, Fault> {
        let update = doc! { "updatedFields": updated, "removedFields": removed, "truncatedArrays": truncated,
        "disambiguatedPaths": meanings };
        let diff = diff(owned(&update).as_doc())?;
        Ok(Map::from_reader(diff.as_doc().bytes()).expect("decodes"))
    }

    fn set(updated: Map, meanings: Map) -> Result<Map, Fault> {
        translated(updated, bson!([]), bson!([]), meanings)
    }

    #[test]
    fn paths_become_sections_as_in_the_oplog() {
        // As 8.2 gave them for one update in both forms; tests/it/source_updates.rs does this at random.
        let cases = [
            (
                set(doc! { "a.b.1": 9, "a.b.3.c": 5 }, doc! {}),
                doc! { "sa": { "sb": { "a": true, "u1": 9, "s3": { "u": { "c": 5 } } } } },
            ),
            (set(doc! { "l.5": 6 }, doc! {}), doc! { "sl": { "a": true, "u5": 6 } }),
            (set(doc! { "a.0.x": 5 }, doc! { "a.0.x": ["a", "0", "x"] }), doc! { "sa": { "s0": { "u": { "x": 5 } } } }),
            (
                translated(doc! {}, bson!([]), bson!([{ "field": "l", "newSize": 2 }]), doc! {}),
                doc! { "sl": { "a": true, "l": 2 } },
            ),
            (
                translated(doc! { "l.0": Bson::Null }, bson!(["m.k"]), bson!([]), doc! {}),
                doc! { "sl": { "a": true, "u0": Bson::Null }, "sm": { "d": { "k": false } } },
            ),
            (
                set(doc! { "0.1.2.2.1": 6 }, doc! { "0.1.2.2.1": ["0", "1", 2, "2", 1] }),
                doc! { "s0": { "s1": { "a": true, "s2": { "s2": { "a": true, "u1": 6 } } } } },
            ),
            (
                translated(doc! {}, bson!([]), bson!([{ "field": "0.1", "newSize": 2 }]), doc! { "0.1": ["0", "1"] }),
                doc! { "s0": { "s1": { "a": true, "l": 2 } } },
            ),
            (set(doc! { "x.": 2 }, doc! { "x.": ["x."] }), doc! { "u": { "x.": 2 } }),
            (set(doc! { ".y": { "q": 2 } }, doc! { ".y": [".y"] }), doc! { "u": { ".y": { "q": 2 } } }),
        ];
        for (found, wanted) in cases {
            assert_eq!(found.expect("translated"), wanted);
        }
    }

    #[test]
    fn sections_come_in_the_order_that_the_oplog_has() {
        let updated = doc! { "z.y": 1, "b": 1, "l.10": 1, "l.9.q": 1, "a": 2 };
        let found = translated(updated, bson!(["c", "z.x"]), bson!([{ "field": "l", "newSize": 11 }]), doc! {});
        let wanted = doc! {
            "d": { "c": false },
            "u": { "b": 1, "a": 2 },
            "sz": { "d": { "x": false }, "u": { "y": 1 } },
            "sl": { "a": true, "l": 11, "s9": { "u": { "q": 1 } }, "u10": 1 },
        };
        assert_eq!(found.expect("translated").to_vec().expect("encodes"), wanted.to_vec().expect("encodes"));
    }

    #[test]
    fn numbers_are_indexes_only_below_the_top_and_only_as_the_server_writes_them() {
        assert_eq!(set(doc! { "0": 1 }, doc! {}), Ok(doc! { "u": { "0": 1 } }));
        assert_eq!(set(doc! { "a.00": 1 }, doc! {}), Ok(doc! { "sa": { "u": { "00": 1 } } }));
        assert_eq!(set(doc! { "a.+1": 1 }, doc! {}), Ok(doc! { "sa": { "u": { "+1": 1 } } }));
    }

    /// Names that come twice, which a map cannot hold.
    fn twice(name: &str, meanings: &Map) -> Result<Map, Fault> {
        let mut updated = Writer::new();
        updated.put(name.as_bytes(), &Value::Int32(1));
        updated.put(name.as_bytes(), &Value::Int32(2));
        let (updated, meanings) = (updated.finish().expect("valid"), owned(meanings));
        let mut update = Writer::new();
        update.put(b"updatedFields", &Value::Document(updated.as_doc()));
        update.put(b"disambiguatedPaths", &Value::Document(meanings.as_doc()));
        let diff = diff(update.finish().expect("valid").as_doc())?;
        Ok(Map::from_reader(diff.as_doc().bytes()).expect("decodes"))
    }

    #[test]
    fn one_path_for_two_places_is_read_by_order_or_not_at_all() {
        let found = twice("a.b", &doc! { "a.b": ["a.b"] });
        assert_eq!(found, Ok(doc! { "u": { "a.b": 1 }, "sa": { "u": { "b": 2 } } }));
        assert_eq!(twice("a.b", &doc! {}), Err(Fault::Ambiguous));
        let mixed = translated(doc! { "a.b": 1 }, bson!(["a.b"]), bson!([]), doc! { "a.b": ["a.b"] });
        assert_eq!(mixed, Err(Fault::Ambiguous));
        assert_eq!(set(doc! { "a": 1, "a.b": 2 }, doc! {}), Err(Fault::Ambiguous));
        assert_eq!(set(doc! { "a.0": 1, "a.b": 2 }, doc! {}), Err(Fault::Ambiguous));
    }

    #[test]
    fn what_is_no_update_is_an_error_and_no_panic() {
        let wrong = [
            doc! { "removedFields": [1] },
            doc! { "truncatedArrays": [{ "field": "a" }] },
            doc! { "truncatedArrays": [1] },
            doc! { "truncatedArrays": [{ "field": "a", "newSize": -1 }] },
            doc! { "removedFields": ["a\0"] },
            doc! { "updatedFields": { "a": 1 }, "disambiguatedPaths": { "a": ["a\0b"] } },
            doc! { "removedFields": ["a.".repeat(1000)] },
        ];
        for update in wrong {
            assert!(matches!(diff(owned(&update).as_doc()), Err(Fault::Malformed(_))), "{update}");
        }
        let odd = doc! { "updatedFields": { "a": 1 }, "disambiguatedPaths": { "a": [1.5] } };
        assert!(matches!(diff(owned(&odd).as_doc()), Err(Fault::Malformed(_))));
        assert_eq!(diff(owned(&doc! {}).as_doc()).map(|diff| diff.is_empty()), Ok(true));
    }
}
