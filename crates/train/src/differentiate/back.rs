//! The way back through a network, from the tape of its forward pass.

use mobilenet_kernels::norm::BACKWARD;
use mobilenet_net::graph::NodeId;
use mobilenet_run::memory::ValueId;

use super::{Differentiator, Operand, Source, Taped, TensorId, Unit, UnitId};
use crate::steps::{Layer, LayerId, Size, Step, View};

impl Differentiator<'_> {
    /// The result's conversions, and the way back.
    pub(super) fn finish(&mut self, result: NodeId) {
        let tensor = self.tensor(result);
        self.steps.result = self.value(Size::Plain(result));
        self.steps.result_gradient = self.value(Size::Plain(result));
        self.steps.forward.push(Step::ToPlain { input: self.tensors[tensor].value, output: self.steps.result });
        let gradient = self.value(Size::Map(result));
        self.steps.backward.push(Step::FromPlain { input: self.steps.result_gradient, output: gradient });
        self.tensors[tensor].gradient = Some(gradient);
        for taped in std::mem::take(&mut self.tape).into_iter().rev() {
            self.back(taped);
        }
    }

    fn back(&mut self, taped: Taped) {
        match taped {
            Taped::Layer { source, unit } => self.back_layer(source, unit),
            Taped::Activate { input, unit } => {
                if let Some(output) = self.back_view(unit) {
                    self.contribute(input, output);
                }
            }
            Taped::Gate { unit, gate, before } => {
                if let Some(gradient) = self.units[unit].gradient {
                    let view = View { value: self.raw(unit), ..before };
                    let output = self.value(Size::Map(self.tensors[gate].node));
                    self.steps.backward.push(Step::GateGradient { view, gradient, output });
                    self.contribute(gate, output);
                }
            }
            Taped::WriteOut { unit, add, output } => {
                if let Some(gradient) = self.tensors[output].gradient {
                    self.units[unit].gradient = Some(gradient);
                    if let Some(add) = add {
                        self.contribute(add, gradient);
                    }
                }
            }
            Taped::Add { a, b, output } => {
                if let Some(gradient) = self.tensors[output].gradient {
                    self.contribute(a, gradient);
                    self.contribute(b, gradient);
                }
            }
            Taped::Pool { input, output } => self.back_pool(input, output),
            Taped::Dropout { input, output, mask } => {
                if let Some(gradient) = self.tensors[output].gradient {
                    let output = self.value(Size::Map(self.tensors[input].node));
                    self.steps.backward.push(Step::DropoutGradient { mask, gradient, output });
                    self.contribute(input, output);
                }
            }
        }
    }

    /// The raw value of a unit: the one that was kept, or computed anew, once.
    fn raw(&mut self, unit: UnitId) -> ValueId {
        if let Some(Source { layer, input, view }) = self.units[unit].anew.take() {
            let input = self.kept(input, view);
            let output = self.value(Size::Map(self.units[unit].node));
            self.steps.backward.push(Step::Layer { layer, input, output, moments: None });
            self.units[unit].view.value = output;
        }
        self.units[unit].view.value
    }

    /// A view of the forward pass, of the value that stands for its raw one now.
    fn kept(&mut self, operand: Operand, view: View) -> View {
        match operand {
            Operand::Unit(unit) => View { value: self.raw(unit), ..view },
            Operand::Input | Operand::Tensor(_) => view,
        }
    }

    fn back_layer(&mut self, Source { layer, input, view }: Source, unit: UnitId) {
        let Unit { gradient, spread, sums, .. } = self.units[unit];
        if gradient.is_none() && spread.is_none() {
            return;
        }
        let input_view = self.kept(input, view);
        let own = View { value: self.raw(unit), ..self.units[unit].view };
        let bias = Some(layer).filter(|&l| self.steps.layers[l].bias.is_some());
        if own.norm.is_some() || bias.is_some() {
            self.steps.backward.push(Step::NormGradient { view: own, bias, gradient, spread, sums });
        }
        let add = match input {
            Operand::Tensor(tensor) => self.tensors[tensor].gradient,
            _ => None,
        };
        let Layer { node, reads, has_input_gradient, .. } = self.steps.layers[layer];
        let is_wanted = |d: &mut Self| has_input_gradient.then(|| d.value(Size::Map(reads)));
        let output = if self.takes_views(node) {
            let output = is_wanted(self);
            let sums = self.sums_for(input, layer);
            let input = input_view;
            self.steps.backward.push(Step::LayerGradient {
                layer,
                view: own,
                gradient,
                spread,
                input,
                add,
                output,
                sums,
            });
            output
        } else {
            let Some(gradient) = self.back_view(unit) else { return };
            self.steps.backward.push(Step::WeightGradient { layer, input: input_view, gradient });
            let output = is_wanted(self);
            if let Some(output) = output {
                self.steps.backward.push(Step::InputGradient { layer, gradient, add, output });
            }
            output
        };
        match input {
            Operand::Unit(unit) => self.units[unit].gradient = output,
            Operand::Tensor(tensor) => self.tensors[tensor].gradient = output,
            Operand::Input => {}
        }
    }

    /// Where the layer that reads `input` leaves the sums that its batch norm needs. A gated unit gets more gradient
    /// later, by way of the gate.
    fn sums_for(&mut self, input: Operand, layer: LayerId) -> Option<ValueId> {
        let Operand::Unit(unit) = input else { return None };
        let Unit { view, node, .. } = self.units[unit];
        if view.norm.is_none() || view.gate.is_some() {
            return None;
        }
        let sums = self.value(Size::Sums { node, has_parts: self.has_parts(layer), each: BACKWARD });
        self.units[unit].sums = Some(sums);
        Some(sums)
    }

    /// The gradient of a unit's raw value; `None` where nothing flows back to it.
    fn back_view(&mut self, unit: UnitId) -> Option<ValueId> {
        let Unit { view, node, gradient, spread, .. } = self.units[unit];
        if gradient.is_none() && spread.is_none() {
            return None;
        }
        if let (true, None, Some(gradient)) = (view.is_plain(), spread, gradient) {
            return Some(gradient);
        }
        let output = self.value(Size::Map(node));
        self.steps.backward.push(Step::ViewGradient { view, gradient, spread, output });
        Some(output)
    }

    fn back_pool(&mut self, input: Operand, output: TensorId) {
        let Some(gradient) = self.tensors[output].gradient else { return };
        let pooled = match input {
            Operand::Unit(unit) => self.units[unit].node,
            Operand::Tensor(tensor) => self.tensors[tensor].node,
            Operand::Input => return,
        };
        let spread = self.value(Size::Vector(pooled));
        self.steps.backward.push(Step::PoolGradient { gradient, pooled, output: spread });
        match input {
            Operand::Unit(unit) => self.units[unit].spread = Some(spread),
            Operand::Tensor(tensor) => {
                let (view, add) = (View::plain(self.tensors[tensor].value), self.tensors[tensor].gradient);
                let output = self.value(Size::Map(pooled));
                let spread = Some(spread);
                self.steps.backward.push(Step::ViewGradient { view, gradient: add, spread, output });
                self.tensors[tensor].gradient = Some(output);
            }
            Operand::Input => {}
        }
    }

    /// Adds `gradient` to what a tensor has.
    fn contribute(&mut self, tensor: TensorId, gradient: ValueId) {
        let sum = match self.tensors[tensor].gradient {
            None => gradient,
            Some(other) => {
                let output = self.value(Size::Map(self.tensors[tensor].node));
                self.steps.backward.push(Step::Add { a: other, b: gradient, output });
                output
            }
        };
        self.tensors[tensor].gradient = Some(sum);
    }
}
