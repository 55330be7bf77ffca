//! Draws the progress lines below the log, in place.
//!
//! The log writer and the progress task share one [`Terminal`]: whoever writes takes the drawn lines away, writes, and
//! draws them again, so records scroll above and the lines stay below. Plain ANSI: cursor up, clear to the end.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// What a terminal has when it does not say.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// Standard error with lines that stay at the bottom.
#[derive(Clone)]
pub struct Terminal(Arc<Mutex<Screen<io::Stderr>>>);

struct Screen<W> {
    out: W,
    drawn: Vec<String>,
}

impl<W: Write> Screen<W> {
    fn draw(&mut self, lines: Vec<String>) -> io::Result<()> {
        if lines == self.drawn {
            return Ok(());
        }
        let text = format!("{}{}", self.erased(), joined(&lines));
        self.drawn = lines;
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn record(&mut self, record: &[u8]) -> io::Result<()> {
        // One write, so that nothing flickers and another process's output cannot come between.
        let mut text = self.erased().into_bytes();
        text.extend_from_slice(record);
        text.extend_from_slice(joined(&self.drawn).as_bytes());
        self.out.write_all(&text)?;
        self.out.flush()
    }

    /// Moves to the first drawn line and clears from there.
    fn erased(&self) -> String {
        match self.drawn.len() {
            0 => String::new(),
            n => format!("\x1b[{n}A\r\x1b[J"),
        }
    }
}

fn joined(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

impl Terminal {
    /// Standard error.
    #[must_use]
    pub fn stderr() -> Self {
        Self(Arc::new(Mutex::new(Screen { out: io::stderr(), drawn: Vec::new() })))
    }

    /// Replaces the drawn lines. What cannot be written is lost: a terminal that is gone must not stop the data.
    pub fn draw(&self, lines: Vec<String>) {
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).draw(lines);
    }

    /// Columns and rows, asked each time: windows change.
    #[must_use]
    pub fn size() -> (usize, usize) {
        terminal_size::terminal_size_of(io::stderr())
            .map_or(USUAL_SIZE, |(width, height)| (usize::from(width.0), usize::from(height.0)))
    }
}

/// A writer of one log record.
pub struct Record(Terminal);

impl Write for Record {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).record(record)?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Terminal {
    type Writer = Record;

    fn make_writer(&self) -> Record {
        Record(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::Screen;

    /// What a terminal would show: understands exactly the sequences that are written.
    fn shown(bytes: &[u8]) -> Vec<String> {
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        let mut lines: Vec<String> = Vec::new();
        for part in text.split_inclusive('\n') {
            let mut part = part;
            while let Some(rest) = part.strip_prefix("\x1b[") {
                let (up, rest) = rest.split_once('A').expect("cursor up");
                lines.truncate(lines.len() - up.parse::<usize>().expect("a number"));
                part = rest.strip_prefix("\r\x1b[J").expect("clear");
            }
            if !part.is_empty() {
                lines.push(part.trim_end_matches('\n').to_owned());
            }
        }
        lines
    }

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn records_scroll_above_and_lines_are_replaced_in_place() {
        let mut screen = Screen { out: Vec::new(), drawn: Vec::new() };
        screen.record(b"first\n").expect("write");
        screen.draw(lines(&["a 1%", "snapshot"])).expect("write");
        screen.record(b"second\n").expect("write");
        assert_eq!(shown(&screen.out), ["first", "second", "a 1%", "snapshot"]);
        screen.draw(lines(&["streaming"])).expect("write");
        assert_eq!(shown(&screen.out), ["first", "second", "streaming"]);
        screen.draw(Vec::new()).expect("write");
        assert_eq!(shown(&screen.out), ["first", "second"]);
    }

    #[test]
    fn what_did_not_change_is_not_drawn_again() {
        let mut screen = Screen { out: Vec::new(), drawn: Vec::new() };
        screen.draw(lines(&["streaming"])).expect("write");
        let before = screen.out.len();
        screen.draw(lines(&["streaming"])).expect("write");
        assert_eq!(screen.out.len(), before);
    }
}
