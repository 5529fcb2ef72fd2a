//! Shows a run's progress, writes its log, hears Ctrl-C.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use mobilenet::train::trainer::{Control, Event};

use crate::failure::Failure;
use crate::print;

/// The log in a run's folder.
const LOG: &str = "log.jsonl";
/// Steps between two lines of the log.
const LOG_EVERY: u64 = 50;

/// What a run is watched with.
pub struct Watch<'a> {
    bar: ProgressBar,
    log: File,
    path: PathBuf,
    /// Whether the user knows that the log cannot be written.
    has_warned: bool,
    json: bool,
    stop: &'a AtomicBool,
    epochs: f64,
    steps: u64,
    /// What the last evaluation found.
    figures: String,
}

impl Watch<'_> {
    pub fn new<'a>(folder: &Path, json: bool, stop: &'a AtomicBool, epochs: f64) -> Result<Watch<'a>, Failure> {
        let path = folder.join(LOG);
        let log = open(&path).map_err(|e| Failure::bad(format!("{}: cannot be written: {e}", path.display())))?;
        let bar = if json { ProgressBar::hidden() } else { ProgressBar::new(10_000) };
        bar.set_style(ProgressStyle::with_template("{bar:30} {msg}").expect("a valid template"));
        Ok(Watch { bar, log, path, has_warned: false, json, stop, epochs, steps: 0, figures: String::new() })
    }

    /// Takes the progress bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Shows and logs what happens.
    pub fn event(&mut self, event: &Event) -> Control {
        let printed = match event {
            Event::Start(plan) => {
                self.write(event);
                note!("{plan}");
                if self.json { print::json(event) } else { Ok(()) }
            }
            Event::Unfolded { photos } => {
                self.write(event);
                note!(
                    "the weights' batch norms were folded: their statistics are now those of {photos} training photos, and \
                     the network computes what it did"
                );
                if self.json { print::json(event) } else { Ok(()) }
            }
            Event::Step { epoch, loss, top1, images_per_second, seconds_left, .. } => {
                self.steps += 1;
                self.bar.set_position((epoch / self.epochs * 10_000.0) as u64);
                let left = HumanDuration(Duration::from_secs_f64(seconds_left.max(0.0)));
                self.bar.set_message(format!(
                    "epoch {epoch:.1} of {}  loss {loss:.3}  top-1 {:.1} %{}  {images_per_second:.0} images/s  {left} left",
                    self.epochs,
                    100.0 * top1,
                    self.figures
                ));
                if self.steps % LOG_EVERY == 1 {
                    self.write(event);
                }
                Ok(())
            }
            Event::Epoch { epoch, training_loss, training_top1, validation, seconds } => {
                self.write(event);
                let loss = training_loss.map_or(String::new(), |loss| format!("  training loss {loss:.3}"));
                let top1 = training_top1.map_or(String::new(), |top1| format!(", top-1 {:.1} %", 100.0 * top1));
                let figures = validation.map_or(String::new(), |figures| format!("  validation {figures}"));
                self.figures.clone_from(&figures);
                let decimals = if epoch.fract() == 0.0 { 0 } else { 2 };
                let line = format!("epoch {epoch:.decimals$}{loss}{top1}{figures}  {seconds:.0} s in all");
                if self.json { print::json(event) } else { self.bar.suspend(|| print::line(line)) }
            }
        };
        if printed.is_err() || self.stop.load(Ordering::Relaxed) { Control::Stop } else { Control::Continue }
    }

    /// A line of the log. A full disk must not end the training.
    fn write(&mut self, event: &Event) {
        let line = serde_json::to_string(event).expect("numbers and names are JSON") + "\n";
        let before = self.log.metadata().map(|file| file.len());
        // At once, so that a run that is killed leaves no half of a line.
        let Err(e) = self.log.write_all(line.as_bytes()) else { return };
        // Nor does a disk that is full for a while.
        if let Ok(before) = before {
            _ = self.log.set_len(before);
        }
        if !std::mem::replace(&mut self.has_warned, true) {
            self.bar.suspend(|| note!("warning: {}: cannot be written: {e}", self.path.display()));
        }
    }
}

/// Opens a log to be appended to, and ends the line that a full disk may have cut short.
fn open(path: &Path) -> io::Result<File> {
    let mut log = File::options().create(true).read(true).append(true).open(path)?;
    let found = log.metadata()?;
    if found.is_file() && found.len() > 0 {
        let mut last = [0];
        log.seek(SeekFrom::End(-1))?;
        log.read_exact(&mut last)?;
        if last != *b"\n" {
            log.write_all(b"\n")?;
        }
    }
    Ok(log)
}
