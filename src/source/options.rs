//! What this stage can be told. In: values from the configuration. Out: typed options; the URI never prints.

use std::fmt;
use std::str::FromStr;

/// A text that may hold a password: it has no `Display`, and its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Options of the source.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// MongoDB connection string.
    pub uri: Secret,
    /// Where snapshots are read. The change stream is always read from the primary.
    pub read_preference: ReadPreference,
    /// How updates are delivered.
    pub updates: UpdateForm,
}

/// Where snapshots are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadPreference {
    /// The primary only.
    Primary,
    /// The primary, a secondary while there is none.
    PrimaryPreferred,
    /// A secondary only.
    Secondary,
    /// A secondary, the primary while there is none.
    #[default]
    SecondaryPreferred,
    /// Whoever answers fastest.
    Nearest,
}

/// How the change stream describes an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpdateForm {
    /// The raw form when the server grants it, else the public one.
    #[default]
    Auto,
    /// The oplog's own `$v: 2` diff (`showRawUpdateDescription`): exact.
    Raw,
    /// The documented `updateDescription`, translated. It does not tell where a field that is new was put, and in one
    /// rare case it is ambiguous (`source::public_form`).
    Public,
}

/// A text that names none of the choices.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not one of {choices}")]
pub struct UnknownChoice {
    found: String,
    choices: &'static str,
}

impl FromStr for ReadPreference {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        Ok(match text {
            "primary" => Self::Primary,
            "primaryPreferred" => Self::PrimaryPreferred,
            "secondary" => Self::Secondary,
            "secondaryPreferred" => Self::SecondaryPreferred,
            "nearest" => Self::Nearest,
            _ => {
                let choices = "primary, primaryPreferred, secondary, secondaryPreferred, nearest";
                return Err(UnknownChoice { found: text.into(), choices });
            }
        })
    }
}

impl FromStr for UpdateForm {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        match text {
            "auto" => Ok(Self::Auto),
            "raw" => Ok(Self::Raw),
            "public" => Ok(Self::Public),
            _ => Err(UnknownChoice { found: text.into(), choices: "auto, raw, public" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ReadPreference, Secret, SourceOptions, UpdateForm};

    #[test]
    fn the_uri_never_prints() {
        let uri = Secret::new("mongodb://u:hunter2@h/");
        let options = SourceOptions { uri, read_preference: ReadPreference::Nearest, updates: UpdateForm::Auto };
        assert!(!format!("{options:?}").contains("hunter2"));
        assert!(options.uri.expose().contains("hunter2"));
    }

    #[test]
    fn a_wrong_choice_names_the_right_ones() {
        assert_eq!("nearest".parse(), Ok(ReadPreference::Nearest));
        assert_eq!("raw".parse(), Ok(UpdateForm::Raw));
        let error = "Nearest".parse::<ReadPreference>().expect_err("case matters");
        assert!(error.to_string().contains("secondaryPreferred"), "{error}");
    }
}
