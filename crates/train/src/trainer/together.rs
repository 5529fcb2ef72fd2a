//! What a trainer does where a group learns together: only the first rank writes and checks, and all of them begin alike,
//! stop alike and see the same figures.

use mobilenet_data::{LoaderOptions, Part};
use mobilenet_net::hash::Hash;

use super::{Control, Ended, Event, Machine, Trainer};
use crate::error::Error;
use crate::evaluate::Evaluation;
use crate::group::{Group, gather};
use crate::recipe::Recipe;

impl Machine {
    /// Processes that learn together; 1 without a group.
    pub fn ranks(&self) -> usize {
        self.group.as_ref().map_or(1, |group| group.size())
    }

    /// Whether this is the process that writes.
    pub fn is_first(&self) -> bool {
        self.group.as_ref().is_none_or(|group| group.rank() == 0)
    }

    /// This rank's part of every batch.
    pub(super) fn part_of(&self, batches: LoaderOptions) -> LoaderOptions {
        let part = self.group.as_ref().map_or(Part::WHOLE, |group| Part { index: group.rank(), of: group.size() });
        LoaderOptions { part, ..batches }
    }

    /// Refuses what a group cannot do.
    ///
    /// # Errors
    /// [`Error::HeadOfRanks`].
    pub(super) fn expect_possible(&self, recipe: &Recipe) -> Result<(), Error> {
        if recipe.head_first && self.ranks() > 1 { Err(Error::HeadOfRanks) } else { Ok(()) }
    }

    /// Whoever of the ranks wants to stop: then all stop, at the same event.
    pub(super) fn agree(&self, own: Control) -> Control {
        let Some(group) = &self.group else { return own };
        let mut stops = [f64::from(own == Control::Stop)];
        group.sum(&mut stops);
        if stops == [0.0] { Control::Continue } else { Control::Stop }
    }
}

impl Trainer {
    /// Refuses ranks that would compute something else than the first one.
    ///
    /// # Errors
    /// [`Error::Ranks`], the same on all of them.
    pub(super) fn expect_alike(&self) -> Result<(), Error> {
        let Some(group) = &self.machine.group else { return Ok(()) };
        let mut weights = Hash::default();
        weights.tensors(&self.params().tensors);
        weights.tensors(&self.program.params().tensors);
        weights.tensors(&self.optimizer.state());
        let things = [
            ("program version", hash(env!("CARGO_PKG_VERSION"))),
            ("recipe", hash(&self.recipe.to_toml())),
            (
                "photos, names or sizes of photos, classes, or instruction set",
                hash(&format!("{:?} {:?}", self.extra, self.classes)),
            ),
            ("place in the training", hash(&format!("{:?}", self.position))),
            ("weights", weights.get()),
        ];
        for (what, hash) in things {
            // Halves, which doubles hold exactly.
            let all = gather(&**group, [(hash >> 32) as f64, f64::from(hash as u32)]);
            if let Some(rank) = all.iter().position(|other| *other != all[0]) {
                return Err(Error::Ranks { rank, what });
            }
        }
        Ok(())
    }

    /// Calibrates the network's file on the first rank, whose `watch` alone is told of it; the others wait.
    pub(super) fn calibrate_together(&self, watch: &mut dyn FnMut(&Event) -> Control) -> Ended {
        let calibrated = if self.machine.is_first() { self.calibrate() } else { Ok(None) };
        let own = match calibrated {
            Ok(calibrated) => calibrated.map_or(Control::Continue, |calibrated| watch(&Event::Calibrated(calibrated))),
            // The network is trained, and in its file.
            Err(error) => watch(&Event::Uncalibrated { reason: error.to_string() }),
        };
        if self.machine.agree(own) == Control::Stop { Ended::Stopped } else { Ended::Done }
    }

    /// The figures that the first rank finds, on all of them.
    pub(super) fn evaluate_together(&self) -> Result<Option<Evaluation>, Error> {
        let Some(group) = &self.machine.group else { return self.evaluate() };
        let found = if group.rank() == 0 { self.evaluate()? } else { None };
        Ok(share(&**group, found))
    }
}

/// Figures of the first rank; the others give none.
fn share(group: &dyn Group, own: Option<Evaluation>) -> Option<Evaluation> {
    let is_there = |figure: Option<f64>| [f64::from(figure.is_some()), figure.unwrap_or(0.0)];
    let mut all = [0.0; 9];
    if let Some(Evaluation { photos, top1, top5, mean_average_precision, loss }) = own {
        all[..3].copy_from_slice(&[1.0, photos as f64, loss]);
        let figures = [top1, top5, mean_average_precision].map(is_there);
        all[3..].copy_from_slice(figures.as_flattened());
    }
    group.sum(&mut all);
    let figure = |at: usize| (all[at] > 0.0).then_some(all[at + 1]);
    (all[0] > 0.0).then(|| Evaluation {
        photos: all[1] as usize,
        loss: all[2],
        top1: figure(3),
        top5: figure(5),
        mean_average_precision: figure(7),
    })
}

fn hash(text: &str) -> u64 {
    let mut hash = Hash::default();
    hash.bytes(text.as_bytes());
    hash.get()
}
