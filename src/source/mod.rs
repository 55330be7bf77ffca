//! The source: everything that talks to MongoDB, and the only place that imports its driver.
//!
//! In: a connection string. Out: what there is (`catalog`), copies of it at a cluster time (`ranges`, `scan`), and every
//! change after a position as [`Change`]s in source order (`stream`: `event` → `decode` → `lookahead`).
//! Invariants: nothing is skipped without being named; nothing is read that a rollback could take back (majority and
//! snapshot read concern only); errors are classified in `faults` alone; documents stay raw BSON from the socket on.
//! Absent by design: any retry. The pipeline decides when to try again, from the position that it has committed.
//!
//! [`Change`]: crate::model::change::Change

mod assembly;
mod catalog;
mod decode;
mod derived;
mod diagnose;
mod event;
mod faults;
#[doc(hidden)]
pub mod fuzzing;
mod lookahead;
mod lookup;
pub mod oplog;
pub mod options;
mod places;
mod probe;
mod public_form;
mod ranges;
mod reader;
mod replies;
mod reply;
mod scan;
mod stream;
mod way;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bson::{RawDocumentBuf, doc};
use mongodb::Client;
use mongodb::options::{ClientOptions, SelectionCriteria};

pub use assembly::StreamBatch;
pub use catalog::{CollectionInfo, CollectionKind, CollectionSize, OplogWindow};
pub use lookup::LookUp;
pub use oplog::OplogReader;
pub use oplog::file::{FileReader, FileStart};
pub use options::{ReadPreference, ReaderKind, SourceOptions, UpdateForm};
pub use probe::{Probe, Topology, Version};
pub use ranges::IdRange;
pub use reader::Reader;
pub use scan::{BATCH, RangeReader, RawDocs, batch};
pub use stream::ChangeStream;
pub use way::{Way, WhyOplog, WhyStream};

use crate::error::{Error, Kind, Result, Stage};
use crate::model::position::ClusterTime;
use faults::{Site, classify};
use replies::{Answer, Replies, in_time, within};
use reply::Reply;

/// How long to look for a server that fits; an operator waits for it when the address is wrong. The URI can change it.
const SERVER_SELECTION: Duration = Duration::from_secs(5);
/// How long to wait for a TCP connection. The URI can change it.
const CONNECT: Duration = Duration::from_secs(5);
/// Connections per server: one for the stream, one for each snapshot reader, some for the rest. The driver's 10 would
/// make 16 parallel readers wait for each other.
const POOL: u32 = 64;

/// A connected source. Cloning is cheap; clones share connections.
#[derive(Clone)]
pub struct Source {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    /// `host:port` of the seeds, for messages.
    hosts: String,
    snapshot_reads: SelectionCriteria,
    updates: UpdateForm,
    reader: ReaderKind,
    /// The newest operation time that any reply showed; see [`Source::operation_time`].
    newest: AtomicU64,
}

/// Events in a reply of either reader, at most. A reply that is as large as it may be, 16 MiB, holds 50,000 small ones, which
/// are several times that when they are changes; fewer cost no rate that could be seen.
const EVENTS: u32 = 4000;

/// How the batches after the first are asked for.
#[derive(Debug, Clone, Copy, Default)]
struct More {
    /// How long the server waits for something new.
    wait: Option<Duration>,
    /// The most documents in a batch; a batch always ends at 16 MiB.
    documents: Option<u32>,
    /// How long to wait for an answer when it is not the usual time, of the first batch too.
    patience: Option<Duration>,
}

impl Source {
    /// Connects and sees that a server answers.
    ///
    /// # Errors
    /// [`Kind::Configuration`] for a malformed URI; else what keeps the server from answering, found out as far as the
    /// hosts tell (standalone, other set name, member names that do not resolve here, no primary).
    pub async fn connect(options: &SourceOptions) -> Result<Self> {
        let settings = settings(options.uri.expose()).await?;
        let hosts: Vec<String> = settings.hosts.iter().map(ToString::to_string).collect();
        let hosts = hosts.join(",");
        let connecting = Site { stage: Stage::Source, doing: "connect to MongoDB", hosts: &hosts };
        let client = Client::with_options(settings.clone()).map_err(|error| classify(&error, connecting))?;
        let inner = Inner {
            client,
            hosts: hosts.clone(),
            snapshot_reads: SelectionCriteria::ReadPreference(preference(options.read_preference)),
            updates: options.updates,
            reader: options.reader,
            newest: AtomicU64::new(0),
        };
        let source = Self { inner: Arc::new(inner) };
        match source.command("admin", doc! { "ping": 1 }, connecting).await {
            Ok(_) => Ok(source),
            Err(error) if error.kind() == Kind::Unavailable => Err(diagnose::explain(&settings, error).await),
            Err(error) => Err(error),
        }
    }

