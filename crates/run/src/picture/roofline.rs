//! The roofline (Williams, Waterman and Patterson, 2009): what each step reaches, against what memory and arithmetic let a
//! step of its kind reach.

use super::{Picture, RUN, color, escaped};

/// Height of the plot, and of what stands above and below it.
const HEIGHT: f64 = 260.0;
pub(super) const TALL: f64 = HEIGHT + 80.0;
/// Powers of two of operations a byte, from left to right, and how far below the peak the plot reaches.
const INTENSITIES: [f64; 2] = [-4.0, 10.0];
const BELOW_PEAK: f64 = 9.0;

impl Picture<'_> {
    /// Steps as discs, as large as their time, at operations a byte and operations a second, both by powers of two.
    pub(super) fn roofline(&mut self, top: f64) {
        let [left, _, width, _] = RUN;
        let peak = self.profile.peak_gflops();
        let memory = self.profile.memory_gbytes_per_second;
        let [low, high] = INTENSITIES;
        let x_of = |intensity: f64| left + width * ((intensity.log2() - low) / (high - low)).clamp(0.0, 1.0);
        let y_of = |gflops: f64| top + HEIGHT * ((peak / gflops).log2() / BELOW_PEAK).clamp(-0.05, 1.0);
        self.label([left, top - 12.0], "start", "what memory and the multiplier allow, and what each step reaches");
        for power in low as i32..=high as i32 {
            let x = x_of(2f64.powi(power));
            self.rect([x, top, 1.0, HEIGHT], "#eee", "");
            let text = if power < 0 { format!("1/{}", 1 << -power) } else { format!("{}", 1 << power) };
            self.label([x, top + HEIGHT + 16.0], "middle", &text);
        }
        for halvings in 0..=BELOW_PEAK as i32 {
            let gflops = peak / 2f64.powi(halvings);
            self.rect([left, y_of(gflops), width, 1.0], "#eee", "");
            let digits = usize::from(gflops < 10.0);
            self.label([left - 6.0, y_of(gflops) + 4.0], "end", &format!("{gflops:.digits$}"));
        }
        // The slope leaves the plot at its bottom or at its left.
        let foot = (peak / 2f64.powf(BELOW_PEAK) / memory).max(2f64.powf(low));
        let points = [foot, peak / memory, 2f64.powf(high)].map(|x| (x_of(x), y_of((x * memory).min(peak))));
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let points = points.join(" ");
        self.line(format_args!("<polyline points=\"{points}\" fill=\"none\" stroke=\"#222\" stroke-width=\"1.5\"/>"));
        let sum = self.profile.sum_microseconds();
        for step in self.profile.steps.iter().filter(|s| s.multiply_adds > 0 && s.bytes > 0) {
            let intensity = 2.0 * step.multiply_adds as f64 / step.bytes as f64;
            let (x, y) = (x_of(intensity), y_of(step.gflops()));
            let radius = 3.0 + 40.0 * (step.microseconds / sum).sqrt() / 2.0;
            let (told, fill) = (escaped(&self.told(step)), color(step.kernel));
            self.line(format_args!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"{fill}\" fill-opacity=\"0.6\"><title>{told}, \
                 {intensity:.1} operations a byte</title></circle>"
            ));
        }
        let text = format!(
            "operations a byte read and written, weights included; the slope: memory copied at {memory:.1} GB/s, the flat: \
             {peak:.1} GFLOP/s; above the slope: data in the cache"
        );
        self.label([left, top + HEIGHT + 34.0], "start", &text);
    }
}
