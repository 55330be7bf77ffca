//! Cells as SQL literals: the bytes that COPY would take, written as a person would write the value.
//!
//! In: a type and a cell in PostgreSQL's binary format. Out: a literal that PostgreSQL reads back as the same value, to
//! the last bit, whatever the session's DateStyle or time zone; and that has no line break in it.

use std::fmt::Write;

use crate::error::{Error, Kind, Result, Stage};
use crate::mapping::json::civil_date;
use crate::model::table::PgType;

/// A cell as a literal.
///
/// # Errors
/// When the bytes are not of that type: a defect.
pub fn cell(ty: PgType, bytes: &[u8]) -> Result<String> {
    of_cell(ty, bytes).ok_or_else(|| Error::new(Kind::Defect, Stage::Sink, format!("a cell that is no {ty}")))
}

fn of_cell(ty: PgType, bytes: &[u8]) -> Option<String> {
    Some(match ty {
        PgType::Boolean => if *bytes.first()? == 0 { "false" } else { "true" }.to_owned(),
        PgType::Integer => i32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        PgType::BigInt => bigint(i64::from_be_bytes(bytes.try_into().ok()?)),
        PgType::Double => double(f64::from_be_bytes(bytes.try_into().ok()?)),
        PgType::Numeric => numeric(bytes)?,
        PgType::Text => text(std::str::from_utf8(bytes).ok()?),
        PgType::TimestampTz => timestamp(i64::from_be_bytes(bytes.try_into().ok()?)),
        PgType::Uuid => uuid(bytes)?,
        PgType::Bytea => bytea(bytes),
        PgType::Jsonb => text(std::str::from_utf8(bytes.get(1..)?).ok()?),
    })
}

/// A text. With a backslash or what might break the line it is written with escapes, so that it means the same whatever
/// `standard_conforming_strings` says.
#[must_use]
pub fn text(text: &str) -> String {
    if !text.chars().any(|c| c == '\\' || breaks_lines(c)) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut literal = String::with_capacity(text.len() + 8);
    literal.push_str("E'");
    for c in text.chars() {
        match c {
            '\'' => literal.push_str("''"),
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            c if breaks_lines(c) => {
                let _ = write!(literal, "\\u{:04X}", u32::from(c)); // a string takes everything
            }
            c => literal.push(c),
        }
    }
    literal.push('\'');
    literal
}

/// Controls, and the two separators that some programs take for the end of a line.
#[must_use]
pub fn breaks_lines(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Bytes in hexadecimal.
#[must_use]
pub fn bytea(bytes: &[u8]) -> String {
    let mut literal = String::with_capacity(2 * bytes.len() + 4);
    literal.push_str("'\\x");
    for byte in bytes {
        let _ = write!(literal, "{byte:02x}"); // a string takes everything
    }
    literal.push('\'');
    literal
}

/// The least number has no literal of its own: the minus sign is an operator, and what is behind it does not fit.
fn bigint(number: i64) -> String {
    if number == i64::MIN { format!("'{number}'") } else { number.to_string() }
}

/// Plain where a plain literal is a `numeric` that becomes the same double, else in quotes, as which all digits are read.
fn double(number: f64) -> String {
    const PLAIN: std::ops::Range<f64> = 1e-5..1e15;
    if number.is_nan() {
        return "'NaN'".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "'Infinity'" } else { "'-Infinity'" }.to_owned();
    }
    let digits = format!("{number:?}");
    if PLAIN.contains(&number.abs()) || digits == "0.0" { digits } else { format!("'{digits}'") }
}

/// PostgreSQL's `numeric_send`: groups of four digits, the first worth `10000 ^ weight`.
fn numeric(bytes: &[u8]) -> Option<String> {
    const NEGATIVE: u16 = 0x4000;
    let word = |at: usize| Some(u16::from_be_bytes(bytes.get(2 * at..2 * at + 2)?.try_into().ok()?));
    let signed = |at: usize| Some(i16::from_be_bytes(word(at)?.to_be_bytes()));
    let (count, weight, sign, scale) = (usize::from(word(0)?), i32::from(signed(1)?), word(2)?, usize::from(word(3)?));
    match sign {
        0 | NEGATIVE => {}
        0xC000 => return Some("'NaN'".to_owned()),
        0xD000 => return Some("'Infinity'".to_owned()),
        0xF000 => return Some("'-Infinity'".to_owned()),
        _ => return None,
    }
    let group = |place: i32| {
        let at = usize::try_from(weight - place).ok().filter(|at| *at < count);
        at.map_or(Some(0), |at| word(4 + at))
    };
    let mut whole = String::new();
    for place in (0..=weight).rev() {
        write!(whole, "{:04}", group(place)?).ok()?;
    }
    let mut fraction = String::new();
    let mut place = -1;
    while fraction.len() < scale {
        write!(fraction, "{:04}", group(place)?).ok()?;
        place -= 1;
    }
    fraction.truncate(scale);
    let whole = whole.trim_start_matches('0');
    let mut literal = if sign == NEGATIVE { "-".to_owned() } else { String::new() };
    literal.push_str(if whole.is_empty() { "0" } else { whole });
    if scale > 0 {
        literal.push('.');
        literal.push_str(&fraction);
    }
    Some(literal)
}

