//! Configuration files, key by key.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpListener;

/// Keys and TOML values by section; the section of keys that stand in none is empty.
#[derive(Debug, Clone, Default)]
pub struct Config {
    sections: BTreeMap<String, BTreeMap<String, String>>,
    /// Sections as they are written, after all others.
    appended: String,
    pub port: u16,
}

impl Config {
    /// What every test's daemon starts from.
    pub fn new(pipeline: &str, source: &str, target: &str, include: &str) -> Self {
        let port = free_port();
        let quoted = |text: &str| format!("{text:?}");
        let mut config = Self { port, ..Self::default() };
        config
            .set("pipeline", &quoted(pipeline))
            .set("source.uri", &quoted(source))
            .set("source.include", &format!("[{include:?}]"))
            .set("target.uri", &quoted(target))
            .set("target.max_connections", "4")
            .set("http.listen", &format!("\"127.0.0.1:{port}\""))
            .set("source.reader", &quoted(&reader_of_this_run()))
            .set("log.format", "\"json\"");
        config
    }

    /// Sets `section.key`, or a key without a section, to a TOML value.
    pub fn set(&mut self, key: &str, value: &str) -> &mut Self {
        let (section, key) = key.split_once('.').unwrap_or(("", key));
        self.sections.entry(section.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        self
    }

    /// Takes a key away.
    pub fn remove(&mut self, key: &str) -> &mut Self {
        let (section, key) = key.split_once('.').unwrap_or(("", key));
        if let Some(section) = self.sections.get_mut(section) {
            section.remove(key);
        }
        self
    }

    /// Adds sections as TOML, for what is no `section.key`: entries of a list, or a text from elsewhere.
    pub fn append(&mut self, toml: &str) -> &mut Self {
        self.appended.push_str(toml);
        self
    }

    /// The same daemon on another port, for a second process.
    pub fn on_another_port(&self) -> Self {
        let mut other = self.clone();
        other.port = free_port();
        let listen = format!("\"127.0.0.1:{}\"", other.port);
        other.set("http.listen", &listen);
        other
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (section, keys) in &self.sections {
            if !section.is_empty() {
                writeln!(text, "[{section}]").expect("a string takes everything");
            }
            for (key, value) in keys {
                writeln!(text, "{key} = {value}").expect("a string takes everything");
            }
        }
        text + &self.appended
    }
}

/// Which reader all tests are to use that say nothing else: TAILWATER_TEST_READER, else the change stream. Never `auto`, which
/// would be the oplog in both of the runs that the suite has.
fn reader_of_this_run() -> String {
    const READERS: [&str; 2] = ["change_stream", "oplog"];
    let reader = std::env::var("TAILWATER_TEST_READER").unwrap_or_else(|_| READERS[0].to_owned());
    assert!(READERS.contains(&reader.as_str()), "TAILWATER_TEST_READER is {reader:?} and none of {READERS:?}");
    reader
}

/// A port that nobody listens on right now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
