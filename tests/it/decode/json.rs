//! jsonb's text into the normal form: a JSON reader that keeps every digit, and Extended JSON's wrappers.

use std::collections::BTreeMap;

use mongodb::bson::DateTime;

use super::norm::{Norm, shortest, uuid};

/// Reads one JSON text, or says what is wrong with it and where.
pub fn parse(text: &str) -> Result<Norm, String> {
    whole(text, |reader| reader.value())
}

/// The same for an object of fields, which is no wrapper whatever their names are.
pub fn parse_fields(text: &str) -> Result<Norm, String> {
    whole(text, |reader| reader.fields().map(Norm::Document))
}

fn whole(text: &str, read: impl FnOnce(&mut Reader<'_>) -> Result<Norm, String>) -> Result<Norm, String> {
    let mut reader = Reader { rest: text };
    let value = read(&mut reader)?;
    reader.blank();
    if reader.rest.is_empty() { Ok(value) } else { Err(format!("text after the JSON value: {:.40}", reader.rest)) }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn blank(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: &str) -> bool {
        self.blank();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) { Ok(()) } else { Err(format!("expected {token} at: {:.40}", self.rest)) }
    }

    fn value(&mut self) -> Result<Norm, String> {
        for (token, value) in [("null", Norm::Null), ("true", Norm::Bool(true)), ("false", Norm::Bool(false))] {
            if self.take(token) {
                return Ok(value);
            }
        }
        match self.rest.chars().next() {
            Some('{') => self.fields().map(unwrap),
            Some('[') => self.array(),
            Some('"') => self.string().map(Norm::Text),
            Some('-' | '0'..='9') => self.number(),
            _ => Err(format!("no JSON value at: {:.40}", self.rest)),
        }
    }

    fn number(&mut self) -> Result<Norm, String> {
        let end = self.rest.find(|c: char| !matches!(c, '-' | '+' | '.' | 'e' | 'E' | '0'..='9'));
        let (text, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        Norm::numeric(text).ok_or_else(|| format!("not a number: {text}"))
    }

    fn string(&mut self) -> Result<String, String> {
        self.expect("\"")?;
        let mut out = String::new();
        loop {
            let stop = self.rest.find(['"', '\\']).ok_or("a string without an end")?;
            out.push_str(&self.rest[..stop]);
            let mark = self.rest.as_bytes()[stop];
            self.rest = &self.rest[stop + 1..];
            if mark == b'"' {
                return Ok(out);
            }
            out.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let c = self.rest.chars().next().ok_or("an escape without an end")?;
        self.rest = &self.rest[c.len_utf8()..];
        Ok(match c {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let code = self.rest.get(..4).and_then(|hex| u32::from_str_radix(hex, 16).ok());
                self.rest = self.rest.get(4..).unwrap_or_default();
                // jsonb prints surrogate pairs as the characters that they are.
                code.and_then(char::from_u32).ok_or("an escape that is no character")?
            }
            c => c,
        })
    }

    fn array(&mut self) -> Result<Norm, String> {
        self.expect("[")?;
        let mut items = Vec::new();
        if self.take("]") {
            return Ok(Norm::Array(items));
        }
        loop {
            items.push(self.value()?);
            if self.take("]") {
                return Ok(Norm::Array(items));
            }
            self.expect(",")?;
        }
    }

    fn fields(&mut self) -> Result<BTreeMap<String, Norm>, String> {
        self.expect("{")?;
        let mut fields = BTreeMap::new();
        if self.take("}") {
            return Ok(fields);
        }
        loop {
            self.blank();
            let name = self.string()?;
            self.expect(":")?;
            fields.insert(name, self.value()?);
            if self.take("}") {
                return Ok(fields);
            }
            self.expect(",")?;
        }
    }
}

/// An object that is one of Extended JSON's wrappers becomes its value.
fn unwrap(fields: BTreeMap<String, Norm>) -> Norm {
    let value = match fields.iter().next() {
        Some((name, value)) if fields.len() == 1 && name.starts_with('$') => wrapped(name, value),
        _ => None,
    };
    value.unwrap_or(Norm::Document(fields))
}

/// A value whose every document is read as jsonb would read it.
pub fn unwrapped(value: &Norm) -> Norm {
    match value {
        Norm::Document(fields) => unwrap(fields.iter().map(|(name, value)| (name.clone(), unwrapped(value))).collect()),
        Norm::Array(items) => Norm::Array(items.iter().map(unwrapped).collect()),
        other => other.clone(),
    }
}

/// The value of a wrapper, if it is one.
fn wrapped(name: &str, value: &Norm) -> Option<Norm> {
    match (name, value) {
        ("$numberInt" | "$numberLong", Norm::Text(text)) => Norm::numeric(text),
        ("$numberDecimal", Norm::Text(text)) => {
            Norm::numeric(text.strip_prefix("-").filter(|t| *t == "NaN").unwrap_or(text))
        }
        ("$numberDouble", Norm::Text(text)) => Norm::double(text),
        ("$oid", Norm::Text(hex)) if hex.len() == 24 => Some(Norm::ObjectId(hex.clone())),
        ("$uuid", Norm::Text(text)) => hex(&text.replace('-', "")).ok().filter(|b| b.len() == 16).map(uuid),
        ("$date", Norm::Text(text)) => match text.as_str() {
            "infinity" => Some(Norm::Beyond { before: false }),
            "-infinity" => Some(Norm::Beyond { before: true }),
            _ => DateTime::parse_rfc3339_str(text).ok().map(|date| Norm::Date(date.timestamp_millis())),
        },
        // `{"$date": {"$numberLong": …}}`: the inner wrapper has become a number already.
        ("$date", Norm::Number(number)) => number.to_i64().map(Norm::Date),
        ("$date", Norm::SomeZero | Norm::Zero | Norm::NegativeZero) => Some(Norm::Date(0)),
        // A document that looks like a wrapper, as it is before jsonb makes all numbers one.
        ("$date", Norm::Double(double)) => Norm::numeric(&shortest(*double)).and_then(|n| wrapped(name, &n)),
        ("$binary", Norm::Document(parts)) => binary(parts),
        _ => None,
    }
}

fn binary(parts: &BTreeMap<String, Norm>) -> Option<Norm> {
    match (parts.get("base64"), parts.get("subType")) {
        (Some(Norm::Text(data)), Some(Norm::Text(subtype))) => {
            Some(Norm::Binary(u8::from_str_radix(subtype, 16).ok()?, base64(data).ok()?))
        }
        _ => None,
    }
}

/// Bytes from hexadecimal text.
pub fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    match digits {
        Some(digits) if digits.len() % 2 == 0 => {
            Ok(digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("two digits")).collect())
        }
        _ => Err(format!("not hexadecimal: {text:.40}")),
    }
}

