//! What a repository of timm's says of its weights: `config.json` (timm@1.0.31 models/_hub.py `save_config_for_hf`).

use std::collections::BTreeMap;

use mobilenet_net::preprocessing::{ChannelOrder, Filter, Preprocessing, Resize};
use serde::Deserialize;

use crate::catalogue::timm_conventions;

/// The file's name.
pub(crate) const FILE: &str = "config.json";

/// Most bytes of it that are read.
pub(crate) const MAX_BYTES: u64 = 4 << 20;

/// What of it is used.
#[derive(Default, Deserialize)]
pub(crate) struct Config {
    architecture: Option<String>,
    num_classes: Option<usize>,
    label_names: Option<Vec<String>>,
    #[serde(default)]
    pretrained_cfg: Photos,
}

/// How photos are prepared.
#[derive(Default, Deserialize)]
struct Photos {
    input_size: Option<[usize; 3]>,
    crop_pct: Option<f64>,
    crop_mode: Option<String>,
    interpolation: Option<String>,
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
    license: Option<String>,
}

impl Config {
    /// What `json` says; nothing where it is another library's.
    pub fn parse(json: &[u8]) -> Config {
        serde_json::from_slice(json).unwrap_or_default()
    }

    pub fn licence(&self) -> Option<&str> {
        self.pretrained_cfg.license.as_deref()
    }

    /// It as a weights file's metadata.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let mut metadata = BTreeMap::new();
        if let Some(photos) = self.pretrained_cfg.preprocessing() {
            let json = serde_json::to_string(&photos).expect("numbers and words are JSON");
            metadata.insert("preprocessing".into(), json);
        }
        let is_mobilenet = |model: &&String| model.trim_start_matches("tf_").starts_with("mobilenetv");
        if let Some(model) = self.architecture.as_ref().filter(is_mobilenet) {
            let (padding, epsilon) = timm_conventions(model);
            metadata.insert("padding".into(), padding.into());
            metadata.insert("bn_epsilon".into(), epsilon.into());
        }
        if let Some(labels) = self.label_names.as_ref().filter(|labels| Some(labels.len()) == self.num_classes) {
            metadata.insert("labels".into(), serde_json::to_string(labels).expect("words are JSON"));
        }
        metadata
    }
}

impl Photos {
    /// It in our words, where we have any for it.
    fn preprocessing(&self) -> Option<Preprocessing> {
        let [3, h, w] = self.input_size? else { return None };
        let filter = match self.interpolation.as_deref()? {
            "bilinear" => Filter::Bilinear,
            "bicubic" => Filter::Bicubic,
            _ => return None,
        };
        let part = self.crop_pct?;
        let resize = match self.crop_mode.as_deref() {
            // timm@1.0.31 data/transforms_factory.py `transforms_imagenet_eval`, for a square.
            None | Some("center") if h == w => Resize::ShortSide((h as f64 / part) as usize),
            Some("squash") if part == 1.0 => Resize::Squash,
            _ => return None,
        };
        Preprocessing {
            resize,
            size: [h, w],
            filter,
            mean: self.mean?,
            std: self.std?,
            channel_order: ChannelOrder::Rgb,
            background_class: false,
        }
        .checked()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{
        "architecture": "tf_mobilenetv3_small_100", "num_classes": 2, "label_names": ["cat", "dog"],
        "pretrained_cfg": {
            "input_size": [3, 224, 224], "crop_pct": 0.95, "crop_mode": "center", "interpolation": "bicubic",
            "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "license": "apache-2.0", "pool_size": [7, 7]
        }
    }"#;

    #[test]
    fn timms_words_become_ours() {
        let config = Config::parse(CONFIG.as_bytes());
        let metadata = config.metadata();
        assert_eq!((metadata["padding"].as_str(), metadata["bn_epsilon"].as_str()), ("same", "0.001"));
        assert_eq!(metadata["labels"], r#"["cat","dog"]"#);
        let photos: Preprocessing = serde_json::from_str(&metadata["preprocessing"]).unwrap();
        assert_eq!((photos.resize, photos.size, photos.filter), (Resize::ShortSide(235), [224; 2], Filter::Bicubic));
        assert_eq!(config.licence(), Some("apache-2.0"));
    }

    #[test]
    fn what_is_not_understood_is_not_guessed() {
        for (from, to) in [
            ("\"center\"", "\"border\""),
            ("0.95", "0.0"),
            ("bicubic", "lanczos"),
            ("[3, 224, 224]", "[1, 224, 224]"),
            ("[3, 224, 224]", "[3, 224, 192]"),
            ("\"std\": [0.5, 0.5, 0.5]", "\"std\": [0.5, 0.0, 0.5]"),
        ] {
            let config = Config::parse(CONFIG.replace(from, to).as_bytes());
            assert!(!config.metadata().contains_key("preprocessing"), "{to}");
        }
        for other in ["", "[]", "{\"model_type\": \"mobilenet_v2\"}", "{\"num_classes\": -1}"] {
            assert!(Config::parse(other.as_bytes()).metadata().is_empty(), "{other}");
        }
        let three = CONFIG.replace("\"num_classes\": 2", "\"num_classes\": 3");
        assert!(!Config::parse(three.as_bytes()).metadata().contains_key("labels"));
    }
}
