//! Photos as a network's classifier sees them: one pass over the photos gives what goes into its last layer.

use std::ops::ControlFlow;

use mobilenet_data::{Loader, Target};
use mobilenet_net::{Graph, Params};
use mobilenet_run::Program;
use mobilenet_run::program::Options;

use crate::error::Error;
use crate::kept::Kept;
use crate::memory::free_bytes;
use crate::trainer::Machine;

/// The features of photos, a row each.
pub struct Features {
    /// Values of a row.
    pub len: usize,
    /// All rows, one after another.
    pub rows: Vec<f32>,
    /// What the photos show.
    pub targets: Vec<Target>,
}

impl Features {
    /// What the classifier of `graph` with `params` reads of the first `most` photos of `loader`: the hidden layer where the
    /// network has one, the pooled features otherwise. A row takes 2 to 5 kB. `watch` hears after every batch how many
    /// photos are done, and may break off: then there are none.
    ///
    /// # Errors
    /// A size that the network cannot take; photos of which none can be read; features that would take more than a quarter of the
    /// memory that is free.
    pub fn of(
        graph: &Graph,
        params: Params,
        loader: &Loader,
        most: usize,
        machine: &Machine,
        watch: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Option<Features>, Error> {
        let tap = graph.features_tap();
        let options = Options { isa: machine.isa, outputs: vec![tap.to_owned()], ..Options::default() };
        let program = Program::compile(graph, params, &options)?;
        let len = graph.find(tap).map_or(0, |node| graph[node].channels);
        let photos = most.min(loader.dataset().len());
        let bytes = (photos * len * size_of::<f32>()) as u64;
        // Whoever learns from them makes a copy of their size.
        if free_bytes().is_some_and(|free| bytes > free / 4) {
            return Err(Error::Features { photos, megabytes: bytes / 1_000_000 });
        }
        // The last batch may be beyond the wanted number.
        let rows = Vec::with_capacity((photos + loader.options().batch) * len);
        let mut features = Features { len, rows, targets: Vec::new() };
        let mut kept = Kept::none();
        let batches = most.div_ceil(loader.options().batch.max(1));
        for batch in loader.epoch(0, 0).take(batches) {
            let batch = batch?;
            let ([h, w], n) = (batch.size, batch.len());
            let arena = kept.of([n, h, w], |[n, h, w]| program.arena(n, h, w, &machine.pool))?;
            arena.input_mut().copy_from_slice(&batch.images);
            program.run(arena);
            features.rows.extend_from_slice(arena.output(tap).unwrap_or_default());
            features.targets.extend_from_slice(&batch.targets);
            loader.recycle(batch);
            if watch(features.targets.len()).is_break() {
                return Ok(None);
            }
        }
        Ok(Some(features))
    }

    /// Photos.
    pub fn photos(&self) -> usize {
        self.targets.len()
    }

    /// A photo's features.
    pub fn row(&self, photo: usize) -> &[f32] {
        &self.rows[photo * self.len..][..self.len]
    }
}
