//! What became of the photos: shown while they are classified, and said at the end.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::Failure;
use crate::print::NAMED;

/// Photos whose rate is worth a line.
const MANY: usize = 10;

/// Counts photos, and keeps the first reasons why some failed.
pub struct Tally {
    bar: ProgressBar,
    start: Instant,
    done: usize,
    failed: usize,
    /// What is said at the end of the first that failed.
    reasons: Vec<String>,
    /// Whether failures are said as they come, because nobody knows when the end is.
    is_endless: bool,
}

impl Tally {
    /// For `photos`, or for any number where it is not known.
    pub fn new(photos: Option<usize>) -> Tally {
        // Hides itself where standard error is no terminal.
        let bar = photos.filter(|&photos| photos > 1).map_or_else(ProgressBar::hidden, |n| ProgressBar::new(n as u64));
        let style = "{bar:30} {pos} of {len} photos  {per_sec}  {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
        Tally { bar, start: Instant::now(), done: 0, failed: 0, reasons: Vec::new(), is_endless: photos.is_none() }
    }

    /// Whether photos come until somebody ends it.
    pub fn is_endless(&self) -> bool {
        self.is_endless
    }

    /// Does what prints, beside the progress bar.
    pub fn beside<R>(&self, print: impl FnOnce() -> R) -> R {
        // To redraw the bar takes longer than to print a line elsewhere.
        if std::io::stdout().is_terminal() { self.bar.suspend(print) } else { print() }
    }

    /// Counts a photo that was classified.
    pub fn done(&mut self) {
        self.done += 1;
        self.bar.inc(1);
    }

    /// Counts a photo, or a path that means none, that failed.
    pub fn failed(&mut self, path: &Path, reason: &str) {
        self.failed += 1;
        self.bar.inc(1);
        let reason = format!("{}: {reason}", path.display());
        if self.is_endless {
            note!("error: {reason}");
        } else if self.reasons.len() < NAMED {
            self.reasons.push(reason);
        }
    }

    /// Says what failed, and how fast the rest was; how the command ends if nothing stopped it.
    pub fn end(&self) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        self.reasons.iter().for_each(|reason| note!("error: {reason}"));
        if !self.is_endless && self.failed > self.reasons.len() {
            note!("error: and {} more", self.failed - self.reasons.len());
        }
        let (done, failed) = (self.done, self.failed);
        if failed > 0 && done + failed >= MANY {
            note!("{failed} of {} inputs failed", done + failed);
        }
        let seconds = self.start.elapsed().as_secs_f64();
        if done >= MANY && !self.is_endless {
            note!("{done} photos in {seconds:.1} s: {:.1} photos/s", done as f64 / seconds);
        }
        match (done, failed) {
            (_, 0) => Ok(()),
            _ if self.is_endless => Err(Failure::Some),
            (0, 1) => Err(Failure::Reported),
            (0, _) => Err(Failure::bad(format!("none of {failed} inputs could be classified"))),
            (_, _) => Err(Failure::Some),
        }
    }
}
