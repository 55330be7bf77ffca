//! BSON from choices: documents with every type and with values at the edges, and `$v: 2` diffs together with what they
//! make of a document.

use super::input::Input;

/// A name and what it names.
pub type Fields = Vec<(Vec<u8>, Tree)>;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Tree {
    Document(Fields),
    Array(Vec<Tree>),
    /// A type byte and the value's bytes.
    Scalar(u8, Vec<u8>),
}

/// What names a document may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Names {
    /// Text, no name twice.
    Clean,
    /// Any bytes, also twice.
    Any,
}

const LEVELS: usize = 6;
/// MongoDB takes documents of about 180 levels; what it documents is 100.
const DEEPEST: usize = 90;

pub const NULL: Tree = Tree::Scalar(0x0A, Vec::new());

const POOL: [&str; 20] = [
    "a", "b", "c", "A", "x", "0", "1", "_id", "_index", "_value", "_extra", "_key", "xmin", "", "a.b", "$x", "a b\"c",
    "c__id", "a__index", "select",
];

/// `document` as BSON.
pub fn encode(document: &Fields) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for (name, value) in document {
        element(name, value, &mut bytes);
    }
    close(bytes)
}

fn close(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.push(0);
    let length = i32::try_from(bytes.len()).expect("small").to_le_bytes();
    bytes[..4].copy_from_slice(&length);
    bytes
}

fn element(name: &[u8], value: &Tree, bytes: &mut Vec<u8>) {
    bytes.push(match value {
        Tree::Document(_) => 0x03,
        Tree::Array(_) => 0x04,
        Tree::Scalar(kind, _) => *kind,
    });
    bytes.extend_from_slice(name);
    bytes.push(0);
    match value {
        Tree::Document(fields) => bytes.extend(encode(fields)),
        Tree::Array(elements) => {
            let mut inner = vec![0; 4];
            for (i, value) in elements.iter().enumerate() {
                element(i.to_string().as_bytes(), value, &mut inner);
            }
            bytes.extend(close(inner));
        }
        Tree::Scalar(_, payload) => bytes.extend_from_slice(payload),
    }
}

pub fn int32(n: i32) -> Tree {
    Tree::Scalar(0x10, n.to_le_bytes().to_vec())
}

pub fn int64(n: i64) -> Tree {
    Tree::Scalar(0x12, n.to_le_bytes().to_vec())
}

pub fn double(n: f64) -> Tree {
    Tree::Scalar(0x01, n.to_le_bytes().to_vec())
}

pub fn boolean(yes: bool) -> Tree {
    Tree::Scalar(0x08, vec![u8::from(yes)])
}

pub fn timestamp(seconds: u32, ordinal: u32) -> Tree {
    Tree::Scalar(0x11, [ordinal.to_le_bytes(), seconds.to_le_bytes()].concat())
}

/// A decimal128 of a small coefficient (IEEE 754-2008, binary integer encoding).
pub fn decimal(negative: bool, coefficient: u64, exponent: i64) -> Tree {
    let biased = u64::try_from(exponent + 6176).expect("in range");
    let high = (u64::from(negative) << 63) | (biased << 49);
    Tree::Scalar(0x13, [coefficient.to_le_bytes(), high.to_le_bytes()].concat())
}

pub fn string(text: impl AsRef<[u8]>) -> Tree {
    Tree::Scalar(0x02, counted(text.as_ref()))
}

pub fn binary(subtype: u8, data: &[u8]) -> Tree {
    let mut payload = Vec::new();
    let old = subtype == 2;
    let length = |n: usize| i32::try_from(n).expect("small").to_le_bytes();
    payload.extend(length(data.len() + if old { 4 } else { 0 }));
    payload.push(subtype);
    if old {
        payload.extend(length(data.len()));
    }
    payload.extend_from_slice(data);
    Tree::Scalar(0x05, payload)
}

fn counted(text: &[u8]) -> Vec<u8> {
    let length = i32::try_from(text.len() + 1).expect("small").to_le_bytes();
    [&length[..], text, &[0]].concat()
}

