//! What was measured, as a table for people and as JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// What a figure has to reach.
#[derive(Clone, Copy)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(goal) => value >= goal,
            Self::AtMost(goal) => value <= goal,
        }
    }

    fn words(self) -> String {
        match self {
            Self::AtLeast(goal) => format!("≥ {goal}"),
            Self::AtMost(goal) => format!("≤ {goal}"),
        }
    }
}

/// One figure: a name with its unit, and a value per run.
pub struct Figure {
    pub name: String,
    pub runs: Vec<f64>,
    pub goal: Option<Goal>,
}

/// One case: what was loaded, and the figures.
pub struct Case {
    pub name: String,
    pub load: String,
    pub figures: Vec<Figure>,
}

impl Case {
    pub fn new(name: impl Into<String>, load: String) -> Self {
        Self { name: name.into(), load, figures: Vec::new() }
    }

    /// Adds the value of one run.
    pub fn add(&mut self, name: &str, value: f64) {
        self.put(name, value, None);
    }

    /// Adds the value of one run of a figure that has a goal.
    pub fn aim(&mut self, name: &str, value: f64, goal: Goal) {
        self.put(name, value, Some(goal));
    }

    /// The value of the newest run.
    pub fn last(&self, name: &str) -> f64 {
        let figure = self.figures.iter().find(|figure| figure.name == name);
        figure.and_then(|figure| figure.runs.last()).copied().unwrap_or(f64::NAN)
    }

    /// The median of the runs so far.
    pub fn median(&self, name: &str) -> f64 {
        let figure = self.figures.iter().find(|figure| figure.name == name);
        figure.map_or(f64::NAN, |figure| median(&figure.runs))
    }

    fn put(&mut self, name: &str, value: f64, goal: Option<Goal>) {
        match self.figures.iter_mut().find(|figure| figure.name == name) {
            Some(figure) => figure.runs.push(value),
            None => self.figures.push(Figure { name: name.to_owned(), runs: vec![value], goal }),
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

/// A Markdown table of everything, and one of the figures that have a goal.
pub fn tables(cases: &[Case]) -> String {
    let mut text = String::from("| case | load | figure | median | lowest | highest |\n|---|---|---|--:|--:|--:|\n");
    for case in cases {
        for (at, figure) in case.figures.iter().enumerate() {
            let (name, load) = if at == 0 { (case.name.as_str(), case.load.as_str()) } else { ("", "") };
            let [middle, low, high] =
                [median(&figure.runs), quantile(&figure.runs, 0.0), quantile(&figure.runs, 1.0)].map(number);
            // Writing to a text does not fail.
            let _ = writeln!(text, "| {name} | {load} | {} | {middle} | {low} | {high} |", figure.name);
        }
    }
    let goals = goals(cases);
    if !goals.is_empty() {
        text += "\nRatios and goals:\n\n| case | figure | median | goal | |\n|---|---|--:|--:|---|\n";
        text += &goals;
    }
    text
}

fn goals(cases: &[Case]) -> String {
    let mut text = String::new();
    for case in cases {
        let aimed = case.figures.iter().filter_map(|figure| Some((figure, figure.goal?)));
        for (at, (figure, goal)) in aimed.enumerate() {
            let name = if at == 0 { case.name.as_str() } else { "" };
            let reached = median(&figure.runs);
            let verdict = if goal.is_met(reached) { "met" } else { "missed" };
            let _ = writeln!(text, "| {name} | {} | {} | {} | {verdict} |", figure.name, number(reached), goal.words());
        }
    }
    text
}

pub fn json(cases: &[Case], about: &Value) -> Value {
    let figure = |figure: &Figure| {
        let mut value = json!({ "median": median(&figure.runs), "runs": figure.runs });
        if let (Some(goal), Some(value)) = (figure.goal, value.as_object_mut()) {
            let (kind, of) = match goal {
                Goal::AtLeast(of) => ("at_least", of),
                Goal::AtMost(of) => ("at_most", of),
            };
            value.insert("goal".to_owned(), json!({ kind: of, "met": goal.is_met(median(&figure.runs)) }));
        }
        (figure.name.clone(), value)
    };
    let figures = |case: &Case| -> Map<String, Value> { case.figures.iter().map(figure).collect() };
    let cases: Map<String, Value> =
        cases.iter().map(|case| (case.name.clone(), json!({ "load": case.load, "figures": figures(case) }))).collect();
    json!({ "about": about, "cases": cases })
}
