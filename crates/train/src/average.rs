//! The exponential moving average of the weights: what is evaluated and kept in place of the last step's weights.
//!
//! Batch norm's running statistics are averaged as well: the averaged weights' own statistics lie nearer to the average
//! than to the last step's (TensorFlow slim averages only the variables; timm's `ModelEmaV3` the buffers too).

use std::collections::BTreeMap;

use mobilenet_net::graph::Parameter;
use mobilenet_net::{Error, Params, Tensor};

use crate::optim::named;

/// Averaged tensors.
#[derive(Clone, Debug)]
pub struct Average {
    decay: f64,
    warm_up: bool,
    updates: u64,
    parameters: Vec<Parameter>,
    values: Vec<Vec<f32>>,
}

impl Average {
    /// Starts at `values`, the tensors of `parameters` in their order: learned ones and statistics. With `warm_up` the
    /// decay is min(`decay`, (1 + t) / (10 + t)) at update t, counted from 0: `num_updates` of TensorFlow's
    /// `ExponentialMovingAverage`.
    ///
    /// # Panics
    /// Where there are not as many values as parameters.
    pub fn new<'a>(
        decay: f64,
        warm_up: bool,
        parameters: &[Parameter],
        values: impl IntoIterator<Item = &'a [f32]>,
    ) -> Average {
        let values: Vec<_> = values.into_iter().map(<[f32]>::to_vec).collect();
        assert_eq!(values.len(), parameters.len(), "every parameter needs its values");
        Average { decay, warm_up, updates: 0, parameters: parameters.to_vec(), values }
    }

    /// Takes in the values after one more step.
    pub fn update<'a>(&mut self, values: impl IntoIterator<Item = &'a [f32]>) {
        let share = (1.0 - self.next_decay()) as f32;
        let mut count = 0;
        for (average, values) in self.values.iter_mut().zip(values) {
            assert_eq!(average.len(), values.len(), "a tensor changed its size");
            for (a, &v) in average.iter_mut().zip(values) {
                *a += share * (v - *a);
            }
            count += 1;
        }
        assert_eq!(count, self.values.len(), "every parameter needs its values");
        self.updates += 1;
    }

    /// The decay of the next update.
    pub fn next_decay(&self) -> f64 {
        let t = self.updates as f64;
        if self.warm_up { self.decay.min((1.0 + t) / (10.0 + t)) } else { self.decay }
    }

    /// The decay, once it has warmed up.
    pub fn decay(&self) -> f64 {
        self.decay
    }

    /// The averages, in the parameters' order.
    pub fn values(&self) -> &[Vec<f32>] {
        &self.values
    }

    /// Takes the statistics among `values`, which are in the parameters' order, in place of the averaged ones.
    pub fn set_statistics(&mut self, values: &[Vec<f32>]) {
        for ((average, values), parameter) in self.values.iter_mut().zip(values).zip(&self.parameters) {
            if !parameter.role.is_learned() {
                average.copy_from_slice(values);
            }
        }
    }

    /// How often [`Average::update`] was called.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The averages by the parameters' names, for a checkpoint.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let tensors = self.parameters.iter().zip(&self.values);
        tensors.map(|(p, v)| (p.name.clone(), Tensor::from_f32(&p.shape, v.clone()))).collect()
    }

    /// The averages as a network's parameters.
    pub fn params(&self) -> Params {
        Params { tensors: self.state(), ..Params::default() }
    }

    /// Takes up what [`Average::state`] and [`Average::updates`] gave.
    ///
    /// # Errors
    /// [`Error::Tensors`] where a tensor is missing or misshapen; nothing is changed then.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>, updates: u64) -> Result<(), Error> {
        self.values = named("average.", state, &self.parameters)?;
        self.updates = updates;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mobilenet_net::NodeId;
    use mobilenet_net::graph::Role;

    fn parameter(name: &str, role: Role) -> Parameter {
        Parameter { name: name.into(), shape: vec![2], role, node: NodeId(0) }
    }

    #[test]
    fn weights_and_statistics_follow_by_the_share_that_decay_leaves() {
        let parameters = [parameter("bn.weight", Role::Gamma), parameter("bn.running_mean", Role::Mean)];
        let mut average = Average::new(0.75, false, &parameters, [&[0.0, 1.0][..], &[4.0, 4.0]]);
        average.update([&[4.0, 1.0][..], &[0.0, 8.0]]);
        assert_eq!(average.values(), [[1.0, 1.0], [3.0, 5.0]]);
        average.update([&[1.0, 5.0][..], &[3.0, 5.0]]);
        assert_eq!(average.values(), [[1.0, 2.0], [3.0, 5.0]]);
    }

    #[test]
    fn warm_up_is_tensorflows_num_updates() {
        let mut average = Average::new(0.5, true, &[parameter("a.weight", Role::Weight)], [&[0.0, 0.0][..]]);
        let decays: Vec<_> = (0..10)
            .map(|_| {
                let decay = average.next_decay();
                average.update([&[1.0, 1.0][..]]);
                decay
            })
            .collect();
        assert_eq!(decays[..3], [1.0 / 10.0, 2.0 / 11.0, 3.0 / 12.0]);
        assert_eq!(decays[8..], [0.5, 0.5]);
    }

    #[test]
    fn a_restored_average_goes_on_with_the_same_bits() {
        let parameters = [parameter("a.weight", Role::Weight)];
        let mut first = Average::new(0.99, true, &parameters, [&[0.1, 0.2][..]]);
        first.update([&[0.3, -0.7][..]]);
        let mut second = Average::new(0.99, true, &parameters, [&[0.0, 0.0][..]]);
        second.restore(&first.state(), first.updates()).unwrap();
        for average in [&mut first, &mut second] {
            average.update([&[0.5, 0.6][..]]);
        }
        assert_eq!(first.values(), second.values());
        let error = second.restore(&BTreeMap::new(), 0).unwrap_err().to_string();
        assert_eq!(error, "the checkpoint has no tensor average.a.weight of shape [2]");
    }
}
