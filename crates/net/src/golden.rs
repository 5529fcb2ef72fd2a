//! Checked pairs inside a weights file: small photos, and the logits that the file's network gives for them. Whoever
//! reads the file can prove that nothing was lost on the way, from decoding to the last layer.
//!
//! Pair *i* is the tensors `golden.i.photo`, levels of H×W×3, and `golden.i.logits`, one a class; the metadata's `golden`
//! says with which [`Settings`] they were computed. Readers that know nothing of it see two more tensors.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::graph::Padding;
use crate::preprocessing::Preprocessing;
use crate::recognise::Outputs;
use crate::tensor::{Data, Params, Tensor};
use crate::weights;

/// The metadata's key.
const KEY: &str = "golden";

/// Most pairs that are read.
const MAX_PAIRS: usize = 64;

/// A photo and what the network says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// Height and width of the photo in pixels.
    pub size: [usize; 2],
    /// Its levels, row by row: red, green, blue.
    pub rgb: Vec<u8>,
    /// The network's outputs in `f32`, a background class included.
    pub logits: Vec<f32>,
}

/// What the pairs' logits were computed with, apart from the weights: what a file's other metadata must still say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// From photo to tensor.
    pub preprocessing: Preprocessing,
    /// Where convolutions padded: `symmetric` or `same`.
    #[serde(with = "text")]
    pub padding: Padding,
    /// Batch norm's ε.
    pub bn_epsilon: f32,
    /// How the network was built and read; the first files do not say.
    #[serde(default)]
    pub form: Option<Form>,
    /// The name of the largest output of each pair.
    pub labels: Vec<String>,
}

/// What else changes a network's answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Form {
    /// Dilation in place of late strides; see [`Spec::output_stride`](crate::arch::Spec::output_stride).
    pub output_stride: usize,
    /// Early strides left out; see [`Spec::total_stride`](crate::arch::Spec::total_stride).
    pub total_stride: usize,
    /// The non-linearity in place of the table's, by its name.
    pub activation: Option<String>,
    /// How the logits were read.
    pub outputs: Outputs,
}

/// A file's pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    /// The pairs.
    pub pairs: Vec<Pair>,
    /// What they were computed with.
    pub settings: Settings,
}

impl Golden {
    /// Adds the pairs to what a file will hold.
    pub fn write_into(self, params: &mut Params) {
        let settings = serde_json::to_string(&self.settings).expect("numbers and names are JSON");
        params.metadata.insert(KEY.into(), settings);
        for (i, Pair { size: [h, w], rgb, logits }) in self.pairs.into_iter().enumerate() {
            params.tensors.insert(format!("golden.{i}.photo"), Tensor::new(vec![h, w, 3], Data::U8(rgb)));
            params.tensors.insert(format!("golden.{i}.logits"), Tensor::from_f32(&[logits.len()], logits));
        }
    }

    /// The pairs of the file at `path`; `None` where it has none.
    ///
    /// # Errors
    /// As [`weights::open`]; pairs that are none.
    pub fn read(path: &Path) -> Result<Option<Golden>, Error> {
        let Params { mut tensors, metadata } = weights::open_where(path, |name| name.starts_with("golden."))?;
        let Some(settings) = metadata.get(KEY) else { return Ok(None) };
        let wrong = |reason: String| Error::format(path, format!("its checked pairs: {reason}"));
        let settings: Settings = serde_json::from_str(settings).map_err(|e| wrong(e.to_string()))?;
        let preprocessing = settings.preprocessing.checked();
        let preprocessing = preprocessing.ok_or_else(|| wrong("sizes or deviations that are none".into()))?;
        let settings = Settings { preprocessing, ..settings };
        let mut pairs = Vec::new();
        while let Some(photo) = tensors.remove(&format!("golden.{}.photo", pairs.len())) {
            let i = pairs.len();
            if i == MAX_PAIRS {
                return Err(wrong(format!("more than {MAX_PAIRS}")));
            }
            let logits = tensors.remove(&format!("golden.{i}.logits"));
            let logits = logits.ok_or_else(|| wrong(format!("golden.{i}.photo has no golden.{i}.logits")))?;
            let (size, rgb) = match (photo.shape(), photo.data()) {
                (&[h, w, 3], Data::U8(levels)) if h > 0 && w > 0 => ([h, w], levels.clone()),
                (shape, _) => return Err(wrong(format!("golden.{i}.photo of shape {shape:?} is no photo"))),
            };
            pairs.push(Pair { size, rgb, logits: logits.into_f32() });
        }
        if pairs.is_empty() || pairs.len() != settings.labels.len() {
            return Err(wrong(format!("{} pairs, {} labels", pairs.len(), settings.labels.len())));
        }
        Ok(Some(Golden { pairs, settings }))
    }
}

/// Padding by its name.
mod text {
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::graph::Padding;

    pub fn serialize<S: Serializer>(padding: &Padding, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(padding)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Padding, D::Error> {
        let text = String::deserialize(deserializer)?;
        Padding::from_str(&text).map_err(de::Error::custom)
    }
}
