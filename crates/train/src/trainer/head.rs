//! The classifier learned before everything else.

use std::ops::ControlFlow;
use std::time::Instant;

use mobilenet_data::Loader;

use super::{Control, Event, Origin, Trainer, average};
use crate::error::Error;
use crate::features::Features;
use crate::head::{self, CLASSIFIER};
use crate::objective::Objective;
use crate::optim::named;
use crate::recipe::Recipe;

/// Photos whose features are kept where all layers learn afterwards: more would tell the classifier little, and wait long.
const PHOTOS: usize = 10_000;

impl Trainer {
    /// Learns the classifier first, where the recipe wants it and the weights to begin with lack nothing else.
    pub(super) fn learn_head(&mut self, watch: &mut dyn FnMut(&Event) -> Control) -> Result<ControlFlow<()>, Error> {
        let lacks_classifier = match &self.origin {
            Origin::File { fresh, .. } => fresh.iter().all(|name| name.starts_with(CLASSIFIER)) && !fresh.is_empty(),
            _ => false,
        };
        if !self.recipe.head_first || !lacks_classifier || self.position.step > 0 {
            return Ok(ControlFlow::Continue(()));
        }
        let begin = Instant::now();
        self.loader.set_options(self.recipe.estimation_photos(self.machine.pool.threads()));
        let all = self.loader.dataset().len();
        let most = if self.recipe.epochs == 0.0 { all } else { all.min(PHOTOS) };
        let Some(train) = self.features(&self.loader, most, watch)? else { return Ok(ControlFlow::Break(())) };
        let validation = match &self.validation {
            Some(loader) => match self.features(loader, loader.dataset().len(), watch)? {
                Some(features) => Some(features),
                None => return Ok(ControlFlow::Break(())),
            },
            None => None,
        };
        let recipe = Recipe { label_smoothing: 0.0, teacher: None, ..self.recipe.clone() };
        let mut objective = Objective::new(&recipe, self.loader.dataset(), self.machine.isa)?;
        let seed = self.recipe.seed;
        let learned = head::learn(&train, validation.as_ref(), &mut objective, seed, &self.machine)?;
        let mut params = self.program.params();
        params.tensors.extend(learned.tensors());
        self.program.set_values(named("", &params.tensors, self.program.parameters())?);
        self.average = average(&self.recipe, &self.program);
        let (validation, seconds) = (self.evaluate()?, begin.elapsed().as_secs_f64());
        self.position.lacks_evaluation = self.recipe.epochs == 0.0;
        let event = Event::Head { photos: train.photos(), validation, seconds };
        Ok(if watch(&event) == Control::Stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// The features of a loader's first photos; none where `watch` said to stop.
    fn features(
        &self,
        loader: &Loader,
        of: usize,
        watch: &mut dyn FnMut(&Event) -> Control,
    ) -> Result<Option<Features>, Error> {
        let mut watch = |done: usize| match watch(&Event::Features { done: done.min(of), of }) {
            Control::Stop => ControlFlow::Break(()),
            Control::Continue => ControlFlow::Continue(()),
        };
        Features::of(self.program.graph(), self.program.params(), loader, of, &self.machine, &mut watch)
    }
}
