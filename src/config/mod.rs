//! The configuration: the sum of each stage's options.
//!
//! In: a TOML file, the environment, flags; flags win over the environment, the environment over the file, the file over
//! the defaults. Out: a [`Config`] that is valid as far as it can be known without asking a server, or one error that
//! lists everything that is wrong. Unknown keys are refused: a setting that is silently ignored is worse than none.
//! The `config` crate is not used on purpose: it stops at the first error and does not know the line.

mod collection;
mod columns;
mod derived;
mod json;
mod keys;
mod layers;
mod reader;
mod size;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use keys::{COLLECTION_KEYS, KEYS, Key};

use crate::error::{Error, Kind, Result, Stage};
use crate::mapping::options::{CollectionOptions, MappingOptions, Naming, OnDrop};
use crate::model::filter::{Glob, NamespaceFilter};
use crate::model::limits::{Limits, SnapshotOptions};
use crate::model::secret::Secret;
use crate::model::table::Metadata;
use crate::sink::options::TargetOptions;
use crate::source::options::{ReadPreference, ReaderKind, SourceOptions, UpdateForm};
use crate::telemetry::options::{HttpOptions, LogFormat, LogLevel, LogOptions};
use layers::{Layers, Origin, Settings};
use reader::Reader;

/// What the command line says about the configuration.
#[derive(Debug, Clone, Default)]
pub struct Arguments {
    /// `-c FILE`.
    pub file: Option<PathBuf>,
    /// `--source URI`.
    pub source: Option<String>,
    /// `--target URI`.
    pub target: Option<String>,
}

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Config {
    /// The pipeline's name.
    pub pipeline: String,
    /// The source.
    pub source: SourceOptions,
    /// What is replicated.
    pub filter: NamespaceFilter,
    /// The target.
    pub target: TargetOptions,
    /// True when the target is known; only [`Needs`] says when it need not be.
    pub has_target: bool,
    /// The mapping, for every collection.
    pub mapping: MappingOptions,
    /// The mapping, for single collections; no namespace twice.
    pub collections: Vec<CollectionOptions>,
    /// The snapshot.
    pub snapshot: SnapshotOptions,
    /// What to do when the source no longer has what comes after the position.
    pub history_lost: HistoryLost,
    /// Limits.
    pub limits: Limits,
    /// The HTTP endpoint.
    pub http: HttpOptions,
    /// Logs.
    pub log: LogOptions,
}

/// What to do when the source no longer has what comes after the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryLost {
    /// End, and leave the decision to an operator.
    Stop,
    /// Copy everything again, over the rows that are there.
    Resnapshot,
}

/// What `tailwater status` needs: where the daemon listens, and the target to ask when it does not answer.
#[derive(Debug, Clone)]
pub struct StatusConfig {
    /// The pipeline's name.
    pub pipeline: String,
    /// The daemon's endpoint.
    pub http: HttpOptions,
    /// The target, when it is known.
    pub target: Option<TargetOptions>,
}

/// What must be known of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// The source's URI.
    pub source: bool,
    /// The target's URI.
    pub target: bool,
}

impl Needs {
    /// Both.
    pub const BOTH: Self = Self { source: true, target: true };
}

type Open<'a> = &'a dyn Fn(&str) -> std::io::Result<String>;
type Environment = Vec<(String, String)>;

impl Config {
    /// Reads the file that the arguments name, the environment and the flags.
    ///
    /// # Errors
    /// Of kind [`Kind::Configuration`], with everything that is wrong, when anything is.
    pub fn load(arguments: &Arguments) -> Result<Self> {
        Self::load_for(arguments, Needs::BOTH)
    }

    /// The same, for a command that can do without one of the servers.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_for(arguments: &Arguments, needs: Needs) -> Result<Self> {
        Self::parse(load_layers(arguments)?, &|path| std::fs::read_to_string(path), needs)
    }

    fn parse(layers: Layers, open: Open<'_>, needs: Needs) -> Result<Self> {
        let (mut reader, entries) = Reader::new(layers);
        let draft = Draft::read(&mut reader, entries, open);
        let required =
            [("source", draft.source_given || !needs.source), ("target", draft.target_given || !needs.target)];
        for (name, _) in required.iter().filter(|(_, given)| !given) {
            reader.wrong(Origin::Missing, format!("{name}.uri is missing; set it in the file or with --{name} URI"));
        }
        refuse(reader)?;
        Ok(draft.config)
    }
}

