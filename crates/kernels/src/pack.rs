//! Weights into panels: the order in which a tile reads them.
//!
//! A panel holds the weights of `panel_blocks` blocks of sixteen output channels, for each step of the sum sixteen
//! values a block, so that a tile streams through it. The last panel holds the blocks that are left. Lanes beyond the
//! last channel are zero.

use crate::aligned::AlignedBuf;
use crate::cpu::Isa;
use crate::epilogue::Activation;
use crate::isa::Tier;
use crate::layout::{LANES, blocks};

/// Packs `weight(output, step)` for `outputs` channels and `steps` steps of the sum.
pub(crate) fn panels(
    outputs: usize,
    steps: usize,
    panel_blocks: usize,
    weight: impl Fn(usize, usize) -> f32,
) -> AlignedBuf {
    let mut packed = AlignedBuf::zeroed(blocks(outputs) * LANES * steps);
    fill(&mut packed, outputs, steps, panel_blocks, weight);
    packed
}

/// As [`panels`], into panels of the same sizes.
pub(crate) fn fill(
    packed: &mut [f32],
    outputs: usize,
    steps: usize,
    panel_blocks: usize,
    weight: impl Fn(usize, usize) -> f32,
) {
    for (panel, first) in (0..blocks(outputs)).step_by(panel_blocks).enumerate() {
        let width = panel_blocks.min(blocks(outputs) - first) * LANES;
        let start = panel * panel_blocks * LANES * steps;
        for step in 0..steps {
            for lane in 0..width.min(outputs - first * LANES) {
                packed[start + step * width + lane] = weight(first * LANES + lane, step);
            }
        }
    }
}

/// Replaces a packed bias; an empty one leaves it. The lanes beyond the last channel keep their padding.
pub(crate) fn set_bias(packed: &mut [f32], outputs: usize, bias: &[f32]) {
    assert!(bias.is_empty() || bias.len() == outputs, "{} biases for {outputs} channels", bias.len());
    packed[..bias.len()].copy_from_slice(bias);
}

/// The bias of every lane, with the activation's padding beyond the last channel. An empty bias is zero.
pub(crate) fn bias(outputs: usize, bias: &[f32], activation: Activation) -> AlignedBuf {
    assert!(bias.is_empty() || bias.len() == outputs, "{} biases for {outputs} channels", bias.len());
    let mut packed = AlignedBuf::zeroed(blocks(outputs) * LANES);
    packed[..bias.len()].copy_from_slice(bias);
    packed[outputs..].fill(activation.padding_bias());
    packed
}

/// A matrix and a bias as the products of pointwise and fully connected layers read them.
pub(crate) struct Matrix {
    pub tier: &'static Tier,
    pub inputs: usize,
    pub outputs: usize,
    pub panels: AlignedBuf,
    pub bias: AlignedBuf,
    pub activation: Activation,
}

impl Matrix {
    /// Packs `weights` (outputs×inputs, row-major) and `bias` (empty for none).
    pub fn new(
        isa: Isa,
        inputs: usize,
        outputs: usize,
        weights: &[f32],
        bias: &[f32],
        activation: Activation,
    ) -> Matrix {
        assert_eq!(weights.len(), inputs * outputs, "weights of {outputs}×{inputs}");
        let tier = Tier::of(isa);
        let panels = panels(outputs, inputs, tier.panel_blocks, |o, i| weights[o * inputs + i]);
        Matrix { tier, inputs, outputs, panels, bias: self::bias(outputs, bias, activation), activation }
    }

    /// Replaces the weights (outputs×inputs, row-major) and the bias (empty to leave it), in place.
    pub fn set(&mut self, weights: &[f32], bias: &[f32]) {
        assert_eq!(weights.len(), self.inputs * self.outputs, "weights of {}×{}", self.outputs, self.inputs);
        let inputs = self.inputs;
        fill(&mut self.panels, self.outputs, inputs, self.tier.panel_blocks, |o, i| weights[o * inputs + i]);
        set_bias(&mut self.bias, self.outputs, bias);
    }

    /// Replaces the weights by the transpose of `weights` (inputs×outputs here), in place.
    pub fn set_transposed(&mut self, weights: &[f32]) {
        assert_eq!(weights.len(), self.inputs * self.outputs, "weights of {}×{}", self.inputs, self.outputs);
        let outputs = self.outputs;
        fill(&mut self.panels, outputs, self.inputs, self.tier.panel_blocks, |o, i| weights[i * outputs + o]);
    }
}