/// Microseconds since 2000, as ISO 8601 in UTC; years before 1 are counted as PostgreSQL counts them.
fn timestamp(micros: i64) -> String {
    const EPOCH_DAYS: i64 = 10_957;
    const DAY: i64 = 86_400_000_000;
    match micros {
        i64::MIN => return "'-infinity'".to_owned(),
        i64::MAX => return "'infinity'".to_owned(),
        _ => {}
    }
    let (year, month, day) = civil_date(micros.div_euclid(DAY) + EPOCH_DAYS);
    let of_day = micros.rem_euclid(DAY);
    let (seconds, fraction) = (of_day / 1_000_000, of_day % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    let mut literal = format!("'{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
    if fraction != 0 {
        let digits = format!("{fraction:06}");
        literal.push('.');
        literal.push_str(digits.trim_end_matches('0'));
    }
    literal.push_str("+00");
    literal.push_str(era);
    literal.push('\'');
    literal
}

fn uuid(bytes: &[u8]) -> Option<String> {
    let bytes: &[u8; 16] = bytes.try_into().ok()?;
    let mut literal = String::from("'");
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            literal.push('-');
        }
        write!(literal, "{byte:02x}").ok()?;
    }
    literal.push('\'');
    Some(literal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::numeric::write_numeric;

    #[test]
    fn texts_keep_their_line_and_every_character() {
        assert_eq!(text("it's"), "'it''s'");
        assert_eq!(text(r"C:\n'"), r"E'C:\\n'''");
        assert_eq!(text("a\nb\r\t\u{1}\u{85}\u{2028}é😀"), "E'a\\nb\\r\\t\\u0001\\u0085\\u2028é😀'");
    }

    #[test]
    fn numbers_keep_every_digit() {
        let double = |number: f64| cell(PgType::Double, &number.to_be_bytes()).expect("a double");
        for (number, literal) in [
            (0.1, "0.1"),
            (-0.0, "'-0.0'"),
            (0.0, "0.0"),
            (3.0, "3.0"),
            (1e300, "'1e300'"),
            (5e-324, "'5e-324'"),
            (f64::NAN, "'NaN'"),
            (f64::NEG_INFINITY, "'-Infinity'"),
            (123_456_789.123, "123456789.123"),
        ] {
            assert_eq!(double(number), literal);
        }
        let bigint = |number: i64| cell(PgType::BigInt, &number.to_be_bytes()).expect("a bigint");
        assert_eq!((bigint(-1), bigint(i64::MIN)), ("-1".to_owned(), "'-9223372036854775808'".to_owned()));
        for digits in
            ["0", "1.5", "-0.00012", "12345678901234567890123456789012.34", "NaN", "-Infinity", "10000", "0.1"]
        {
            let mut bytes = Vec::new();
            assert!(write_numeric(digits, &mut bytes).is_ok());
            let literal = cell(PgType::Numeric, &bytes).expect("a numeric");
            assert_eq!(literal.trim_matches('\''), digits);
        }
    }

    #[test]
    fn dates_are_written_in_utc_in_every_era() {
        let date = |millis: i64| {
            let mut bytes = Vec::new();
            let date = crate::model::bson::Value::DateTime(millis);
            crate::mapping::cell::write(date, PgType::TimestampTz, &mut bytes).expect("a date");
            cell(PgType::TimestampTz, &bytes).expect("a timestamp")
        };
        assert_eq!(date(0), "'1970-01-01 00:00:00+00'");
        assert_eq!(date(951_782_400_120), "'2000-02-29 00:00:00.12+00'");
        assert_eq!(date(-62_135_596_800_001), "'0001-12-31 23:59:59.999+00 BC'");
        assert_eq!(date(253_402_300_800_000), "'10000-01-01 00:00:00+00'");
        assert_eq!((date(i64::MIN), date(i64::MAX)), ("'-infinity'".to_owned(), "'infinity'".to_owned()));
    }

    #[test]
    fn a_cell_of_another_type_is_a_defect() {
        assert_eq!(cell(PgType::Integer, &[1]).expect_err("wrong").kind(), Kind::Defect);
        assert_eq!(cell(PgType::Uuid, &[0; 15]).expect_err("wrong").kind(), Kind::Defect);
        assert_eq!(cell(PgType::Uuid, &[0xAB; 16]).expect("a uuid"), "'abababab-abab-abab-abab-abababababab'");
        assert_eq!(cell(PgType::Bytea, &[0, 255]).expect("bytes"), r"'\x00ff'");
    }
}
