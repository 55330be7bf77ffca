//! Row images: PostgreSQL's binary field format, ready for COPY and for array parameters.

use super::bson::Document;
use super::table::SharedTable;

/// Where one column's value lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Slot {
    /// Not mentioned: a whole row stores NULL, a patch leaves the column alone.
    #[default]
    Absent,
    /// SQL NULL.
    Null,
    /// Bytes in the arena.
    At { start: usize, end: usize },
}

/// One cell as a writer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    /// Not mentioned.
    Absent,
    /// SQL NULL.
    Null,
    /// The value in PostgreSQL's binary format for the column's type.
    Value(&'a [u8]),
}

/// The cells of one row, by column position; one arena holds all bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    arena: Vec<u8>,
    slots: Vec<Slot>,
}

impl Row {
    /// Empties the row and keeps its memory.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.slots.clear();
    }

    /// The cell of a column.
    #[must_use]
    pub fn cell(&self, column: usize) -> Cell<'_> {
        match self.slots.get(column) {
            None | Some(Slot::Absent) => Cell::Absent,
            Some(Slot::Null) => Cell::Null,
            Some(Slot::At { start, end }) => Cell::Value(self.arena.get(*start..*end).unwrap_or_default()),
        }
    }

    /// Sets a cell to bytes that `write` appends to the buffer it is given.
    ///
    /// # Errors
    /// What `write` returns; the cell is then as it was.
    pub fn write<E>(&mut self, column: usize, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let start = self.arena.len();
        if let Err(error) = write(&mut self.arena) {
            self.arena.truncate(start);
            return Err(error);
        }
        let end = self.arena.len();
        self.place(column, Slot::At { start, end });
        Ok(())
    }

    /// Sets a cell to bytes.
    pub fn set(&mut self, column: usize, bytes: &[u8]) {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        self.place(column, Slot::At { start, end: self.arena.len() });
    }

    /// Sets a cell to NULL.
    pub fn set_null(&mut self, column: usize) {
        self.place(column, Slot::Null);
    }

    fn place(&mut self, column: usize, slot: Slot) {
        if self.slots.len() <= column {
            self.slots.resize(column + 1, Slot::Absent);
        }
        if let Some(place) = self.slots.get_mut(column) {
            *place = slot;
        }
    }

    /// Overwrites with every cell that `later` mentions.
    pub fn merge(&mut self, later: &Row) {
        for column in 0..later.slots.len() {
            match later.cell(column) {
                Cell::Absent => {}
                Cell::Null => self.set_null(column),
                Cell::Value(bytes) => self.set(column, bytes),
            }
        }
    }

    /// The columns that are mentioned.
    pub fn mentioned(&self) -> impl Iterator<Item = usize> + '_ {
        self.slots.iter().enumerate().filter(|(_, slot)| **slot != Slot::Absent).map(|(column, _)| column)
    }

    /// Bytes in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.arena.len() + self.slots.len() * size_of::<Slot>() + size_of::<Self>()
    }
}

/// The leading key cells of rows, in PostgreSQL's binary format. The text form (each cell preceded by its length) makes
/// a prefix of keys a prefix of bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Key {
    bytes: Vec<u8>,
}

impl Key {
    /// Appends one cell.
    pub fn push(&mut self, cell: &[u8]) {
        // Key cells are limited to a few kilobytes by PostgreSQL's index rows, so the length always fits.
        self.bytes.extend_from_slice(&u32::try_from(cell.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.bytes.extend_from_slice(cell);
    }

    /// Appends an `_index` cell.
    pub fn push_index(&mut self, index: i32) {
        self.push(&index.to_be_bytes());
    }

    /// Cuts back to an earlier [`Key::mark`].
    pub fn truncate(&mut self, mark: usize) {
        self.bytes.truncate(mark);
    }

    /// A mark to cut back to.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes by which keys are compared.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The cells, in order.
    pub fn cells(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let (cell, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
            rest = after;
            Some(cell)
        })
    }
}

/// One change of rows, in order with its neighbours.
#[derive(Debug, Clone)]
pub enum RowChange {
    /// The row is exactly this; it may or may not exist.
    Put {
        /// Where.
        table: SharedTable,
        /// Its key.
        key: Key,
        /// The other cells; absent ones become NULL.
        row: Row,
    },
    /// The mentioned cells change, if the row exists.
    Patch {
        /// Where.
        table: SharedTable,
        /// Its key.
        key: Key,
        /// The changed cells; the key's are not mentioned.
        row: Row,
        /// `jsonb` columns with the `$v: 2` diff to apply to them.
        diffs: Vec<(usize, Document)>,
    },
    /// All rows whose key starts with `prefix` go away; with `from`, only those whose next key cell, an array index, is
    /// at least that.
    Delete {
        /// Where.
        table: SharedTable,
        /// The leading cells of the key.
        prefix: Key,
        /// First array index to go.
        from: Option<i32>,
    },
}
