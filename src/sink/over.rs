//! Rows of a range that is copied over rows which are there: each document takes the place of what there is of it.
//!
//! In: documents converted as replacements. Out: their net changes, and the ids that were met.

use std::collections::BTreeSet;

use super::fold::Fold;
use crate::model::namespace::CollectionId;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct OverRows {
    /// What becomes of the rows.
    pub fold: Fold,
    /// The documents, by collection and digest of the id.
    pub met: BTreeSet<(CollectionId, [u8; 32])>,
}
