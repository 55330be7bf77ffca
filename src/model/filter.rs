//! Which collections are replicated.
//!
//! Globs over `database.collection`: `*` stands for any run of characters, `?` for one. A glob is cut at its first dot,
//! as a namespace is, so `*.orders` means the collection `orders` of every database and not `archive.orders` of one;
//! a glob without a dot (`*`) is compared with the whole name. The server's own namespaces are never selected.

use std::fmt;

use super::namespace::Namespace;

/// A pattern over `database.collection`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Box<str>);

/// Text that cannot be a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAGlob {
    /// Nothing to match.
    #[error("an empty pattern matches nothing")]
    Empty,
    /// A plain name, which can never equal `database.collection`.
    #[error("{0:?} names no collection; write \"{0}.*\" for every collection of that database")]
    NoCollection(String),
}

impl Glob {
    /// Takes a pattern.
    ///
    /// # Errors
    /// When it can match no namespace.
    pub fn parse(text: &str) -> Result<Self, NotAGlob> {
        match text {
            "" => Err(NotAGlob::Empty),
            _ if !text.contains(['.', '*']) => Err(NotAGlob::NoCollection(text.to_owned())),
            _ => Ok(Self(text.into())),
        }
    }

    /// True when the namespace is one of those it describes.
    #[must_use]
    pub fn matches(&self, namespace: &Namespace) -> bool {
        match self.0.split_once('.') {
            Some((database, collection)) => {
                matches(database, &namespace.database) && matches(collection, &namespace.collection)
            }
            None => matches(&self.0, &namespace.to_string()),
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What `source.include` and `source.exclude` select; the default selects everything that can be replicated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamespaceFilter {
    include: Box<[Glob]>,
    exclude: Box<[Glob]>,
}

impl NamespaceFilter {
    /// A filter; no `include` means everything.
    #[must_use]
    pub fn new(include: Vec<Glob>, exclude: Vec<Glob>) -> Self {
        Self { include: include.into(), exclude: exclude.into() }
    }

    /// True when the collection is to be replicated.
    #[must_use]
    pub fn selects(&self, namespace: &Namespace) -> bool {
        !namespace.is_internal()
            && (self.include.is_empty() || self.include.iter().any(|glob| glob.matches(namespace)))
            && !self.exclude.iter().any(|glob| glob.matches(namespace))
    }
}

/// `*` any run, `?` any one character. Linear in memory, at worst `pattern × text` in time: on a mismatch only the last
/// `*` needs to give way, because an earlier one taking more could not help a later one.
fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut retry: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let (mut next_pattern, mut next_text) = (pattern.clone(), text.clone());
        match (next_pattern.next(), next_text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                retry = Some((next_pattern.clone(), text.clone()));
                pattern = next_pattern;
            }
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                (pattern, text) = (next_pattern, next_text);
            }
            (Some(_), _) | (None, Some(_)) => {
                let Some((after_star, from)) = &mut retry else { return false };
                if from.next().is_none() {
                    return false;
                }
                (pattern, text) = (after_star.clone(), from.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Glob, NamespaceFilter, NotAGlob, matches};
    use crate::model::namespace::Namespace;

    fn selects(include: &[&str], exclude: &[&str], namespace: &str) -> bool {
        let globs = |texts: &[&str]| texts.iter().map(|t| Glob::parse(t).expect("glob")).collect();
        NamespaceFilter::new(globs(include), globs(exclude)).selects(&Namespace::parse(namespace).expect("namespace"))
    }

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("*", "anything", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("a*b*c", "aXbXbXc", true),
            ("*aab", "aaaab", true),
            ("tmp_?", "tmp_1", true),
            ("tmp_?", "tmp_", false),
            ("tmp_?", "tmp_12", false),
            ("é?", "éü", true),
            ("Orders", "orders", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} over {text:?}");
        }
    }

    /// The definition of a match, without any cleverness.
    fn defined(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => {
                defined(rest, text) || text.split_first().is_some_and(|(_, text)| defined(pattern, text))
            }
            (Some((wanted, rest)), Some((found, text))) => (*wanted == '?' || wanted == found) && defined(rest, text),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    proptest::proptest! {
        #[test]
        fn the_matcher_keeps_the_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            proptest::prop_assert_eq!(matches(&pattern, &text), defined(&chars(&pattern), &chars(&text)));
        }
    }

    #[test]
    fn the_default_is_everything_but_the_servers_own() {
        assert!(selects(&[], &[], "shop.orders"));
        for own in ["admin.users", "config.shards", "local.oplog.rs", "shop.system.views"] {
            assert!(!selects(&[], &[], own), "{own}");
            assert!(!selects(&["*"], &[], own), "{own} even when asked for");
        }
    }

    #[test]
    fn exclude_wins_over_include() {
        assert!(selects(&["shop.*"], &["shop.tmp_*"], "shop.orders"));
        assert!(!selects(&["shop.*"], &["shop.tmp_*"], "shop.tmp_1"));
        assert!(!selects(&["shop.*"], &[], "school.student"));
    }

    #[test]
    fn the_first_dot_parts_database_and_collection() {
        assert!(selects(&["*.orders"], &[], "shop.orders"));
        assert!(!selects(&["*.orders"], &[], "shop.archive.orders"));
        assert!(selects(&["shop.archive.*"], &[], "shop.archive.orders"));
        assert!(selects(&["sh*s"], &[], "shop.archive.orders"), "without a dot the whole name is compared");
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_refused() {
        assert_eq!(Glob::parse(""), Err(NotAGlob::Empty));
        assert_eq!(Glob::parse("shop"), Err(NotAGlob::NoCollection("shop".to_owned())));
    }
}
