//! One attempt: become the writer, learn what is committed, copy what is not, follow.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::RunMode;
use super::snapshot::Snapshot;
use super::stream::Stream;
use crate::config::Config;
use crate::error::{Error, Kind, Result, Stage};
use crate::mapping::collection::{Collection, Shared, schema_identifier};
use crate::mapping::names::TableNames;
use crate::model::namespace::CollectionId;
use crate::model::position::Position;
use crate::model::state::State;
use crate::model::table::SharedTable;
use crate::model::write_set::PathRow;
use crate::sink::catalog::Known;
use crate::sink::checkpoint::{Checkpoints, move_floor};
use crate::sink::fence::Leader;
use crate::sink::target::Target;
use crate::source::{CollectionInfo, CollectionKind, Probe, Source};
use crate::telemetry::Telemetry;

/// What an attempt is made with.
pub struct Attempt<'a> {
    pub config: &'a Config,
    pub telemetry: &'a Telemetry,
    pub mode: RunMode,
    pub shutdown: &'a CancellationToken,
}

/// Both servers, connected and looked at.
pub struct Servers {
    source: Source,
    probe: Probe,
    target: Target,
}

impl Servers {
    pub async fn connect(config: &Config) -> Result<Self> {
        // A malformed target URI is told before anybody waits for the source.
        Target::new(&config.target, &config.pipeline)?;
        let source = Source::connect(&config.source).await?;
        let probe = source.probe().await?;
        let target = Target::connect(&config.target, &config.pipeline).await?;
        Ok(Self { source, probe, target })
    }
}

/// What an attempt has when it writes.
pub struct Session<'a> {
    pub config: &'a Config,
    pub telemetry: &'a Telemetry,
    pub shutdown: &'a CancellationToken,
    pub source: Source,
    pub probe: Probe,
    pub target: Target,
    pub leader: Leader,
}

impl Attempt<'_> {
    /// Runs until the mode's end, a stop, or an error; connects unless it is given connected servers.
    pub async fn run(&self, servers: Option<Servers>) -> Result<()> {
        let session = tokio::select! {
            session = self.open(servers) => session?,
            () = self.shutdown.cancelled() => return Ok(()),
        };
        let goal = match self.mode {
            RunMode::Follow => None,
            RunMode::UntilCaughtUp => Some(session.source.operation_time().await?),
        };
        let (floor, checkpoints) = session.position().await?;
        let known = session.target.known().await?;
        let mut collections = session.restore(known).await?;
        let snapshot = Snapshot::new(&session, &mut collections).run();
        tokio::select! {
            copied = snapshot => copied?,
            () = self.shutdown.cancelled() => return Ok(()),
        }
        // What the snapshot put into quarantine concerns the stream too.
        let quarantined = session.target.quarantined().await?;
        let documents: usize = quarantined.values().map(HashMap::len).sum();
        session.telemetry.quarantined(u64::try_from(documents).unwrap_or(u64::MAX));
        Stream { session: &session, floor, checkpoints, collections, quarantined, goal }.run().await
    }

    async fn open(&self, servers: Option<Servers>) -> Result<Session<'_>> {
        self.telemetry.state(State::Starting);
        let (config, telemetry, shutdown) = (self.config, self.telemetry, self.shutdown);
        let Servers { source, probe, target } = match servers {
            Some(connected) => connected,
            None => Servers::connect(config).await?,
        };
        target.prepare_catalog().await?;
        let leader = Leader::elect(&target, || telemetry.state(State::Standby)).await?;
        telemetry.state(State::Starting);
        Ok(Session { config, telemetry, shutdown, source, probe, target, leader })
    }
}

/// The collections by UUID, with what all share.
pub struct Collections {
    pub shared: Shared,
    pub known: HashMap<CollectionId, Collection>,
    /// What is to be copied: found at the source, selected, and not copied yet.
    pub to_copy: Vec<CollectionInfo>,
}

