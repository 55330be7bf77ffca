//! The target: a bounded pool of connections, and what is checked about it before the first write.

use std::str::FromStr;
use std::sync::Arc;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use tokio::sync::Mutex;
use tokio_postgres::Config;
use tokio_postgres::config::Host;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::faults::{fault, pool_fault};
use super::options::TargetOptions;
use super::tls::TlsChoice;
use crate::error::{Error, Kind, Result, Stage};

/// The oldest PostgreSQL that is supported: `numeric` has infinities from 14 on.
const MIN_VERSION: i32 = 140_000;

/// The first that knows MERGE.
const MERGE_VERSION: i32 = 150_000;

/// How long a statement waits for a lock before the attempt is repeated; schema changes wait in turns of their own.
pub(super) const LOCK_TIMEOUT: &str = "5s";

/// Settings of every session. Doubles are cast through their shortest text (`extra_float_digits`).
const SESSION: &str = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET TimeZone = 'UTC'; SET client_min_messages = 'warning'; \
    SET extra_float_digits = 1; SET search_path = pg_catalog; SET standard_conforming_strings = on; SET plan_cache_mode = force_generic_plan";

/// Who we are in the target, and what we may.
#[derive(Debug, Clone)]
pub struct Rights {
    /// The server's version.
    pub version: String,
    /// The user.
    pub user: String,
    /// The database.
    pub database: String,
    /// Whether the user may create schemas.
    pub may_create: bool,
}

/// Where everything is written.
#[derive(Debug, Clone)]
pub struct Target {
    pool: Pool,
    /// `host:port` of the servers, for messages.
    hosts: Arc<str>,
    pipeline: Arc<str>,
    schema_changes: Arc<Mutex<()>>,
    /// The server's version, once it was asked.
    version: i32,
}

impl Target {
    /// Makes the pool and opens the first connection.
    ///
    /// # Errors
    /// As [`Target::new`], and when the server cannot be reached, refuses the credentials or is too old.
    pub async fn connect(options: &TargetOptions, pipeline: &str) -> Result<Self> {
        let mut target = Self::new(options, pipeline)?;
        target.version = target.checked_version().await?;
        Ok(target)
    }

    /// Makes the pool and connects to nothing.
    ///
    /// # Errors
    /// When the URI is malformed ([`Kind::Configuration`]).
    pub fn new(options: &TargetOptions, pipeline: &str) -> Result<Self> {
        let choice = TlsChoice::from_uri(options.uri.expose());
        let malformed = |error: &dyn std::error::Error| {
            Error::new(Kind::Configuration, Stage::Config, format!("target.uri is not a PostgreSQL URI: {error}"))
                .remedy("write it as postgres://user:password@host:port/database")
        };
        let mut config = Config::from_str(&choice.uri).map_err(|error| malformed(&error))?;
        if config.get_hosts().is_empty() {
            return Err(no_host());
        }
        let hosts = hosts(&config).into();
        config.application_name("tailwater").connect_timeout(std::time::Duration::from_secs(5));
        let tls = MakeRustlsConnect::new(choice.client()?);
        let manager = Manager::from_config(config, tls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let pool = Pool::builder(manager)
            .max_size(options.max_connections)
            .post_create(deadpool_postgres::Hook::async_fn(|client, _| {
                let session = format!("SET lock_timeout = '{LOCK_TIMEOUT}'; {SESSION}");
                Box::pin(
                    async move { client.batch_execute(&session).await.map_err(deadpool_postgres::HookError::Backend) },
                )
            }))
            .build()
            .map_err(|error| Error::new(Kind::Defect, Stage::Sink, format!("building the pool: {error}")))?;
        Ok(Self { pool, hosts, pipeline: pipeline.into(), schema_changes: Arc::default(), version: 0 })
    }

    /// True when the server knows MERGE.
    #[must_use]
    pub fn has_merge(&self) -> bool {
        self.version >= MERGE_VERSION
    }

    async fn checked_version(&self) -> Result<i32> {
        let client = self.client().await?;
        let row = client.query_one("SELECT current_setting('server_version_num')::int4", &[]).await;
        let version: i32 = row.map_err(|error| fault(Stage::Sink, "reading its version", &error))?.get(0);
        if version < MIN_VERSION {
            let (major, minor) = (version / 10_000, version % 10_000);
            let message = format!("PostgreSQL {major}.{minor} is too old");
            return Err(Error::new(Kind::Unsupported, Stage::Sink, message).remedy("use PostgreSQL 14 or later"));
        }
        Ok(version)
    }

    /// Who we are and what we may.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn rights(&self) -> Result<Rights> {
        let client = self.client().await?;
        let sql = "SELECT current_setting('server_version'), current_user::text, current_database()::text, \
                   has_database_privilege(current_database(), 'CREATE')";
        let row = client.query_one(sql, &[]).await.map_err(|error| fault(Stage::Sink, "asking for rights", &error))?;
        Ok(Rights { version: row.get(0), user: row.get(1), database: row.get(2), may_create: row.get(3) })
    }

    /// A connection from the pool.
    ///
    /// # Errors
    /// When none can be made.
    pub async fn client(&self) -> Result<Object> {
        self.pool.get().await.map_err(|error| pool_fault(Stage::Sink, &self.hosts, &error))
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.pool.status().size
    }

    /// Held by whoever changes schemas outside the stream.
    pub(super) fn schema_changes(&self) -> &Mutex<()> {
        &self.schema_changes
    }

    /// The pipeline's name.
    #[must_use]
    pub fn pipeline(&self) -> &Arc<str> {
        &self.pipeline
    }
}

/// `host:port` of every server that the URI names.
fn hosts(config: &Config) -> String {
    let port = |i: usize| config.get_ports().get(i).or(config.get_ports().first()).copied().unwrap_or(5432);
    let name = |host: &Host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    };
    let all = config.get_hosts().iter().enumerate().map(|(i, host)| format!("{}:{}", name(host), port(i)));
    all.collect::<Vec<_>>().join(",")
}

fn no_host() -> Error {
    Error::new(Kind::Configuration, Stage::Config, "target.uri names no host")
        .remedy("write it as postgres://user:password@host:port/database")
}
