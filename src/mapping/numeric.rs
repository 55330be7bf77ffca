//! PostgreSQL's binary `numeric`: groups of four decimal digits, a weight, a sign and a display scale.
//!
//! Source: `numeric_recv` in PostgreSQL's `numeric.c`; seen to round-trip on the server by the integration tests.

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

/// A number that PostgreSQL's `numeric` cannot hold, or text that is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfRange;

/// Appends the binary form of a decimal number in text: digits with an optional point, exponent and sign, or `NaN`,
/// `Infinity`, `-Infinity`. Trailing zeros after the point are dropped, so that equal numbers have equal bytes.
///
/// # Errors
/// When it is no number, or has more digits than `numeric` can hold.
pub fn write_numeric(text: &str, out: &mut Vec<u8>) -> Result<(), OutOfRange> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    match digits {
        // MongoDB writes a signalling NaN as sNaN nowhere, but the text form allows it.
        "NaN" | "sNaN" => special(NAN, out),
        "Infinity" | "Inf" => special(if negative { NEGATIVE_INFINITY } else { INFINITY }, out),
        _ => return finite(negative, digits, out),
    }
    Ok(())
}

fn special(sign: u16, out: &mut Vec<u8>) {
    for word in [0, 0, sign, 0] {
        out.extend_from_slice(&word.to_be_bytes());
    }
}

/// Splits `12.5E+3` into its digits and the power of ten of the last one.
fn parse(text: &str) -> Result<(Vec<u8>, i32), OutOfRange> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| OutOfRange)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(OutOfRange);
    }
    let places = i32::try_from(fraction.len()).map_err(|_| OutOfRange)?;
    Ok((digits.iter().map(|digit| digit - b'0').collect(), exponent.checked_sub(places).ok_or(OutOfRange)?))
}

/// The digits without zeros at either end, and the power of ten of the last one; no digits for zero.
fn shortest(text: &str) -> Result<(Vec<u8>, i32), OutOfRange> {
    let (mut digits, mut scale) = parse(text)?;
    let leading = digits.iter().take_while(|digit| **digit == 0).count();
    digits.drain(..leading);
    while digits.last() == Some(&0) {
        digits.pop();
        scale += 1;
    }
    Ok((digits, scale))
}

/// A number in text as PostgreSQL prints `trim_scale` of its `numeric`: without an exponent, without zeros that say
/// nothing. Equal numbers have equal texts.
///
/// # Errors
/// When it is no number, or has more digits than `numeric` can hold.
pub fn plain_text(text: &str) -> Result<String, OutOfRange> {
    let (sign, unsigned) = text.strip_prefix('-').map_or(("", text.trim_start_matches('+')), |rest| ("-", rest));
    match unsigned {
        "NaN" | "sNaN" => return Ok("NaN".into()),
        "Infinity" | "Inf" => return Ok(format!("{sign}Infinity")),
        _ => {}
    }
    let (digits, scale) = shortest(unsigned)?;
    if digits.is_empty() {
        return Ok("0".into());
    }
    let mut plain: String = digits.iter().map(|digit| char::from(b'0' + digit)).collect();
    let places = usize::try_from((-scale).clamp(0, 16_383)).map_err(|_| OutOfRange)?;
    plain += &"0".repeat(usize::try_from(scale.clamp(0, 131_072)).map_err(|_| OutOfRange)?);
    if places > 0 {
        let missing = (places + 1).saturating_sub(plain.len());
        plain.insert_str(0, &"0".repeat(missing));
        plain.insert(plain.len() - places, '.');
    }
    Ok(format!("{sign}{plain}"))
}

fn finite(negative: bool, text: &str, out: &mut Vec<u8>) -> Result<(), OutOfRange> {
    let (mut digits, scale) = shortest(text)?;
    if digits.is_empty() {
        special(POSITIVE, out);
        return Ok(());
    }
    // Align the last digit to a group of four below or above the point.
    let padding = scale.rem_euclid(4);
    digits.extend((0..padding).map(|_| 0));
    let lowest_group = (scale - padding) / 4;
    let head = (4 - digits.len() % 4) % 4;
    let padded: Vec<u8> = std::iter::repeat_n(0, head).chain(digits).collect();
    let groups: Vec<u16> =
        padded.chunks(4).map(|group| group.iter().fold(0, |sum, digit| sum * 10 + u16::from(*digit))).collect();
    let count = i16::try_from(groups.len()).map_err(|_| OutOfRange)?;
    let weight = i16::try_from(i32::from(count) - 1 + lowest_group).map_err(|_| OutOfRange)?;
    // PostgreSQL's limits: 131,072 digits before the point, 16,383 after it (manual, 8.1.2).
    let places = u16::try_from((-scale).max(0)).ok().filter(|places| *places <= 16_383).ok_or(OutOfRange)?;
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&if negative { NEGATIVE } else { POSITIVE }.to_be_bytes());
    out.extend_from_slice(&places.to_be_bytes());
    for group in groups {
        out.extend_from_slice(&group.to_be_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value back as text, by the rules of `numeric_out`.
    fn read(bytes: &[u8]) -> String {
        let word = |i: usize| i16::from_be_bytes([bytes[i * 2], bytes[i * 2 + 1]]);
        let (count, weight, sign) = (word(0), i32::from(word(1)), word(2));
        let mut value = String::new();
        for i in 0..i32::from(count) {
            if weight - i == -1 {
                value.push('.');
            }
            value += &format!("{:04}", word(4 + usize::try_from(i).expect("small")));
        }
        for _ in 0..(weight - i32::from(count) + 1).max(0) {
            value += "0000";
        }
        if weight < -1 {
            value = format!(".{}{value}", "0000".repeat(usize::try_from(-weight - 1).expect("small")));
        }
        let trimmed = value.trim_start_matches('0');
        let trimmed = if trimmed.contains('.') { trimmed.trim_end_matches('0').trim_end_matches('.') } else { trimmed };
        format!("{}{trimmed}", if sign == 0x4000 { "-" } else { "" })
    }

    #[test]
    fn numbers_come_back() {
        for (text, expected) in [
            ("1", "1"),
            ("12345", "12345"),
            ("-0.5", "-.5"),
            ("1.5E+10", "15000000000"),
            ("1E-7", ".0000001"),
            ("123456.789", "123456.789"),
            ("10000", "10000"),
            ("0.00010", ".0001"),
            ("9223372036854775807", "9223372036854775807"),
        ] {
            let mut out = Vec::new();
            write_numeric(text, &mut out).expect(text);
            assert_eq!(read(&out), expected, "{text}");
        }
    }

    #[test]
    fn equal_numbers_have_equal_bytes() {
        let bytes = |text| {
            let mut out = Vec::new();
            write_numeric(text, &mut out).expect(text);
            out
        };
        assert_eq!(bytes("1"), bytes("1.000"));
        assert_eq!(bytes("1000"), bytes("1E+3"));
        assert_eq!(bytes("0"), bytes("-0E-6176"));
    }

    #[test]
    fn plain_text_has_no_exponent_and_one_form() {
        for (text, plain) in [
            ("1.50", "1.5"),
            ("-0.00", "0"),
            ("1E+3", "1000"),
            ("-12.5E-3", "-0.0125"),
            ("120E-1", "12"),
            ("1E-7", "0.0000001"),
            ("-Infinity", "-Infinity"),
            ("-NaN", "NaN"),
        ] {
            assert_eq!(plain_text(text).as_deref(), Ok(plain), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "x", "1e", "--1", "1.2.3"] {
            assert!(write_numeric(text, &mut Vec::new()).is_err(), "{text}");
        }
    }
}
