//! What was measured, as a table for people and as JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// One figure: a name with its unit, and a value per run.
pub struct Figure {
    pub name: &'static str,
    pub runs: Vec<f64>,
}

/// One case: what was loaded, and the figures.
pub struct Case {
    pub name: &'static str,
    pub load: String,
    pub figures: Vec<Figure>,
}

impl Case {
    pub fn new(name: &'static str, load: String) -> Self {
        Self { name, load, figures: Vec::new() }
    }

    /// Adds the value of one run.
    pub fn add(&mut self, name: &'static str, value: f64) {
        match self.figures.iter_mut().find(|figure| figure.name == name) {
            Some(figure) => figure.runs.push(value),
            None => self.figures.push(Figure { name, runs: vec![value] }),
        }
    }
}

/// The value below which that share of the values lies.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (0_u32..).zip(&sorted).find(|(rank, _)| f64::from(rank + 1) >= share * sorted.len() as f64);
    rank.map_or(f64::NAN, |(_, value)| *value)
}

/// Of an even number of values the lower one of the two in the middle.
fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

fn number(value: f64) -> String {
    if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// A Markdown table.
pub fn table(cases: &[Case]) -> String {
    let mut text = String::from("| case | load | figure | median | lowest | highest |\n|---|---|---|--:|--:|--:|\n");
    for case in cases {
        for (at, figure) in case.figures.iter().enumerate() {
            let (name, load) = if at == 0 { (case.name, case.load.as_str()) } else { ("", "") };
            let [middle, low, high] =
                [median(&figure.runs), quantile(&figure.runs, 0.0), quantile(&figure.runs, 1.0)].map(number);
            // Writing to a text does not fail.
            let _ = writeln!(text, "| {name} | {load} | {} | {middle} | {low} | {high} |", figure.name);
        }
    }
    text
}

pub fn json(cases: &[Case], about: &Value) -> Value {
    let figures = |case: &Case| -> Map<String, Value> {
        let figure = |f: &Figure| (f.name.to_owned(), json!({ "median": median(&f.runs), "runs": f.runs }));
        case.figures.iter().map(figure).collect()
    };
    let cases: Map<String, Value> = cases
        .iter()
        .map(|case| (case.name.to_owned(), json!({ "load": case.load, "figures": figures(case) })))
        .collect();
    json!({ "about": about, "cases": cases })
}
