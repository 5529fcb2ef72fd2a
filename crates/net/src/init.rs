//! Fresh weights.

use crate::graph::{Graph, Role};
use crate::tensor::{Params, Tensor};

/// Weights that `seed` determines: uniform with He's variance 2 / fan-in (arXiv 1502.01852), batch norms that change
/// nothing, no biases. Good for measuring and as a start for training.
pub fn random(graph: &Graph, seed: u64) -> Params {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    // Marsaglia's xorshift64: plenty for weights that nobody draws conclusions from.
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let mut params = Params::default();
    for parameter in graph.parameters() {
        let len = parameter.shape.iter().product();
        let values = match parameter.role {
            Role::Weight => {
                let fan_in: usize = parameter.shape[1..].iter().product();
                let bound = (6.0 / fan_in as f32).sqrt();
                (0..len).map(|_| next() * bound).collect()
            }
            Role::Gamma | Role::Variance => vec![1.0; len],
            Role::Bias | Role::Beta | Role::Mean => vec![0.0; len],
        };
        params.tensors.insert(parameter.name, Tensor::from_f32(&parameter.shape, values));
    }
    params
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{self, Spec};

    #[test]
    fn a_seed_determines_weights_of_hes_variance() {
        let graph = arch::find("mobilenet_v2").unwrap().graph(&Spec { width: 0.35, ..Spec::default() }).unwrap();
        let params = random(&graph, 1);
        assert_eq!(params, random(&graph, 1));
        assert_ne!(params, random(&graph, 2));
        let classifier = params.tensors["classifier.weight"].clone().into_f32();
        let variance = classifier.iter().map(|w| w * w).sum::<f32>() / classifier.len() as f32;
        assert!((variance * 1280.0 / 2.0 - 1.0).abs() < 0.02, "variance {variance}");
    }
}