fn base64(text: &str) -> Result<Vec<u8>, String> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut held, mut out) = (0_u32, 0, Vec::new());
    for byte in text.trim_end_matches('=').bytes() {
        let value = ALPHABET.iter().position(|c| *c == byte).ok_or_else(|| format!("not base64: {text:.40}"))?;
        bits = (bits << 6) | u32::try_from(value).expect("six bits");
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from((bits >> held) & 0xFF).expect("eight bits"));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::decode::norm::Norm;

    #[test]
    fn extended_json_reads_back_as_what_it_stands_for() {
        let read = |text: &str| parse(text).expect("JSON");
        assert_eq!(read(r#"{"$oid": "507f1f77bcf86cd799439011"}"#), Norm::ObjectId("507f1f77bcf86cd799439011".into()));
        assert_eq!(read(r#"{"$date": "1970-01-01T00:00:01.5Z"}"#), Norm::Date(1500));
        assert_eq!(read(r#"{"$date": {"$numberLong": "-1500"}}"#), Norm::Date(-1500));
        assert_eq!(read(r#"{"$binary": {"base64": "AQID", "subType": "05"}}"#), Norm::Binary(5, vec![1, 2, 3]));
        assert_eq!(read(r#"{"$uuid": "00112233-4455-6677-8899-aabbccddeeff"}"#).key(), {
            let bytes: Vec<u8> = (0..16).map(|n| n * 0x11).collect();
            Norm::Binary(4, bytes).key()
        });
        assert_eq!(read(r#"{"$numberDouble": "NaN"}"#), Norm::NaN);
        assert_eq!(read(r#"{"$numberDecimal": "1E+3"}"#), read("1000"));
        assert_eq!(read(r#"["a\"\\\u0001ü😀", 9007199254740993]"#), {
            Norm::Array(vec![Norm::Text("a\"\\\u{1}ü😀".into()), Norm::numeric("9007199254740993").expect("number")])
        });
        assert!(parse("{\"a\": 1").is_err() && parse("1 2").is_err() && parse("nope").is_err());
    }
}
