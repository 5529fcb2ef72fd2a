//! Shows a run's progress, hears Ctrl-C.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use mobilenet::train::Log;
use mobilenet::train::calibrate::Calibrated;
use mobilenet::train::trainer::{Control, Event};

use crate::failure::Failure;
use crate::print;

/// What a run is watched with.
pub struct Watch<'a> {
    bar: ProgressBar,
    log: Log,
    json: bool,
    stop: &'a AtomicBool,
    epochs: f64,
    /// What the last evaluation found.
    figures: String,
}

/// Watches for a process that others speak for: it hears Ctrl-C.
pub fn silent(stop: &AtomicBool) -> Control {
    if stop.load(Ordering::Relaxed) { Control::Stop } else { Control::Continue }
}

impl Watch<'_> {
    pub fn new<'a>(folder: &Path, json: bool, stop: &'a AtomicBool, epochs: f64) -> Result<Watch<'a>, Failure> {
        let log = Log::open(folder)?;
        let bar = if json { ProgressBar::hidden() } else { ProgressBar::new(10_000) };
        bar.set_style(ProgressStyle::with_template("{bar:30} {msg}").expect("a valid template"));
        Ok(Watch { bar, log, json, stop, epochs, figures: String::new() })
    }

    /// Takes the progress bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Shows and logs what happens.
    pub fn event(&mut self, event: &Event) -> Control {
        for warning in self.log.write(event) {
            self.bar.suspend(|| note!("warning: {warning}"));
        }
        let printed = match event {
            Event::Start(plan) => {
                note!("{plan}");
                if self.json { print::json(event) } else { Ok(()) }
            }
            Event::Unfolded { photos } => {
                note!(
                    "the weights' batch norms were folded: their statistics are now those of {photos} training photos, and \
                     the network computes what it did"
                );
                if self.json { print::json(event) } else { Ok(()) }
            }
            Event::Features { done, of } => {
                self.bar.set_position((*done as f64 / *of as f64 * 10_000.0) as u64);
                self.bar.set_message(format!("features of {done} of {of} photos for the classifier"));
                Ok(())
            }
            Event::Head { photos, validation, seconds } => {
                let figures = validation.map_or(String::new(), |figures| format!("  validation {figures}"));
                let line = format!("classifier learned on the features of {photos} photos{figures}  {seconds:.0} s");
                if self.json { print::json(event) } else { self.bar.suspend(|| print::line(line)) }
            }
            Event::Calibrated(Calibrated { temperature, error_before, error, threshold, familiarity, refused }) => {
                let line = format!(
                    "calibrated on the validation photos: error {error:.3} ({error_before:.3} before, temperature \
                     {temperature:.2}); below {:.1} % or a similarity of {familiarity:.2} the answer is \
                     'unknown', of {:.1} % and {:.1} % of them",
                    100.0 * threshold,
                    100.0 * refused[0],
                    100.0 * refused[1]
                );
                if self.json { print::json(event) } else { self.bar.suspend(|| print::line(line)) }
            }
            Event::Uncalibrated { reason } => {
                self.bar.suspend(|| note!("warning: the network is not calibrated: {reason}"));
                if self.json { print::json(event) } else { Ok(()) }
            }
            Event::Step { epoch, loss, top1, images_per_second, seconds_left, .. } => {
                self.bar.set_position((epoch / self.epochs * 10_000.0) as u64);
                let left = HumanDuration(Duration::from_secs_f64(seconds_left.max(0.0)));
                self.bar.set_message(format!(
                    "epoch {epoch:.1} of {}  loss {loss:.3}  top-1 {:.1} %{}  {images_per_second:.0} images/s  {left} left",
                    self.epochs,
                    100.0 * top1,
                    self.figures
                ));
                Ok(())
            }
            Event::Epoch { epoch, training_loss, training_top1, validation, seconds } => {
                let loss = training_loss.map_or(String::new(), |loss| format!("  training loss {loss:.3}"));
                let top1 = training_top1.map_or(String::new(), |top1| format!(", top-1 {:.1} %", 100.0 * top1));
                let figures = validation.map_or(String::new(), |figures| format!("  validation {figures}"));
                self.figures.clone_from(&figures);
                let decimals = if epoch.fract() == 0.0 { 0 } else { 2 };
                let line = format!("epoch {epoch:.decimals$}{loss}{top1}{figures}  {seconds:.0} s in all");
                if self.json { print::json(event) } else { self.bar.suspend(|| print::line(line)) }
            }
        };
        if printed.is_err() { Control::Stop } else { silent(self.stop) }
    }
}
