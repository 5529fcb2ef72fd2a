//! The report of a run.

use mobilenet_net::load;
use mobilenet_run::Program;
use mobilenet_run::program::Options;

use super::{MODEL, Trainer};
use crate::assess::predict;
use crate::error::Error;
use crate::report::{self, Report, Sources};

impl Trainer {
    /// Assesses the network in the run's folder on the validation photos, and writes the report beside it.
    ///
    /// # Errors
    /// Where there is no network's file yet, none of the photos can be read any more, or the folder cannot be written.
    pub fn report(&self) -> Result<(), Error> {
        let loaded = load(self.folder.join(MODEL), &Default::default())?;
        let options = Options { isa: self.machine.isa, ..Options::default() };
        let program = Program::compile(&loaded.graph, loaded.params, &options)?;
        let reading = self.reading();
        let predict = |loader| predict(&program, loader, reading, &self.machine.pool);
        let predictions = self.validation.as_ref().map(predict).transpose()?;
        let photos = self.validation.as_ref().map(|loader| &**loader.dataset());
        let report = Report::gather(&Sources {
            folder: &self.folder,
            recipe: &self.recipe,
            plan: &self.plan(),
            graph: &loaded.graph,
            about: &loaded.recognised.about,
            program: &program,
            training: self.loader.dataset(),
            validation: photos.zip(predictions.as_ref()),
            unknown: None,
            machine: &self.machine,
        })?;
        report::write(&self.folder, &report)
    }
}
