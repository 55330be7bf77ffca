//! BSON values as Extended JSON v2 text that `jsonb` accepts.
//!
//! In: borrowed values. Out: UTF-8 text appended to a buffer, and [`Losses`] that say what `jsonb` could not hold.
//! The grammar is MongoDB's Extended JSON v2 specification; what `jsonb` refuses (U+0000, invalid UTF-8) is seen by the
//! server as 22P05 and 22021, so it is removed or replaced here and reported.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::model::bson::{Doc, Malformed, Value};
use crate::model::limits::MAX_NESTING;

/// Which of the two forms of Extended JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Numbers as JSON numbers, dates of the years 1970 to 9999 as text: what `jsonb` columns hold.
    Relaxed,
    /// Every type spelled out; strings that `jsonb` cannot hold become binary data, so that nothing is lost.
    Canonical,
}

/// What was lost on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Losses {
    /// U+0000 was removed from a string or a name.
    pub nul: bool,
    /// Bytes that are not UTF-8 became U+FFFD.
    pub utf8: bool,
    /// A document has a name twice, of which `jsonb` keeps the last.
    pub twice: bool,
}

impl Losses {
    /// True when something was lost.
    #[must_use]
    pub fn any(self) -> bool {
        self.nul || self.utf8 || self.twice
    }
}

/// Appends `value` to `out`.
///
/// # Errors
/// When a nested document is malformed.
pub fn write_value(value: Value<'_>, flavour: Flavour, out: &mut Vec<u8>) -> Result<Losses, Malformed> {
    let exact = flavour == Flavour::Canonical;
    let mut writer = Writer { out, flavour, exact, losses: Losses::default(), depth: 0 };
    writer.value(value)?;
    Ok(writer.losses)
}

/// `value` as text.
///
/// # Errors
/// When a nested document is malformed.
pub fn to_text(value: Value<'_>, flavour: Flavour) -> Result<String, Malformed> {
    let mut out = Vec::new();
    write_value(value, flavour, &mut out)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Text without U+0000 and with U+FFFD for what is not UTF-8; says what was lost. Borrows when nothing was.
#[must_use]
pub fn clean_text(bytes: &[u8]) -> (std::borrow::Cow<'_, str>, Losses) {
    // Faster than the search for what is not UTF-8, which is rare.
    let text = str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), std::borrow::Cow::Borrowed);
    let utf8 = matches!(text, std::borrow::Cow::Owned(_));
    let nul = bytes.contains(&0);
    let text = if nul { text.replace('\0', "").into() } else { text };
    (text, Losses { nul, utf8, twice: false })
}

/// Deeper than any document that the server lets in.
pub(super) const TOO_DEEP: Malformed = Malformed { at: 0, expected: "at most 250 documents within each other" };

struct Writer<'b> {
    out: &'b mut Vec<u8>,
    flavour: Flavour,
    /// Strings that `jsonb` cannot hold become binary data instead of losing something.
    exact: bool,
    losses: Losses,
    depth: usize,
}