impl Session<'_> {
    /// The position to read from. At the very first start it is taken from the source and committed before anything is
    /// copied, so that an interrupted snapshot keeps it.
    async fn position(&self) -> Result<(Position, Checkpoints)> {
        let mut checkpoints = self.target.checkpoints().await?;
        if let Some(floor) = checkpoints.floor.clone() {
            return Ok((floor, checkpoints));
        }
        let now = self.source.open_reader(&self.probe, None).await?.position().clone();
        move_floor(self.leader.client(), self.leader.fence(), None, &now).await?;
        checkpoints.floor = Some(now.clone());
        Ok((now, checkpoints))
    }

    /// The mappings that are known, and what is to be copied.
    async fn restore(&self, known: Known) -> Result<Collections> {
        let shared = Shared {
            names: Arc::new(TableNames::default()),
            options: Arc::new(self.config.mapping),
            collections: Arc::new(self.config.collections.clone()),
        };
        let mut paths: HashMap<CollectionId, Vec<PathRow>> = HashMap::new();
        for path in known.paths {
            paths.entry(path.collection).or_default().push(path);
        }
        for kept in &known.kept {
            shared.names.keep(&kept.schema, &kept.name, kept.collection, kept.aside);
        }
        let mut collections = Collections { shared, known: HashMap::new(), to_copy: Vec::new() };
        for row in &known.collections {
            let paths = paths.remove(&row.id).unwrap_or_default();
            let restored = Collection::restore(row, paths, collections.shared.clone());
            let damaged = |error| Error::new(Kind::Defect, Stage::Mapping, "reading the catalog").caused_by(error);
            collections.known.insert(row.id, restored.map_err(damaged)?);
        }
        agree(collections.known.values())?;
        let roots: Vec<SharedTable> =
            collections.known.values().filter_map(|known| known.tables().first().cloned()).collect();
        self.target.add_metadata(self.leader.fence(), &roots).await?;
        collections.to_copy = self.to_copy(&collections).await?;
        self.occupy(&collections).await?;
        Ok(collections)
    }

    async fn to_copy(&self, collections: &Collections) -> Result<Vec<CollectionInfo>> {
        let mut found = self.source.collections().await?;
        found.retain(|info| {
            let replicated = info.kind == CollectionKind::Collection && self.config.filter.selects(&info.namespace);
            replicated && !collections.known.get(&info.id).is_some_and(Collection::is_copied)
        });
        Ok(found)
    }

    /// Names that something else has in the target are not ours to take; a collection that wants one is refused.
    async fn occupy(&self, collections: &Collections) -> Result<()> {
        let mut seen = HashSet::new();
        for info in &collections.to_copy {
            let schema = schema_identifier(&collections.shared, &info.namespace);
            if seen.insert(schema.clone()) {
                for name in self.target.relations(schema.as_str()).await? {
                    let ours = collections.known.values().any(|known| has_table(known, schema.as_str(), &name));
                    if !ours && !collections.shared.names.is_kept(&schema, &name) {
                        collections.shared.names.occupy(&schema, &name);
                    }
                }
            }
            let (_, wanted) = collections.shared.target(&info.namespace);
            let foreign = collections.shared.names.is_taken(&schema, &wanted)
                && !collections.known.values().any(|known| has_table(known, schema.as_str(), &wanted));
            if foreign {
                return Err(in_the_way(&info.namespace.to_string(), &format!("{schema}.\"{wanted}\"")));
            }
        }
        Ok(())
    }
}

/// Compares the configuration with what is there: forms stay, which is told; types that cannot be had are refused.
fn agree<'c>(known: impl Iterator<Item = &'c Collection>) -> Result<()> {
    /// Paths that one log record names.
    const NAMED: usize = 10;
    let mut refused = Vec::new();
    for collection in known {
        let mut found = collection.disagreements();
        refused.append(&mut found.refused);
        if !found.kept.is_empty() {
            let more = found.kept.len().saturating_sub(NAMED);
            let paths = found.kept.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
            tracing::warn!(
                namespace = %collection.namespace(),
                paths,
                more,
                "the configuration wants another form for these paths, but they keep the form they have"
            );
        }
    }
    match refused.as_slice() {
        [] => Ok(()),
        _ => Err(Error::new(Kind::Refused, Stage::Mapping, refused.join("; ")).remedy(
            "take `type` out of [collection.columns] for these paths, or set the type that the column has; to convert \
             them, drop the collection's tables and copy it again under another pipeline name",
        )),
    }
}

fn has_table(collection: &Collection, schema: &str, name: &str) -> bool {
    collection.tables().iter().any(|table| table.schema.as_str() == schema && table.name.as_str() == name)
}

fn in_the_way(namespace: &str, table: &str) -> Error {
    let message =
        format!("{namespace} goes to {table}, and a relation of that name exists that is not this pipeline's");
    let remedy = "rename or drop it, or give the collection another table under [[collection]] in the configuration";
    Error::new(Kind::Refused, Stage::Sink, message).remedy(remedy)
}
