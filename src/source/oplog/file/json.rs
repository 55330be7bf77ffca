//! JSON text as a tree that keeps what a map would lose: the order of fields, and names that come twice.
//!
//! In: text. Out: the tree, of limited depth. Names fit into BSON: none holds U+0000.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Reads a text of at most `deepest` levels.
///
/// # Errors
/// When it is no JSON, or deeper.
pub fn parse(text: &[u8], deepest: usize) -> Result<Json, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    // The depth is counted here: the parser's own limit of 128 is below what MongoDB takes.
    reader.disable_recursion_limit();
    let json = Depth(deepest).deserialize(&mut reader)?;
    reader.end()?;
    Ok(json)
}

/// JSON with everything that BSON can tell apart.
#[derive(Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true`, `false`
    Boolean(bool),
    /// A number without fraction and exponent that is an int64.
    Integer(i64),
    /// Any other number.
    Double(f64),
    /// A string.
    String(String),
    /// A list.
    Array(Vec<Json>),
    /// Names and values, in order; a name may come twice.
    Object(Vec<(String, Json)>),
}

/// How many more levels may lie below.
#[derive(Clone, Copy)]
struct Depth(usize);

impl Depth {
    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("it is nested too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, yes: bool) -> Result<Json, E> {
        Ok(Json::Boolean(yes))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Integer(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Json, E> {
        // Relaxed numbers that are no int64 are doubles.
        let double = || number.to_string().parse().map(Json::Double).map_err(|_| E::custom("a number"));
        i64::try_from(number).map(Json::Integer).or_else(|_| double())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Double(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(below)? {
            array.push(element);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut object = Vec::new();
        while let Some(name) = fields.next_key::<String>()? {
            if name.contains('\0') {
                return Err(A::Error::custom("a field name holds U+0000, which BSON cannot"));
            }
            object.push((name, fields.next_value_seed(below)?));
        }
        Ok(Json::Object(object))
    }
}