impl Writer<'_> {
    fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn string(&mut self, bytes: &[u8]) {
        let (text, losses) = clean_text(bytes);
        if losses.any() && self.exact {
            return self.binary(0, bytes);
        }
        self.note(losses);
        self.quoted(&text);
    }

    /// A name has to stay a string, whatever was lost.
    fn name(&mut self, bytes: &[u8]) {
        let (text, losses) = clean_text(bytes);
        self.note(losses);
        self.quoted(&text);
        self.raw(":");
    }

    fn note(&mut self, losses: Losses) {
        self.losses.nul |= losses.nul;
        self.losses.utf8 |= losses.utf8;
    }

    fn quoted(&mut self, text: &str) {
        self.out.push(b'"');
        for c in text.chars() {
            match c {
                '"' => self.raw("\\\""),
                '\\' => self.raw("\\\\"),
                '\u{0}'..='\u{1f}' => self.raw(&format!("\\u{:04x}", u32::from(c))),
                _ => self.raw(c.encode_utf8(&mut [0; 4])),
            }
        }
        self.out.push(b'"');
    }

    fn wrapped(&mut self, name: &str, text: &str) {
        self.raw("{\"");
        self.raw(name);
        self.raw("\":");
        self.quoted(text);
        self.raw("}");
    }

    fn double(&mut self, number: f64) {
        if self.flavour == Flavour::Relaxed && number.is_finite() {
            return self.raw(&double_text(number));
        }
        self.wrapped("$numberDouble", &double_text(number));
    }

    fn binary(&mut self, subtype: u8, bytes: &[u8]) {
        if subtype == 4
            && let Ok(uuid) = <&[u8; 16]>::try_from(bytes)
        {
            return self.wrapped("$uuid", &uuid_text(uuid));
        }
        let data = STANDARD.encode(bytes);
        self.raw(&format!("{{\"$binary\":{{\"base64\":\"{data}\",\"subType\":\"{subtype:02x}\"}}}}"));
    }

    fn date(&mut self, millis: i64) {
        match (self.flavour, iso_date(millis)) {
            (Flavour::Relaxed, Some(text)) => self.wrapped("$date", &text),
            _ => self.raw(&format!("{{\"$date\":{{\"$numberLong\":\"{millis}\"}}}}")),
        }
    }

    fn document(&mut self, document: Doc<'_>) -> Result<(), Malformed> {
        self.raw("{");
        self.losses.twice |= has_a_name_twice(document)?;
        for (i, element) in document.elements().enumerate() {
            let (name, value) = element?;
            if i > 0 {
                self.raw(",");
            }
            self.name(name);
            self.value(value)?;
        }
        self.raw("}");
        Ok(())
    }

    fn array(&mut self, array: Doc<'_>) -> Result<(), Malformed> {
        self.raw("[");
        for (i, element) in array.elements().enumerate() {
            let (_, value) = element?;
            if i > 0 {
                self.raw(",");
            }
            self.value(value)?;
        }
        self.raw("]");
        Ok(())
    }

    fn below(&mut self, write: impl FnOnce(&mut Self) -> Result<(), Malformed>) -> Result<(), Malformed> {
        if self.depth >= MAX_NESTING {
            return Err(TOO_DEEP);
        }
        self.depth += 1;
        let done = write(self);
        self.depth -= 1;
        done
    }

    fn integer(&mut self, name: &str, number: i64) {
        match self.flavour {
            Flavour::Relaxed => self.raw(&number.to_string()),
            Flavour::Canonical => self.wrapped(name, &number.to_string()),
        }
    }

    fn value(&mut self, value: Value<'_>) -> Result<(), Malformed> {
        match value {
            Value::Document(document) => return self.below(|writer| writer.document(document)),
            Value::Array(array) => return self.below(|writer| writer.array(array)),
            Value::Double(number) => self.double(number),
            Value::String(bytes) => self.string(bytes),
            Value::Binary { subtype, bytes } => self.binary(subtype, bytes),
            Value::Null | Value::Undefined => self.raw("null"),
            Value::ObjectId(id) => self.wrapped("$oid", &hex(&id)),
            Value::Boolean(yes) => self.raw(if yes { "true" } else { "false" }),
            Value::DateTime(millis) => self.date(millis),
            Value::Int32(number) => self.integer("$numberInt", number.into()),
            Value::Int64(number) => self.integer("$numberLong", number),
            Value::Decimal128(bytes) => self.wrapped("$numberDecimal", &decimal_text(bytes)),
            Value::Timestamp(t, i) => self.raw(&format!("{{\"$timestamp\":{{\"t\":{t},\"i\":{i}}}}}")),
            Value::MinKey => self.raw("{\"$minKey\":1}"),
            Value::MaxKey => self.raw("{\"$maxKey\":1}"),
            Value::Regex { .. }
            | Value::DbPointer { .. }
            | Value::Code(_)
            | Value::Symbol(_)
            | Value::CodeWithScope { .. } => return self.rare(value),
        }
        Ok(())
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "the other types are written by `value`")]
    /// The types made of strings; always canonical (mapping contract, section 2, last row).
    fn rare(&mut self, value: Value<'_>) -> Result<(), Malformed> {
        let mut field = |lead: &str, bytes: &[u8]| {
            self.raw(lead);
            self.string(bytes);
        };
        match value {
            Value::Regex { pattern, options } => {
                field("{\"$regularExpression\":{\"pattern\":", pattern);
                field(",\"options\":", options);
                self.raw("}}");
            }
            Value::DbPointer { namespace, id } => {
                field("{\"$dbPointer\":{\"$ref\":", namespace);
                self.raw(&format!(",\"$id\":{{\"$oid\":\"{}\"}}}}}}", hex(&id)));
            }
            Value::Code(code) => {
                field("{\"$code\":", code);
                self.raw("}");
            }
            Value::Symbol(symbol) => {
                field("{\"$symbol\":", symbol);
                self.raw("}");
            }
            Value::CodeWithScope { code, scope } => {
                field("{\"$code\":", code);
                self.raw(",\"$scope\":");
                let flavour = std::mem::replace(&mut self.flavour, Flavour::Canonical);
                self.below(|writer| writer.document(scope))?;
                self.flavour = flavour;
                self.raw("}");
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether names of a document are one in `jsonb`: equal, or equal but for bytes that are not UTF-8.
fn has_a_name_twice(document: Doc<'_>) -> Result<bool, Malformed> {
    let mut names = Vec::new();
    for element in document.elements() {
        names.push(clean_text(element?.0).0);
    }
    names.sort_unstable();
    Ok(names.windows(2).any(|pair| matches!(pair, [a, b] if a == b)))
}

/// A double as Extended JSON and PostgreSQL both write it: the shortest digits that read back as the same double.
#[must_use]
pub fn double_text(number: f64) -> String {
    if number.is_nan() {
        "NaN".into()
    } else if number.is_infinite() {
        if number > 0.0 { "Infinity".into() } else { "-Infinity".into() }
    } else {
        let text = format!("{number:?}");
        // Integers from here on can lie exactly between two doubles.
        const FIRST_TIE: f64 = 9_007_199_254_740_992.0;
        if number.abs() < FIRST_TIE { to_even(number, text) } else { without_tie(number, text) }
    }
}

/// A double may lie exactly between two shortest decimals (107935303879446.125): Rust takes the upper one, PostgreSQL the
/// even one. No shorter decimals than of 16 digits have a neighbour that reads as the same double.
fn to_even(number: f64, text: String) -> String {
    const FEWEST_DIGITS: usize = 16;
    if text.len() <= FEWEST_DIGITS {
        return text;
    }
    let scientific = format!("{number:e}");
    let digits = scientific.split('e').next().unwrap_or_default().bytes().filter(u8::is_ascii_digit).count();
    let nearest = format!("{number:.precision$e}", precision = digits.saturating_sub(1));
    if digits < FEWEST_DIGITS || nearest == scientific || nearest.parse() != Ok(number) { text } else { nearest }
}

/// Rust's shortest digits may lie exactly between two doubles (1e23) and rely on the reader's rounding; PostgreSQL prints
/// the next longer ones then. A widened column holds what PostgreSQL printed, so that keys must be the same digits.
fn without_tie(number: f64, text: String) -> String {
    const MOST_DIGITS: usize = 17;
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return text };
    let point = if digits.contains('.') { "" } else { "." };
    let tail = "0".repeat(MOST_DIGITS * 2);
    let above = format!("{digits}{point}{tail}1e{exponent}");
    let nines = "9".repeat(MOST_DIGITS * 2);
    let below = match digits.split_at_checked(digits.len().saturating_sub(1)) {
        Some((lead, last)) => {
            let lower = last.parse::<u8>().unwrap_or(1).saturating_sub(1);
            format!("{lead}{lower}{point}{nines}e{exponent}")
        }
        None => return text,
    };
    if [above, below].iter().all(|near| near.parse() == Ok(number)) {
        return text;
    }
    let shown = digits.chars().filter(char::is_ascii_digit).count();
    let mut longer = (shown..MOST_DIGITS).map(|precision| format!("{number:.precision$e}"));
    // With a zero at its end it is the tie again.
    longer.find(|text| !text.contains("0e") && text.parse() == Ok(number)).unwrap_or(text)
}

/// A decimal128 in the notation of its specification, e.g. `1.5E+10`.
#[must_use]
pub fn decimal_text(bytes: [u8; 16]) -> String {
    bson::Decimal128::from_bytes(bytes).to_string()
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
        text
    })
}

