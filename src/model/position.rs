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
/// It is the `_data` string of a resume token, then, when the server sent one, a point and its `_typeBits` in hexadecimal.
/// `_data` is the hexadecimal form of MongoDB's KeyString (cluster time, token type, place inside the transaction or
/// `applyOps`, collection, document), made so that bytes compare as the events are ordered (MongoDB source,
/// `resume_token.h`); a high-water mark sorts before the events of its cluster time. `_typeBits` tells apart numbers that
/// a KeyString holds equal; without them the server cannot read a token whose `_id` is a decimal (error 50810, measured
/// on 8.2). They follow from the event, so equal `_data` means equal type bits and they never decide an order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position {
    token: Box<str>,
    cluster_time: ClusterTime,
}

/// Text that is not a resume token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a resume token: {0:?}")]
pub struct NotAToken(pub String);

/// Between `_data` and `_typeBits`.
const SEPARATOR: char = '.';

impl Position {
    /// Takes what [`Position::token`] gave: the `_data` of a resume token, with or without type bits.
    ///
    /// # Errors
    /// When it is not hexadecimal or does not start with a cluster time (KeyString type byte 0x82).
    pub fn from_token(text: &str) -> Result<Self, NotAToken> {
        let wrong = || NotAToken(text.chars().take(64).collect());
        let (data, type_bits) = text.split_once(SEPARATOR).map_or((text, None), |(data, bits)| (data, Some(bits)));
        let hexadecimal =
            |digits: &str| digits.len().is_multiple_of(2) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let word = |from: usize| {
            let digits = data.get(from..from + 8)?;
            u32::from_str_radix(digits, 16).ok()
        };
        if !data.starts_with("82") || !hexadecimal(data) || type_bits.is_some_and(|b| b.is_empty() || !hexadecimal(b)) {
            return Err(wrong());
        }
        let seconds = word(2).ok_or_else(wrong)?;
        let ordinal = word(10).ok_or_else(wrong)?;
        Ok(Self { token: text.to_ascii_uppercase().into(), cluster_time: ClusterTime { seconds, ordinal } })
    }

    /// Takes the two parts of a resume token as the server sends them.
    ///
    /// # Errors
    /// As [`Position::from_token`].
    pub fn from_parts(data: &str, type_bits: &[u8]) -> Result<Self, NotAToken> {
        if type_bits.is_empty() {
            return Self::from_token(data);
        }
        let mut text = String::with_capacity(data.len() + 1 + 2 * type_bits.len());
        text.push_str(data);
        text.push(SEPARATOR);
        for byte in type_bits {
            text.push_str(&format!("{byte:02X}"));
        }
        Self::from_token(&text)
    }

    /// The text to keep; [`Position::from_token`] reads it back.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The `_data` of the resume token.
    #[must_use]
    pub fn data(&self) -> &str {
        self.token.split_once(SEPARATOR).map_or(&*self.token, |(data, _)| data)
    }

    /// The `_typeBits` of the resume token; empty when it has none.
    #[must_use]
    pub fn type_bits(&self) -> Vec<u8> {
        let digits = self.token.split_once(SEPARATOR).map_or("", |(_, bits)| bits);
        let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
        (0..digits.len()).step_by(2).map_while(byte).collect()
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
    fn type_bits_travel_with_the_token() {
        let decimal = Position::from_parts("826b035af800000002", &[0x82, 0x80, 0x3D]).expect("token");
        assert_eq!(decimal.token(), "826B035AF800000002.82803D");
        assert_eq!((decimal.data(), decimal.type_bits()), ("826B035AF800000002", vec![0x82, 0x80, 0x3D]));
        assert_eq!(Position::from_token(decimal.token()), Ok(decimal));
        let plain = Position::from_parts("826B035AF800000002", &[]).expect("token");
        assert_eq!((plain.token(), plain.type_bits()), ("826B035AF800000002", Vec::new()));
    }

    #[test]
    fn what_is_not_a_token_is_refused() {
        let odd = "82AABBCCDD000000010";
        for text in
            ["", "82", "hello", "92AABBCCDD00000001", "82ZZ", odd, "82AABBCCDD00000001.", "82AABBCCDD00000001.0"]
        {
            assert!(Position::from_token(text).is_err(), "{text}");
        }
    }
}
