//! Row images: PostgreSQL's binary field format, ready for COPY and for array parameters.

use std::sync::Arc;

use super::bson::Document;
use super::position::Position;
use super::table::SharedTable;
use super::write_set::Anomaly;

/// Bytes that a row may waste before it is made compact.
const COMPACT_FROM: usize = 1 << 16;

/// Where one column's value lies in the arena. Rows of wide tables mention few columns, and many rows wait to be written, so
/// that only what is mentioned has one, and they are small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    column: u32,
    start: u32,
    /// Bytes, or [`NULL`].
    length: u32,
}

/// The length of SQL NULL.
const NULL: u32 = u32::MAX;

impl Slot {
    /// The arena of a row holds what comes of one document of 16 MiB, many times over, before it is made compact.
    fn at(column: usize, start: usize, end: usize) -> Self {
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { column: small(column), start: small(start), length: small(end.saturating_sub(start)) }
    }

    fn null(column: usize) -> Self {
        Self { length: NULL, ..Self::at(column, 0, 0) }
    }

    fn column(&self) -> usize {
        usize::try_from(self.column).unwrap_or(usize::MAX)
    }

    /// Where the bytes are; `None` for NULL.
    fn range(&self) -> Option<std::ops::Range<usize>> {
        let at = |offset: u32| usize::try_from(offset).unwrap_or(usize::MAX);
        (self.length != NULL).then(|| at(self.start)..at(self.start) + at(self.length))
    }
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

/// The value that a cell was made from, as it would be recorded if the row had to do without the cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    /// The cell's column.
    pub column: usize,
    /// What would be recorded.
    pub anomaly: Anomaly,
    /// The change that brought it, once that is known.
    pub position: Option<Position>,
}

/// The cells of one row, by column position; one arena holds all bytes. A column that is not mentioned is NULL in a whole row,
/// and left alone by a patch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    arena: Vec<u8>,
    /// In the order of the columns.
    slots: Vec<Slot>,
    /// Bytes of the arena that no slot points to any more.
    garbage: u32,
    /// True when the document is deleted and its rows stay.
    deleted: bool,
    /// What few rows have; many rows wait to be written.
    rare: Option<Box<Rare>>,
}

/// What few rows have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Rare {
    /// By column; of the rows of wide tables only (see [`super::table::Table::is_wide`]).
    originals: Vec<Original>,
    /// The change that it comes from, as JSON; of rows of root tables with `_source` only.
    source: Option<Arc<str>>,
}

impl Row {
    /// Empties the row and keeps its memory.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.slots.clear();
        self.garbage = 0;
        self.deleted = false;
        self.rare = None;
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn all_originals(&self) -> &[Original] {
        self.rare.as_ref().map_or(&[], |rare| &rare.originals)
    }