/// A field name.
pub fn name(input: &mut Input<'_>, names: Names) -> Vec<u8> {
    match input.below(16) {
        0 => {
            let length = input.below(90);
            let mut bytes: Vec<u8> = input.bytes(length).iter().map(|byte| byte.max(&1)).copied().collect();
            if names == Names::Clean {
                bytes = String::from_utf8_lossy(&bytes).replace('\u{fffd}', "é").into_bytes();
            }
            bytes
        }
        1 => "n".repeat(62 + input.below(3)).into_bytes(),
        _ => input.pick(&POOL).as_bytes().to_vec(),
    }
}

/// A document, at most [`LEVELS`] deep but for one long chain.
pub fn document(input: &mut Input<'_>, names: Names, level: usize) -> Fields {
    let mut fields = Fields::new();
    for _ in 0..input.below(6) {
        let name = name(input, names);
        if names == Names::Any || fields.iter().all(|(other, _)| *other != name) {
            let value = value(input, names, level + 1);
            fields.push((name, value));
        }
    }
    fields
}

/// Any value.
pub fn value(input: &mut Input<'_>, names: Names, level: usize) -> Tree {
    match input.byte() {
        0..=39 if level < LEVELS => Tree::Document(document(input, names, level)),
        40..=79 if level < LEVELS => array(input, names, level),
        80 if level < LEVELS => {
            let mut chain = scalar(input);
            for _ in 0..input.below(DEEPEST) {
                let name = name(input, names);
                let field = Tree::Document(vec![(name, chain.clone())]);
                chain = if input.one_in(2) { Tree::Array(vec![chain]) } else { field };
            }
            chain
        }
        _ => scalar(input),
    }
}

fn array(input: &mut Input<'_>, names: Names, level: usize) -> Tree {
    let documents = input.one_in(2);
    let element = |input: &mut Input<'_>| {
        if documents && !input.one_in(4) {
            return Tree::Document(document(input, names, level));
        }
        value(input, names, level + 1)
    };
    Tree::Array((0..input.below(5)).map(|_| element(input)).collect())
}

/// A value that holds no others.
pub fn scalar(input: &mut Input<'_>) -> Tree {
    let eight: [[u8; 8]; 6] = [
        [0; 8],
        1i64.to_le_bytes(),
        i64::MIN.to_le_bytes(),
        i64::MAX.to_le_bytes(),
        [255; 8],
        (1i64 << 53).to_le_bytes(),
    ];
    let kind = input.below(24);
    match kind {
        0 | 1 => NULL,
        2 | 3 => int32(input.pick(&[0, 1, -1, i32::MIN, i32::MAX, 7])),
        4 => Tree::Scalar(0x12, input.pick(&eight).to_vec()),
        5 => Tree::Scalar(0x12, input.array::<8>().to_vec()),
        6 => double(input.pick(&[0.0, -0.0, 1.0, 0.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, 5e-324])),
        7 => Tree::Scalar(0x01, input.array::<8>().to_vec()),
        8 | 9 => string(input.pick(&["", "a", "\0", "a\0b", "é\u{1F600}", "\"\\\n", "\u{FFFE}", "null", "{}"])),
        10 => {
            let length = input.below(40);
            string(input.bytes(length))
        }
        11 => boolean(input.one_in(2)),
        12 => Tree::Scalar(0x07, vec![input.byte(); 12]),
        13 => Tree::Scalar(0x09, input.pick(&eight).to_vec()),
        14 => Tree::Scalar(0x09, (i64::from_le_bytes(input.array()) >> input.below(40)).to_le_bytes().to_vec()),
        15 => Tree::Scalar(0x13, input.array::<16>().to_vec()),
        16 => decimal(input.one_in(2), u64::from(input.byte()), i64::from(input.byte()) - 128),
        17 => {
            let (subtype, length) = (input.pick(&[0, 2, 3, 4, 5, 128]), input.pick(&[0, 3, 16, 16]));
            let data = input.bytes(length);
            binary(subtype, data)
        }
        18 => Tree::Scalar(0x0B, input.pick(&[&b"a\0i\0"[..], b"\0\0", b"\"\\\0\0", b"\xFF\0x\0"]).to_vec()),
        19 => Tree::Scalar(0x0C, [counted(b"d.c"), vec![input.byte(); 12]].concat()),
        20 => Tree::Scalar(input.pick(&[0x0D, 0x0E]), counted(input.pick(&[&b"f()"[..], b"", b"\0", b"\xFF"]))),
        21 => {
            let scope = encode(&vec![(b"s".to_vec(), int32(1))]);
            let body = [counted(b"c"), scope].concat();
            Tree::Scalar(0x0F, [&i32::try_from(body.len() + 4).expect("small").to_le_bytes()[..], &body].concat())
        }
        22 => Tree::Scalar(0x11, input.array::<8>().to_vec()),
        _ => Tree::Scalar(input.pick(&[0x06, 0x7F, 0xFF]), Vec::new()),
    }
}

