//! The classifier learned before everything else.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use mobilenet_data::Loader;

use super::{Control, Event, Trainer, average};
use crate::error::Error;
use crate::features::Features;
use crate::head;
use crate::objective::Objective;
use crate::optim::named;
use crate::recipe::{ClassWeights, LossKind, Recipe, Sampling};

/// Photos whose features are kept where all layers learn afterwards: more would tell the classifier little, and wait long.
const PHOTOS: usize = 10_000;

/// At most [`PHOTOS`] of the photos, from everywhere among them: they are in the order of their classes.
fn some(loader: &Loader) -> Loader {
    let all = loader.dataset().len();
    let n = all.min(PHOTOS);
    let places: Vec<usize> = (0..n).map(|i| i * all / n).collect();
    Loader::new(Arc::new(loader.dataset().only(&places)), *loader.options())
}

impl Trainer {
    /// Learns the classifier first, where the recipe wants it and the weights to begin with lack nothing else, or nothing else
    /// is to be learned.
    pub(super) fn learn_head(&mut self, watch: &mut dyn FnMut(&Event) -> Control) -> Result<ControlFlow<()>, Error> {
        let is_alone = self.recipe.epochs == 0.0;
        let is_wanted = self.recipe.head_first && (self.position.lacks_classifier || is_alone);
        if !is_wanted || self.position.step > 0 || self.position.best.is_some() {
            self.position.lacks_classifier = false;
            return Ok(ControlFlow::Continue(()));
        }
        // Whoever goes on must know with what.
        self.position.lacks_classifier = true;
        self.save()?;
        let begin = Instant::now();
        self.loader.set_options(self.recipe.estimation_photos(self.machine.pool.threads()));
        let all = self.loader.dataset().len();
        let most = if is_alone { all } else { all.min(PHOTOS) };
        let Some(train) = self.features(&self.loader, most, watch)? else { return Ok(ControlFlow::Break(())) };
        let validation = match self.validation.as_ref().map(some) {
            Some(loader) => match self.features(&loader, loader.dataset().len(), watch)? {
                Some(features) => Some(features),
                None => return Ok(ControlFlow::Break(())),
            },
            None => None,
        };
        let mut recipe = Recipe { label_smoothing: 0.0, teacher: None, ..self.recipe.clone() };
        if recipe.sampling == Sampling::Balanced && recipe.loss == LossKind::CrossEntropy {
            recipe.class_weights = ClassWeights::Balanced;
        }
        let mut objective = Objective::new(&recipe, self.loader.dataset(), &self.machine)?;
        let seed = self.recipe.seed;
        let learned = head::learn(&train, validation.as_ref(), &mut objective, seed, &self.machine)?;
        let mut params = self.program.params();
        params.tensors.extend(learned.tensors());
        self.program.set_values(named("", &params.tensors, self.program.parameters())?);
        self.average = average(&self.recipe, &self.program);
        self.position.lacks_classifier = false;
        let validation = self.evaluate()?;
        let is_best = self.compare(validation);
        self.save_with(validation, is_best)?;
        let seconds = begin.elapsed().as_secs_f64();
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
