//! One statement with its values, which can be run with parameters or written as text with literals.
//!
//! The catalog's statements are made here and in the modules of their tables once, for both ways.

use std::borrow::Cow;
use std::error::Error as StdError;

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// A value of a statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Param<'a> {
    /// `text`
    Text(Option<Cow<'a, str>>),
    /// `boolean`
    Boolean(bool),
    /// `integer`
    Integer(Option<i32>),
    /// `bigint`
    BigInt(i64),
    /// `text[]`
    Texts(Cow<'a, [String]>),
    /// `bytea`
    Bytes(Option<&'a [u8]>),
}

/// SQL with `$1`, `$2` and so on for its values. Placeholders stand in no string of it.
#[derive(Debug, Clone)]
pub struct Statement<'a> {
    /// What it does, for the message when it fails.
    pub what: &'static str,
    /// Its text.
    pub sql: Cow<'static, str>,
    /// Its values.
    pub params: Vec<Param<'a>>,
}

impl<'a> Statement<'a> {
    /// A statement whose text is always the same.
    pub fn new<const N: usize>(what: &'static str, sql: &'static str, params: [Param<'a>; N]) -> Self {
        Self { what, sql: Cow::Borrowed(sql), params: params.into() }
    }

    /// The values as the driver takes them.
    pub fn driver_params(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.params.iter().map(|param| param as &(dyn ToSql + Sync)).collect()
    }
}

impl ToSql for Param<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Param::Text(text) => text.as_deref().to_sql(ty, out),
            Param::Boolean(yes) => yes.to_sql(ty, out),
            Param::Integer(number) => number.to_sql(ty, out),
            Param::BigInt(number) => number.to_sql(ty, out),
            Param::Texts(texts) => texts.as_ref().to_sql(ty, out),
            Param::Bytes(bytes) => bytes.to_sql(ty, out),
        }
    }

    // The statements say the types of their parameters where PostgreSQL cannot know them.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> From<&'a str> for Param<'a> {
    fn from(text: &'a str) -> Self {
        Param::Text(Some(text.into()))
    }
}

impl From<String> for Param<'_> {
    fn from(text: String) -> Self {
        Param::Text(Some(text.into()))
    }
}

impl<'a> From<Option<&'a str>> for Param<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Param::Text(text.map(Cow::Borrowed))
    }
}

impl From<bool> for Param<'_> {
    fn from(yes: bool) -> Self {
        Param::Boolean(yes)
    }
}

impl From<i64> for Param<'_> {
    fn from(number: i64) -> Self {
        Param::BigInt(number)
    }
}

impl<'a> From<&'a [String]> for Param<'a> {
    fn from(texts: &'a [String]) -> Self {
        Param::Texts(Cow::Borrowed(texts))
    }
}
