//! The ids of the documents: what MongoDB takes for equal, PostgreSQL confuses, or is too long for a key.

use super::input::Input;
use super::tree::{self, Tree};

/// How many ids there are.
pub const IDS: usize = 14;

/// The ways to write an id: MongoDB takes those of one number for equal, and no others.
fn forms(id: usize) -> Vec<Tree> {
    match id {
        0 => {
            let numbers = [tree::int32(1), tree::int64(1), tree::double(1.0)];
            numbers.into_iter().chain([tree::decimal(false, 1, 0), tree::decimal(false, 10, -1)]).collect()
        }
        1 => vec![tree::int32(2), tree::int64(2)],
        2 => vec![tree::int32(0), tree::double(-0.0), tree::double(0.0)],
        3 => vec![tree::int64((1 << 53) | 1)],
        4 => vec![tree::double(0.1)],
        5 => vec![tree::string("a")],
        6 => vec![tree::string("616161616161616161616161")],
        7 => vec![Tree::Scalar(0x07, vec![0x61; 12])],
        8 => vec![Tree::Document(vec![(b"a".to_vec(), tree::int32(1))])],
        9 => vec![tree::string("a\0")],
        10 => vec![tree::binary(4, &[1; 16])],
        11 => vec![tree::boolean(true)],
        12 => vec![tree::NULL],
        _ => vec![tree::string("long".repeat(700))],
    }
}

/// One of the ways to write an id.
pub fn id_of(id: usize, input: &mut Input<'_>) -> Tree {
    let mut forms = forms(id);
    forms.swap_remove(input.below(forms.len()))
}
