//! All of an interrupted training in one safetensors file: going on from it gives the same bits as not stopping.
//!
//! Tensors: the network's parameters under the graph's names, `optimizer.…` and `average.…`. Everything else is text in
//! the metadata, counters and random states as decimals, so that no 64-bit number passes through a float.

mod file;
mod network;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mobilenet_net::file as files;
use mobilenet_net::{Error, Tensor, weights};

pub use network::Network;

/// The newest checkpoint of a folder.
pub const NEWEST: &str = "checkpoint.safetensors";
/// The one before.
pub const PREVIOUS: &str = "checkpoint.previous.safetensors";
/// A whole checkpoint that is about to become the newest.
const NEXT: &str = "checkpoint.next.safetensors";

/// Where training stands. Random numbers follow from the recipe's seed and from these counters alone, so that generators
/// have no state of their own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Position {
    /// Epochs completed.
    pub epoch: u64,
    /// Steps made in the present epoch.
    pub step_in_epoch: u64,
    /// Steps made in all.
    pub step: u64,
    /// Steps of the optimizer: [`Optimizer::steps`](crate::optim::Optimizer::steps).
    pub optimizer_steps: u64,
    /// Updates of the average: [`Average::updates`](crate::average::Average::updates).
    pub average_updates: u64,
    /// Whether there are steps behind the last evaluation.
    pub lacks_evaluation: bool,
    /// Whether the classifier is still to be learned first.
    pub lacks_classifier: bool,
    /// The best evaluation so far.
    pub best: Option<Best>,
}

/// An evaluation that the next ones must exceed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// Top-1, or mean average precision.
    pub score: f64,
    /// The loss, which decides between equals.
    pub loss: f64,
    /// Epochs that were complete.
    pub epoch: u64,
}

impl Position {
    /// Steps that lie behind in epochs of `batches` steps each.
    pub fn steps_of(&self, batches: u64) -> u64 {
        self.epoch.saturating_mul(batches).saturating_add(self.step_in_epoch)
    }
}

/// A moment of training.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Whose weights these are.
    pub network: Network,
    /// The network's parameters by the graph's names, statistics included.
    pub weights: BTreeMap<String, Tensor>,
    /// [`Optimizer::state`](crate::optim::Optimizer::state).
    pub optimizer: BTreeMap<String, Tensor>,
    /// [`Average::state`](crate::average::Average::state); empty where nothing is averaged.
    pub average: BTreeMap<String, Tensor>,
    /// Where training stands.
    pub position: Position,
    /// The recipe, as TOML.
    pub recipe: String,
    /// Names of the classes, in the order of the outputs.
    pub classes: Vec<String>,
    /// What else the trainer keeps, by name; the names must not be those of this file's own entries.
    pub extra: BTreeMap<String, String>,
}

/// A checkpoint that was found in a folder.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it holds.
    pub checkpoint: Checkpoint,
    /// Its file.
    pub path: PathBuf,
    /// What the user should know: that the newest one could not be read.
    pub notice: Option<String>,
}

impl Checkpoint {
    /// Makes this the newest checkpoint of `folder` and the newest so far the previous one. The new file is whole and on
    /// the disk before either is renamed: whenever the program stops, at least one good checkpoint is there.
    ///
    /// # Errors
    /// [`Error::Write`] where the disk is full or the folder read-only; older checkpoints are untouched then.
    pub fn save(self, folder: &Path) -> Result<(), Error> {
        let [newest, previous, next] = [NEWEST, PREVIOUS, NEXT].map(|name| folder.join(name));
        fs::create_dir_all(folder).map_err(Error::write(folder))?;
        weights::save(&next, &file::write(self))?;
        match files::rename(&newest, &previous) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::write(&previous)(error)),
            _ => files::rename(&next, &newest).map_err(Error::write(&newest)),
        }
    }

    /// Whether `folder` holds a checkpoint, whole or not.
    pub fn is_in(folder: &Path) -> bool {
        [NEWEST, NEXT, PREVIOUS].iter().any(|name| folder.join(name).exists())
    }

    /// The newest checkpoint of `folder` that is whole.
    ///
    /// # Errors
    /// The newest one's, where none can be read.
    pub fn load(folder: &Path) -> Result<Found, Error> {
        let mut first = None;
        // NEXT is there where the program stopped between the two renames of `save`.
        for path in [NEWEST, NEXT, PREVIOUS].map(|name| folder.join(name)) {
            match Checkpoint::open(&path) {
                Ok(checkpoint) => {
                    let notice = first.map(|error: Error| format!("{error}; going on from {}", path.display()));
                    return Ok(Found { checkpoint, path, notice });
                }
                Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => _ = first.get_or_insert(error),
            }
        }
        Err(first.unwrap_or_else(|| Error::format(&folder.join(NEWEST), "there is no checkpoint to go on from")))
    }

    /// Reads one file.
    ///
    /// # Errors
    /// Where it is missing, damaged or no checkpoint.
    pub fn open(path: &Path) -> Result<Checkpoint, Error> {
        file::read(path, weights::open_where(path, |_| true)?)
    }

    /// Refuses a checkpoint, read from `path`, of any other network than `wanted`.
    ///
    /// # Errors
    /// [`Error::Format`], naming what differs.
    pub fn expect(&self, wanted: &Network, path: &Path) -> Result<(), Error> {
        match self.network.difference(wanted) {
            None => Ok(()),
            Some((has, needs)) => Err(Error::format(
                path,
                format!(
                    "the checkpoint is of {has}, and {needs} is to be trained: begin another run in another folder (-o)"
                ),
            )),
        }
    }
}
