//! A value as another type than its own: for columns whose type the configuration fixes.
//!
//! In: a value and the column's type. Out: the cell, or [`CellError::WrongType`] where the value cannot be told from what
//! would be stored. The rules are the table of `docs/mapping.md`, *Casts*: a number only where it stays that number, a text
//! only where it is one whole literal of the type.

use super::cell::{self, CellError};
use super::json::{self, Flavour};
use super::losses::reason_of;
use super::numeric::write_numeric;
use crate::model::bson::Value;
use crate::model::namespace::CollectionId;
use crate::model::table::PgType;

type Written = Result<Option<&'static str>, CellError>;

/// Appends `value` as a `ty`; returns why the stored value differs from it, if it does. `subtype` is that of the binary
/// data which the column holds already.
///
/// # Errors
/// [`CellError::WrongType`] when it cannot be cast; nothing is appended then.
#[allow(clippy::wildcard_enum_match_arm, reason = "every other type cannot be cast")]
pub fn write(value: Value<'_>, ty: PgType, subtype: Option<u8>, out: &mut Vec<u8>) -> Written {
    if let (PgType::Bytea, Value::Binary { subtype: own, .. }) = (ty, value)
        && subtype.is_some_and(|subtype| subtype != own)
    {
        return Err(CellError::WrongType); // the catalog names one subtype for a column
    }
    match cell::write(value, ty, out) {
        Err(CellError::WrongType) => {}
        done => return done,
    }
    match ty {
        PgType::Integer | PgType::BigInt | PgType::Double | PgType::Numeric => match value {
            Value::String(bytes) => number_from_text(bytes, ty, out),
            _ => number(value, ty, out),
        },
        PgType::Text => text(value, out),
        PgType::Boolean | PgType::TimestampTz | PgType::Uuid => from_text(value, ty, out),
        PgType::Bytea | PgType::Jsonb => Err(CellError::WrongType),
    }
}

/// A number as another type of number, when it is the same number there.
///
/// # Errors
/// As [`write()`].
#[allow(clippy::wildcard_enum_match_arm, reason = "every other type cannot be cast")]
pub fn number(value: Value<'_>, ty: PgType, out: &mut Vec<u8>) -> Written {
    let text = match value {
        Value::Int32(n) => n.to_string(),
        Value::Int64(n) => n.to_string(),
        Value::Double(n) => json::double_text(n),
        Value::Decimal128(bytes) => json::decimal_text(bytes),
        _ => return Err(CellError::WrongType),
    };
    let start = out.len();
    let Some(candidate) = nearest(&text, ty, out) else { return Err(CellError::WrongType) };
    if same_number(&text, &candidate) {
        return Ok(None);
    }
    out.truncate(start);
    Err(CellError::WrongType)
}

/// The number of the type that a text is nearest to, appended; its own text is returned.
fn nearest(text: &str, ty: PgType, out: &mut Vec<u8>) -> Option<String> {
    let float = || text.parse::<f64>().ok();
    // A double without a fraction, and `1E+3`, are whole numbers too; `{:.0}` writes all digits.
    let whole = || text.parse::<i64>().ok().or_else(|| format!("{:.0}", float()?).parse().ok());
    match ty {
        PgType::Integer => {
            let n = i32::try_from(whole()?).ok()?;
            out.extend_from_slice(&n.to_be_bytes());
            Some(n.to_string())
        }
        PgType::BigInt => {
            let n = whole()?;
            out.extend_from_slice(&n.to_be_bytes());
            Some(n.to_string())
        }
        PgType::Double => {
            let n = float()?;
            out.extend_from_slice(&n.to_be_bytes());
            let exact = text.parse::<i64>().is_ok();
            Some(if exact { format!("{n:.0}") } else { json::double_text(n) })
        }
        PgType::Numeric => {
            write_numeric(text, out).ok()?;
            Some(text.to_owned())
        }
        PgType::Boolean | PgType::Text | PgType::TimestampTz | PgType::Uuid | PgType::Bytea | PgType::Jsonb => None,
    }
}

fn same_number(a: &str, b: &str) -> bool {
    let canonical = |text| {
        let mut bytes = Vec::new();
        write_numeric(text, &mut bytes).ok().map(|()| bytes)
    };
    canonical(a).is_some() && canonical(a) == canonical(b)
}

