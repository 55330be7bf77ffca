//! Names of databases and collections, and the UUID by which a collection is really known.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// `database.collection`. The database has no dot, the collection may.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace {
    /// Database name.
    pub database: Arc<str>,
    /// Collection name.
    pub collection: Arc<str>,
}

impl Namespace {
    /// A namespace from its two parts.
    #[must_use]
    pub fn new(database: &str, collection: &str) -> Self {
        Self { database: database.into(), collection: collection.into() }
    }

    /// Splits at the first dot; `None` without one or with an empty part.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (database, collection) = text.split_once('.')?;
        (!database.is_empty() && !collection.is_empty()).then(|| Self::new(database, collection))
    }

    /// True for what is never replicated: the server's own databases and `system.*` collections.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        matches!(&*self.database, "admin" | "config" | "local") || self.collection.starts_with("system.")
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.collection)
    }
}

/// Namespaces that were named before: many changes name few, and share them.
#[derive(Debug, Default)]
pub struct Names {
    known: HashMap<Box<[u8]>, Namespace>,
    /// Both names, with a dot between.
    whole: Vec<u8>,
}

impl Names {
    /// Namespaces that are kept at most.
    const MOST: usize = 10_000;

    /// The namespace of these names. MongoDB accepts names that are not UTF-8; here they are labels, and the UUID is what
    /// identifies.
    pub fn get(&mut self, database: &[u8], collection: &[u8]) -> Namespace {
        self.whole.clear();
        self.whole.extend_from_slice(database);
        self.whole.push(b'.');
        self.whole.extend_from_slice(collection);
        if let Some(known) = self.known.get(self.whole.as_slice()) {
            return known.clone();
        }
        let namespace = Namespace::new(&String::from_utf8_lossy(database), &String::from_utf8_lossy(collection));
        if self.known.len() >= Self::MOST {
            self.known.clear();
        }
        self.known.insert(self.whole.as_slice().into(), namespace.clone());
        namespace
    }
}

/// The collection's UUID: it survives a rename and differs after drop and re-create, a name does neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CollectionId(pub [u8; 16]);

impl CollectionId {
    /// Reads the form that [`fmt::Display`] writes; dashes are optional.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32).map(|n| Self(n.to_be_bytes()))
    }
}

impl fmt::Display for CollectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}
