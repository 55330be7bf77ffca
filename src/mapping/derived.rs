//! Tables that are made of an aggregation's results instead of a collection's documents.
//!
//! In: stages, and perhaps ids that limit the documents that the stages see. Out: the stages of each partition. Ids are cut
//! in the order in which they are listed, so that the same list always gives the same partitions. Invariant: a value is in
//! one partition only, or what the stages make of it would be there twice.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Decimal128, doc};

use crate::model::bson::Document;

/// Ids of one partition: few enough to be found through an index one by one, enough to be worth a command.
const IDS_AT_ONCE: usize = 1000;
/// Bytes of their texts in one partition; the server takes no command of more than 16 MiB.
const BYTES_AT_ONCE: usize = 1 << 20;
/// What a decimal128 has. A longer row of digits is a text.
const MOST_DIGITS: usize = 34;

/// How a collection's table is filled, at its snapshot and not after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    /// The stages.
    pub pipeline: Vec<Document>,
    /// Only documents with one of these ids are seen by the stages; `None`: all.
    pub ids: Option<Ids>,
}

/// Ids by which documents are chosen.
#[derive(Clone, PartialEq, Eq)]
pub struct Ids {
    field: Box<str>,
    partitions: Arc<[Document]>,
}

/// An id as a person wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Its text.
    pub text: Cow<'a, str>,
    /// In quotes: a text and nothing else.
    pub quoted: bool,
}

impl Derived {
    /// The stages of each partition, in order; a single one without ids.
    pub fn partitions(&self) -> impl Iterator<Item = Vec<Document>> {
        let matches = self.ids.as_ref().map_or_else(|| vec![None], |ids| ids.partitions().iter().map(Some).collect());
        matches.into_iter().map(|only| only.into_iter().chain(&self.pipeline).cloned().collect())
    }
}

impl Ids {
    /// Takes what is listed; a value that was listed before is passed over. `field` is a path, its names joined by dots.
    ///
    /// # Errors
    /// When `field` can be no field's name.
    pub fn new<'a>(field: &str, listed: impl IntoIterator<Item = Listed<'a>>) -> Result<Self, &'static str> {
        if field.is_empty() || field.starts_with('$') || field.contains('\0') {
            return Err("must be the name of a field, or a path of names joined by dots");
        }
        let mut known = HashSet::new();
        let (mut partitions, mut values) = (Vec::new(), Vec::new());
        let (mut ids, mut bytes) = (0, 0);
        for listed in listed {
            let length = listed.text.len();
            if ids == IDS_AT_ONCE || ids > 0 && bytes + length > BYTES_AT_ONCE {
                partitions.push(stage(field, std::mem::take(&mut values))?);
                (ids, bytes) = (0, 0);
            }
            let before = values.len();
            values.extend(meanings(listed).into_iter().filter(|meaning| known.insert(meaning.clone())).map(Bson::from));
            if values.len() > before {
                (ids, bytes) = (ids + 1, bytes + length);
            }
        }
        if !values.is_empty() {
            partitions.push(stage(field, values)?);
        }
        Ok(Self { field: field.into(), partitions: partitions.into() })
    }

    /// The field, or path, that has the id.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// A `$match` of each partition, in the order of the list.
    #[must_use]
    pub fn partitions(&self) -> &[Document] {
        &self.partitions
    }

    /// True when none is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }
}

/// Ids are values of rows, and may stand for people.
impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ids")
            .field("field", &self.field)
            .field("partitions", &self.partitions.len())
            .finish_non_exhaustive()
    }
}

fn stage(field: &str, values: Vec<Bson>) -> Result<Document, &'static str> {
    const NO_DOCUMENT: &str = "has ids that no document can hold";
    let stage = doc! { "$match": { field: { "$in": values } } };
    Document::new(stage.to_vec().map_err(|_| NO_DOCUMENT)?).map_err(|_| NO_DOCUMENT)
}

/// A value that an id may stand for, equal exactly when `$in` would find the same documents by it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Meaning {
    Text(Box<str>),
    Number(i128),
    ObjectId([u8; 12]),
    Uuid([u8; 16]),
}

impl From<Meaning> for Bson {
    fn from(meaning: Meaning) -> Self {
        match meaning {
            Meaning::Text(text) => Bson::String(text.into()),
            // The server finds equal numbers of other types by it too.
            Meaning::Number(number) => match (i64::try_from(number), number.to_string().parse::<Decimal128>()) {
                (Ok(number), _) => Bson::Int64(number),
                (Err(_), Ok(number)) => Bson::Decimal128(number),
                (Err(_), Err(_)) => Bson::String(number.to_string()),
            },
            Meaning::ObjectId(id) => Bson::ObjectId(id.into()),
            Meaning::Uuid(id) => Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: id.to_vec() }),
        }
    }
}

/// A text, and unless it is in quotes also what looks like one: a list says nothing about types.
fn meanings(listed: Listed<'_>) -> Vec<Meaning> {
    let text = listed.text.as_ref();
    let mut meanings = Vec::new();
    if !listed.quoted {
        meanings.extend(integer(text).map(Meaning::Number));
        meanings.extend(hex::<12>(text).map(Meaning::ObjectId));
        meanings.extend(uuid(text).map(Meaning::Uuid));
    }
    meanings.push(Meaning::Text(text.into()));
    meanings
}

