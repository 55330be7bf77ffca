//! The process under test: started from the built binary, stopped every way there is, its words kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::config::Config;
use super::http;
use super::wait::{self, LONG};

/// A running `tailwater run`. Dropping it kills it.
pub struct Daemon {
    child: Child,
    log: PathBuf,
    pub port: u16,
}

/// How a command that ends by itself ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A command of the built binary, without a TAILWATER_… variable from outside.
fn tailwater() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tailwater"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TAILWATER_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Writes `config` into `dir`, under a name of its own.
pub fn write_config(dir: &Path, config: &Config) -> PathBuf {
    let path = dir.join(format!("{}.toml", config.port));
    fs::write(&path, config.text()).expect("the configuration file is written");
    path
}

/// Runs a command to its end.
pub fn command(arguments: &[&str]) -> Ended {
    command_with(&[], arguments)
}

/// The same, with variables of its own.
pub fn command_with(environment: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let child = tailwater()
        .envs(environment.iter().copied())
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("the binary starts");
    // A pipe's buffer holds far more than these commands say, so that waiting first does not block them.
    let ended = wait::blocking(LONG, || child.try_wait().expect("a child").is_some());
    if !ended {
        child.kill().expect("a child that runs");
    }
    let output = child.wait_with_output().expect("a child's output");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(ended, "tailwater {arguments:?} did not end within {LONG:?}: {stderr}");
    Ended { code: output.status.code(), stdout, stderr }
}

impl Daemon {
    /// Starts `tailwater run`; its log goes on in the same file over restarts.
    pub fn start(dir: &Path, config: &Config, arguments: &[&str]) -> Self {
        let path = write_config(dir, config);
        let log = path.with_extension("log");
        let open = || File::options().create(true).append(true).open(&log).expect("a log file");
        let child = tailwater()
            .args(["run", "-c"])
            .arg(&path)
            .args(arguments)
            .stdout(open())
            .stderr(open())
            .spawn()
            .expect("the binary starts");
        Self { child, log, port: config.port }
    }

    /// SIGKILL, between any two instructions.
    pub fn kill9(mut self) {
        if let Some(status) = self.child.try_wait().expect("a child") {
            panic!("the daemon had ended by itself with {status}\n{}", self.log_tail());
        }
        self.child.kill().expect("a child that runs");
        self.child.wait().expect("a child that was killed");
    }

    /// SIGTERM: must end with status 0 within seconds.
    pub fn sigterm(mut self) {
        const SECONDS: Duration = Duration::from_secs(15);
        self.signal("TERM");
        let status = self.end_within(SECONDS);
        assert_eq!(status.code(), Some(0), "SIGTERM ended it with {status}\n{}", self.log_tail());
    }

    /// Waits for the end of a daemon that stops by itself.
    pub fn end_within(&mut self, deadline: Duration) -> ExitStatus {
        let mut status = None;
        let ended = wait::blocking(deadline, || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        assert!(ended, "the daemon did not end within {deadline:?}\n{}", self.log_tail());
        status.expect("it has ended")
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success(), "the daemon had ended by itself\n{}", self.log_tail());
    }

    /// Suspends or resumes it, as if the machine had stopped.
    pub fn suspend(&self, stopped: bool) {
        self.signal(if stopped { "STOP" } else { "CONT" });
    }

    /// Waits until `/status` says what `check` wants to hear.
    pub async fn until_status(&self, what: &str, check: impl Fn(&Value) -> bool) -> Value {
        self.until_status_within(what, LONG, check).await
    }

    /// The same, with a deadline of its own.
    pub async fn until_status_within(&self, what: &str, deadline: Duration, check: impl Fn(&Value) -> bool) -> Value {
        let last = std::cell::RefCell::new(Value::Null);
        let state = || format!("the last status was {}\n{}", last.borrow(), self.log_tail());
        wait::until(what, deadline, state, || async {
            let status = http::status(self.port)?;
            let found = check(&status).then(|| status.clone());
            *last.borrow_mut() = status;
            found
        })
        .await
    }

    /// Waits until `/status` names this state.
    pub async fn until_state(&self, state: &str) -> Value {
        self.until_status(&format!("state {state}"), |status| status["state"] == state).await
    }

    /// The most memory that was ever resident, in MiB.
    pub fn peak_memory_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number of KiB");
        kib / 1024
    }

    /// All of its log, over restarts.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of its log, for the message of a failed test.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    const LINES: usize = 12;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LINES);
    format!("--- {} ---\n{}", log.display(), lines.get(from..).unwrap_or_default().join("\n"))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Already ended, mostly; there is nothing to do about an error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
