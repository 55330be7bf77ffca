//! Where the text goes, and what stands before the first change.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncWrite, AsyncWriteExt, BufWriter};

use super::changes::Schemas;
use super::{line, rows};
use crate::error::{Error, Kind, Result, Stage};
use crate::model::namespace::{CollectionId, Namespace};
use crate::model::position::Position;
use crate::model::row::{Key, Row, RowChange};
use crate::model::table::{SharedTable, Table};
use crate::model::write_set::{Anomaly, Ddl, Quarantined};
use crate::sink::catalog::SCHEMA;
use crate::sink::chunks::{Chunk, Mark};
use crate::sink::statement::Statement;
use crate::sink::{checkpoint, records};

/// Bytes that are collected before they are written.
const BUFFER: usize = 1 << 18;

/// What the session of whoever runs the text must have: the encoding of the file, strings and doubles that are read and
/// cast as they are written, and no notices about what is there already.
const SESSION: [&str; 5] = [
    "SET client_encoding = 'UTF8'",
    "SET standard_conforming_strings = on",
    "SET extra_float_digits = 1",
    "SET TimeZone = 'UTC'",
    "SET client_min_messages = 'warning'",
];

/// What the text uses and no database has.
const FUNCTIONS: &str = include_str!("functions.sql");

/// What every text begins with.
#[must_use]
pub fn preamble() -> Vec<String> {
    let settings = SESSION.iter().map(|setting| (*setting).to_owned());
    settings.chain(line::statements_of(SCHEMA)).chain(line::statements_of(FUNCTIONS)).collect()
}

/// Where a text goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    StandardOutput,
    /// A file, which must not exist yet.
    File(PathBuf),
}

impl Destination {
    /// `-` is standard output.
    #[must_use]
    pub fn from_argument(argument: PathBuf) -> Self {
        if argument.as_os_str() == "-" { Self::StandardOutput } else { Self::File(argument) }
    }

    /// Refuses a file that exists, before anything else is done.
    ///
    /// # Errors
    /// [`Kind::Configuration`] when it does.
    pub fn expect_new(&self) -> Result<()> {
        match self {
            Self::File(path) if path.symlink_metadata().is_ok() => Err(exists(path)),
            Self::File(_) | Self::StandardOutput => Ok(()),
        }
    }
}

fn exists(path: &std::path::Path) -> Error {
    Error::new(Kind::Configuration, Stage::Config, format!("--sql-out {}: the file exists", path.display()))
        .remedy("it is never written over; name another one, or remove it")
}

/// A text in the making. Its transactions are those of the source.
pub struct SqlText {
    out: BufWriter<Box<dyn AsyncWrite + Send + Unpin>>,
    name: String,
    pipeline: Arc<str>,
    schemas: Schemas,
    open: bool,
}

impl SqlText {
    /// Opens the destination and writes what every text begins with.
    ///
    /// # Errors
    /// When the file exists ([`Kind::Configuration`]) or cannot be written.
    pub async fn create(to: &Destination, pipeline: &str) -> Result<Self> {
        let (out, name): (Box<dyn AsyncWrite + Send + Unpin>, _) = match to {
            Destination::StandardOutput => (Box::new(tokio::io::stdout()), "standard output".to_owned()),
            Destination::File(path) => {
                let name = path.display().to_string();
                let file = tokio::fs::OpenOptions::new().write(true).create_new(true).open(path).await;
                let file = file.map_err(|error| {
                    if error.kind() == ErrorKind::AlreadyExists { exists(path) } else { failed(&name, error) }
                })?;
                (Box::new(file), name)
            }
        };
        let out = BufWriter::with_capacity(BUFFER, out);
        let mut text = Self { out, name, pipeline: pipeline.into(), schemas: Schemas::default(), open: false };
        text.preamble().await?;
        Ok(text)
    }

    async fn preamble(&mut self) -> Result<()> {
        for statement in preamble() {
            self.line(&statement).await?;
        }
        Ok(())
    }

    /// The pipeline's name in the catalog.
    #[must_use]
    pub fn pipeline(&self) -> Arc<str> {
        Arc::clone(&self.pipeline)
    }