/// A text that is a number as a whole. For a double it is the nearest one, as PostgreSQL reads it too.
#[allow(clippy::wildcard_enum_match_arm, reason = "every other type cannot be cast")]
fn number_from_text(bytes: &[u8], ty: PgType, out: &mut Vec<u8>) -> Written {
    let text = literal(bytes)?;
    let digits = text.trim_start_matches(['+', '-']);
    let start = out.len();
    let one_sign = text.len() - digits.len() <= 1;
    if !one_sign || !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(CellError::WrongType); // `NaN` and `Infinity` are words
    }
    match (ty, nearest(text, ty, out)) {
        (PgType::Double, Some(_)) if text.parse::<f64>().is_ok_and(f64::is_finite) => Ok(None),
        (PgType::Numeric, Some(_)) => Ok(None),
        (PgType::Integer | PgType::BigInt, Some(_)) if digits.bytes().all(|c| c.is_ascii_digit()) => Ok(None),
        _ => {
            out.truncate(start);
            Err(CellError::WrongType)
        }
    }
}

fn literal(bytes: &[u8]) -> Result<&str, CellError> {
    std::str::from_utf8(bytes).map_err(|_| CellError::WrongType)
}

/// Any scalar as plain text; what has no plain text stays Extended JSON.
#[allow(clippy::wildcard_enum_match_arm, reason = "every other type cannot be cast")]
fn text(value: Value<'_>, out: &mut Vec<u8>) -> Written {
    let text = match value {
        Value::Int32(n) => n.to_string(),
        Value::Int64(n) => n.to_string(),
        Value::Double(n) => json::double_text(n),
        Value::Decimal128(bytes) => json::decimal_text(bytes),
        Value::Boolean(yes) => yes.to_string(),
        Value::DateTime(millis) => json::date_text(millis),
        Value::Binary { subtype: 4, bytes } if bytes.len() == 16 => {
            bytes.try_into().map(|bytes| CollectionId(bytes).to_string()).unwrap_or_default()
        }
        Value::Document(_) | Value::Array(_) => return Err(CellError::WrongType),
        other => return Ok(reason_of(json::write_value(other, Flavour::Relaxed, out)?)),
    };
    out.extend_from_slice(text.as_bytes());
    Ok(None)
}

#[allow(clippy::wildcard_enum_match_arm, reason = "every other type cannot be cast")]
fn from_text(value: Value<'_>, ty: PgType, out: &mut Vec<u8>) -> Written {
    let Value::String(bytes) = value else { return Err(CellError::WrongType) };
    let text = literal(bytes)?;
    match ty {
        PgType::Boolean => match text {
            "true" => out.push(1),
            "false" => out.push(0),
            _ => return Err(CellError::WrongType),
        },
        PgType::TimestampTz => out.extend_from_slice(&timestamp(text).ok_or(CellError::WrongType)?.to_be_bytes()),
        _ => {
            let dashes = || text.bytes().enumerate().filter(|(_, c)| *c == b'-').map(|(i, _)| i);
            let uuid = CollectionId::parse(text).filter(|_| dashes().eq([8, 13, 18, 23]));
            out.extend_from_slice(&uuid.ok_or(CellError::WrongType)?.0);
        }
    }
    Ok(None)
}

/// Microseconds since 2000 of an ISO 8601 date, with or without time and offset; without an offset it is UTC.
fn timestamp(text: &str) -> Option<i64> {
    const EPOCH_DAYS: i64 = 10_957; // from 1970 to 2000
    let mut rest = Rest(text);
    let year = rest.number(4)?;
    rest.one_of(&["-"])?;
    let month = rest.number(2).filter(|month| (1..=12).contains(month))?;
    rest.one_of(&["-"])?;
    let day = rest.number(2)?;
    if !(1..=month_length(year, month)).contains(&day) {
        return None;
    }
    let mut micros = (days_since_1970(year, month, day) - EPOCH_DAYS) * 86_400_000_000;
    if !rest.0.is_empty() {
        rest.one_of(&["T", "t", " "])?;
        micros += rest.time()?;
        micros -= rest.offset()?;
    }
    rest.0.is_empty().then_some(micros)
}

fn month_length(year: i64, month: i64) -> i64 {
    let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days_since_1970(next_year, next, 1) - days_since_1970(year, month, 1)
}

/// Days since 1970 of a date of the proleptic Gregorian calendar, counted in 400-year eras from 1 March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// What is left of a text that is being read.
struct Rest<'t>(&'t str);

