//! The entries of a file, one by one: where each begins and ends. Which kind of file it is, its content says.
//!
//! In: bytes. Out: raw BSON documents with their places. Of the file, one entry is in memory at a time.

use std::io::{BufRead, Read};

use super::extended_json;
use crate::model::bson::Document;

/// The most bytes of an entry in `oplog.bson`: a document's 16 MiB and what the server allows itself on top, with room.
const MOST_BSON: usize = 32 << 20;

/// The most bytes of an entry as text. Canonical Extended JSON takes up to twenty times the bytes of BSON.
const MOST_TEXT: usize = 512 << 20;

/// Where an entry begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its number in the file, from 1.
    pub number: u64,
    /// Its line, from 1; none in `oplog.bson`.
    pub line: Option<u64>,
    /// Bytes before it.
    pub offset: u64,
}

/// What is wrong at a place.
pub type Wrong = (Place, String);

/// Reads entries.
pub struct Splitter<R> {
    input: R,
    binary: bool,
    /// Inside `[…]`.
    listed: bool,
    place: Place,
}

impl<R: BufRead> Splitter<R> {
    /// Looks at the first bytes: the length that a document of BSON begins with is no text.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn new(mut input: R) -> Result<Self, Wrong> {
        let place = Place { number: 1, line: Some(1), offset: 0 };
        let first = input.fill_buf().map_err(|error| (place, error.to_string()))?;
        let length = first.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
        let binary = length.is_some_and(|length| usize::try_from(length).is_ok_and(|length| length <= MOST_BSON));
        let mark = usize::from(first.starts_with(b"\xEF\xBB\xBF")) * 3;
        input.consume(mark);
        let offset = u64::try_from(mark).unwrap_or(0);
        Ok(Self { input, binary, listed: false, place: Place { line: (!binary).then_some(1), offset, ..place } })
    }

    /// Goes on at the beginning of an entry that was met before.
    pub fn at(input: R, place: Place) -> Self {
        Self { input, binary: place.line.is_none(), listed: true, place }
    }

    /// The next entry; `None` at the end of the file.
    ///
    /// # Errors
    /// When it is damaged; the place says where it begins.
    pub fn next(&mut self) -> Result<Option<(Place, Document)>, Wrong> {
        let found = if self.binary { self.next_bson() } else { self.next_text() };
        if matches!(found, Ok(Some(_))) {
            self.place.number += 1;
        }
        found
    }

    fn next_bson(&mut self) -> Result<Option<(Place, Document)>, Wrong> {
        let place = self.place;
        let wrong = |what: &str| (place, what.to_owned());
        let mut bytes = Vec::new();
        self.take(4, &mut bytes).map_err(|error| (place, error))?;
        let Some(length) = bytes.first_chunk::<4>().map(|length| u32::from_le_bytes(*length)) else {
            return if bytes.is_empty() { Ok(None) } else { Err(wrong("the file ends inside it")) };
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !(5..=MOST_BSON).contains(&length) {
            return Err(wrong("it does not begin with the length of a document"));
        }
        self.take(length - 4, &mut bytes).map_err(|error| (place, error))?;
        if bytes.len() < length {
            return Err(wrong("the file ends inside it"));
        }
        let document = Document::new(bytes).map_err(|error| (place, error.to_string()))?;
        if !extended_json::is_whole(document.as_doc()) {
            return Err(wrong("it is not valid BSON"));
        }
        Ok(Some((place, document)))
    }

    fn take(&mut self, count: usize, bytes: &mut Vec<u8>) -> Result<(), String> {
        let limit = u64::try_from(count).unwrap_or(u64::MAX);
        let read = self.input.by_ref().take(limit).read_to_end(bytes).map_err(|error| error.to_string())?;
        self.place.offset += u64::try_from(read).unwrap_or(0);
        Ok(())
    }

    fn next_text(&mut self) -> Result<Option<(Place, Document)>, Wrong> {
        loop {
            let Some(byte) = self.peek()? else {
                return if self.listed { Err((self.place, "the list has no end".to_owned())) } else { Ok(None) };
            };
            match byte {
                b'{' => break,
                b'[' if !self.listed => self.listed = true,
                b']' if self.listed => self.listed = false,
                b',' | b' ' | b'\t' | b'\r' | b'\n' => {}
                _ => return Err((self.place, "an entry, {…}, is expected here".to_owned())),
            }
            self.step(byte);
        }
        let place = self.place;
        let text = self.object()?;
        let document = extended_json::document(&text).map_err(|error| (place, error.to_string()))?;
        Ok(Some((place, document)))
    }

    /// The text up to the brace that closes the first.
    fn object(&mut self) -> Result<Vec<u8>, Wrong> {
        let place = self.place;
        let mut text = Vec::new();
        let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
        while let Some(byte) = self.peek()? {
            self.step(byte);
            text.push(byte);
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'{' | b'[' if !quoted => depth += 1,
                b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && !quoted {
                return Ok(text);
            }
            if text.len() > MOST_TEXT {
                return Err((place, "it is larger than any entry".to_owned()));
            }
        }
        Err((place, "the file ends inside it".to_owned()))
    }

    fn peek(&mut self) -> Result<Option<u8>, Wrong> {
        let place = self.place;
        self.input.fill_buf().map(|bytes| bytes.first().copied()).map_err(|error| (place, error.to_string()))
    }

    fn step(&mut self, byte: u8) {
        self.input.consume(1);
        self.place.offset += 1;
        if byte == b'\n' {
            self.place.line = self.place.line.map(|line| line + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    /// The `n`s of entries, with lines and offsets.
    type Found = Vec<(i32, Option<u64>, u64)>;

    /// What is found, then what is wrong, if anything is.
    fn read(bytes: &[u8]) -> (Found, Option<Wrong>) {
        let mut found = Vec::new();
        let mut splitter = Splitter::new(bytes).expect("readable");
        loop {
            match splitter.next() {
                Ok(None) => return (found, None),
                Ok(Some((place, document))) => {
                    let Some(crate::model::bson::Value::Int32(n)) = document.as_doc().get("n").expect("bson") else {
                        panic!("no n")
                    };
                    found.push((n, place.line, place.offset));
                }
                Err(wrong) => return (found, Some(wrong)),
            }
        }
    }

    #[test]
    fn text_is_one_entry_a_list_or_one_a_line() {
        assert_eq!(read(b"{\"n\":1}").0, [(1, Some(1), 0)]);
        assert_eq!(read(b"{\n \"n\": 1\n}\n").0, [(1, Some(1), 0)]);
        assert_eq!(read(b"{\"n\":1}\n\n{\"n\":2}").0, [(1, Some(1), 0), (2, Some(3), 9)]);
        assert_eq!(read(b"\xEF\xBB\xBF [\n{\"n\":1},\r\n{\"n\":2}\n]\n").0, [(1, Some(2), 6), (2, Some(3), 16)]);
        assert_eq!(read(b"{\"n\":1,\"s\":\"}\\\"{\"}{\"n\":2}").0, [(1, Some(1), 0), (2, Some(1), 18)]);
        assert_eq!((read(b""), read(b" \n")), ((vec![], None), (vec![], None)));
    }

    #[test]
    fn binary_entries_lie_one_after_the_other() {
        let entry = |n: i32| doc! {"n": n}.to_vec().expect("bson");
        let bytes = [entry(1), entry(2)].concat();
        assert_eq!(read(&bytes), (vec![(1, None, 0), (2, None, 12)], None));
        let (found, wrong) = read(bytes.get(..20).expect("bytes"));
        assert_eq!((found.len(), wrong.expect("cut").0.offset), (1, 12));
        let (_, wrong) = read(&[entry(1), vec![12, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0]].concat());
        assert_eq!(wrong, Some((Place { number: 2, line: None, offset: 12 }, "it is not valid BSON".to_owned())));
    }

    #[test]
    fn damage_is_named_with_its_place() {
        let (found, wrong) = read(b"{\"n\":1}\n{\"n\":}\n{\"n\":3}");
        let (place, what) = wrong.expect("damaged");
        assert_eq!((found.len(), place), (1, Place { number: 2, line: Some(2), offset: 8 }));
        assert!(what.contains("no JSON"), "{what}");
        for (text, said) in
            [("{\"n\":1", "ends"), ("[{\"n\":1}", "no end"), ("hello", "expected"), ("{\"n\":1}]", "expected")]
        {
            assert!(read(text.as_bytes()).1.expect("wrong").1.contains(said), "{text}");
        }
    }
}