    /// Writes a statement, in a transaction, which is opened where there is none.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn statement(&mut self, sql: &str) -> Result<()> {
        if !self.open {
            self.line("BEGIN").await?;
            self.open = true;
        }
        self.line(sql).await
    }

    /// Writes the statements of a schema change.
    ///
    /// # Errors
    /// As [`SqlText::statement`].
    pub async fn ddl(&mut self, ddl: &Ddl) -> Result<()> {
        for statement in self.schemas.statements(&self.pipeline, ddl) {
            self.statement(&statement).await?;
        }
        Ok(())
    }

    /// Writes the removal of rows below a root row that is not there.
    ///
    /// # Errors
    /// As [`SqlText::statement`].
    pub async fn orphans(&mut self, tables: &[SharedTable], key: &Key) -> Result<()> {
        let Some((root, below)) = tables.split_first() else { return Ok(()) };
        for table in below {
            self.statement(&rows::orphans(root, table, key)?).await?;
        }
        Ok(())
    }

    /// Writes a whole row, over one that may be there or where none is.
    ///
    /// # Errors
    /// As [`SqlText::statement`].
    pub async fn put(&mut self, table: &Table, key: &Key, row: &Row, over: bool) -> Result<()> {
        self.statement(&rows::put(&self.pipeline, table, key, row, over)?).await
    }

    /// Writes a change of rows.
    ///
    /// # Errors
    /// As [`SqlText::statement`].
    pub async fn row(&mut self, change: &RowChange) -> Result<()> {
        match rows::change(&self.pipeline, change)? {
            Some(sql) => self.statement(&sql).await,
            None => Ok(()),
        }
    }

    /// Writes a statement of the catalog.
    pub(super) async fn record(&mut self, record: &Statement<'_>) -> Result<()> {
        self.statement(&line::with_literals(record)).await
    }

    /// Writes where a lane stands; the lane without a name is the floor.
    ///
    /// # Errors
    /// As [`SqlText::statement`].
    pub async fn position(&mut self, lane: &str, position: &Position) -> Result<()> {
        let pipeline = self.pipeline();
        self.record(&checkpoint::set_lane(&pipeline, lane, position)).await
    }

    /// Writes the position from which whoever goes on has to read.
    ///
    /// # Errors
    /// As [`SqlText::statement`].
    pub async fn floor(&mut self, position: &Position) -> Result<()> {
        self.position(checkpoint::FLOOR, position).await?;
        self.commit().await
    }

    /// Ends the transaction, if there is one.
    ///
    /// # Errors
    /// As [`SqlText::statement`].
    pub async fn commit(&mut self) -> Result<()> {
        self.end("COMMIT").await
    }

    /// Takes back what the open transaction has; the text stays good.
    ///
    /// # Errors
    /// As [`SqlText::statement`].
    pub async fn rollback(&mut self) -> Result<()> {
        self.end("ROLLBACK").await
    }

    async fn end(&mut self, how: &str) -> Result<()> {
        if std::mem::take(&mut self.open) { self.line(how).await } else { Ok(()) }
    }

    /// True when something is written that no commit follows yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn flush(&mut self) -> Result<()> {
        self.out.flush().await.map_err(|error| failed(&self.name, error))
    }

    async fn line(&mut self, sql: &str) -> Result<()> {
        let mut line = line::statement(sql);
        line.push('\n');
        self.out.write_all(line.as_bytes()).await.map_err(|error| failed(&self.name, error))
    }
}

fn failed(name: &str, error: std::io::Error) -> Error {
    Error::new(Kind::Local, Stage::Sink, format!("cannot write to {name}")).caused_by(error)
}

/// Rows of the catalog.
impl SqlText {
    /// Notes a range that is going to be copied.
    ///
    /// # Errors
    /// As [`SqlText::statement`].
    pub async fn chunk(&mut self, id: CollectionId, namespace: &Namespace, chunk: &Chunk) -> Result<()> {
        let pipeline = self.pipeline();
        self.record(&records::chunk(&pipeline, id, namespace, chunk)).await
    }

    /// Notes that a range is copied.
    ///
    /// # Errors
    /// As [`SqlText::statement`].
    pub async fn mark(&mut self, mark: &Mark) -> Result<()> {
        let pipeline = self.pipeline();
        self.record(&records::mark(&pipeline, mark)).await
    }

    /// Notes a value that is not stored as it was, and the position of the change that brought it.
    ///
    /// # Errors
    /// As [`SqlText::statement`].
    pub async fn anomaly(&mut self, anomaly: &Anomaly, position: Option<&Position>) -> Result<()> {
        let (pipeline, position) = (self.pipeline(), position.map(Position::text));
        self.record(&records::anomaly(&pipeline, anomaly, position.as_deref())).await
    }

    /// Notes a document that is not stored.
    ///
    /// # Errors
    /// As [`SqlText::statement`].
    pub async fn quarantine(&mut self, document: &Quarantined, position: Option<&Position>) -> Result<()> {
        let (pipeline, position) = (self.pipeline(), position.map(Position::text));
        self.record(&records::quarantine(&pipeline, document, position.as_deref())).await
    }
}