impl Rest<'_> {
    /// Takes the first of those marks that comes next.
    fn one_of(&mut self, marks: &[&str]) -> Option<()> {
        self.0 = marks.iter().find_map(|mark| self.0.strip_prefix(mark))?;
        Some(())
    }

    /// Takes a number of exactly so many digits.
    fn number(&mut self, digits: usize) -> Option<i64> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        number.bytes().all(|c| c.is_ascii_digit()).then(|| number.parse().ok())?
    }

    /// Takes `12:34`, `12:34:56` or `12:34:56.789`; in microseconds.
    fn time(&mut self) -> Option<i64> {
        let hour = self.number(2).filter(|hour| *hour < 24)?;
        self.one_of(&[":"])?;
        let minute = self.number(2).filter(|minute| *minute < 60)?;
        let mut micros = (hour * 60 + minute) * 60_000_000;
        if self.one_of(&[":"]).is_some() {
            micros += self.number(2).filter(|second| *second < 60)? * 1_000_000;
            if self.one_of(&["."]).is_some() {
                micros += self.fraction()?;
            }
        }
        Some(micros)
    }

    /// Takes the digits after the point; beyond microseconds only zeros.
    fn fraction(&mut self) -> Option<i64> {
        let length = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at_checked(length).filter(|_| length > 0)?;
        self.0 = rest;
        let (micros, beyond) = digits.split_at_checked(6).unwrap_or((digits, ""));
        beyond.bytes().all(|c| c == b'0').then(|| format!("{micros:0<6}").parse().ok())?
    }

    /// Takes `Z`, `+01:00`, `+0100`, `+01`, or nothing; in microseconds.
    fn offset(&mut self) -> Option<i64> {
        if self.0.is_empty() || self.one_of(&["Z", "z"]).is_some() {
            return Some(0);
        }
        let sign = if self.one_of(&["-"]).is_some() { -1 } else { self.one_of(&["+"]).map(|()| 1)? };
        let hours = self.number(2).filter(|hours| *hours < 24)?;
        let minutes = if self.0.is_empty() {
            0
        } else {
            let _ = self.one_of(&[":"]); // RFC 3339 has it, ISO 8601's basic form has not
            self.number(2).filter(|minutes| *minutes < 60)?
        };
        Some(sign * (hours * 60 + minutes) * 60_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast(value: Value<'_>, ty: PgType) -> Option<Vec<u8>> {
        let mut out = vec![9];
        let done = write(value, ty, None, &mut out);
        assert!(done.is_ok() || out == [9], "nothing is appended by a cast that fails");
        done.ok().map(|_| out[1..].to_vec())
    }

    fn text(value: Value<'_>) -> Option<String> {
        cast(value, PgType::Text).map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
    }

    fn decimal(text: &str) -> Value<'static> {
        Value::Decimal128(text.parse::<bson::Decimal128>().expect("decimal").bytes())
    }

    #[test]
    fn numbers_are_cast_where_they_stay_the_same_number() {
        let int = |n: i32| Some(n.to_be_bytes().to_vec());
        assert_eq!(cast(Value::Double(5.0), PgType::Integer), int(5));
        assert_eq!(cast(Value::Double(5.5), PgType::Integer), None);
        assert_eq!(cast(Value::Double(f64::NAN), PgType::Integer), None);
        assert_eq!(cast(Value::Int64(1 << 40), PgType::Integer), None);
        assert_eq!(cast(Value::Int64(7), PgType::Integer), int(7));
        assert_eq!(cast(decimal("7.00"), PgType::Integer), int(7));
        assert_eq!(cast(decimal("7.01"), PgType::BigInt), None);
        assert_eq!(cast(decimal("1E+3"), PgType::BigInt), Some(1000i64.to_be_bytes().to_vec()));
        assert_eq!(cast(Value::Double(9e15), PgType::BigInt), Some(9_000_000_000_000_000i64.to_be_bytes().to_vec()));
        assert_eq!(cast(Value::Double(1e300), PgType::BigInt), None);
        assert_eq!(
            cast(Value::Int64(1 << 62), PgType::Double),
            Some(4_611_686_018_427_387_904f64.to_be_bytes().to_vec())
        );
        assert_eq!(cast(Value::Int64((1 << 53) + 1), PgType::Double), None);
        assert_eq!(cast(decimal("0.1"), PgType::Double), Some(0.1f64.to_be_bytes().to_vec()));
        assert_eq!(cast(decimal("0.1000000000000000055"), PgType::Double), None);
        assert_eq!(cast(Value::Boolean(true), PgType::Integer), None);
    }

    #[test]
    fn texts_are_cast_where_they_are_one_literal() {
        let of = |text: &'static str, ty| cast(Value::String(text.as_bytes()), ty);
        assert_eq!(of("-12", PgType::Integer), Some((-12i32).to_be_bytes().to_vec()));
        assert_eq!(of("+9000000000", PgType::BigInt), Some(9_000_000_000i64.to_be_bytes().to_vec()));
        assert_eq!(of("1.5e3", PgType::Double), Some(1500f64.to_be_bytes().to_vec()));
        assert_eq!(of("0.10", PgType::Numeric), cast(decimal("0.1"), PgType::Numeric));
        assert_eq!(of("true", PgType::Boolean), Some(vec![1]));
        let uuid = Some((0..16).collect());
        assert_eq!(of("00010203-0405-0607-0809-0A0B0C0D0E0F", PgType::Uuid), uuid);
        for ty in PgType::ALL.into_iter().filter(|ty| !matches!(ty, PgType::Text | PgType::Jsonb)) {
            for text in ["", " 1", "1 ", "x", "--1", "NaN", "Infinity", "1e400", "yes", "2024-13-01", "0x10"] {
                let allowed = (text, ty) == ("1e400", PgType::Numeric);
                assert!(of(text, ty).is_none() || allowed, "{text:?} as {ty}");
            }
        }
        for text in ["1.0", "1e3", "9000000000"] {
            assert_eq!(of(text, PgType::Integer), None, "{text}");
        }
        assert_eq!(of("000102030405060708090a0b0c0d0e0f", PgType::Uuid), None, "without dashes it may be anything");
    }

    #[test]
    fn dates_in_iso_8601_are_cast() {
        let of = |text: &str| cast(Value::String(text.as_bytes()), PgType::TimestampTz);
        let micros = |n: i64| Some(n.to_be_bytes().to_vec());
        let day = 8826 * 86_400_000_000; // 2024-03-01
        assert_eq!(of("2024-03-01"), micros(day));
        for text in ["2024-03-01T10:00:00Z", "2024-03-01 10:00", "2024-03-01t12:30:00.000+02:30", "2024-03-01T09-0100"]
        {
            let expected = if text.ends_with("09-0100") { None } else { micros(day + 36_000_000_000) };
            assert_eq!(of(text), expected, "{text}");
        }
        assert_eq!(of("2024-03-01T00:00:00.123456000"), micros(day + 123_456));
        assert_eq!(of("1970-01-01T00:00Z"), micros(-946_684_800_000_000));
        for text in [
            "2023-02-29",
            "2024-04-31",
            "2024-3-1",
            "2024-03-01T24:00",
            "2024-03-01T10:00:60",
            "2024-03-01T10:00:00.1234567",
            "2024-03-01T10:00 UTC",
            "20240301",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
        assert!(of("2024-02-29").is_some() && of("2000-02-29").is_some() && of("1900-02-29").is_none());
    }

    #[test]
    fn every_scalar_has_a_text() {
        assert_eq!(text(Value::Double(5.0)).as_deref(), Some("5.0"));
        assert_eq!(text(Value::Boolean(false)).as_deref(), Some("false"));
        assert_eq!(text(Value::DateTime(0)).as_deref(), Some("1970-01-01T00:00:00.000Z"));
        assert_eq!(text(Value::DateTime(-1)).as_deref(), Some("1969-12-31T23:59:59.999Z"));
        assert_eq!(text(Value::DateTime(253_402_300_800_000)).as_deref(), Some("+010000-01-01T00:00:00.000Z"));
        assert_eq!(text(decimal("1.50")).as_deref(), Some("1.50"));
        assert_eq!(text(Value::ObjectId([1; 12])).as_deref(), Some("010101010101010101010101"));
        assert_eq!(text(Value::MinKey).as_deref(), Some(r#"{"$minKey":1}"#));
        let bytes = &[0u8; 16];
        let uuid = "00000000-0000-0000-0000-000000000000";
        assert_eq!(text(Value::Binary { subtype: 4, bytes }).as_deref(), Some(uuid));
    }

    #[test]
    fn one_column_of_bytes_has_one_subtype() {
        let value = Value::Binary { subtype: 0, bytes: b"x" };
        assert!(write(value, PgType::Bytea, Some(0), &mut Vec::new()).is_ok());
        assert_eq!(write(value, PgType::Bytea, Some(5), &mut Vec::new()), Err(CellError::WrongType));
    }
}
