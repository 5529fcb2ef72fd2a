//! A profile as a picture (SVG).
//!
//! Above, the run from left to right: a step is as wide as its time and as high as its share of the peak, so that its
//! area is the work done and the white above it is what the processor could have done. Below, the steps under the
//! roofline, and a bar a step.

mod roofline;

use std::fmt::Write as _;

use crate::measure::{Profile, StepTime};

/// Pixels, and the height of a line of text.
const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 24.0;
const LINE: f64 = 18.0;

/// The run's part: left, top, width, height.
const RUN: [f64; 4] = [64.0, 84.0, 912.0, 200.0];
/// Under the run, whose steps are too low to see.
const STRIP: f64 = 8.0;

/// Where the bars of steps start, and how long the longest is.
const BARS: f64 = 190.0;
const LONGEST_BAR: f64 = 470.0;

/// Kernels' colours (Okabe and Ito's, which colour-blind people can tell apart, and Tableau's). Others are grey.
const COLOURS: [(&str, &str); 11] = [
    ("pointwise", "#0072b2"),
    ("depthwise", "#e69f00"),
    ("slices", "#59a14f"),
    ("dense", "#009e73"),
    ("fully_connected", "#cc79a7"),
    ("global_average", "#56b4e9"),
    ("convert", "#d55e00"),
    ("add", "#8c6d31"),
    ("gate", "#b07aa1"),
    ("activation", "#e15759"),
    ("pool", "#76b7b2"),
];

/// Gradients have their layer's colour.
fn color(kernel: &str) -> &'static str {
    let layer = kernel.split(' ').next().unwrap_or_default();
    COLOURS.iter().find(|(name, _)| *name == layer).map_or("#999999", |(_, color)| color)
}

/// The picture, with `title` above it.
pub fn svg(profile: &Profile, title: &str) -> String {
    let kernels = profile.kernels().len() as f64;
    let legend = RUN[1] + RUN[3] + STRIP + 56.0;
    let roofline = legend + (kernels / 2.0).ceil() * LINE + 40.0;
    let steps = roofline + roofline::TALL;
    let height = steps + profile.steps.len() as f64 * LINE + MARGIN;
    let mut picture = Picture { text: String::new(), profile };
    picture.line(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#222\">"
    ));
    picture.line(format_args!("<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"));
    picture.heading(title);
    picture.run();
    picture.legend(legend);
    picture.roofline(roofline);
    picture.steps(steps);
    picture.text + "</svg>\n"
}

struct Picture<'a> {
    text: String,
    profile: &'a Profile,
}

