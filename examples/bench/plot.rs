//! A picture of some curves: lines with their points, axes with units, as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
/// The plot's own part of it.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 690.0;
const TOP: f64 = 70.0;
const BOTTOM: f64 = 350.0;
/// Told apart by everybody, on white.
const COLOURS: [&str; 4] = ["#0b62a4", "#c8501e", "#2a7d2e", "#6b3fa0"];

/// A line: its name and its points.
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// The axis below is logarithmic, with a mark for every point; the other begins at zero.
pub struct Chart {
    pub title: String,
    pub below: String,
    pub beside: String,
    pub lines: Vec<Line>,
}

impl Chart {
    pub fn svg(&self) -> String {
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">\n\
             <title>{0}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"28\" font-size=\"16\" font-weight=\"bold\">{0}</text>\n",
            escaped(&self.title)
        );
        let scale = Scale::new(self);
        self.axes(&scale, &mut out);
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let points: Vec<(f64, f64)> = line.points.iter().map(|(x, y)| (scale.x(*x), scale.y(*y))).collect();
            let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            // Writing to a text does not fail.
            let _ = writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                path.join(" ")
            );
            for (x, y) in points {
                let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
            }
        }
        self.legend(&mut out);
        out + "</svg>\n"
    }

    fn axes(&self, scale: &Scale, out: &mut String) {
        for mark in scale.marks() {
            let y = scale.y(mark);
            let _ = writeln!(
                out,
                "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"#ddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 4.5,
                number(mark)
            );
        }
        let mut labelled = f64::NEG_INFINITY;
        for x in scale.places.iter().copied() {
            let at = scale.x(x);
            let _ = writeln!(out, "<path d=\"M{at:.1} {BOTTOM}v6\" stroke=\"#222\"/>");
            let label = number(x);
            // Labels that would lie over the one before are left out.
            let half = 4.0 * label.len() as f64;
            if at - half > labelled {
                let y = BOTTOM + 20.0;
                let _ = writeln!(out, "<text x=\"{at:.1}\" y=\"{y}\" text-anchor=\"middle\">{label}</text>");
                labelled = at + half;
            }
        }
        let _ = writeln!(out, "<path d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\" fill=\"none\" stroke=\"#222\"/>");
        let (middle, centre) = (f64::midpoint(LEFT, RIGHT), f64::midpoint(TOP, BOTTOM));
        let _ = writeln!(
            out,
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(22 {centre}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            BOTTOM + 46.0,
            escaped(&self.below),
            escaped(&self.beside)
        );
    }

    fn legend(&self, out: &mut String) {
        let mut x = LEFT;
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let _ = writeln!(
                out,
                "<path d=\"M{x} 47h22\" stroke=\"{colour}\" stroke-width=\"2\"/>\
                 <circle cx=\"{:.1}\" cy=\"47\" r=\"3.5\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"51.5\">{}</text>",
                x + 11.0,
                x + 30.0,
                escaped(&line.name)
            );
            x += 60.0 + 7.5 * line.name.chars().count() as f64;
        }
    }
}

/// Where values lie in the picture.
struct Scale {
    /// Values of the axis below, in order.
    places: Vec<f64>,
    low: f64,
    high: f64,
    /// Between two marks of the axis beside.
    step: f64,
    top: f64,
}

impl Scale {
    fn new(chart: &Chart) -> Self {
        let points = || chart.lines.iter().flat_map(|line| line.points.iter());
        let mut places: Vec<f64> = points().map(|(x, _)| *x).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        let ends = (places.first().copied().unwrap_or(1.0), places.last().copied().unwrap_or(10.0));
        let most = points().map(|(_, y)| *y).fold(0.0, f64::max).max(1e-9);
        let rough = most * 1.1 / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let top = (most * 1.05 / step).ceil() * step;
        Self { places, low: ends.0.ln(), high: ends.1.ln().max(ends.0.ln() + 1e-9), step, top }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + 14.0 + (value.ln() - self.low) / (self.high - self.low) * (RIGHT - LEFT - 28.0)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - value / self.top * (BOTTOM - TOP)
    }

    fn marks(&self) -> impl Iterator<Item = f64> {
        (0_u32..=20).map(|at| f64::from(at) * self.step).take_while(|mark| *mark <= self.top * 1.0001)
    }
}

/// Whole numbers in groups of three, others as short as they can be.
fn number(value: f64) -> String {
    if value.fract().abs() > 1e-9 {
        return format!("{value:.3}").trim_end_matches('0').to_owned();
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
