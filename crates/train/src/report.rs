//! `report.html`: what a run gave, as one page that needs neither a network nor a program but a browser.

mod assessment;
mod calibration;
mod card;
mod chart;
mod classes;
mod curves;
mod gather;
mod page;
mod pictures;
#[cfg(test)]
mod tests;
mod text;

use std::path::Path;

use mobilenet_net::file;

use crate::error::Error;
use crate::log::history::History;

pub use assessment::{Answered, Assessment};
pub use card::{Card, Latency};
pub use gather::Sources;
pub use pictures::{Mistaken, Picture};

/// The report in a run's folder.
pub const REPORT: &str = "report.html";

/// All that a report shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The run's name.
    pub name: String,
    /// The day of the report, as 2026-11-27.
    pub date: String,
    /// The network, what it was made of, and what it costs.
    pub card: Card,
    /// Losses and accuracies by epoch.
    pub history: History,
    /// How good the network is on the validation photos, where there are any.
    pub assessment: Option<Assessment>,
    /// The wrong answers that the network is surest of.
    pub mistakes: Vec<Mistaken>,
    /// The first photos as training showed them.
    pub first_batch: Option<Picture>,
}

impl Report {
    /// The page.
    pub fn html(&self) -> String {
        page::html(self)
    }
}

/// Writes the report into a run's folder, whole or not at all.
///
/// # Errors
/// [`mobilenet_net::Error::Write`] where it cannot be written; an older one stays.
pub fn write(folder: &Path, report: &Report) -> Result<(), Error> {
    Ok(file::write(folder.join(REPORT), report.html().as_bytes())?)
}
