//! How good a network is: top-1, top-5 and loss over a data set.

use std::sync::Arc;

use mobilenet_data::{Dataset, Loader, LoaderOptions};
use mobilenet_kernels::Pool;
use mobilenet_run::Program;
use mobilenet_run::classify::top_k;
use serde::Serialize;

use crate::error::Error;
use crate::loss::{CrossEntropy, Targets};

/// Figures over a data set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Evaluation {
    /// Photos that were counted.
    pub photos: usize,
    /// Share whose class came first.
    pub top1: f64,
    /// Share whose class was among the first five.
    pub top5: f64,
    /// Mean cross-entropy.
    pub loss: f64,
}

/// Runs `program`, compiled for its logits, over all readable photos of `dataset`.
///
/// # Errors
/// Where the network cannot take the photos' size, or none can be read.
pub fn evaluate(
    program: &Program,
    dataset: &Arc<Dataset>,
    options: LoaderOptions,
    pool: &Arc<Pool>,
) -> Result<Evaluation, Error> {
    let loader = Loader::new(dataset.clone(), options);
    let [h, w] = options.preprocessing.size;
    let mut arena = program.arena(options.batch, h, w, pool)?;
    let mut sums = Evaluation::default();
    for batch in loader.epoch(0, 0) {
        let batch = batch?;
        if batch.len() != arena.input_shape().n {
            arena = program.arena(batch.len(), h, w, pool)?;
        }
        arena.input_mut().copy_from_slice(&batch.images);
        program.run(&mut arena);
        let logits = arena.output("logits").unwrap_or_default();
        let classes = logits.len() / batch.len();
        let targets: Vec<usize> = batch.targets.iter().map(|&t| t as usize).collect();
        let mut unused = vec![0.0; logits.len()];
        let loss = CrossEntropy::default().run(logits, classes, Targets::Classes(&targets), &mut unused);
        for (row, &target) in logits.chunks_exact(classes).zip(&targets) {
            let place = top_k(row, 5).iter().position(|(class, _)| *class == target);
            sums.top1 += f64::from(u8::from(place == Some(0)));
            sums.top5 += f64::from(u8::from(place.is_some()));
        }
        sums.loss += loss * batch.len() as f64;
        sums.photos += batch.len();
        loader.recycle(batch);
    }
    let n = sums.photos as f64;
    Ok(Evaluation { top1: sums.top1 / n, top5: sums.top5 / n, loss: sums.loss / n, ..sums })
}