impl StatusConfig {
    /// As [`Config::load`], but neither URI need be known.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load(arguments: &Arguments) -> Result<Self> {
        let (mut reader, entries) = Reader::new(load_layers(arguments)?);
        let draft = Draft::read(&mut reader, entries, &|path| std::fs::read_to_string(path));
        refuse(reader)?;
        let Config { pipeline, http, target, .. } = draft.config;
        Ok(Self { pipeline, http, target: draft.target_given.then_some(target) })
    }
}

fn load_layers(arguments: &Arguments) -> Result<Layers> {
    let mut layers = Layers::default();
    if let Some(path) = &arguments.file {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::new(Kind::Configuration, Stage::Config, format!("cannot read the configuration file {name}"))
                .caused_by(error)
                .remedy("`tailwater init` writes one")
        })?;
        layers.file(&name, &text);
    }
    let variables = environment(&mut layers.problems);
    layers.environment(variables);
    layers.flag("--source", "source.uri", arguments.source.as_deref());
    layers.flag("--target", "target.uri", arguments.target.as_deref());
    Ok(layers)
}

/// The process's variables. One that is not UTF-8 is a problem only when it is ours.
fn environment(problems: &mut Vec<layers::Problem>) -> Environment {
    let mut variables = Environment::new();
    for (name, value) in std::env::vars_os() {
        let (Ok(name), value) = (name.into_string(), value.into_string()) else { continue };
        match value {
            Ok(value) => variables.push((name, value)),
            Err(_) if name.starts_with("TAILWATER_") => {
                problems.push((Origin::Environment { variable: name }, "the value is not UTF-8".to_owned()));
            }
            Err(_) => {}
        }
    }
    variables
}

fn refuse(reader: Reader) -> Result<()> {
    let problems = reader.finish();
    let message = match problems.as_slice() {
        [] => return Ok(()),
        [only] => format!("wrong configuration: {only}"),
        several => format!("wrong configuration, {} errors:\n  {}", several.len(), several.join("\n  ")),
    };
    Err(Error::new(Kind::Configuration, Stage::Config, message))
}

/// A configuration whose URIs may be missing.
struct Draft {
    config: Config,
    source_given: bool,
    target_given: bool,
}

impl Draft {
    fn read(reader: &mut Reader, entries: Vec<(Origin, Settings)>, open: Open<'_>) -> Self {
        let source_uri = reader.uri("source.uri", &["mongodb://", "mongodb+srv://"], open);
        let target_uri = reader.uri("target.uri", &["postgres://", "postgresql://"], open);
        let (source_given, target_given) = (source_uri.is_some(), target_uri.is_some());
        refuse_what_is_not_available(reader);
        let config = Config {
            pipeline: pipeline(reader),
            source: source(reader, source_uri.unwrap_or_default()),
            filter: NamespaceFilter::new(
                reader.list("source.include", Glob::parse),
                reader.list("source.exclude", Glob::parse),
            ),
            target: target(reader, target_uri.unwrap_or_default()),
            has_target: target_given,
            mapping: mapping(reader),
            collections: collection::read(reader, entries, open),
            snapshot: snapshot(reader),
            history_lost: reader.choice(
                "on.history_lost",
                HistoryLost::Stop,
                &[("stop", Some(HistoryLost::Stop)), ("resnapshot", Some(HistoryLost::Resnapshot))],
            ),
            limits: Limits {
                memory: reader.bytes("limits.memory_limit", Limits::default().memory, (16 << 20, "16MiB")),
            },
            http: http(reader),
            log: log(reader),
        };
        Self { config, source_given, target_given }
    }
}

/// A key of the contract with one value only in this version: the value is checked and then implied.
fn refuse_what_is_not_available(reader: &mut Reader) {
    // Foreign keys come with the cutover, which this version does not have: both words mean the same today.
    reader.choice("mapping.foreign_keys", (), &[("cutover", Some(())), ("never", Some(())), ("always", None)]);
}

/// The name stands in the catalog's keys, in metrics and in lock names.
fn pipeline(reader: &mut Reader) -> String {
    let Some((name, origin)) = reader.text("pipeline") else { return "default".to_owned() };
    if !(1..=63).contains(&name.len()) || name.chars().any(char::is_control) {
        reader.wrong(origin, "pipeline must be a name of 1 to 63 bytes");
    }
    name
}

