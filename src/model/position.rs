//! Where in the source's history something is.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// MongoDB's cluster time: seconds since 1970 and an ordinal within the second. Many events share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ClusterTime {
    /// Seconds since 1970.
    pub seconds: u32,
    /// Ordinal within the second.
    pub ordinal: u32,
}

impl ClusterTime {
    /// The one before.
    #[must_use]
    pub fn before(self) -> Self {
        match self.ordinal.checked_sub(1) {
            Some(ordinal) => Self { ordinal, ..self },
            None => Self { seconds: self.seconds.saturating_sub(1), ordinal: u32::MAX },
        }
    }
}

impl fmt::Display for ClusterTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seconds, self.ordinal)
    }
}

/// A place in the source's history: everything up to it, nothing after it.
///
/// The readers name places in two ways, in one order, which is that of the oplog:
/// - The change stream gives resume tokens. [`Position::text`] is the token's `_data`, then, when the server sent one, a
///   point and its `_typeBits` in hexadecimal. `_data` is the hexadecimal form of MongoDB's KeyString (cluster time, token
///   type, place inside the transaction or `applyOps`, collection, document), made so that bytes compare as the events
///   are ordered (MongoDB source, `resume_token.h`); a high-water mark sorts before the events of its cluster time.
///   `_typeBits` tells apart numbers that a KeyString holds equal; without them the server cannot read a token whose `_id` is
///   a decimal (error 50810, measured on 8.2). They follow from the event, so equal `_data` means equal type bits and they
///   never decide an order.
/// - The oplog reader gives whole entries, as each has a cluster time of its own: the place *after* everything of that time.
///   The text is `T`, the time in hexadecimal and, after a point, the election term of the entry, by which a reader sees
///   that it is still the same entry.
///
/// So a pipeline may change its reader: whoever resumes from a place of the other kind reads that cluster time again, and
/// what was applied of it sorts before, or at, the place.
#[derive(Debug, Clone)]
pub struct Position {
    place: Place,
    cluster_time: ClusterTime,
}

#[derive(Debug, Clone)]
enum Place {
    Token(Box<str>),
    Time { term: Option<i64> },
}

/// Text that is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a position: {0:?}")]
pub struct NotAPosition(pub String);

/// Between `_data` and `_typeBits`, and between a time and its term.
const SEPARATOR: char = '.';
/// What the text of a time begins with; a token begins with a digit.
const TIME: char = 'T';

impl Position {
    /// After everything of a cluster time.
    #[must_use]
    pub fn after(cluster_time: ClusterTime, term: Option<i64>) -> Self {
        Self { place: Place::Time { term }, cluster_time }
    }

    /// Takes what [`Position::text`] gave, or the `_data` of a resume token.
    ///
    /// # Errors
    /// When it is neither hexadecimal with a cluster time at its start (KeyString type byte 0x82), nor a time.
    pub fn parse(text: &str) -> Result<Self, NotAPosition> {
        let wrong = || NotAPosition(text.chars().take(64).collect());
        let (first, rest) = text.split_once(SEPARATOR).map_or((text, None), |(first, rest)| (first, Some(rest)));
        let hexadecimal =
            |digits: &str| digits.len().is_multiple_of(2) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if let Some(time) = first.strip_prefix(TIME) {
            let term = rest.map(str::parse).transpose().map_err(|_| wrong())?;
            let whole = time.len() == 16 && hexadecimal(time);
            let cluster_time = whole.then(|| time_at(time)).flatten().ok_or_else(wrong)?;
            return Ok(Self::after(cluster_time, term));
        }
        let time = first.strip_prefix("82").ok_or_else(wrong)?;
        if !hexadecimal(first) || rest.is_some_and(|bits| bits.is_empty() || !hexadecimal(bits)) {
            return Err(wrong());
        }
        let cluster_time = time_at(time).ok_or_else(wrong)?;
        Ok(Self { place: Place::Token(text.to_ascii_uppercase().into()), cluster_time })
    }

    /// Takes the two parts of a resume token as the server sends them.
    ///
    /// # Errors
    /// As [`Position::parse`].
    pub fn from_parts(data: &str, type_bits: &[u8]) -> Result<Self, NotAPosition> {
        if data.starts_with(TIME) {
            return Err(NotAPosition(data.chars().take(64).collect()));
        }
        if type_bits.is_empty() {
            return Self::parse(data);
        }
        let mut text = String::with_capacity(data.len() + 1 + 2 * type_bits.len());
        text.push_str(data);
        text.push(SEPARATOR);
        for byte in type_bits {
            text.push_str(&format!("{byte:02X}"));
        }
        Self::parse(&text)
    }

