//! What happens in a run, written into its folder: a format a file, each of its own kind.
//!
//! `log.jsonl` has every event, `log.csv` a line an epoch, and TensorBoard's event file the figures as scalars. Runs that
//! go on append to the first two and begin another event file.

mod append;
pub mod history;
mod jsonl;
mod records;
mod table;
mod tensorboard;

use std::path::Path;

use append::LogFile;
use jsonl::JsonLines;
use table::Table;
use tensorboard::TensorBoard;

use crate::error::Error;
use crate::trainer::Event;

/// Every event, as a JSON object a line.
pub const JSON_LINES: &str = "log.jsonl";
/// Every epoch, as a line of CSV.
pub const TABLE: &str = "log.csv";

/// Steps between two that are written.
const STEPS_BETWEEN: u64 = 50;

/// What a file is made of.
trait Format: Send {
    /// The bytes that an empty file begins with.
    fn beginning(&self) -> Vec<u8>;

    /// The bytes that an event adds; none where the file does not tell of it.
    fn event(&mut self, event: &Event) -> Vec<u8>;
}

/// The files that a run's events go to.
pub struct Log {
    files: Vec<LogFile>,
}

impl Log {
    /// Opens the files in a run's folder, to append to what is there.
    ///
    /// # Errors
    /// [`mobilenet_net::Error::Write`] where one of them can be neither made nor opened.
    pub fn open(folder: &Path) -> Result<Log, Error> {
        let files = vec![
            LogFile::of_lines(&folder.join(JSON_LINES), Box::new(JsonLines::default()))?,
            LogFile::of_lines(&folder.join(TABLE), Box::new(Table::default()))?,
            LogFile::of_records(&folder.join(tensorboard::name()), Box::new(TensorBoard::default()))?,
        ];
        Ok(Log { files })
    }

    /// Writes what happened. A full disk must not end a training, so that what comes back are warnings: an error for each
    /// file that cannot be written, once in a run.
    pub fn write(&mut self, event: &Event) -> Vec<Error> {
        self.files.iter_mut().filter_map(|file| file.write(event)).collect()
    }
}

/// Picks the first of every [`STEPS_BETWEEN`] steps, and all of the first few.
#[derive(Default)]
struct Thinned {
    seen: u64,
    /// The first steps that are all picked.
    first: u64,
}

impl Thinned {
    fn picks(&mut self) -> bool {
        self.seen += 1;
        self.seen <= self.first || self.seen % STEPS_BETWEEN == 1
    }
}

#[cfg(test)]
mod tests;
