//! From the names that MongoDB allows to the names that PostgreSQL can have, without two of them meeting.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::options::Naming;
use crate::model::identifier::{Identifier, MAX_IDENTIFIER_BYTES};

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
    taken: Mutex<HashMap<Identifier, HashSet<String>>>,
}

impl TableNames {
    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, HashSet<String>>> {
        // A panic elsewhere cannot leave a set of names half changed.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the identifier for `wanted` in `schema` (see [`identifier`]).
    pub fn claim(&self, schema: &Identifier, wanted: &str, full_path: &str) -> Identifier {
        let mut all = self.lock();
        let names = all.entry(schema.clone()).or_default();
        let name = identifier(wanted, full_path, |name| names.contains(name));
        names.insert(name.as_str().to_owned());
        name
    }

    /// Marks a name as in use.
    pub fn occupy(&self, schema: &Identifier, name: &str) {
        self.lock().entry(schema.clone()).or_default().insert(name.to_owned());
    }

    /// Gives a name back.
    pub fn release(&self, schema: &Identifier, name: &str) {
        if let Some(names) = self.lock().get_mut(schema) {
            names.remove(name);
        }
    }

    /// True when something has that name.
    #[must_use]
    pub fn is_taken(&self, schema: &Identifier, name: &str) -> bool {
        self.lock().get(schema).is_some_and(|names| names.contains(name))
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
        assert_eq!(names.claim(&schema, "t", "1").as_str(), "t");
        assert_ne!(names.claim(&schema, "t", "2").as_str(), "t");
        names.release(&schema, "t");
        assert_eq!(names.claim(&schema, "t", "3").as_str(), "t");
    }
}
