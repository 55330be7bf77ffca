//! Where in the source's history something is.

use std::cmp::Ordering;
use std::fmt;

/// MongoDB's cluster time: seconds since 1970 and an ordinal within the second. Many events share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ClusterTime {
    /// Seconds since 1970.
    pub seconds: u32,
    /// Ordinal within the second.
    pub ordinal: u32,
}

impl fmt::Display for ClusterTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seconds, self.ordinal)
    }
}

/// A place in the change stream from which it can be resumed: everything up to it, nothing after it.
///
/// It is the `_data` string of a resume token. The string is the hexadecimal form of MongoDB's KeyString (cluster time,
/// token type, place inside the transaction or `applyOps`, collection, document), made so that bytes compare as the
/// events are ordered (MongoDB source, `resume_token.h`); a high-water mark sorts before the events of its cluster time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position {
    token: Box<str>,
    cluster_time: ClusterTime,
}

/// Text that is not the `_data` of a resume token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a resume token: {0:?}")]
pub struct NotAToken(pub String);

impl Position {
    /// Takes the `_data` of a resume token.
    ///
    /// # Errors
    /// When it is not hexadecimal or does not start with a cluster time (KeyString type byte 0x82).
    pub fn from_token(data: &str) -> Result<Self, NotAToken> {
        let wrong = || NotAToken(data.chars().take(64).collect());
        let word = |from: usize| {
            let digits = data.get(from..from + 8)?;
            u32::from_str_radix(digits, 16).ok()
        };
        if !data.starts_with("82") || !data.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let seconds = word(2).ok_or_else(wrong)?;
        let ordinal = word(10).ok_or_else(wrong)?;
        Ok(Self { token: data.to_ascii_uppercase().into(), cluster_time: ClusterTime { seconds, ordinal } })
    }

    /// The `_data` string to resume after.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The cluster time inside the token.
    #[must_use]
    pub fn cluster_time(&self) -> ClusterTime {
        self.cluster_time
    }
}

// There is one kind of stream today; when the raw oplog gets positions of its own, comparing across streams must
// become an error (delivery contract, *Position*), so ordering is kept in this one place.
impl Ord for Position {
    fn cmp(&self, other: &Self) -> Ordering {
        self.token.as_bytes().cmp(other.token.as_bytes())
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::Position;

    #[test]
    fn a_high_water_mark_sorts_before_the_events_of_its_time() {
        let mark = Position::from_token("826B035AF8000000022B0429296E1404").expect("token");
        let event = Position::from_token("826B035AF8000000022B042C0100296E5A10").expect("token");
        assert!(mark < event);
        assert_eq!((mark.cluster_time().seconds, mark.cluster_time().ordinal), (0x6B03_5AF8, 2));
    }

    #[test]
    fn what_is_not_a_token_is_refused() {
        for text in ["", "82", "hello", "92AABBCCDD00000001", "82ZZ"] {
            assert!(Position::from_token(text).is_err(), "{text}");
        }
    }
}
