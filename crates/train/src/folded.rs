//! Weights whose batch norms were folded into the layers before them, brought back to true statistics.
//!
//! Files made from inference graphs have γ = 1, mean 0 and variance 1 − ε in every batch norm: all that is left of it is
//! β. As they stand they are right. Normalised by a batch's statistics they are another network, as γ and the variance no
//! longer belong together: torchvision's V2, folded, falls from 83 % to 6 % on a sample of ImageNet. One pass over some
//! photos finds each batch norm's true mean μ and variance σ²; with γ = √(σ² + ε) and β + μ the function is what it was,
//! whether normalised by these statistics or by those of similar photos.

use mobilenet_data::Batch;
use mobilenet_net::graph::{Graph, Node, Op, Role};
use mobilenet_net::{Params, Tensor};
use mobilenet_run::Program;
use mobilenet_run::program::Options;

use crate::error::Error;
use crate::kept::Kept;
use crate::trainer::Machine;

/// Largest distance of γ, of the mean and of the variance from 1, 0 and 1: files differ in whether ε, of which the largest
/// in use is 0.001, is a part of the variance.
const TOLERANCE: f32 = 2e-3;
/// Photos that are run at once. The results of all layers are kept: 27 MB a photo for V2 at 224 pixels.
const AT_ONCE: usize = 4;

/// Whether the batch norms of `graph` hold what folding leaves: each adds its β and does nothing else, and some β is not
/// zero, as all of fresh weights are.
pub fn is_folded(graph: &Graph, params: &Params) -> bool {
    let mut has_shift = false;
    for (node, _) in norms(graph) {
        let near = |role: Role, wanted: f32| {
            values(params, node, role).is_some_and(|v| v.iter().all(|x| (x - wanted).abs() <= TOLERANCE))
        };
        if !(near(Role::Gamma, 1.0) && near(Role::Mean, 0.0) && near(Role::Variance, 1.0)) {
            return false;
        }
        has_shift |= !near(Role::Beta, 0.0);
    }
    has_shift
}

/// Gives every batch norm of `params` the mean and the (biased) variance of its input over the photos of `batches`, and
/// such γ and β that the network computes what it did. Returns the number of photos.
///
/// The function being kept, one pass sees the right input of every layer: results y of a batch norm that multiplies by
/// s = γ / √(variance + ε) have mean β′ and variance s²σ², so γ′ = √(s²σ² + s²ε).
///
/// # Errors
/// A batch that cannot be loaded, a size that the network cannot take, a missing tensor.
pub fn unfold(
    graph: &Graph,
    params: &mut Params,
    batches: impl IntoIterator<Item = Result<Batch, mobilenet_data::Error>>,
    machine: &Machine,
) -> Result<usize, Error> {
    let mut watched = graph.clone();
    let taps: Vec<String> = norms(graph).map(|(node, _)| format!("norm {}", node.name)).collect();
    let ids = graph.ids().filter(|id| matches!(graph[*id].op, Op::BatchNorm { .. }));
    watched.taps.extend(taps.iter().cloned().zip(ids));
    let options = Options { isa: machine.isa, outputs: taps.clone(), ..Options::default() };
    let program = Program::compile(&watched, params.clone(), &options)?;
    let mut sums: Vec<Sums> = norms(graph).map(|(node, _)| Sums::new(node.channels)).collect();
    let mut kept = Kept::none();
    let mut photos = 0;
    for batch in batches {
        let batch = batch?;
        let [h, w] = batch.size;
        let length = batch.images.len() / batch.len();
        for images in batch.images.chunks(AT_ONCE * length) {
            let n = images.len() / length;
            let arena = kept.of([n, h, w], |[n, h, w]| program.arena(n, h, w, &machine.pool))?;
            arena.input_mut().copy_from_slice(images);
            program.run(arena);
            for (sums, tap) in sums.iter_mut().zip(&taps) {
                sums.add(arena.output(tap).unwrap_or_default(), n);
            }
            photos += n;
        }
    }
    if photos > 0 {
        norms(graph).zip(&sums).try_for_each(|((node, epsilon), sums)| set(params, node, epsilon, sums))?;
    }
    Ok(photos)
}

/// The batch norms with their ε.
fn norms(graph: &Graph) -> impl Iterator<Item = (&Node, f32)> {
    graph.nodes.iter().filter_map(|node| match node.op {
        Op::BatchNorm { epsilon } => Some((node, epsilon)),
        _ => None,
    })
}

fn name(node: &Node, role: Role) -> String {
    format!("{}.{}", node.name, role.suffix())
}

fn values(params: &Params, node: &Node, role: Role) -> Option<Vec<f32>> {
    params.tensors.get(&name(node, role)).map(|tensor| tensor.clone().into_f32())
}

/// Sums over a batch norm's results, a value and a square a channel.
struct Sums {
    count: usize,
    of: Vec<[f64; 2]>,
}

impl Sums {
    fn new(channels: usize) -> Sums {
        Sums { count: 0, of: vec![[0.0; 2]; channels] }
    }

    /// Takes in the results of `n` images, in NCHW.
    fn add(&mut self, results: &[f32], n: usize) {
        let channels = self.of.len();
        let pixels = results.len() / n / channels;
        for (plane, values) in results.chunks_exact(pixels).enumerate() {
            let [sum, square] = &mut self.of[plane % channels];
            for &value in values {
                let value = f64::from(value);
                *sum += value;
                *square += value * value;
            }
        }
        self.count += n * pixels;
    }

    /// Mean and variance of a channel.
    fn moments(&self, channel: usize) -> (f64, f64) {
        let [mean, square] = self.of[channel].map(|sum| sum / self.count as f64);
        (mean, (square - mean * mean).max(0.0))
    }
}

/// Puts the statistics of a batch norm's input, found from its results, in place of what it has.
fn set(params: &mut Params, node: &Node, epsilon: f32, sums: &Sums) -> Result<(), Error> {
    let roles = [Role::Gamma, Role::Beta, Role::Mean, Role::Variance];
    let missing = |role| mobilenet_net::Error::Config(format!("tensor {} is missing", name(node, role)));
    let mut tensors = Vec::with_capacity(roles.len());
    for role in roles {
        tensors.push(values(params, node, role).ok_or_else(|| missing(role))?);
    }
    let [gamma, beta, mean, variance] = &mut tensors[..] else { unreachable!("four roles") };
    for c in 0..node.channels {
        let scale = f64::from(gamma[c]) / (f64::from(variance[c]) + f64::from(epsilon)).sqrt();
        let shift = f64::from(beta[c]) - f64::from(mean[c]) * scale;
        let (result_mean, result_variance) = sums.moments(c);
        mean[c] = ((result_mean - shift) / scale) as f32;
        variance[c] = (result_variance / (scale * scale)) as f32;
        gamma[c] = (scale * (f64::from(variance[c]) + f64::from(epsilon)).sqrt()) as f32;
        beta[c] = (shift + f64::from(mean[c]) * scale) as f32;
    }
    for (role, values) in roles.into_iter().zip(tensors) {
        params.tensors.insert(name(node, role), Tensor::from_f32(&[node.channels], values));
    }
    Ok(())
}