fn uuid_text(bytes: &[u8; 16]) -> String {
    crate::model::namespace::CollectionId(*bytes).to_string()
}

/// Milliseconds since 1970 as ISO 8601; `None` outside the years 1970 to 9999, where relaxed Extended JSON has no text.
fn iso_date(millis: i64) -> Option<String> {
    const LAST: i64 = 253_402_300_799_999;
    (0..=LAST).contains(&millis).then(|| date_text(millis))
}

/// Milliseconds since 1970 as ISO 8601; years of more than four digits, and those before the year 0, with their sign.
#[must_use]
pub fn date_text(millis: i64) -> String {
    let (days, in_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (year, month, day) = civil_date(days);
    let year = if (0..=9999).contains(&year) { format!("{year:04}") } else { format!("{year:+07}") };
    let (hour, minute, second) = (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1000 % 60);
    let fraction = in_day % 1000;
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z")
}

/// Days since 1970 as year, month, day: the proleptic Gregorian calendar counted in 400-year eras from 1 March.
#[must_use]
pub fn civil_date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relaxed(value: Value<'_>) -> String {
        to_text(value, Flavour::Relaxed).expect("valid")
    }

    #[test]
    fn scalars_in_relaxed_form() {
        assert_eq!(relaxed(Value::Int64(i64::MAX)), "9223372036854775807");
        assert_eq!(relaxed(Value::Double(0.1)), "0.1");
        assert_eq!(relaxed(Value::Double(1e300)), "1e300");
        assert_eq!(relaxed(Value::Double(f64::NEG_INFINITY)), r#"{"$numberDouble":"-Infinity"}"#);
        assert_eq!(relaxed(Value::DateTime(1_356_351_330_501)), r#"{"$date":"2012-12-24T12:15:30.501Z"}"#);
        assert_eq!(relaxed(Value::DateTime(-1)), r#"{"$date":{"$numberLong":"-1"}}"#);
        assert_eq!(relaxed(Value::ObjectId([255; 12])), r#"{"$oid":"ffffffffffffffffffffffff"}"#);
        assert_eq!(relaxed(Value::String("a\"\\\n\u{7f}é".as_bytes())), "\"a\\\"\\\\\\u000a\u{7f}é\"");
    }

    #[test]
    #[expect(clippy::excessive_precision, reason = "numbers between two shortest decimals are what this is about")]
    fn doubles_are_printed_as_postgresql_prints_them() {
        // SELECT 1e23::float8, 1e22::float8, 9007199254740993::float8, 5e-324::float8, 1627897894678908.25::float8
        for (number, text) in [
            (1e23, "9.999999999999999e22"),
            (1e22, "1e22"),
            (5e-324, "5e-324"),
            (-1e23, "-9.999999999999999e22"),
            (1_627_897_894_678_908.25, "1.6278978946789082e15"),
            (-107_935_303_879_446.125, "-1.0793530387944612e14"),
            (1_627_897_894_678_908.75, "1627897894678908.8"),
        ] {
            assert_eq!(double_text(number), text);
        }
        assert_eq!(double_text(9_007_199_254_740_992.0), "9007199254740992.0");
    }

    #[test]
    fn a_name_twice_is_seen_at_any_depth() {
        let inner = [b"\x0f\0\0\0\x10a\0\x01\0\0\0".as_slice(), b"\x0aa\0\0"].concat();
        let twice = |document: &[u8]| {
            let document = Doc::new(document).expect("bson");
            write_value(Value::Document(document), Flavour::Relaxed, &mut Vec::new()).expect("valid").twice
        };
        assert!(twice(&inner));
        let outer = [b"\x17\0\0\0\x03x\0".as_slice(), &inner, b"\0"].concat();
        assert!(twice(&outer));
    }

    #[test]
    fn dates_at_the_edges_of_the_calendar() {
        assert_eq!(iso_date(951_782_400_000).as_deref(), Some("2000-02-29T00:00:00.000Z"));
        assert_eq!(iso_date(253_402_300_799_999).as_deref(), Some("9999-12-31T23:59:59.999Z"));
        assert_eq!(iso_date(253_402_300_800_000), None);
    }

    #[test]
    fn what_jsonb_cannot_hold_is_reported_and_kept_in_canonical_form() {
        let mut out = Vec::new();
        let losses = write_value(Value::String(b"a\0\xff"), Flavour::Relaxed, &mut out).expect("valid");
        assert_eq!(
            (losses, out.as_slice()),
            (Losses { nul: true, utf8: true, twice: false }, "\"a\u{fffd}\"".as_bytes())
        );
        assert_eq!(
            to_text(Value::String(b"a\0"), Flavour::Canonical).expect("valid"),
            r#"{"$binary":{"base64":"YQA=","subType":"00"}}"#
        );
    }
}
