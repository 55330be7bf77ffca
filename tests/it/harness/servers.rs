//! Instances of the real servers, by the project's own `scripts/servers`.
//!
//! The shared instance is started by the first test that wants it and taken down when this process has ended, however it
//! ends: `--for-pid` leaves a watch behind. A server that does not start is a failed test, never a skipped one.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/servers");

/// One running instance.
#[derive(Debug)]
pub struct Servers {
    dir: Option<String>,
    pub mongodb_uri: String,
    pub postgres_uri: String,
}

/// The instance for every test that neither stops a server nor wants a special one.
pub fn shared() -> &'static Servers {
    static SHARED: OnceLock<Servers> = OnceLock::new();
    SHARED.get_or_init(|| {
        // The oplog is large because a killed daemon must find its position again however many tests write.
        Servers::start(&["--oplog-mb", "4096", "--postgres-arg", "-c", "--postgres-arg", "max_connections=300"])
    })
}

impl Servers {
    /// Starts an instance of its own, with `options` of `scripts/servers up`.
    ///
    /// It is told apart from the shared one even where the tests run on the user's own servers.
    pub fn start(options: &[&str]) -> Self {
        let pid = std::process::id().to_string();
        let new: &[&str] = &["up", "--new", "--for-pid", &pid];
        let printed = script(&[new, options].concat());
        let value = |name: &str| printed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        Self {
            dir: value("TAILWATER_SERVERS_DIR").map(str::to_owned),
            mongodb_uri: value("MONGODB_URI").unwrap_or_default().to_owned(),
            postgres_uri: value("POSTGRES_URI").unwrap_or_default().to_owned(),
        }
    }

    /// The number of the member that is primary.
    pub fn primary(&self) -> usize {
        let dir = self.dir.as_deref().expect("an instance of its own");
        script(&["primary", dir]).trim().parse().expect("a member's number")
    }

    /// The address of one member, without options.
    pub fn member_uri(&self, number: usize) -> String {
        let hosts = self.mongodb_uri.trim_start_matches("mongodb://").split('/').next().unwrap_or_default();
        format!("mongodb://{}/", hosts.split(',').nth(number).expect("a member"))
    }

    /// One of the commands that stop, kill and start a server, for example `kill-mongo primary`.
    pub fn change(&self, command: &str, member: &[&str]) {
        let dir = self.dir.as_deref().expect("tests that stop servers cannot use external ones");
        script(&[&[command, dir], member].concat());
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if let Some(dir) = &self.dir {
            // Nobody to tell when this fails; the watch takes the instance down at the end of the process.
            let _ = Command::new(SCRIPT).args(["down", dir]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

fn script(arguments: &[&str]) -> String {
    let output = Command::new(SCRIPT).args(arguments).stdin(Stdio::null()).output().expect("scripts/servers runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "scripts/servers {arguments:?} failed: {stderr}");
    stdout.into_owned()
}
