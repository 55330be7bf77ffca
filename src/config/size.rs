//! Sizes in bytes with a binary suffix.

/// Reads `256MiB`, `1 GiB`, `65536`; `None` when it is none of these or does not fit.
pub(super) fn parse(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at_checked(digits)?;
    let shift = match suffix.trim_start() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", Some(0)),
            ("65536", Some(65536)),
            ("64KiB", Some(65536)),
            (" 256 MiB ", Some(268_435_456)),
            ("2GiB", Some(2_147_483_648)),
            ("", None),
            ("MiB", None),
            ("1MB", None),
            ("-1", None),
            ("1.5GiB", None),
            ("99999999999999999999", None),
            ("99999999999999999GiB", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
