//! COPY BINARY of converted documents: one range of a snapshot, one transaction.
//!
//! In: rows by table, encoded while the documents of a server batch are walked. Out: one COPY per table and server batch,
//! and the range's mark, committed together. Format: PostgreSQL manual, `COPY`, *Binary Format*.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use deadpool_postgres::Object;
use futures_util::SinkExt;
use tokio_postgres::CopyInSink;

use super::catalog::CatalogWriter;
use super::faults::fault;
use super::fence::Fence;
use super::over::OverRows;
use super::range_rows::{RangeRows, Rows};
use super::sql;
use super::wide::{How, LeftOut, surely_fits, write_fitting};
use super::write::write;
use crate::error::{Error, Kind, Result, Stage};
use crate::model::row::{Cell, Key, Row};
use crate::model::table::{SharedTable, Table};

/// Signature, flags and the length of the header's extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1i16).to_be_bytes();
const NULL: [u8; 4] = (-1i32).to_be_bytes();

/// The rows of some documents, encoded for COPY.
#[derive(Debug, Default)]
pub(super) struct CopyRows {
    /// The tables of a collection are few.
    tables: Vec<(SharedTable, Encoder)>,
    /// Where the last row went.
    last: usize,
    /// Rows that may be too wide; they are written one by one.
    wide: Vec<(SharedTable, Key, Row)>,
}

impl CopyRows {
    /// Bytes collected.
    pub(super) fn weight(&self) -> usize {
        let wide: usize = self.wide.iter().map(|(_, _, row)| row.weight()).sum();
        self.tables.iter().map(|(_, rows)| rows.weight()).sum::<usize>() + wide
    }

    /// Adds a row; `source` goes into `_source`, where a table has that.
    pub(super) fn put(&mut self, table: &SharedTable, key: &Key, row: &Row, source: Option<&Arc<str>>) {
        if !surely_fits(table, key, row) {
            let mut row = row.clone();
            if let Some(source) = source {
                row.set_source(Arc::clone(source));
            }
            return self.wide.push((SharedTable::clone(table), key.clone(), row));
        }
        let is_it = |at: &usize| self.tables.get(*at).is_some_and(|(known, _)| known.id == table.id);
        let at = Some(self.last).filter(is_it).or_else(|| (0..self.tables.len()).find(is_it));
        self.last = at.unwrap_or_else(|| {
            self.tables.push((SharedTable::clone(table), Encoder::default()));
            self.tables.len() - 1
        });
        if let Some((_, rows)) = self.tables.get_mut(self.last) {
            rows.row(table, key, row, source.map(|source| &**source));
        }
    }
}

/// One message of the protocol; small enough to keep both sides busy, and to be memory that was used before.
const MESSAGE: usize = 1 << 17;

/// Rows of one table in the format of `COPY … (FORMAT binary)`.
#[derive(Debug)]
struct Encoder {
    full: Vec<Bytes>,
    /// Bytes in those.
    before: usize,
    bytes: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { full: Vec::new(), before: 0, bytes: HEADER.to_vec() }
    }
}

impl Encoder {
    /// Bytes so far.
    fn weight(&self) -> usize {
        self.before + self.bytes.len()
    }

    /// Adds a row; `source` goes into `_source`, where the table has that.
    fn row(&mut self, table: &Table, key: &Key, row: &Row, source: Option<&str>) {
        let out = &mut self.bytes;
        // A table has at most 1,600 columns.
        let fields = table.columns.len() + usize::from(table.metadata.source);
        out.extend_from_slice(&i16::try_from(fields).unwrap_or(i16::MAX).to_be_bytes());
        for cell in key.cells() {
            field(out, cell);
        }
        for cell in row.cells(table.key).take(table.columns.len() - table.key) {
            match cell {
                Cell::Absent | Cell::Null => out.extend_from_slice(&NULL),
                Cell::Value(bytes) => field(out, bytes),
            }
        }
        if table.metadata.source {
            match source {
                Some(source) => field(out, &[&[1], source.as_bytes()].concat()),
                None => out.extend_from_slice(&NULL),
            }
        }
        if self.bytes.len() >= MESSAGE {
            let next = Vec::with_capacity(MESSAGE + MESSAGE / 8);
            self.before += self.bytes.len();
            self.full.push(std::mem::replace(&mut self.bytes, next).into());
        }
    }

    /// The pieces that are full.
    fn take(&mut self) -> std::vec::Drain<'_, Bytes> {
        self.before = 0;
        self.full.drain(..)
    }

    /// All of it, in pieces.
    fn finish(mut self) -> Vec<Bytes> {
        self.bytes.extend_from_slice(&TRAILER);
        self.full.push(self.bytes.into());
        self.full
    }
}

fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&i32::try_from(bytes.len()).unwrap_or(i32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Copies encoded rows into their table.
async fn send(client: &Object, table: &Table, rows: Vec<Bytes>) -> Result<(), tokio_postgres::Error> {
    let mut sink = pin!(open(client, table).await?);
    for piece in rows {
        sink.feed(piece).await?;
    }
    sink.finish().await.map(|_| ())
}

/// Copies rows into their table; each is let go when it is encoded.
pub(super) async fn copy_rows(
    client: &Object,
    table: &Table,
    rows: Vec<(Key, Row)>,
) -> Result<(), tokio_postgres::Error> {
    let mut sink = pin!(open(client, table).await?);
    let mut encoder = Encoder::default();
    for (key, row) in rows {
        encoder.row(table, &key, &row, row.source());
        for piece in encoder.take() {
            sink.feed(piece).await?;
        }
    }
    for piece in encoder.finish() {
        sink.feed(piece).await?;
    }
    sink.finish().await.map(|_| ())
}

async fn open(client: &Object, table: &Table) -> Result<CopyInSink<Bytes>, tokio_postgres::Error> {
    let statement = client.prepare_cached(&sql::copy(table)).await?;
    client.copy_in(&statement).await
}

/// One range's transaction. Dropped before its end it takes its connection along, so that nobody else gets a
/// connection with a transaction left open.
pub struct RangeCopy<'f> {
    client: Option<Object>,
    fence: &'f Fence,
}

impl Drop for RangeCopy<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

impl<'f> RangeCopy<'f> {
    /// Opens the transaction.
    ///
    /// # Errors
    /// When PostgreSQL fails or another daemon has taken over.
    pub async fn begin(client: Object, fence: &'f Fence) -> Result<Self> {
        let copy = Self { client: Some(client), fence };
        fence.begin(copy.client()?).await?;
        Ok(copy)
    }

    fn client(&self) -> Result<&Object> {
        let ended = || Error::new(Kind::Defect, Stage::Snapshot, "the range's transaction has ended");
        self.client.as_ref().ok_or_else(ended)
    }

    /// Writes rows; returns the reasons of the values that are not stored as they were.
    ///
    /// # Errors
    /// When PostgreSQL refuses them.
    pub async fn write(&self, rows: RangeRows) -> Result<Vec<&'static str>> {
        let RangeRows { rows, mut anomalies, quarantined, .. } = rows;
        let left_out = match rows {
            Rows::New(rows) => self.send(rows).await?,
            Rows::Over(rows) => self.replace(rows).await?,
        };
        anomalies.extend(left_out.into_iter().map(|(anomaly, _)| anomaly));
        let catalog = self.catalog()?;
        for anomaly in &anomalies {
            catalog.anomaly(anomaly, None).await?;
        }
        for document in &quarantined {
            catalog.quarantine(document, None).await?;
        }
        Ok(anomalies.iter().map(|anomaly| anomaly.reason).collect())
    }

    fn catalog(&self) -> Result<CatalogWriter<'_>> {
        Ok(CatalogWriter { client: self.client()?, fence: self.fence })
    }

    async fn send(&self, rows: CopyRows) -> Result<Vec<LeftOut>> {
        for (table, rows) in rows.tables {
            let copied = send(self.client()?, &table, rows.finish()).await;
            copied.map_err(|error| fault(Stage::Snapshot, &format!("copying into {}", table.qualified()), &error))?;
        }
        let mut left_out = Vec::new();
        for (table, key, row) in &rows.wide {
            left_out.extend(write_fitting(self.client()?, table, key, row, How::Put).await?);
        }
        Ok(left_out)
    }

    async fn replace(&self, mut rows: OverRows) -> Result<Vec<LeftOut>> {
        self.catalog()?.met(&rows.met).await?;
        let mut left_out = Vec::new();
        for changes in rows.fold.take() {
            left_out.extend(write(self.client()?, changes, false).await?);
        }
        Ok(left_out)
    }

    /// How many documents are in quarantine, with those of this range.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn quarantined(&self) -> Result<u64> {
        self.catalog()?.quarantined().await
    }

    /// Marks the range as done and commits.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn commit(self, mark: &super::chunks::Mark) -> Result<()> {
        super::chunks::mark_done(&self.catalog()?, mark).await?;
        self.end("COMMIT").await
    }

    /// Throws the transaction away.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn rollback(self) -> Result<()> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, how: &str) -> Result<()> {
        let done = self.client()?.batch_execute(how).await;
        done.map_err(|error| fault(Stage::Snapshot, "ending a range", &error))?;
        self.client = None; // back to the pool
        Ok(())
    }
}

/// The error of a range whose chunk row is gone.
pub(super) fn no_mark(chunk: i32) -> Error {
    Error::new(Kind::Defect, Stage::Snapshot, format!("range {chunk} has no row in tailwater.snapshot_chunks"))
}
