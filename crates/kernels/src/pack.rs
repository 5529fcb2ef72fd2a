//! Weights into panels: the order in which a tile reads them.
//!
//! A panel holds the weights of `panel_blocks` blocks of sixteen output channels, for each step of the sum sixteen
//! values a block, so that a tile streams through it. The last panel holds the blocks that are left. Lanes beyond the
//! last channel are zero.

use crate::aligned::AlignedBuf;
use crate::bf16::{self, Bf16};
use crate::cpu::{Bf16Unit, Isa};
use crate::epilogue::Activation;
use crate::f16::F16;
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

/// How the weights of a [`Matrix`] lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Panels of single precision.
    F32,
    /// Panels of half precision, two values in the place of one.
    F16,
    /// Panels of bf16, two values in the place of one.
    Bf16,
    /// Pairs of bf16 for this unit.
    Pairs(Bf16Unit),
}

/// A matrix and a bias as the products of pointwise and fully connected layers read them.
pub(crate) struct Matrix {
    pub tier: &'static Tier,
    pub inputs: usize,
    pub outputs: usize,
    panels: AlignedBuf,
    stored: Stored,
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
        Matrix {
            tier,
            inputs,
            outputs,
            panels,
            stored: Stored::F32,
            bias: self::bias(outputs, bias, activation),
            activation,
        }
    }

    /// The same with the weights in half precision.
    pub fn in_f16(self) -> Matrix {
        self.in_halves(Stored::F16, F16::new)
    }

    /// The same with the weights in bf16.
    pub fn in_bf16(self) -> Matrix {
        self.in_halves(Stored::Bf16, Bf16::new)
    }

    fn in_halves<T>(self, stored: Stored, round: impl Fn(f32) -> T) -> Matrix {
        const { assert!(2 * size_of::<T>() == size_of::<f32>(), "two in the place of one") };
        assert_eq!(self.stored, Stored::F32, "weights are rounded once");
        let mut panels = AlignedBuf::zeroed(self.panels.len().div_ceil(2));
        let to = panels.as_mut_ptr().cast::<T>();
        for (i, &weight) in self.panels.iter().enumerate() {
            // SAFETY: the buffer has room for as many halves.
            unsafe { to.add(i).write(round(weight)) }
        }
        Matrix { panels, stored, ..self }
    }

    /// The same with the weights as pairs of bf16 for `unit`.
    ///
    /// # Panics
    /// Where the processor lacks the unit.
    pub fn in_pairs(self, unit: Bf16Unit) -> Matrix {
        assert!(Bf16Unit::available(Isa::detect()).any(|u| u == unit), "this processor has no {unit}");
        assert_eq!(self.stored, Stored::F32, "weights are rounded once");
        let panels = bf16::pack(self.outputs, self.inputs, |output, input| self.panels[self.place(output, input)]);
        Matrix { panels, stored: Stored::Pairs(unit), ..self }
    }

    /// Where a weight lies in the panels, in [values](Stored).
    fn place(&self, output: usize, input: usize) -> usize {
        let first = output / LANES / self.tier.panel_blocks * self.tier.panel_blocks;
        let width = self.tier.panel_blocks.min(blocks(self.outputs) - first) * LANES;
        first * LANES * self.inputs + input * width + output - first * LANES
    }

    /// The weights from `block` on, a multiple of the tier's panel.
    pub fn panel(&self, block: usize) -> *const u8 {
        let at = match self.stored {
            Stored::F32 => block * LANES * self.inputs * size_of::<f32>(),
            Stored::F16 | Stored::Bf16 => block * LANES * self.inputs * size_of::<f32>() / 2,
            Stored::Pairs(_) => block * bf16::block_len(bf16::groups(self.inputs)) * size_of::<f32>(),
        };
        assert!(at <= size_of_val(&self.panels[..]), "a block of the matrix");
        self.panels.as_ptr().cast::<u8>().wrapping_add(at)
    }

    /// How the weights lie.
    pub fn stored(&self) -> Stored {
        self.stored
    }

    /// Replaces the weights (outputs×inputs, row-major) and the bias (empty to leave it), in place.
    pub fn set(&mut self, weights: &[f32], bias: &[f32]) {
        assert_eq!(self.stored, Stored::F32, "rounded weights stay as they are");
        assert_eq!(weights.len(), self.inputs * self.outputs, "weights of {}×{}", self.outputs, self.inputs);
        let inputs = self.inputs;
        fill(&mut self.panels, self.outputs, inputs, self.tier.panel_blocks, |o, i| weights[o * inputs + i]);
        set_bias(&mut self.bias, self.outputs, bias);
    }

    /// Replaces the weights by the transpose of `weights` (inputs×outputs here), in place.
    pub fn set_transposed(&mut self, weights: &[f32]) {
        assert_eq!(self.stored, Stored::F32, "rounded weights stay as they are");
        assert_eq!(weights.len(), self.inputs * self.outputs, "weights of {}×{}", self.inputs, self.outputs);
        let outputs = self.outputs;
        fill(&mut self.panels, outputs, self.inputs, self.tier.panel_blocks, |o, i| weights[i * outputs + o]);
    }
}
