//! Statements that write one row, in parts, so that the text can leave out values for which the row has no room.
//!
//! In: an INSERT or UPDATE of a row that may be too wide for a page. Out: a call that tries it and, as long as PostgreSQL
//! refuses, leaves out the longest value that is left, and notes each in `tailwater.anomalies`: what `sink::wide` does.

use std::cmp::Reverse;

use super::line::with_literals;
use super::literal;
use crate::model::position::Position;
use crate::model::row::Row;
use crate::model::table::Table;
use crate::sink::records;

/// One value of a statement.
#[derive(Debug)]
pub struct Part {
    /// Its column, where it is a value of the document.
    pub column: Option<usize>,
    /// What stands before it.
    pub before: String,
    /// The value, as SQL.
    pub value: String,
}

/// A statement with its values apart.
#[derive(Debug)]
pub struct Parts {
    /// Before the values.
    pub head: String,
    /// The values, which commas part.
    pub parts: Vec<Part>,
    /// After the values.
    pub tail: String,
}

impl Parts {
    /// The statement.
    #[must_use]
    pub fn sql(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(|part| format!("{}{}", part.before, part.value)).collect();
        format!("{}{}{}", self.head, parts.join(", "), self.tail)
    }

    /// The call. Only values whose originals the row keeps can be left out.
    #[must_use]
    pub fn fitting(&self, pipeline: &str, table: &Table, row: &Row) -> String {
        let mut pieces = vec![literal::text(&self.head)];
        let mut places = Vec::new();
        for (i, part) in self.parts.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            pieces.push(literal::text(&format!("{comma}{}", part.before)));
            pieces.push(literal::text(&part.value));
            if let Some(column) = part.column.filter(|column| !row.originals(*column).is_empty()) {
                places.push((part.value.len(), column, pieces.len()));
            }
        }
        pieces.push(literal::text(&self.tail));
        places.sort_by_key(|(length, column, _)| Reverse((*length, *column)));
        let notes = places.iter().map(|(_, column, _)| literal::text(&notes(pipeline, row, *column)));
        let notes: Vec<String> = notes.collect();
        let numbers: Vec<String> = places.iter().map(|(_, _, place)| place.to_string()).collect();
        format!(
            "CALL pg_temp.write_fitting(ARRAY[{}], ARRAY[{}]::integer[], ARRAY[{}]::text[], {})",
            pieces.join(", "),
            numbers.join(", "),
            notes.join(", "),
            literal::text(&table.qualified())
        )
    }
}

fn notes(pipeline: &str, row: &Row, column: usize) -> String {
    let originals = row.originals(column).iter().map(|original| {
        let position = original.position.as_ref().map(Position::text);
        with_literals(&records::anomaly(pipeline, &original.anomaly, position.as_deref()))
    });
    originals.collect::<Vec<_>>().join("; ")
}
