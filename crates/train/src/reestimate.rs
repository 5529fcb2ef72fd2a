//! Batch norm's population statistics, estimated anew under weights that stand still ("precise batch norm").
//!
//! Running statistics are a moving average over weights that moved meanwhile. Wu and Johnson ("Rethinking 'Batch' in
//! BatchNorm", arXiv 2105.07576, §3.1) take the mean over batches of the batches' mean and mean square instead; fvcore's
//! `update_bn_stats` does. Averaged weights need it more: no batch has ever passed through them.

use std::sync::Arc;

use mobilenet_data::Batch;
use mobilenet_kernels::Pool;

use crate::arena::TrainArena;
use crate::error::Error;
use crate::kept::Kept;
use crate::program::{Forward, Statistics, TrainProgram};

/// The batch's statistics alone, and nothing dropped.
const FORWARD: Forward = Forward { statistics: Statistics::Batch { momentum: 1.0 }, dropout: None };

/// Replaces the running mean and variance of every batch norm of `program` by those of `batches`, each normalised by its
/// own statistics: μ = E\[μ_B\] and σ² = E\[μ_B² + σ_B²\] − μ², a batch counting as much as it has photos. Returns the number
/// of photos; without any, nothing is changed.
///
/// # Errors
/// A batch that cannot be loaded, a size that the network cannot take; the statistics are lost then.
pub fn reestimate(
    program: &mut TrainProgram,
    batches: impl IntoIterator<Item = Result<Batch, mobilenet_data::Error>>,
    pool: &Arc<Pool>,
) -> Result<usize, Error> {
    let mut sums: Vec<Vec<[f64; 2]>> = Vec::new();
    let mut photos = 0;
    let mut kept = Kept::none();
    for batch in batches {
        let batch = batch?;
        let (n, [h, w]) = (batch.len(), batch.size);
        let arena = kept.of([n, h, w], |[n, h, w]| program.arena(n, h, w, pool))?;
        if photos == 0 {
            sums = clear(program);
        }
        arena.input_mut().copy_from_slice(&batch.images);
        program.forward(arena, FORWARD);
        add(program, arena, n as f64, &mut sums);
        photos += n;
    }
    if photos > 0 {
        set(program, &sums, photos as f64);
    }
    Ok(photos)
}

/// Makes all running statistics zero, so that a share of 1 leaves a batch's without rounding. A zero for each channel.
fn clear(program: &mut TrainProgram) -> Vec<Vec<[f64; 2]>> {
    let firsts: Vec<usize> = program.steps.norms.iter().map(|norm| norm.gamma).collect();
    let (values, _) = program.values_mut();
    let clear = |first: usize| {
        values[first + 2..first + 4].iter_mut().for_each(|statistic| statistic.fill(0.0));
        vec![[0.0; 2]; values[first].len()]
    };
    firsts.into_iter().map(clear).collect()
}

/// Adds the statistics that the last batch left, `weight` times.
fn add(program: &TrainProgram, arena: &TrainArena, weight: f64, sums: &mut [Vec<[f64; 2]>]) {
    for (norm, sums) in program.steps.norms.iter().zip(sums) {
        let dims = arena.dims(norm.node);
        let count = (dims.n * dims.pixels()) as f64;
        let [mean, variance] = [2, 3].map(|i| &program.values[norm.gamma + i]);
        for ((sums, &mean), &variance) in sums.iter_mut().zip(mean).zip(variance) {
            let (mean, unbiased) = (f64::from(mean), f64::from(variance));
            let biased = unbiased * (count - 1.0).max(1.0) / count;
            sums[0] += weight * mean;
            sums[1] += weight * (mean * mean + biased);
        }
    }
}

fn set(program: &mut TrainProgram, sums: &[Vec<[f64; 2]>], weight: f64) {
    let firsts: Vec<usize> = program.steps.norms.iter().map(|norm| norm.gamma).collect();
    let (values, _) = program.values_mut();
    for (first, sums) in firsts.into_iter().zip(sums) {
        for (c, sums) in sums.iter().enumerate() {
            let [mean, square] = sums.map(|sum| sum / weight);
            values[first + 2][c] = mean as f32;
            values[first + 3][c] = (square - mean * mean).max(0.0) as f32;
        }
    }
}
