//! From the names that MongoDB allows to the names that PostgreSQL can have, without two of them meeting.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::options::Naming;
use crate::model::identifier::{Identifier, MAX_IDENTIFIER_BYTES};
use crate::model::namespace::CollectionId;

/// Columns that every PostgreSQL table has already (PostgreSQL manual, 5.6).
pub const SYSTEM_COLUMNS: [&str; 6] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];

/// `_` and eight hexadecimal digits.
const SUFFIX_BYTES: usize = 9;

/// The identifier for `wanted`: itself when PostgreSQL can have it and `taken` does not say otherwise, else its longest
/// prefix that fits, `_`, and eight hexadecimal digits of the SHA-256 of `full_path`. The same path always gives the
/// same name.
#[must_use]
pub fn identifier(wanted: &str, full_path: &str, taken: impl Fn(&str) -> bool) -> Identifier {
    if let Some(name) = Identifier::new(wanted).filter(|name| !taken(name.as_str())) {
        return name;
    }
    let clean = wanted.replace('\0', "");
    let mut end = clean.len().min(MAX_IDENTIFIER_BYTES - SUFFIX_BYTES);
    while !clean.is_char_boundary(end) {
        end -= 1;
    }
    let prefix = clean.get(..end).unwrap_or_default();
    // The first hash is free but for an accident of one in four thousand million; the salt makes even that end.
    let mut salt = 0u32;
    loop {
        let name = format!("{prefix}_{}", hash(full_path, salt));
        match Identifier::new(&name) {
            Some(name) if !taken(name.as_str()) => return name,
            _ => salt += 1,
        }
    }
}

fn hash(full_path: &str, salt: u32) -> String {
    let mut hasher = Sha256::new();
    hasher.update(full_path.as_bytes());
    if salt > 0 {
        hasher.update(salt.to_be_bytes());
    }
    super::json::hex(hasher.finalize().get(..4).unwrap_or_default())
}

impl Naming {
    /// The name that PostgreSQL gets for one of MongoDB's, before limits and collisions.
    #[must_use]
    pub fn apply(self, name: &str) -> Cow<'_, str> {
        match self {
            Naming::Preserve => Cow::Borrowed(name),
            Naming::SnakeCase => Cow::Owned(snake_case(name)),
        }
    }
}

/// Words that begin with an upper-case letter are parted by `_` and written small: `rollNo` is `roll_no`, `HTTPServer` is
/// `http_server`. All other characters stay.
fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::with_capacity(name.len() + 4);
    for (i, letter) in letters.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|before| letters.get(before));
        let begins_word = letter.is_uppercase()
            && before.is_some_and(|before| {
                let small_follows = letters.get(i + 1).is_some_and(|next| next.is_lowercase());
                before.is_lowercase() || before.is_numeric() || before.is_uppercase() && small_follows
            });
        if begins_word {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// The table names in use, by schema; shared by every collection that goes into the same target.
#[derive(Debug, Default)]
pub struct TableNames {
    taken: Mutex<HashMap<Identifier, Names>>,
}

/// The names of one schema.
#[derive(Debug, Default)]
struct Names {
    taken: HashSet<String>,
    /// Tables of dropped collections that were kept, and the collection: whoever wants such a name gets it.
    kept: HashMap<String, CollectionId>,
    /// Those of them that have made way.
    aside: HashSet<String>,
}

/// A name that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The name.
    pub name: Identifier,
    /// Old and new names of the kept tables that make way for it.
    pub asides: Vec<(Identifier, Identifier)>,
}

impl Names {
    /// A kept table gets a name that nobody wants, and with it all tables of its collection: a new root table beside old
    /// child tables would look like one collection.
    fn move_aside(&mut self, wanted: &Identifier) -> Vec<(Identifier, Identifier)> {
        let Some(collection) = self.kept.get(wanted.as_str()).copied() else { return Vec::new() };
        let moving = |(name, of): &(&String, &CollectionId)| {
            **of == collection && (!self.aside.contains(*name) || *name == wanted.as_str())
        };
        let names: Vec<String> = self.kept.iter().filter(moving).map(|(name, _)| name.clone()).collect();
        let mut asides = Vec::new();
        for from in names.iter().filter_map(|name| Identifier::new(name)) {
            let to = identifier(from.as_str(), &collection.to_string(), |other| {
                other == from.as_str() || self.taken.contains(other) || self.kept.contains_key(other)
            });
            self.kept.remove(from.as_str());
            self.aside.remove(from.as_str());
            self.kept.insert(to.as_str().to_owned(), collection);
            self.aside.insert(to.as_str().to_owned());
            asides.push((from, to));
        }
        asides.sort();
        asides
    }
}

