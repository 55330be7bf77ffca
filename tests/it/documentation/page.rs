//! A page as its headings, rules, tables and examples.

use std::fs;

use super::example::Example;

/// One thing of a page, with its line.
#[derive(Debug)]
pub enum Item {
    /// A heading, with its level.
    Heading(usize, String),
    /// A bullet that stands at the margin.
    Rule(String),
    /// A block marked `mapping`.
    Example(Example),
}

impl Item {
    fn title(&self) -> &str {
        match self {
            Self::Heading(_, title) => title,
            Self::Rule(text) => text,
            Self::Example(_) => "an example",
        }
    }
}

/// A page, read.
#[derive(Debug)]
pub struct Page {
    pub items: Vec<(usize, Item)>,
}

impl Page {
    /// Reads a page of this repository.
    pub fn read(name: &str) -> Self {
        let path = format!("{}/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let mut items = Vec::new();
        let mut lines = text.lines().enumerate().map(|(i, line)| (i + 1, line));
        while let Some((number, line)) = lines.next() {
            if let Some(language) = line.trim_start().strip_prefix("```") {
                // A fence may stand inside a bullet; what it indents is not of the example.
                let indent = line.len() - line.trim_start().len();
                let inside: Vec<&str> = lines
                    .by_ref()
                    .map(|(_, line)| line)
                    .take_while(|line| line.trim() != "```")
                    .map(|line| line.get(indent..).unwrap_or_default())
                    .collect();
                if let Some(kind) = language.strip_prefix("mapping") {
                    items.push((number, Item::Example(Example::parse(number, kind, &inside))));
                }
            } else if line.starts_with('#') {
                let title = line.trim_start_matches('#');
                items.push((number, Item::Heading(line.len() - title.len(), title.trim().to_owned())));
            } else if let Some(rule) = line.strip_prefix("- ") {
                items.push((number, Item::Rule(rule.to_owned())));
            }
        }
        Self { items }
    }

    /// Its examples.
    pub fn examples(&self) -> impl Iterator<Item = &Example> {
        self.items.iter().filter_map(|(_, item)| match item {
            Item::Example(example) => Some(example),
            Item::Heading(..) | Item::Rule(_) => None,
        })
    }

    /// Rules and sections, from the first numbered section on to the last, that no example follows.
    pub fn without_example(&self) -> Vec<String> {
        let mut bare = Vec::new();
        let numbered = |title: &str| title.starts_with(|c: char| c.is_ascii_digit());
        let mut inside = false;
        for (at, (line, item)) in self.items.iter().enumerate() {
            match item {
                Item::Heading(2, title) => inside = numbered(title),
                Item::Heading(..) | Item::Rule(_) | Item::Example(_) => {}
            }
            let rest = self.items.get(at + 1..).unwrap_or_default();
            let followed = match item {
                Item::Rule(_) => matches!(rest.first(), Some((_, Item::Example(_)))),
                Item::Heading(level, _) => rest
                    .iter()
                    .take_while(|(_, next)| !matches!(next, Item::Heading(other, _) if other <= level))
                    .any(|(_, next)| matches!(next, Item::Example(_))),
                Item::Example(_) => true,
            };
            if inside && !followed {
                bare.push(format!("line {line} has no example: {}", item.title()));
            }
        }
        bare
    }
}

#[test]
fn a_rule_without_an_example_is_seen() {
    let example = "```mapping\nc drop\n```\n";
    let bare = |text: &str| Page::parse(text).without_example().len();
    assert_eq!(bare(&format!("## 1. A\n- rule\n\n{example}\n- rule\n  text\n{example}")), 0);
    assert_eq!(bare(&format!("## 1. A\n- rule\n- rule\n{example}")), 1);
    assert_eq!(bare(&format!("## 1. A\n{example}\n### B\ntext\n## Other\n- rule\n")), 1);
    assert_eq!(bare(&format!("## 1. A\n```json\n- no rule\n```\n## 2. B\n{example}")), 1);
}
