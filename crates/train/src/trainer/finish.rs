//! What follows an epoch's last step, and the run's.

use super::{MODEL, Trainer};
use crate::calibrate::{Calibrated, Photos, calibrate};
use crate::checkpoint::Best;
use crate::error::Error;
use crate::evaluate::Evaluation;
use crate::kept::Kept;
use crate::program::TrainProgram;
use crate::reestimate::reestimate;

impl Trainer {
    /// What follows an epoch's last step: a checkpoint, and figures of the weights as they are then.
    pub(super) fn finish_epoch(&mut self, [steps, end]: [u64; 2]) -> Result<Option<Evaluation>, Error> {
        if self.position.steps_of(steps) < end || self.position.step_in_epoch >= steps {
            self.position.epoch += u64::from(self.position.step_in_epoch > 0);
            self.position.step_in_epoch = 0;
        }
        self.expect_numbers()?;
        if self.position.steps_of(steps) >= end {
            self.reestimate()?;
        }
        // Evaluation may take long, and may be stopped.
        self.save()?;
        let validation = self.evaluate_together()?;
        self.position.lacks_evaluation = false;
        let is_best = self.compare(validation);
        self.save_with(validation, is_best)?;
        Ok(validation)
    }

    /// Remembers the best evaluation, and says whether this is it.
    pub(super) fn compare(&mut self, validation: Option<Evaluation>) -> bool {
        let Some(Evaluation { top1, mean_average_precision, loss, .. }) = validation else { return false };
        let score = top1.or(mean_average_precision).unwrap_or_default();
        let is_best = self.position.best.is_none_or(|best| (score, -loss) > (best.score, -best.loss));
        if is_best {
            self.position.best = Some(Best { score, loss, epoch: self.position.epoch });
        }
        is_best
    }

    /// Calibrates the network's file, where the recipe wants it and there are photos for it.
    pub(super) fn calibrate(&self) -> Result<Option<Calibrated>, Error> {
        let Some((refused, validation)) = self.recipe.refused.zip(self.validation.as_ref()) else { return Ok(None) };
        calibrate(
            &self.folder.join(MODEL),
            &Photos { train: self.loader.dataset(), validation, reading: self.reading() },
            refused,
            &self.samples,
            &self.machine,
        )
    }

    /// Whether the last epochs have brought nothing better.
    pub(super) fn is_out_of_patience(&self) -> bool {
        let Some((patience, best)) = self.recipe.patience.zip(self.position.best) else { return false };
        !self.position.lacks_evaluation && self.position.epoch.saturating_sub(best.epoch) as f64 >= patience
    }

    /// Estimates batch norm's statistics under the weights that count, where the recipe wants it.
    fn reestimate(&mut self) -> Result<(), Error> {
        let batches = self.recipe.bn_reestimate.div_ceil(self.recipe.batch);
        if batches == 0 {
            return Ok(());
        }
        // A program there and back takes as much memory as training does: one at a time.
        self.arena = Kept::none();
        self.loader.set_options(self.recipe.estimation_photos(self.machine.pool.threads()));
        let photos = self.loader.epoch(self.position.epoch, 0).take(batches);
        let Some(average) = &mut self.average else {
            self.program.alone(|program| reestimate(program, photos, &self.machine.pool))?;
            return Ok(());
        };
        let mut averaged = TrainProgram::compile(self.program.graph(), &average.params(), self.program.options)?;
        reestimate(&mut averaged, photos, &self.machine.pool)?;
        average.set_statistics(averaged.values());
        Ok(())
    }
}