impl Picture<'_> {
    fn line(&mut self, line: std::fmt::Arguments) {
        // Writing into a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    /// Text at a baseline; `anchor` is `start`, `middle` or `end`.
    fn label(&mut self, [x, y]: [f64; 2], anchor: &str, text: &str) {
        let text = escaped(text);
        self.line(format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"));
    }

    fn rect(&mut self, [x, y, w, h]: [f64; 4], fill: &str, more: &str) {
        self.line(format_args!(
            "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{w:.2}\" height=\"{h:.2}\" fill=\"{fill}\"{more}/>"
        ));
    }

    /// Percent of what all threads could do.
    fn peak_share(&self, gflops: f64) -> f64 {
        100.0 * gflops / self.profile.peak_gflops()
    }

    fn heading(&mut self, title: &str) {
        let Profile { total_microseconds, threads, .. } = *self.profile;
        let gflops = 2.0 * self.profile.multiply_adds() as f64 / (total_microseconds * 1e3);
        let text = format!(
            "{:.3} ms a run, {gflops:.1} GFLOP/s: {:.0} % of the {:.1} GFLOP/s that {threads} {} can do",
            total_microseconds / 1e3,
            self.peak_share(gflops),
            self.profile.peak_gflops(),
            if threads == 1 { "thread" } else { "threads" },
        );
        let title = escaped(title);
        self.line(format_args!("<text x=\"{MARGIN}\" y=\"34\" font-size=\"18\" font-weight=\"bold\">{title}</text>"));
        self.label([MARGIN, 56.0], "start", &text);
    }

    /// Time from left to right, share of the peak from bottom to top.
    fn run(&mut self) {
        let [left, top, width, height] = RUN;
        let sum = self.profile.sum_microseconds();
        for percent in [0.0, 25.0, 50.0, 75.0, 100.0] {
            let y = top + height * (1.0 - percent / 100.0);
            self.rect([left, y, width, 1.0], "#ddd", "");
            self.label([left - 6.0, y + 4.0], "end", &format!("{percent} %"));
        }
        let mut x = left;
        for step in &self.profile.steps {
            let wide = width * step.microseconds / sum;
            // Multiply-adds on padding are counted but need not be done: small maps may exceed the peak.
            let high = height * self.peak_share(step.gflops()).min(105.0) / 100.0;
            let fill = color(step.kernel);
            self.line(format_args!("<g><title>{}</title>", escaped(&self.told(step))));
            // Steps are told apart by a hairline, where they are wide enough to lose it.
            let gap = if wide > 2.0 { 0.5 } else { 0.0 };
            self.rect([x, top + height - high, wide - gap, high], fill, "");
            self.rect([x, top + height + 2.0, wide - gap, STRIP], fill, "");
            self.line(format_args!("</g>"));
            x += wide;
        }
        let below = top + height + STRIP + 18.0;
        let tick = tick(sum);
        for i in 0..=(sum / tick) as usize {
            let at = i as f64 * tick;
            self.label([left + width * at / sum, below], "middle", &format!("{at:.0}"));
        }
        self.label([left, below + 16.0], "start", "time in µs; height: share of the peak; area: work done");
    }

    fn legend(&mut self, top: f64) {
        let sum = self.profile.sum_microseconds();
        for (i, kernel) in self.profile.kernels().into_iter().enumerate() {
            let (x, y) = (RUN[0] + (i % 2) as f64 * 460.0, top + (i / 2) as f64 * LINE);
            self.rect([x, y, 12.0, 12.0], color(kernel.kernel), "");
            let share = 100.0 * kernel.microseconds / sum;
            let mut text = format!("{}: {:.1} µs, {share:.1} % of the time", kernel.kernel, kernel.microseconds);
            if kernel.multiply_adds > 0 {
                let _ = write!(text, ", at {:.0} % of the peak", self.peak_share(kernel.gflops()));
            }
            self.label([x + 18.0, y + 10.5], "start", &text);
        }
    }

    /// A bar a step: pale its time, dark the time that its work would take at the peak.
    fn steps(&mut self, top: f64) {
        let longest = self.profile.steps.iter().map(|s| s.microseconds).fold(f64::MIN_POSITIVE, f64::max);
        self.label([BARS, top - 10.0], "start", "time of each step; dark: what its work would take at the peak");
        for (i, step) in self.profile.steps.iter().enumerate() {
            let y = top + i as f64 * LINE;
            let long = LONGEST_BAR * step.microseconds / longest;
            let fill = color(step.kernel);
            self.label([BARS - 8.0, y + 11.5], "end", &step.name);
            self.rect([BARS, y + 1.0, long, LINE - 4.0], fill, " fill-opacity=\"0.35\"");
            let dark = long * self.peak_share(step.gflops()).min(100.0) / 100.0;
            self.rect([BARS, y + 1.0, dark, LINE - 4.0], fill, "");
            let text = self.numbers(step);
            self.label([BARS + long + 8.0, y + 11.5], "start", &text);
        }
    }

    fn numbers(&self, step: &StepTime) -> String {
        let mut text = format!("{:.1} µs", step.microseconds);
        if step.multiply_adds > 0 {
            let gflops = step.gflops();
            let _ = write!(text, ", {gflops:.1} GFLOP/s, {:.0} %", self.peak_share(gflops));
        }
        text
    }

    fn told(&self, step: &StepTime) -> String {
        format!("{} ({}): {}", step.name, step.kernel, self.numbers(step))
    }
}

/// A round distance for four to ten labels up to `sum`.
fn tick(sum: f64) -> f64 {
    let power = 10f64.powf((sum / 4.0).max(1.0).log10().floor());
    let steps = [5.0, 2.5, 2.0, 1.0].into_iter().map(|f| f * power);
    steps.into_iter().find(|step| sum / step >= 4.0).unwrap_or(power)
}

/// Text that XML takes between tags.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, kernel: &'static str, microseconds: f64, multiply_adds: u64) -> StepTime {
        StepTime { name: name.into(), kernel, microseconds, multiply_adds, bytes: 64 }
    }

    #[test]
    fn every_step_is_drawn_once_in_each_part_and_text_is_escaped() {
        let steps = vec![step("stem.conv", "dense", 30.0, 1_500_000), step("a", "gate", 10.0, 0)];
        let profile = Profile {
            steps,
            total_microseconds: 39.0,
            core_peak_gflops: 100.0,
            memory_gbytes_per_second: 1.0,
            threads: 1,
        };
        let text = svg(&profile, "mine <&>");
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
        assert!(text.contains(">mine &lt;&amp;&gt;</text>"));
        // In the run, under the roofline and beside its bar; what multiplies nothing is under no roof.
        assert_eq!(text.matches("stem.conv").count(), 3);
        assert_eq!(text.matches("<circle").count(), 1);
        assert!(text.contains("<title>stem.conv (dense): 30.0 µs, 100.0 GFLOP/s, 100 %</title>"));
        // Three quarters of the time, the whole height.
        assert!(text.contains("<rect x=\"64.00\" y=\"84.00\" width=\"683.50\" height=\"200.00\" fill=\"#009e73\"/>"));
        assert!(text.contains("dense: 30.0 µs, 75.0 % of the time, at 100 % of the peak"));
        assert!(!text.contains("NaN") && !text.contains("inf"));
    }

    #[test]
    fn labels_of_time_are_round_and_few() {
        for (sum, expected) in [(40.0, 10.0), (150.0, 25.0), (1234.0, 250.0), (5000.0, 1000.0), (0.5, 1.0)] {
            assert_eq!(tick(sum), expected, "{sum}");
        }
    }
}