    /// The change that it comes from, for `_source`.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        self.rare.as_ref()?.source.as_deref()
    }

    /// Notes the change that it comes from, as JSON.
    pub fn set_source(&mut self, source: Arc<str>) {
        self.rare().source = Some(source);
    }

    /// True when the document is deleted and its rows stay.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// Marks the document as deleted.
    pub fn set_deleted(&mut self) {
        self.deleted = true;
    }

    /// The cell of a column.
    #[must_use]
    pub fn cell(&self, column: usize) -> Cell<'_> {
        match self.find(column) {
            Ok(at) => self.slots.get(at).map_or(Cell::Absent, |slot| self.value(slot)),
            Err(_) => Cell::Absent,
        }
    }

    /// The cells of columns from one on, in order; what is beyond the last that is mentioned is not mentioned.
    pub fn cells(&self, from: usize) -> impl Iterator<Item = Cell<'_>> {
        let first = self.find(from).unwrap_or_else(|at| at);
        let mut slots = self.slots.get(first..).unwrap_or_default().iter().peekable();
        (from..).map(move |column| match slots.next_if(|slot| slot.column() == column) {
            Some(slot) => self.value(slot),
            None => Cell::Absent,
        })
    }

    fn value(&self, slot: &Slot) -> Cell<'_> {
        slot.range().map_or(Cell::Null, |range| Cell::Value(self.arena.get(range).unwrap_or_default()))
    }

    /// The slot of a column, or its place.
    fn find(&self, column: usize) -> Result<usize, usize> {
        match self.slots.last() {
            None => Err(0),
            // Mostly cells come in the order of their columns.
            Some(last) if last.column() < column => Err(self.slots.len()),
            Some(_) => self.slots.binary_search_by_key(&column, Slot::column),
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
        self.place(Slot::at(column, start, end));
        Ok(())
    }

    /// Sets a cell to bytes.
    pub fn set(&mut self, column: usize, bytes: &[u8]) {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        self.place(Slot::at(column, start, self.arena.len()));
    }

    /// Sets a cell to NULL.
    pub fn set_null(&mut self, column: usize) {
        self.place(Slot::null(column));
    }

    fn place(&mut self, slot: Slot) {
        match self.find(slot.column()) {
            Err(at) => self.slots.insert(at, slot),
            Ok(at) => {
                if let Some(place) = self.slots.get_mut(at)
                    && let Some(range) = std::mem::replace(place, slot).range()
                {
                    self.garbage = self.garbage.saturating_add(u32::try_from(range.len()).unwrap_or(u32::MAX));
                }
            }
        }
        // A row that is changed many times in one batch must not keep all that it ever held.
        let garbage = usize::try_from(self.garbage).unwrap_or(usize::MAX);
        if garbage > COMPACT_FROM && garbage > self.arena.len() / 2 {
            self.compact();
        }
    }

    fn compact(&mut self) {
        let kept = self.slots.iter().filter_map(Slot::range).map(|range| range.len()).sum();
        let mut arena = Vec::with_capacity(kept);
        for slot in &mut self.slots {
            if let Some(range) = slot.range() {
                let from = arena.len();
                arena.extend_from_slice(self.arena.get(range).unwrap_or_default());
                *slot = Slot::at(slot.column(), from, arena.len());
            }
        }
        self.arena = arena;
        self.garbage = 0;
    }

    /// Keeps the value that a cell was made from. A diff, for a cell that is not mentioned, comes on top of what is kept.
    pub fn remember(&mut self, original: Original) {
        let on_top = self.cell(original.column) == Cell::Absent;
        self.keep(original, on_top);
    }

    fn keep(&mut self, original: Original, on_top: bool) {
        let (from, to) = self.kept(original.column);
        self.rare().originals.splice(if on_top { to } else { from }..to, [original]);
    }

    /// Notes which change brought the values that are kept.
    pub fn brought_by(&mut self, position: &Position) {
        for original in self.rare.iter_mut().flat_map(|rare| &mut rare.originals) {
            original.position = Some(position.clone());
        }
    }

    /// The values that a cell was made from, where they are kept.
    #[must_use]
    pub fn originals(&self, column: usize) -> &[Original] {
        let (from, to) = self.kept(column);
        self.all_originals().get(from..to).unwrap_or_default()
    }

    fn kept(&self, column: usize) -> (usize, usize) {
        let originals = self.all_originals();
        let from = originals.partition_point(|original| original.column < column);
        let to = originals.partition_point(|original| original.column <= column);
        (from, to)
    }

    /// Overwrites with every cell that `later` mentions.
    pub fn merge(&mut self, later: &Row) {
        self.deleted |= later.deleted;
        if let Some(source) = later.rare.as_ref().and_then(|rare| rare.source.as_ref()) {
            self.set_source(Arc::clone(source));
        }
        for slot in &later.slots {
            match later.value(slot) {
                Cell::Absent | Cell::Null => self.set_null(slot.column()),
                Cell::Value(bytes) => self.set(slot.column(), bytes),
            }
        }
        for original in later.all_originals() {
            self.keep(original.clone(), later.cell(original.column) == Cell::Absent);
        }
    }

    /// The columns that are mentioned.
    pub fn mentioned(&self) -> impl Iterator<Item = usize> + '_ {
        self.slots.iter().map(Slot::column)
    }

    /// Bytes in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        // What is kept of a cell's value is text of about the size of the cell, with its path and its document's id.
        const ORIGINAL: usize = 256;
        let originals =
            self.all_originals().iter().map(|original| original.anomaly.original.len() + ORIGINAL).sum::<usize>();
        self.arena.len() + self.slots.len() * size_of::<Slot>() + size_of::<Self>() + originals
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

impl RowChange {
    /// Notes which change brought the values that a row of a wide table keeps.
    pub fn brought_by(&mut self, position: &Position) {
        if let Self::Put { table, row, .. } | Self::Patch { table, row, .. } = self
            && table.is_wide()
        {
            row.brought_by(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(row: &Row, from: usize, count: usize) -> Vec<Option<&[u8]>> {
        let value = |cell| if let Cell::Value(bytes) = cell { Some(bytes) } else { None };
        row.cells(from).take(count).map(value).collect()
    }

    #[test]
    fn cells_are_found_in_whatever_order_they_were_set() {
        let mut row = Row::default();
        for column in [7, 1, 900, 3] {
            row.set(column, column.to_string().as_bytes());
        }
        row.set(3, b"three");
        row.set_null(1);
        assert_eq!(row.mentioned().collect::<Vec<_>>(), [1, 3, 7, 900]);
        assert_eq!((row.cell(1), row.cell(2), row.cell(3)), (Cell::Null, Cell::Absent, Cell::Value(b"three")));
        assert_eq!(cells(&row, 2, 6), [None, Some(b"three".as_slice()), None, None, None, Some(b"7")]);
        assert_eq!((cells(&row, 900, 2), cells(&row, 901, 1)), (vec![Some(b"900".as_slice()), None], vec![None]));
        let mut later = Row::default();
        later.set(2, b"two");
        later.set_null(7);
        row.merge(&later);
        assert_eq!((row.cell(2), row.cell(7), row.cell(900)), (Cell::Value(b"two"), Cell::Null, Cell::Value(b"900")));
    }

    #[test]
    fn a_row_that_is_changed_often_stays_small() {
        let mut row = Row::default();
        row.set(1, b"stays");
        for n in 0..100_u8 {
            row.set(0, &[n; 5000]);
        }
        assert!(row.weight() < 3 * COMPACT_FROM);
        assert_eq!((row.cell(0), row.cell(1)), (Cell::Value([99; 5000].as_slice()), Cell::Value(b"stays")));
    }
}