fn integer(text: &str) -> Option<i128> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let significant = digits.trim_start_matches('0').len();
    (all_digits && significant <= MOST_DIGITS).then(|| text.parse().ok())?
}

/// So many bytes as hexadecimal digits.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect();
    let bytes: Vec<u8> = digits
        .filter(|digits| digits.len() == 2 * N)?
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect();
    bytes.try_into().ok()
}

/// In its usual form, 8-4-4-4-12.
fn uuid(text: &str) -> Option<[u8; 16]> {
    const HYPHENS: [usize; 4] = [8, 13, 18, 23];
    let at: Vec<usize> = text.match_indices('-').map(|(at, _)| at).collect();
    (at == HYPHENS).then(|| hex(&text.replace('-', "")))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(listed: &[(&str, bool)]) -> Ids {
        let listed = listed.iter().map(|(text, quoted)| Listed { text: (*text).into(), quoted: *quoted });
        Ids::new("user", listed).expect("a field")
    }

    fn values(stage: &Document) -> Vec<Bson> {
        let stage = bson::Document::from_reader(stage.as_doc().bytes()).expect("BSON");
        let found = stage.get_document("$match").and_then(|only| only.get_document("user")).expect("a field");
        found.get_array("$in").expect("a list").clone()
    }

    fn values_of(text: &str) -> Vec<Bson> {
        values(&ids(&[(text, false)]).partitions()[0])
    }

    #[test]
    fn an_id_stands_for_all_that_it_looks_like() {
        let text = |text: &str| Bson::String(text.to_owned());
        assert_eq!(values_of("ada"), [text("ada")]);
        assert_eq!(values_of("-17"), [Bson::Int64(-17), text("-17")]);
        assert_eq!(values_of("007"), [Bson::Int64(7), text("007")]);
        let large = "9223372036854775808";
        assert_eq!(values_of(large), [Bson::Decimal128(large.parse().expect("a decimal")), text(large)]);
        let oid = "635B79e231d82a8ab1de863b";
        assert_eq!(values_of(oid), [Bson::ObjectId(oid.parse().expect("an ObjectId")), text(oid)]);
        let both = "123456789012345678901234";
        assert_eq!(values_of(both).len(), 3, "a number, an ObjectId and a text");
        let uuid = "00112233-4455-6677-8899-aabbccddeeff";
        let bytes = (0..16).map(|n| n * 0x11).collect();
        let binary = Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes });
        assert_eq!(values_of(uuid), [binary, text(uuid)]);
        for other in ["1.5", "1e3", "+1", "-", "0x10", "635b79e231d82a8ab1de863", "00112233-4455-6677-8899aabbccddeeff"]
        {
            assert_eq!(values_of(other), [text(other)]);
        }
        let long = "1".repeat(35);
        assert_eq!(values_of(&long), [text(&long)]);
        assert_eq!(values(&ids(&[("17", true)]).partitions()[0]), [text("17")]);
    }

    #[test]
    fn no_value_comes_twice() {
        let listed = [("17", false), ("017", false), ("17", true), ("a", false), ("a", true)];
        let all = ids(&listed);
        assert_eq!(values(&all.partitions()[0]).len(), 4, "17, \"17\", \"017\", \"a\"");
        assert_eq!(ids(&[]).partitions().len(), 0);
    }

    #[test]
    fn partitions_have_some_thousand_ids_in_the_order_of_the_list() {
        let texts: Vec<String> = (0..2500).map(|n| (n % 2400).to_string()).collect();
        let listed: Vec<(&str, bool)> = texts.iter().map(|text| (text.as_str(), true)).collect();
        let all = ids(&listed);
        assert_eq!(all, ids(&listed));
        let partitions: Vec<Vec<Bson>> = all.partitions().iter().map(values).collect();
        assert_eq!(partitions.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 400]);
        let again: Vec<Bson> = partitions.concat();
        assert!(again.iter().zip(&texts).all(|(value, text)| value.as_str() == Some(text)));
        let long = "x".repeat(BYTES_AT_ONCE / 2);
        let texts: Vec<String> = (0..5).map(|n| format!("{long}{n}")).collect();
        let listed: Vec<(&str, bool)> = texts.iter().map(|text| (text.as_str(), false)).collect();
        assert_eq!(ids(&listed).partitions().len(), 5);
    }

    #[test]
    fn the_match_comes_before_the_stages() {
        let limit = Document::new(doc! {"$limit": 1}.to_vec().expect("BSON")).expect("BSON");
        let mut derived = Derived { pipeline: vec![limit.clone()], ids: None };
        assert_eq!(derived.partitions().collect::<Vec<_>>(), [vec![limit.clone()]]);
        let ids = ids(&[("a", false)]);
        let only = ids.partitions()[0].clone();
        derived.ids = Some(ids);
        assert_eq!(derived.partitions().collect::<Vec<_>>(), [vec![only, limit]]);
        assert!(!format!("{:?}", derived.ids).contains("\"a\""));
    }

    #[test]
    fn a_field_has_a_name() {
        for field in ["", "$user", "a\0"] {
            assert!(Ids::new(field, []).is_err());
        }
        assert_eq!(Ids::new("order.user", []).expect("a path").field(), "order.user");
    }
}