    fn site<'a>(&'a self, stage: Stage, doing: &'a str) -> Site<'a> {
        Site { stage, doing, hosts: &self.inner.hosts }
    }

    /// Runs a command on the primary whose reply is small and ours to read.
    async fn command(&self, database: &str, command: bson::Document, site: Site<'_>) -> Result<bson::Document> {
        self.try_command(database, command, site).await?.map_err(|error| classify(&error, site))
    }

    /// The same, with the server's refusal left to the caller.
    async fn try_command(&self, database: &str, command: bson::Document, site: Site<'_>) -> Answer<bson::Document> {
        let database = self.inner.client.database(database);
        let reply = in_time(database.run_command(command).into_future(), site).await?;
        if let Some(Ok(time)) = reply.as_ref().ok().map(|reply| reply.get_timestamp("operationTime")) {
            self.observe(catalog::cluster_time(time));
        }
        Ok(reply)
    }

    /// Runs a command that answers with a cursor, and reads its first reply.
    async fn open(
        &self,
        database: &str,
        command: RawDocumentBuf,
        on: SelectionCriteria,
        more: More,
        site: Site<'_>,
    ) -> Answer<(Replies, Reply)> {
        let database = self.inner.client.database(database);
        let action = database.run_raw_cursor_command(command).selection_criteria(on);
        let action = match more.wait {
            Some(wait) => action.max_time(wait),
            None => action,
        };
        let action = match more.documents {
            Some(documents) => action.batch_size(documents),
            None => action,
        };
        let patience = more.patience.unwrap_or(replies::ANSWER);
        let cursor = match within(patience, action.batch(), site).await? {
            Ok(cursor) => cursor,
            Err(error) => return Ok(Err(error)),
        };
        let mut replies = Replies::new(cursor, self.clone(), patience);
        match replies.try_next(site).await? {
            Ok(Some(first)) => Ok(Ok((replies, first))),
            Ok(None) => Err(Error::new(Kind::Defect, site.stage, "a new cursor has no first reply")),
            Err(error) => Ok(Err(error)),
        }
    }

    fn observe(&self, time: ClusterTime) {
        let packed = (u64::from(time.seconds) << 32) | u64::from(time.ordinal);
        self.inner.newest.fetch_max(packed, Ordering::AcqRel);
    }

    fn newest(&self) -> ClusterTime {
        let packed = self.inner.newest.load(Ordering::Acquire);
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        ClusterTime { seconds: half(packed >> 32), ordinal: half(packed) }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("hosts", &self.inner.hosts).finish_non_exhaustive()
    }
}

/// Reads the URI. The driver's message may quote any part of a malformed URI, the password too: it is shown only when
/// the URI has no user part.
async fn settings(uri: &str) -> Result<ClientOptions> {
    let mut settings = ClientOptions::parse(uri).await.map_err(|error| {
        let dns = matches!(&*error.kind, mongodb::error::ErrorKind::DnsResolve { .. });
        let site = Site { stage: Stage::Config, doing: "use the source URI", hosts: "this machine" };
        if dns || !uri.contains('@') {
            let ours = classify(&error, site);
            return if dns { ours } else { Error::new(Kind::Configuration, Stage::Config, ours.to_string()) };
        }
        Error::new(Kind::Configuration, Stage::Config, "the source URI is not a MongoDB connection string")
            .remedy("percent-encode : / ? # [ ] @ in user and password, and check the options' names")
    })?;
    settings.app_name.get_or_insert_with(|| "tailwater".into());
    settings.server_selection_timeout.get_or_insert(SERVER_SELECTION);
    settings.connect_timeout.get_or_insert(CONNECT);
    settings.max_pool_size.get_or_insert(POOL);
    Ok(settings)
}

fn preference(preference: ReadPreference) -> mongodb::options::ReadPreference {
    use mongodb::options::ReadPreference as Driver;
    match preference {
        ReadPreference::Primary => Driver::Primary,
        ReadPreference::PrimaryPreferred => Driver::PrimaryPreferred { options: None },
        ReadPreference::Secondary => Driver::Secondary { options: None },
        ReadPreference::SecondaryPreferred => Driver::SecondaryPreferred { options: None },
        ReadPreference::Nearest => Driver::Nearest { options: None },
    }
}

fn primary() -> SelectionCriteria {
    SelectionCriteria::ReadPreference(mongodb::options::ReadPreference::Primary)
}
