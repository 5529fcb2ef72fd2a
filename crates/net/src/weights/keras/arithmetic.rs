//! Layers that Keras makes of arithmetic with numbers: of `x / 127.5 - 1`, as `preprocess_input` computes it, two.
//! TensorFlow's functions in Keras 2 (tf_keras@2.21.0 layers/core/tf_op_layer.py), its own operations in Keras 3
//! (keras@3.15.1 ops/operation.py, ops/numpy.py).

use serde_json::Value;

/// Classes of layers that compute without weights, of which only [`scale_and_shift`] understands some.
const CLASSES: &[&str] = &[
    "Add",
    "Cast",
    "Divide",
    "GetItem",
    "Multiply",
    "SlicingOpLambda",
    "Subtract",
    "TFOpLambda",
    "TensorFlowOpLayer",
    "TrueDivide",
];

/// The name of the constant that comes before the layer's input (tf_keras@2.21.0 engine/base_layer.py).
const CONSTANT: &str = "_CONSTANT_VALUE";

/// Whether a layer of this class computes without weights.
pub(super) fn is(class: &str) -> bool {
    CLASSES.contains(&class)
}

/// Factor and summand of a layer that multiplies by one number or adds one; `None` for any other.
pub(super) fn scale_and_shift(class: &str, layer: &Value) -> Option<[f64; 2]> {
    let function = layer["config"]["function"].as_str().unwrap_or(class).rsplit('.').next()?;
    if matches!(function, "cast" | "Cast") {
        return Some([1.0, 0.0]);
    }
    let (number, is_first) = number(layer)?;
    let scale_and_shift = match (function, is_first) {
        ("add" | "Add", _) => [1.0, number],
        ("subtract" | "Subtract", false) => [1.0, -number],
        ("subtract" | "Subtract", true) => [-1.0, number],
        ("multiply" | "Multiply", _) => [number, 0.0],
        ("truediv" | "divide" | "TrueDivide" | "Divide", false) => [1.0 / number, 0.0],
        _ => return None,
    };
    Some(scale_and_shift).filter(|values| values.iter().all(|value| value.is_finite()))
}

/// The one number that a layer computes with, and whether it stands before the layer's input.
fn number(layer: &Value) -> Option<(f64, bool)> {
    let [call] = layer["inbound_nodes"].as_array()?.as_slice() else { return None };
    // Keras 3: {"args": [tensor, 127.5], "kwargs": {}}.
    if let Some([a, b]) = call["args"].as_array().map(Vec::as_slice) {
        return match (a.as_f64(), b.as_f64()) {
            (None, Some(number)) => Some((number, false)),
            (Some(number), None) => Some((number, true)),
            _ => None,
        };
    }
    // Keras 2: ["input_1", 0, 0, {"y": 127.5}] or ["_CONSTANT_VALUE", -1, 127.5, {"y": ["input_1", 0, 0]}].
    if call[0] == CONSTANT { Some((call[2].as_f64()?, true)) } else { Some((call[3]["y"].as_f64()?, false)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layers of `1 - 2 * (cast(x) / 128 - 1 + 0.25)`, as both of Keras describe them.
    #[test]
    fn numbers_stand_before_and_behind_the_input() {
        let two = |function: &str, call: &str| {
            let layer = format!(r#"{{"config": {{"function": "{function}"}}, "inbound_nodes": [{call}]}}"#);
            scale_and_shift("TFOpLambda", &serde_json::from_str(&layer).unwrap())
        };
        assert_eq!(two("math.truediv", r#"["input_1", 0, 0, {"y": 128.0, "name": null}]"#), Some([0.0078125, 0.0]));
        assert_eq!(two("math.subtract", r#"["a", 0, 0, {"y": 1.0}]"#), Some([1.0, -1.0]));
        assert_eq!(two("__operators__.add", r#"["a", 0, 0, {"y": 0.25}]"#), Some([1.0, 0.25]));
        assert_eq!(two("math.multiply", r#"["_CONSTANT_VALUE", -1, 2, {"y": ["a", 0, 0]}]"#), Some([2.0, 0.0]));
        assert_eq!(two("math.subtract", r#"["_CONSTANT_VALUE", -1, 1.0, {"y": ["a", 0, 0]}]"#), Some([-1.0, 1.0]));
        let three = |class: &str, args: &str| {
            let layer = format!(r#"{{"config": {{}}, "inbound_nodes": [{{"args": [{args}], "kwargs": {{}}}}]}}"#);
            scale_and_shift(class, &serde_json::from_str(&layer).unwrap())
        };
        assert_eq!(three("Cast", ""), Some([1.0, 0.0]));
        assert_eq!(two("cast", r#"["input_1", 0, 0, {"dtype": "float32"}]"#), Some([1.0, 0.0]));
        let x = r#"{"class_name": "__keras_tensor__"}"#;
        assert_eq!(three("TrueDivide", &format!("{x}, 128.0")), Some([0.0078125, 0.0]));
        assert_eq!(three("Multiply", &format!("2, {x}")), Some([2.0, 0.0]));
        assert_eq!(three("Subtract", &format!("1, {x}")), Some([-1.0, 1.0]));
    }

    #[test]
    fn what_is_no_number_is_not_understood() {
        let layer = |class: &str, function: &str, node: &str| {
            let layer = format!(r#"{{"config": {{"function": "{function}"}}, "inbound_nodes": {node}}}"#);
            scale_and_shift(class, &serde_json::from_str(&layer).unwrap())
        };
        assert_eq!(layer("TFOpLambda", "math.truediv", r#"[["_CONSTANT_VALUE", -1, 1.0, {"y": ["a", 0, 0]}]]"#), None);
        assert_eq!(layer("TFOpLambda", "math.truediv", r#"[["a", 0, 0, {"y": 0}]]"#), None);
        assert_eq!(layer("TFOpLambda", "math.subtract", r#"[["a", 0, 0, {"y": [1, 2, 3]}]]"#), None);
        assert_eq!(layer("SlicingOpLambda", "__operators__.getitem", r#"[["a", 0, 0, {"y": 1}]]"#), None);
        assert_eq!(layer("TFOpLambda", "math.add", "[]"), None);
        assert_eq!(layer("TFOpLambda", "math.add", "7"), None);
    }
}
