//! Names that PostgreSQL can have, the only way in which a name reaches SQL.

use std::fmt;

/// PostgreSQL cuts identifiers at `NAMEDATALEN - 1` bytes, with a NOTICE only (PostgreSQL manual, 4.1.1).
pub const MAX_IDENTIFIER_BYTES: usize = 63;

/// An identifier that PostgreSQL holds unchanged. `Display` writes it quoted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identifier(Box<str>);

impl Identifier {
    /// Takes a name; `None` when it is empty, longer than 63 bytes or holds U+0000.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let fits = !name.is_empty() && name.len() <= MAX_IDENTIFIER_BYTES && !name.contains('\0');
        fits.then(|| Self(name.into()))
    }

    /// The bare name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::Identifier;

    #[test]
    fn quotes_are_doubled_and_the_impossible_refused() {
        assert_eq!(Identifier::new("a\"b").expect("fits").to_string(), "\"a\"\"b\"");
        for name in ["", "a\0b", &"x".repeat(64)] {
            assert!(Identifier::new(name).is_none());
        }
    }
}