fn source(reader: &mut Reader, uri: Secret) -> SourceOptions {
    let preferences = [
        ("primary", Some(ReadPreference::Primary)),
        ("primaryPreferred", Some(ReadPreference::PrimaryPreferred)),
        ("secondary", Some(ReadPreference::Secondary)),
        ("secondaryPreferred", Some(ReadPreference::SecondaryPreferred)),
        ("nearest", Some(ReadPreference::Nearest)),
    ];
    let forms =
        [("auto", Some(UpdateForm::Auto)), ("raw", Some(UpdateForm::Raw)), ("public", Some(UpdateForm::Public))];
    let readers = [
        ("auto", Some(ReaderKind::Auto)),
        ("change_stream", Some(ReaderKind::ChangeStream)),
        ("oplog", Some(ReaderKind::Oplog)),
    ];
    SourceOptions {
        uri,
        read_preference: reader.choice("source.read_preference", ReadPreference::SecondaryPreferred, &preferences),
        reader: reader.choice("source.reader", ReaderKind::Auto, &readers),
        updates: reader.choice("source.updates", UpdateForm::Auto, &forms),
    }
}

fn target(reader: &mut Reader, uri: Secret) -> TargetOptions {
    let range = TargetOptions::MIN_CONNECTIONS..=usize::MAX;
    let max_connections = reader.number("target.max_connections", TargetOptions::DEFAULT_CONNECTIONS, &range);
    TargetOptions { uri, max_connections }
}

fn mapping(reader: &mut Reader) -> MappingOptions {
    let default = MappingOptions::default();
    let names = [("preserve", Some(Naming::Preserve)), ("snake_case", Some(Naming::SnakeCase))];
    let conflicts = columns::ON_TYPE_CONFLICT;
    MappingOptions {
        objects: reader.choice("mapping.objects", default.objects, columns::OBJECTS),
        arrays: reader.choice("mapping.arrays", default.arrays, columns::ARRAYS),
        naming: reader.choice("mapping.naming", default.naming, &names),
        on_type_conflict: reader.choice("mapping.on_type_conflict", default.on_type_conflict, conflicts),
        max_columns: reader.number("mapping.max_columns", default.max_columns, &(1..=MappingOptions::MAX_COLUMNS)),
        metadata: Metadata {
            synced_at: reader.switch("mapping.synced_at", default.metadata.synced_at),
            source: reader.switch("mapping.source", default.metadata.source),
            deleted_at: reader.switch("mapping.soft_delete", default.metadata.deleted_at),
        },
        on_drop: reader.choice(
            "mapping.on_drop",
            default.on_drop,
            &[("drop", Some(OnDrop::Drop)), ("keep", Some(OnDrop::Keep))],
        ),
    }
}

fn snapshot(reader: &mut Reader) -> SnapshotOptions {
    let default = SnapshotOptions::default();
    // With less, a single range would take minutes, and the source forgets the time at which it is read.
    let limit = reader.limit("snapshot.max_bytes_per_second", (1 << 20, "1MiB"));
    SnapshotOptions {
        parallel: reader.number("snapshot.parallel", default.parallel, &(1..=64)),
        max_bytes_per_second: limit.map(|bytes| u64::try_from(bytes).unwrap_or(u64::MAX)),
    }
}

fn http(reader: &mut Reader) -> HttpOptions {
    let Some((listen, origin)) = reader.text("http.listen") else { return HttpOptions::default() };
    if listen.is_empty() {
        return HttpOptions { listen: None };
    }
    if !listen.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        reader.wrong(origin, format!("http.listen = {listen:?} must be address:port, or \"\" to switch it off"));
    }
    HttpOptions { listen: Some(listen) }
}

fn log(reader: &mut Reader) -> LogOptions {
    let formats = [("auto", Some(LogFormat::Auto)), ("text", Some(LogFormat::Text)), ("json", Some(LogFormat::Json))];
    let levels = LogLevel::ALL.map(|level| (level.as_str(), Some(level)));
    LogOptions {
        format: reader.choice("log.format", LogFormat::Auto, &formats),
        level: reader.choice("log.level", LogLevel::Info, &levels),
    }
}