/// The names that sections of a diff hold: they say what is gone.
fn removed(names: Vec<Vec<u8>>) -> Tree {
    Tree::Document(names.into_iter().map(|name| (name, boolean(false))).collect())
}

/// Changes a document and returns the diff that says so, as the server would write it.
pub fn change(fields: &mut Fields, input: &mut Input<'_>, level: usize) -> Fields {
    let (mut gone, mut set, mut appended, mut below) = (Vec::new(), Fields::new(), Fields::new(), Fields::new());
    let mut touched: Vec<Vec<u8>> = if level == 0 { vec![b"_id".to_vec()] } else { Vec::new() };
    for _ in 0..=input.below(4) {
        let known = fields.get(input.below(fields.len())).map(|(name, _)| name.clone());
        let name = if input.one_in(3) { None } else { known }.unwrap_or_else(|| name(input, Names::Clean));
        if touched.contains(&name) {
            continue;
        }
        touched.push(name.clone());
        let at = fields.iter().position(|(other, _)| *other == name);
        match (input.below(6), at) {
            (0, Some(at)) => {
                fields.remove(at);
                gone.push(name);
            }
            (1..=3, Some(at)) if matches!(fields[at].1, Tree::Document(_) | Tree::Array(_)) => {
                let diff = match &mut fields[at].1 {
                    Tree::Document(inner) => change(inner, input, level + 1),
                    Tree::Array(elements) => change_array(elements, input, level + 1),
                    Tree::Scalar(..) => continue,
                };
                below.push(([b"s", &name[..]].concat(), Tree::Document(diff)));
            }
            (4, Some(at)) => {
                fields[at].1 = value(input, Names::Clean, level + 1);
                set.push(fields[at].clone());
            }
            (_, at) => {
                let field = (name, value(input, Names::Clean, level + 1));
                at.map(|at| fields.remove(at));
                fields.push(field.clone());
                appended.push(field);
            }
        }
    }
    let mut diff = Fields::new();
    if !gone.is_empty() {
        diff.push((b"d".to_vec(), removed(gone)));
    }
    for (section, fields) in [(b"u", set), (b"i", appended)] {
        if !fields.is_empty() {
            diff.push((section.to_vec(), Tree::Document(fields)));
        }
    }
    diff.extend(below);
    diff
}

fn change_array(elements: &mut Vec<Tree>, input: &mut Input<'_>, level: usize) -> Fields {
    let mut diff = vec![(b"a".to_vec(), boolean(true))];
    if input.one_in(3) {
        let length = input.below(elements.len() + 2);
        elements.resize(length, NULL);
        diff.push((b"l".to_vec(), int32(i32::try_from(length).expect("small"))));
    }
    let mut from = 0;
    for _ in 0..input.below(3) {
        let at = from + input.below((elements.len() + 2).saturating_sub(from));
        from = at + 1;
        let inner = match elements.get_mut(at) {
            Some(Tree::Document(fields)) if input.one_in(2) => Some(change(fields, input, level + 1)),
            Some(Tree::Array(inner)) if input.one_in(2) => Some(change_array(inner, input, level + 1)),
            _ => None,
        };
        if let Some(inner) = inner {
            diff.push((format!("s{at}").into_bytes(), Tree::Document(inner)));
            continue;
        }
        if elements.len() <= at {
            elements.resize(at + 1, NULL);
        }
        elements[at] = value(input, Names::Clean, level + 1);
        diff.push((format!("u{at}").into_bytes(), elements[at].clone()));
    }
    diff
}
