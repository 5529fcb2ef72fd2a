//! A network with its answers on the photos.

use std::path::Path;
use std::sync::Arc;

use mobilenet::data::{Dataset, Loader, LoaderOptions, Source, Splits};
use mobilenet::net::{Loaded, Recognised};
use mobilenet::run::Labels;
use mobilenet::run::familiar::Familiar;
use mobilenet::run::program::Options;
use mobilenet::train::assess::{Reading, predict_beside};
use mobilenet::train::{self, Predictions};
use mobilenet::{Pool, Program};
use serde::Serialize;

use super::Eval;
use crate::failure::Failure;
use crate::{inputs, print};

/// How the data's classes were found among the network's.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassesBy {
    Name,
    Order,
}

/// A network's answers.
pub struct Tested {
    pub recognised: Recognised,
    pub loader: Loader,
    pub classes_by: ClassesBy,
    pub predictions: Predictions,
    familiar: Option<Familiar>,
    pub pool: Arc<Pool>,
}

impl Tested {
    /// The classes' names, one an output of the network.
    pub fn names(&self) -> &[String] {
        self.loader.dataset().classes()
    }

    /// The network's name and width.
    pub fn network(&self) -> String {
        format!("{} {:?}", self.recognised.table.name, self.recognised.spec.width)
    }

    /// Photos that could not be read.
    pub fn unreadable(&self) -> usize {
        self.loader.unreadable().len()
    }

    pub fn say_unreadable(&self) {
        say_unreadable(&self.loader);
    }
}

fn say_unreadable(loader: &Loader) {
    let messages: Vec<_> = loader.unreadable().into_iter().map(|u| u.message).collect();
    print::unreadable(&messages, loader.dataset().len());
}

impl Eval {
    /// A classifier from its file.
    pub(super) fn load(&self, weights: &Path) -> Result<Loaded, Failure> {
        let loaded = mobilenet::net::load(weights, &self.known.overrides()?)?;
        loaded.expect_classifier(weights)?;
        loaded.recognised.guesses.iter().for_each(|guess| note!("guessed {guess}"));
        Labels::guess(&loaded.recognised).iter().for_each(|guess| note!("guessed {guess}"));
        Ok(loaded)
    }

    /// Its program, which takes the weights.
    pub(super) fn compile(&self, network: &mut Loaded) -> Result<Program, Failure> {
        let mut options = Options { isa: self.run.isa()?, precision: self.precision.into(), ..Options::default() };
        if network.recognised.about.familiarity.is_some() {
            options.outputs.push(network.graph.features_tap().to_owned());
        }
        let params = std::mem::take(&mut network.params);
        Ok(Program::compile(&network.graph, params, &options)?)
    }

    /// The network's answers on photos whose classes are numbered as its outputs are.
    pub(super) fn test(
        &self,
        weights: &Path,
        network: Loaded,
        program: &Program,
        (dataset, classes_by): (Dataset, ClassesBy),
    ) -> Result<Tested, Failure> {
        let recognised = network.recognised;
        let familiar = Familiar::open(weights, &network.graph, &recognised)?;
        let options = LoaderOptions::evaluation(self.batch as usize, recognised.preprocessing);
        let loader = Loader::new(Arc::new(dataset), options);
        let pool = self.run.pool();
        let reading = Reading::of(loader.dataset(), recognised.outputs);
        let predictions = predict_beside(program, &loader, reading, familiar.as_ref(), &pool)?;
        Ok(Tested { recognised, loader, classes_by, predictions, familiar, pool })
    }

    /// Its answers on photos of classes that it does not know.
    pub(super) fn unknown(
        &self,
        tested: &Tested,
        program: &Program,
        dataset: Dataset,
    ) -> Result<Predictions, train::Error> {
        let loader = Loader::new(Arc::new(dataset), *tested.loader.options());
        let predictions =
            predict_beside(program, &loader, tested.predictions.reading(), tested.familiar.as_ref(), &tested.pool)?;
        say_unreadable(&loader);
        Ok(predictions)
    }

    /// The photos, their classes numbered as the network's outputs are.
    pub(super) fn photos(&self, weights: &Path, network: &Loaded) -> Result<(Dataset, ClassesBy), Failure> {
        let has = network.recognised.spec.classes;
        let (data, weights) = (self.data.display(), weights.display());
        if let Some(labels) = Labels::of_outputs(&network.recognised, None)? {
            let dataset = Splits::open_validation_as(&self.data, &labels)?;
            if dataset.is_by_number() {
                note!("{data} numbers its classes and does not name them: taken in the order of {weights}");
                return Ok((dataset, ClassesBy::Order));
            }
            return Ok((dataset, ClassesBy::Name));
        }
        let Splits { train, validation } = Splits::open(&self.data)?;
        let classes = train.classes().len();
        if classes != has {
            return Err(Failure::bad(format!(
                "{data}: {classes} classes, and {weights} has {has} without names: give photos of its classes, all of them"
            )));
        }
        let names = train.classes();
        let (first, last) = (&names[0], &names[has - 1]);
        note!("{weights} does not name its classes: taken in the data's order, from `{first}` to `{last}`");
        Ok((validation.unwrap_or(train), ClassesBy::Order))
    }

    /// Refuses pictures that the photos have none of, or that would replace what is read.
    pub(super) fn expect_harmless(&self, weights: &Path, dataset: &Dataset) -> Result<(), Failure> {
        if self.confusion.is_some() && dataset.has_labels() {
            return Err(train::Error::NoConfusion.into());
        }
        let pictures: Vec<_> = [&self.confusion, &self.mistakes].into_iter().flatten().cloned().collect();
        let photos = dataset.items().iter().filter_map(|item| match &item.source {
            Source::File(path) => Some(path.as_path()),
            Source::Member { .. } => None,
        });
        inputs::expect_others(pictures, photos.chain([weights, &*self.data]))
    }
}
