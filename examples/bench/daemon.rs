//! The daemon as a process: start it, ask it, see what it takes, stop it.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::Result;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(900);
/// How often the daemon is asked: the error of every duration here.
const POLL: Duration = Duration::from_millis(5);
/// What `/proc` counts processor time in, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// What is needed to start one.
pub struct Launch<'a> {
    pub program: &'a Path,
    pub source: &'a str,
    pub target: String,
    /// The source databases, as a glob.
    pub include: &'a str,
    /// More of its configuration, as environment variables.
    pub environment: &'a [(&'a str, &'a str)],
    /// What follows `run` on its command line.
    pub arguments: &'a [&'a str],
    /// Where the log goes.
    pub log: PathBuf,
    /// The folder of the servers' instance.
    pub servers: &'a Path,
}

pub struct Daemon {
    child: Child,
    http: SocketAddr,
    log: PathBuf,
    pub started: Instant,
    /// What the servers had used before.
    pub before: Processor,
}

impl Daemon {
    pub fn start(launch: &Launch<'_>) -> Result<Self> {
        let http = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let before = Processor::of_servers(launch.servers)?;
        let log = File::options().create(true).append(true).open(&launch.log)?;
        // setpriv becomes the daemon, which then ends with us however that comes about.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(launch.program).arg("run").args(launch.arguments);
        // What somebody has set for another daemon or for our scripts is not to be measured.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TAILWATER_")) {
            command.env_remove(name);
        }
        let child = command
            .env("TAILWATER_SOURCE__URI", launch.source)
            .env("TAILWATER_TARGET__URI", &launch.target)
            .env("TAILWATER_SOURCE__INCLUDE", launch.include)
            .env("TAILWATER_HTTP__LISTEN", http.to_string())
            .envs(launch.environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Self { child, http, log: launch.log.clone(), started: Instant::now(), before })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until its status is as wanted.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<()> {
        let start = Instant::now();
        loop {
            let status = self.status().await.ok();
            if status.as_ref().is_some_and(&wanted) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the daemon ended ({status}) before {what}: {}", self.last_words()).into());
            }
            if start.elapsed() > PATIENCE {
                let status = status.unwrap_or_default();
                return Err(format!("{PATIENCE:?} passed before {what}: {status} {}", self.last_words()).into());
            }
            sleep(POLL).await;
        }
    }

    async fn status(&self) -> Result<Value> {
        let mut stream = TcpStream::connect(self.http).await?;
        let request = format!("GET /status HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http);
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or("no body")?;
        Ok(serde_json::from_str(body)?)
    }

    /// The most memory it ever had (resident), in bytes.
    pub fn peak_memory(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    /// Waits until it has done what it was started for; gives the most memory that it ever had.
    pub async fn until_it_ends(mut self) -> Result<u64> {
        let mut peak = 0;
        loop {
            // What has ended takes no memory any more: the last look before counts.
            peak = self.peak_memory().unwrap_or(peak);
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(peak),
                Some(status) => return Err(format!("the daemon ended with {status}: {}", self.last_words()).into()),
                None => sleep(POLL).await,
            }
        }
    }

    /// Stops it as an operator would.
    pub async fn stop(mut self) -> Result<()> {
        Command::new("kill").args(["-s", "TERM", &self.pid().to_string()]).status()?;
        let start = Instant::now();
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("the daemon ended with {status}: {}", self.last_words()).into()),
                None if start.elapsed() > PATIENCE => return Err("the daemon does not stop".into()),
                None => sleep(POLL).await,
            }
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().rev().take(3).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // After a stop there is nobody left, which is as it should be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor seconds of the daemon and of both servers, each since its start.
#[derive(Clone, Copy)]
pub struct Processor {
    pub daemon: f64,
    pub mongodb: f64,
    pub postgres: f64,
}

impl Processor {
    pub fn read(daemon: &Daemon, servers: &Path) -> Result<Self> {
        Ok(Self { daemon: own(daemon.pid())?, ..Self::of_servers(servers)? })
    }

    pub fn of_servers(servers: &Path) -> Result<Self> {
        let pid = |name: &str| -> Result<u32> {
            Ok(fs::read_to_string(servers.join(name).with_extension("pid"))?.trim().parse()?)
        };
        Ok(Self { daemon: 0.0, mongodb: own(pid("mongod-0")?)?, postgres: with_children(pid("postgres")?)? })
    }

    pub fn since(self, before: Self) -> Self {
        Self {
            daemon: self.daemon - before.daemon,
            mongodb: self.mongodb - before.mongodb,
            postgres: self.postgres - before.postgres,
        }
    }
}

/// The fields of `/proc/PID/stat` after the name: state, parent, … `utime` is the 12th, then `stime`, `cutime`, `cstime`.
fn stat(path: &Path) -> Result<Vec<f64>> {
    let text = fs::read_to_string(path)?;
    let (_, fields) = text.rsplit_once(") ").ok_or("no stat")?;
    Ok(fields.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect())
}

fn seconds(fields: &[f64], count: usize) -> f64 {
    fields.iter().skip(11).take(count).sum::<f64>() / TICKS_PER_SECOND
}

/// Processor seconds of a process without its children.
pub fn own(pid: u32) -> Result<f64> {
    Ok(seconds(&stat(&PathBuf::from(format!("/proc/{pid}/stat")))?, 2))
}

/// A process, its children that have ended, and those that live.
fn with_children(pid: u32) -> Result<f64> {
    let mut sum = seconds(&stat(&PathBuf::from(format!("/proc/{pid}/stat")))?, 4);
    for entry in fs::read_dir("/proc")? {
        // Whoever is gone by now counts with its parent the next time.
        let Ok(fields) = stat(&entry?.path().join("stat")) else { continue };
        if fields.get(1).is_some_and(|parent| (parent - f64::from(pid)).abs() < 0.5) {
            sum += seconds(&fields, 4);
        }
    }
    Ok(sum)
}
