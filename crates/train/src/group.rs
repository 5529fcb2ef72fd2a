//! Processes that train one network together: what one asks of the others.
//!
//! Each *rank* learns from its part of every batch. Sums over all ranks make batch norm's statistics, the loss and the
//! gradients those of the whole batch, so that weights stay equal everywhere and a step is that of one process.

/// Several processes, or threads that stand for them. All of them call the same methods in the same order, from one thread
/// each, and all get the same bits.
pub trait Group: Send + Sync {
    /// This process's number, from 0. The first alone writes.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// Replaces every value by its sum over all ranks. Where a rank is lost, the process ends or the call panics; it does
    /// not wait for ever.
    fn sum(&self, values: &mut [f64]);

    /// Does `work`, which [starts](Sums::start) every one of `buckets` once, in order, and may call [`Group::sum`]
    /// meanwhile; then replaces every bucket by its sum over all ranks.
    fn sum_while(&self, buckets: &mut [Vec<f32>], work: &mut dyn FnMut(&mut dyn Sums));
}

/// Sums that are under way while their process computes.
pub trait Sums {
    /// Has `fill` write the next bucket, all of it, and starts its sum.
    fn start(&mut self, fill: &mut dyn FnMut(&mut [f32]));
}

/// What every rank has, in the order of the ranks.
pub(crate) fn gather<const N: usize>(group: &dyn Group, own: [f64; N]) -> Vec<[f64; N]> {
    let mut all = vec![0.0; group.size() * N];
    all[group.rank() * N..][..N].copy_from_slice(&own);
    group.sum(&mut all);
    all.as_chunks().0.to_vec()
}