    /// The text to keep; [`Position::parse`] reads it back.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.place {
            Place::Token(token) => token.to_string(),
            Place::Time { term } => {
                let ClusterTime { seconds, ordinal } = self.cluster_time;
                let term = term.map(|term| format!("{SEPARATOR}{term}")).unwrap_or_default();
                format!("{TIME}{seconds:08X}{ordinal:08X}{term}")
            }
        }
    }

    /// The resume token's `_data` and `_typeBits`, which may be empty; `None` for a time.
    #[must_use]
    pub fn token(&self) -> Option<(&str, Vec<u8>)> {
        let Place::Token(token) = &self.place else { return None };
        let (data, digits) = token.split_once(SEPARATOR).unwrap_or((token, ""));
        let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
        Some((data, (0..digits.len()).step_by(2).map_while(byte).collect()))
    }

    /// The term of the oplog entry that it is after, where it is known.
    #[must_use]
    pub fn term(&self) -> Option<i64> {
        match &self.place {
            Place::Token(_) => None,
            Place::Time { term } => *term,
        }
    }

    /// The cluster time of what lies before it.
    #[must_use]
    pub fn cluster_time(&self) -> ClusterTime {
        self.cluster_time
    }

    /// The latest cluster time of which something may lie before it. A high-water mark lies before all events of its own.
    #[must_use]
    pub fn latest_before(&self) -> ClusterTime {
        if self.is_after_its_time() || self.is_of_an_event() { self.cluster_time } else { self.cluster_time.before() }
    }

    /// True when it is right after an event of the change stream; whether more of its cluster time follows, it does not say.
    #[must_use]
    pub fn is_of_an_event(&self) -> bool {
        // After `82`, the time, and the version in two bytes comes the token's type: zero (`29`) for a mark.
        matches!(&self.place, Place::Token(token) if token.get(22..24) != Some("29"))
    }

    /// True when nothing more of its cluster time can come after it.
    #[must_use]
    pub fn is_after_its_time(&self) -> bool {
        matches!(self.place, Place::Time { .. })
    }
}

/// The cluster time in the first 16 digits.
fn time_at(digits: &str) -> Option<ClusterTime> {
    let word = |from: usize| u32::from_str_radix(digits.get(from..from + 8)?, 16).ok();
    Some(ClusterTime { seconds: word(0)?, ordinal: word(8)? })
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> Ordering {
        self.cluster_time.cmp(&other.cluster_time).then_with(|| match (&self.place, &other.place) {
            (Place::Token(a), Place::Token(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Place::Token(_), Place::Time { .. }) => Ordering::Less,
            (Place::Time { .. }, Place::Token(_)) => Ordering::Greater,
            (Place::Time { .. }, Place::Time { .. }) => Ordering::Equal,
        })
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Position {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Position {}

impl Hash for Position {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.cluster_time.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::{ClusterTime, Position};

    fn position(text: &str) -> Position {
        Position::parse(text).expect("a position")
    }

    #[test]
    fn a_high_water_mark_sorts_before_the_events_of_its_time() {
        let mark = position("826B035AF8000000022B0429296E1404");
        let event = position("826B035AF8000000022B042C0100296E5A10");
        assert!(mark < event);
        let (seconds, ordinal) = (0x6B03_5AF8, 1);
        assert_eq!(mark.latest_before(), ClusterTime { seconds, ordinal });
        assert_eq!(event.latest_before(), event.cluster_time());
        assert!(event.is_of_an_event() && !mark.is_of_an_event());
        assert_eq!((mark.cluster_time().seconds, mark.cluster_time().ordinal), (0x6B03_5AF8, 2));
    }

    #[test]
    fn a_time_sorts_after_everything_of_it_and_before_what_follows() {
        let event = position("826B035AF8000000022B042C0100296E5A10");
        let next = position("826B035AF8000000032B0429296E1404");
        let time = Position::after(event.cluster_time(), Some(7));
        assert!(event < time && time < next && time.is_after_its_time() && !time.is_of_an_event());
        assert_eq!((time.text().as_str(), time.term(), time.token()), ("T6B035AF800000002.7", Some(7), None));
        assert_eq!(position(&time.text()).term(), Some(7));
        assert_eq!(position("T6B035AF800000002"), time, "the term is no part of the order");
        assert_eq!(position("T6B035AF800000002").cluster_time(), ClusterTime { seconds: 0x6B03_5AF8, ordinal: 2 });
    }

    #[test]
    fn type_bits_travel_with_the_token() {
        let decimal = Position::from_parts("826b035af800000002", &[0x82, 0x80, 0x3D]).expect("token");
        assert_eq!(decimal.text(), "826B035AF800000002.82803D");
        assert_eq!(decimal.token(), Some(("826B035AF800000002", vec![0x82, 0x80, 0x3D])));
        assert_eq!(position(&decimal.text()), decimal);
        let plain = Position::from_parts("826B035AF800000002", &[]).expect("token");
        assert_eq!(plain.token(), Some(("826B035AF800000002", Vec::new())));
    }

    #[test]
    fn what_is_no_position_is_refused() {
        let odd = "82AABBCCDD000000010";
        let tokens =
            ["", "82", "hello", "92AABBCCDD00000001", "82ZZ", odd, "82AABBCCDD00000001.", "82AABBCCDD00000001.0"];
        let times = ["T", "T6B035AF80000000", "T6B035AF8000000021", "T6B035AF800000002.", "T6B035AF800000002.x"];
        for text in tokens.into_iter().chain(times) {
            assert!(Position::parse(text).is_err(), "{text}");
        }
        assert!(Position::from_parts("T6B035AF800000002", &[]).is_err(), "the server sends no such token");
    }
}
