//! Documents that are large or deep, a few in a round: what is near MongoDB's limits.

use super::shapes;
use super::values;
use super::world::{World, id_of};
use crate::decode::bson::{Fields, Value, fields};

/// MongoDB takes about 180 levels; some of these are refused.
const DEEPEST: usize = 190;

/// Room for the rest of a document of 16 MiB.
const ROOM: usize = 4096;
const LARGEST: usize = 16 * 1024 * 1024 - ROOM;

impl World {
    /// One of them.
    pub async fn extreme(&mut self) {
        let which = self.some();
        match self.random.below(6) {
            0 => {
                let length = 1_000_000 + self.random.below(9_000_000);
                self.large(which, length).await;
            }
            1 => self.large(which, LARGEST).await,
            2 => self.large_update(which).await,
            _ => self.deep(which).await,
        }
    }

    /// Text of that length, of characters of several bytes, too.
    fn long_text(&mut self, length: usize) -> Value {
        let part = values::text(&mut self.random);
        let part = if part.is_empty() { b"x".to_vec() } else { part };
        let mut text = part.repeat(length / part.len());
        text.retain(|byte| *byte != 0);
        Value::String(text)
    }

    async fn large(&mut self, which: usize, length: usize) {
        let mut document = self.new_document(which);
        let text = self.long_text(length);
        let text = if self.random.percent(50) { text } else { Value::Array(vec![Value::Int32(1), text]) };
        document.push((b"large".to_vec(), text));
        self.note(which, Some(&id_of(&document)), format!("insert {length} bytes"));
        self.insert_documents(which, vec![document]).await;
    }

    /// Its event is over 16 MiB and comes in parts.
    async fn large_update(&mut self, which: usize) {
        let Some(document) = self.existing(which).await else { return };
        let id = id_of(&document);
        let half = LARGEST / 2 - ROOM;
        let set = fields([("large", self.long_text(half)), ("larger", self.long_text(half))]);
        self.note(which, Some(&id), "update of 16 MiB".to_owned());
        self.set(which, &id, set).await;
    }

    /// Levels of documents, arrays, or both.
    async fn deep(&mut self, which: usize) {
        let depth = 20 + self.random.below(DEEPEST - 20);
        let style = self.random.below(4);
        let mut value = values::scalar(&mut self.random);
        for level in 0..depth {
            let in_array = match style {
                0 => false,
                1 => true,
                2 => level % 2 == 0,
                _ => self.random.percent(30),
            };
            let name = if self.random.percent(95) { "n" } else { "other" };
            value = if in_array { Value::Array(vec![value]) } else { Value::Document(fields([(name, value)])) };
        }
        let existing = if self.random.percent(40) { self.existing(which).await } else { None };
        match existing {
            Some(document) => {
                let id = id_of(&document);
                self.note(which, Some(&id), format!("set {depth} levels, style {style}"));
                self.set(which, &id, fields([("deep", value)])).await;
            }
            None => {
                let mut document = self.new_document(which);
                document.push((b"deep".to_vec(), value));
                self.note(which, Some(&id_of(&document)), format!("insert {depth} levels, style {style}"));
                self.insert_documents(which, vec![document]).await;
            }
        }
    }

    async fn set(&mut self, which: usize, id: &Value, set: Fields) {
        let change = Value::Document(fields([("$set", Value::Document(set))]));
        self.update_by_id(which, id, change).await;
    }

    /// A change a few levels down where there are many.
    pub async fn change_deep(&mut self, which: usize) {
        let Some(document) = self.existing(which).await else { return };
        let mut path = "deep".to_owned();
        for _ in 0..self.random.below(60) {
            path += if self.random.percent(80) { ".n" } else { ".0" };
        }
        let value = shapes::anything(&mut self.random, 2);
        let id = id_of(&document);
        self.note(which, Some(&id), format!("set {path} to {value:?}"));
        self.set(which, &id, vec![(path.into_bytes(), value)]).await;
    }
}
