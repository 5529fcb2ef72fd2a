//! What Keras's layers and their parameters are called: everything becomes the names of `keras.applications` in Keras 3.

/// A tensor of a layer, not yet read: `place` says where it lies.
pub(crate) struct Weight<P> {
    /// The layer's name.
    pub(crate) layer: String,
    /// The variable's name in it: `kernel`, `bias`, …; empty where names have no such part.
    pub(crate) parameter: String,
    /// Sizes.
    pub(crate) shape: Vec<usize>,
    /// Where to read it.
    pub(crate) place: P,
}

impl<P> Weight<P> {
    /// The tensor's name.
    pub(crate) fn name(&self) -> String {
        if self.parameter.is_empty() { self.layer.clone() } else { format!("{}/{}", self.layer, self.parameter) }
    }
}

/// What the variable of number `index` of a layer is called, in the order in which the layers make them.
pub(super) fn parameter(class: &str, index: usize) -> String {
    let names: &[&str] = match class {
        "conv2d" | "dense" => &["kernel", "bias"],
        "depthwise_conv2d" => &["depthwise_kernel", "bias"],
        "batch_normalization" => &["gamma", "beta", "moving_mean", "moving_variance"],
        _ => &[],
    };
    names.get(index).map_or_else(|| index.to_string(), |name| (*name).to_owned())
}

/// A layer of V3 whose name has a slash in Keras 2.
const KERAS_2_V3: &str = "expanded_conv/depthwise";

/// A layer that only one family has, and what the family's classifier is called.
const CLASSIFIERS: [(&str, &str); 3] =
    [("conv_pw_1", "conv_preds"), ("block_1_expand", "predictions"), ("expanded_conv_1_expand", "logits")];

/// The weights under the names that Keras 3's own networks have, without the state of random numbers.
///
/// - Keras 2's V3 has `expanded_conv/squeeze_excite/Conv_1` and `Conv/BatchNorm` for `…_squeeze_excite_conv_1` and
///   `conv_bn`.
/// - Keras 3 calls the filters of a depthwise convolution `kernel`.
/// - A network that was given another head has a fully connected layer of any name: if it is the only one, and the
///   network's own classifier is gone, then it is the classifier.
pub(super) fn official<P>(mut weights: Vec<Weight<P>>) -> Vec<Weight<P>> {
    weights.retain(|weight| weight.parameter != "seed_generator_state");
    if are_of_keras_2_v3(&weights) {
        weights.iter_mut().for_each(|weight| weight.layer = keras_3_name(&weight.layer));
    }
    for weight in weights.iter_mut().filter(|weight| weight.parameter == "kernel" && is_depthwise(&weight.layer)) {
        "depthwise_kernel".clone_into(&mut weight.parameter);
    }
    let has = |name: &str| weights.iter().any(|weight| weight.layer == name);
    let own = CLASSIFIERS.into_iter().find(|(layer, _)| has(layer)).map(|(_, classifier)| classifier);
    let dense = weights.iter().filter(|weight| weight.parameter == "kernel" && weight.shape.len() == 2);
    let mut dense = dense.map(|weight| weight.layer.clone());
    if let (Some(own), Some(only), None) = (own.filter(|own| !has(own)), dense.next(), dense.next()) {
        for weight in weights.iter_mut().filter(|weight| weight.layer == only) {
            own.clone_into(&mut weight.layer);
        }
    }
    weights
}

/// Whether the layers are called as Keras 2 calls those of V3.
pub(super) fn are_of_keras_2_v3<P>(weights: &[Weight<P>]) -> bool {
    weights.iter().any(|weight| weight.layer == KERAS_2_V3)
}

/// What Keras 3 calls a layer of Keras 2's V3.
pub(super) fn keras_3_name(layer: &str) -> String {
    layer.replace("/BatchNorm", "/bn").replace('/', "_").to_lowercase()
}

/// Whether a layer of a MobileNet is a depthwise convolution, by its name.
fn is_depthwise(layer: &str) -> bool {
    layer.starts_with("conv_dw_") || layer.ends_with("depthwise")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn official(names: &[&str]) -> Vec<String> {
        let weight = |name: &&str| {
            let (layer, parameter) = name.rsplit_once('/').unwrap();
            let shape = if layer.starts_with("dense") { vec![8, 2] } else { vec![1, 1, 8, 2] };
            Weight { layer: layer.to_owned(), parameter: parameter.to_owned(), shape, place: () }
        };
        super::official(names.iter().map(weight).collect()).iter().map(Weight::name).collect()
    }

    #[test]
    fn v3_of_keras_2_gets_the_names_of_keras_3() {
        let theirs = [
            "Conv/BatchNorm/gamma",
            "expanded_conv/depthwise/depthwise_kernel",
            "expanded_conv_3/squeeze_excite/Conv_1/bias",
            "expanded_conv_10/project/BatchNorm/moving_mean",
            "Logits/kernel",
        ];
        let ours = [
            "conv_bn/gamma",
            "expanded_conv_depthwise/depthwise_kernel",
            "expanded_conv_3_squeeze_excite_conv_1/bias",
            "expanded_conv_10_project_bn/moving_mean",
            "logits/kernel",
        ];
        assert_eq!(official(&theirs), ours);
    }

    #[test]
    fn only_a_lone_fully_connected_layer_becomes_the_classifier() {
        assert_eq!(official(&["block_1_expand/kernel", "dense_7/kernel"])[1], "predictions/kernel");
        assert_eq!(official(&["conv_pw_1/kernel", "conv_preds/kernel", "dense/kernel"])[2], "dense/kernel");
        let two = ["conv_pw_1/kernel", "dense/kernel", "dense_1/kernel"];
        assert_eq!(official(&two), two);
    }
}