impl TableNames {
    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, Names>> {
        // A panic elsewhere cannot leave a set of names half changed.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the identifier for `wanted` in `schema` (see [`identifier`]).
    pub fn claim(&self, schema: &Identifier, wanted: &str, full_path: &str) -> Claim {
        let mut all = self.lock();
        let names = all.entry(schema.clone()).or_default();
        let name = identifier(wanted, full_path, |name| names.taken.contains(name));
        names.taken.insert(name.as_str().to_owned());
        let asides = names.move_aside(&name);
        Claim { name, asides }
    }

    /// A table stays although its collection is gone: its name is free, and the table makes way for whoever takes it.
    /// With `aside`, it has made way already.
    pub fn keep(&self, schema: &Identifier, name: &str, collection: CollectionId, aside: bool) {
        let mut all = self.lock();
        let names = all.entry(schema.clone()).or_default();
        names.taken.remove(name);
        names.kept.insert(name.to_owned(), collection);
        if aside {
            names.aside.insert(name.to_owned());
        }
    }

    /// True for a kept table of a dropped collection.
    #[must_use]
    pub fn is_kept(&self, schema: &Identifier, name: &str) -> bool {
        self.lock().get(schema).is_some_and(|names| names.kept.contains_key(name))
    }

    /// Marks a name as in use.
    pub fn occupy(&self, schema: &Identifier, name: &str) {
        self.lock().entry(schema.clone()).or_default().taken.insert(name.to_owned());
    }

    /// Gives a name back.
    pub fn release(&self, schema: &Identifier, name: &str) {
        if let Some(names) = self.lock().get_mut(schema) {
            names.taken.remove(name);
        }
    }

    /// True when something has that name.
    #[must_use]
    pub fn is_taken(&self, schema: &Identifier, name: &str) -> bool {
        self.lock().get(schema).is_some_and(|names| names.taken.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit_stay() {
        for name in ["age", "Age", "a.b.c", "select", "Ünï çödé", "a\"b"] {
            assert_eq!(identifier(name, "x", |_| false).as_str(), name);
        }
    }

    #[test]
    fn names_that_do_not_fit_get_a_stable_suffix() {
        let long = "é".repeat(40);
        let name = identifier(&long, "shop.a", |_| false);
        assert!(name.as_str().len() <= 63 && name.as_str().starts_with(&"é".repeat(27)));
        assert_eq!(name, identifier(&long, "shop.a", |_| false));
        assert_ne!(name, identifier(&long, "shop.b", |_| false));
        assert_eq!(identifier("", "p", |_| false).as_str().len(), 9);
        assert!(identifier("xmin", "p", |name| name == "xmin").as_str().starts_with("xmin_"));
    }

    #[test]
    fn snake_case_parts_words() {
        for (name, snake) in [
            ("rollNo", "roll_no"),
            ("roll_no", "roll_no"),
            ("HTTPServer", "http_server"),
            ("userID", "user_id"),
            ("IDs", "i_ds"),
            ("address2Line", "address2_line"),
            ("Name", "name"),
            ("_id", "_id"),
            ("_Id", "_id"),
            ("A-B c.dE", "a-b c.d_e"),
            ("straßeÜber", "straße_über"),
            ("", ""),
        ] {
            assert_eq!(Naming::SnakeCase.apply(name), snake);
            assert_eq!(Naming::SnakeCase.apply(snake), snake, "what is snake case already stays");
            assert_eq!(Naming::Preserve.apply(name), name);
        }
    }

    #[test]
    fn a_released_name_is_free_again() {
        let names = TableNames::default();
        let schema = Identifier::new("s").expect("fits");
        assert_eq!(names.claim(&schema, "t", "1").name.as_str(), "t");
        assert_ne!(names.claim(&schema, "t", "2").name.as_str(), "t");
        names.release(&schema, "t");
        assert_eq!(names.claim(&schema, "t", "3").name.as_str(), "t");
    }

    #[test]
    fn kept_tables_make_way_together_and_again_and_again() {
        let names = TableNames::default();
        let schema = Identifier::new("s").expect("fits");
        let mut seen = HashSet::new();
        for n in 0..3 {
            let claim = names.claim(&schema, "t", "t");
            assert_eq!((claim.name.as_str(), claim.asides.len()), ("t", if n > 0 { 2 } else { 0 }));
            let suffix = |name: &Identifier| name.as_str().rsplit('_').next().map(str::to_owned);
            if let [(one, one_aside), (two, two_aside)] = claim.asides.as_slice() {
                assert_eq!((one.as_str(), two.as_str()), ("t", "t_l"));
                assert_eq!(suffix(one_aside), suffix(two_aside));
            }
            assert!(claim.asides.into_iter().all(|(_, aside)| seen.insert(aside)));
            assert!(names.claim(&schema, "t_l", "t_l").asides.is_empty());
            for name in ["t", "t_l"] {
                names.keep(&schema, name, CollectionId([n; 16]), false);
                assert!(names.is_kept(&schema, name) && !names.is_taken(&schema, name));
            }
        }
    }
}
