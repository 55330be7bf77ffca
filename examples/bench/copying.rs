//! The floor of a first copy: `COPY BINARY` of the rows that the daemon made, encoded beforehand, over as many connections
//! as it copies with.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures_util::SinkExt as _;
use futures_util::future::try_join_all;
use tokio_postgres::Client;

use crate::Result;
use crate::bench::Bench;
use crate::tables::{HEADER, TRAILER, Table, make_floors, remove_floors, rows, tables};

/// Bytes of rows in one `COPY`, which is one transaction.
const PIECE: usize = 8 << 20;
/// Bytes in one message of the protocol, as the daemon has it.
const MESSAGE: usize = 1 << 18;

/// When a table gets its key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Before the first row.
    First,
    /// After the last, as the daemon does it.
    Last,
    Never,
}

/// A table's rows, in pieces that are a whole `COPY` each.
pub struct Encoded {
    table: Table,
    pieces: Vec<Bytes>,
    rows: u64,
}

impl Encoded {
    fn new(table: Table, rows: &[Bytes]) -> Result<Self> {
        let (mut pieces, mut piece) = (Vec::new(), BytesMut::from(HEADER));
        for row in rows {
            piece.extend_from_slice(row);
            if piece.len() >= PIECE {
                piece.extend_from_slice(&TRAILER);
                pieces.push(std::mem::replace(&mut piece, BytesMut::from(HEADER)).freeze());
            }
        }
        if piece.len() > HEADER.len() {
            piece.extend_from_slice(&TRAILER);
            pieces.push(piece.freeze());
        }
        Ok(Self { table, pieces, rows: u64::try_from(rows.len())? })
    }
}

/// Takes everything out of a database that the daemon has filled.
pub async fn encoded(client: &Client) -> Result<Vec<Encoded>> {
    let mut all = Vec::new();
    for table in tables(client).await? {
        let rows = rows(client, &table).await?;
        all.push(Encoded::new(table, &rows)?);
    }
    Ok(all)
}

pub fn count(all: &[Encoded]) -> u64 {
    all.iter().map(|encoded| encoded.rows).sum()
}

/// What is left to do, taken by whichever connection is free.
struct Queue<T>(Mutex<VecDeque<T>>);

impl<T> Queue<T> {
    fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl Bench {
    /// Seconds to write all rows into new tables of that database.
    pub async fn copy_floor(&self, database: &str, all: &[Encoded], key: Key, connections: usize) -> Result<f64> {
        let client = self.postgres(database).await?;
        let originals: Vec<Table> = all.iter().map(|encoded| encoded.table.clone()).collect();
        make_floors(&client, &originals, key == Key::First).await?;
        let clients = self.connect(database, connections).await?;
        let pieces = all.iter().flat_map(|encoded| encoded.pieces.iter().map(|piece| (&encoded.table, piece.clone())));
        let pieces = Queue(Mutex::new(pieces.collect()));
        let keys = originals.iter().filter(|_| key == Key::Last).map(|table| table.floor().add_key());
        let keys = Queue(Mutex::new(keys.collect::<VecDeque<String>>()));
        self.settle().await?;
        let start = Instant::now();
        try_join_all(clients.iter().map(|client| write(client, &pieces))).await?;
        try_join_all(clients.iter().map(|client| add_keys(client, &keys))).await?;
        let seconds = start.elapsed().as_secs_f64();
        for encoded in all {
            let sql = format!("SELECT count(*) FROM {}", encoded.table.floor().qualified());
            let rows: i64 = client.query_one(&sql, &[]).await?.get(0);
            if u64::try_from(rows)? != encoded.rows {
                return Err(format!("a floor wrote {rows} rows instead of {}", encoded.rows).into());
            }
        }
        remove_floors(&client, &originals).await?;
        Ok(seconds)
    }
}

async fn write(client: &Client, pieces: &Queue<(&Table, Bytes)>) -> Result<()> {
    while let Some((table, mut rest)) = pieces.take() {
        let columns = table.names(0..table.columns.len());
        let sql = format!("COPY {} ({columns}) FROM STDIN (FORMAT binary)", table.floor().qualified());
        let mut sink = std::pin::pin!(client.copy_in(&sql).await?);
        while !rest.is_empty() {
            sink.send(rest.split_to(rest.len().min(MESSAGE))).await?;
        }
        sink.finish().await?;
    }
    Ok(())
}

async fn add_keys(client: &Client, keys: &Queue<String>) -> Result<()> {
    while let Some(key) = keys.take() {
        client.batch_execute(&key).await?;
    }
    Ok(())
}
