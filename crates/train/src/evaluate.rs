//! How good a network is: top-1, top-5 and loss over a data set.

use std::sync::Arc;

use mobilenet_data::Loader;
use mobilenet_kernels::Pool;
use mobilenet_run::Program;
use mobilenet_run::classify::top_k;
use serde::Serialize;

use crate::error::Error;
use crate::loss::{CrossEntropy, Targets};

/// How many of the likeliest classes the second figure looks at.
const FIVE: usize = 5;

/// Figures over a data set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Evaluation {
    /// Photos that were counted.
    pub photos: usize,
    /// Share whose class came first.
    pub top1: f64,
    /// Share whose class was among the first five; none where there are no more classes than that.
    pub top5: Option<f64>,
    /// Mean cross-entropy.
    pub loss: f64,
}

/// Runs `program`, compiled for its logits, over all readable photos of `loader`, which is made for evaluation.
///
/// # Errors
/// Where the network cannot take the photos' size, or none can be read.
pub fn evaluate(program: &Program, loader: &Loader, pool: &Arc<Pool>) -> Result<Evaluation, Error> {
    let [h, w] = loader.options().preprocessing.size;
    let mut arena = program.arena(loader.options().batch, h, w, pool)?;
    let (mut photos, mut first, mut among, mut total) = (0, 0, 0, 0.0);
    let mut classes = 0;
    for batch in loader.epoch(0, 0) {
        let batch = batch?;
        if batch.len() != arena.input_shape().n {
            arena = program.arena(batch.len(), h, w, pool)?;
        }
        arena.input_mut().copy_from_slice(&batch.images);
        program.run(&mut arena);
        let logits = arena.output("logits").unwrap_or_default();
        classes = logits.len() / batch.len();
        let targets: Vec<usize> = batch.targets.iter().map(|&t| t as usize).collect();
        let mut unused = vec![0.0; logits.len()];
        let loss = CrossEntropy::default().run(logits, classes, Targets::Classes(&targets), &mut unused);
        for (row, &target) in logits.chunks_exact(classes).zip(&targets) {
            let place = top_k(row, FIVE).iter().position(|(class, _)| *class == target);
            first += usize::from(place == Some(0));
            among += usize::from(place.is_some());
        }
        total += loss * batch.len() as f64;
        photos += batch.len();
        loader.recycle(batch);
    }
    let share = |count: usize| count as f64 / photos as f64;
    let top5 = (classes > FIVE).then(|| share(among));
    Ok(Evaluation { photos, top1: share(first), top5, loss: total / photos as f64 })
}
