//! What torchvision and timm publish, as data: a file a source, a line a weights file.
//!
//! Names, addresses, preprocessing and accuracies are copied from the packages; `tests/published.tsv` holds what
//! `scripts/published-weights` extracts from them, and a test compares. What a source does not say is absent.

mod timm;
mod torchvision;

use std::collections::BTreeMap;
use std::fmt;

use mobilenet_net::preprocessing::{ChannelOrder, Filter, Preprocessing, Resize};
use mobilenet_net::{Error, Graph, arch};

/// Who publishes weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// torchvision, at download.pytorch.org.
    Torchvision,
    /// timm, at huggingface.co and, as older files, at github.com.
    Timm,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Source::Torchvision => "torchvision",
            Source::Timm => "timm",
        })
    }
}

/// Whether this project opens a weights file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reads {
    /// As this registered network at this width.
    As(&'static str, f64),
    /// Not yet: what it is instead.
    NotYet(&'static str),
}

/// A published weights file.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Who publishes it.
    pub source: Source,
    /// What the source calls the network.
    pub model: &'static str,
    /// What the source calls this set of weights.
    pub tag: &'static str,
    /// Whether it is the one that the source takes where only the network is named.
    pub is_default: bool,
    /// torchvision: the file's path on its server. timm: that of the same weights among its older releases.
    pub file: Option<&'static str>,
    /// What becomes of a photo, where it is a classifier.
    pub photos: Option<Preprocessing>,
    /// Outputs of the classifier.
    pub classes: usize,
    /// Top-1 accuracy on ImageNet in percent, as the source publishes it, with [`photos`](Self::photos).
    pub top1: Option<f64>,
    /// Whether this project opens it.
    pub reads: Reads,
}

/// Where torchvision's files lie.
const TORCHVISION: &str = "https://download.pytorch.org/models/";

/// Where timm's older files lie.
const RELEASES: &str = "https://github.com/rwightman/pytorch-image-models/releases/download/";

impl Entry {
    /// `torchvision/mobilenet_v2.IMAGENET1K_V2`.
    pub fn name(&self) -> String {
        format!("{}/{}.{}", self.source, self.model, self.tag)
    }

    /// Where the file lies.
    pub fn address(&self) -> String {
        match self.source {
            Source::Torchvision => format!("{TORCHVISION}{}", self.file.unwrap_or_default()),
            Source::Timm => {
                format!("https://huggingface.co/timm/{}.{}/resolve/main/model.safetensors", self.model, self.tag)
            }
        }
    }

    /// Where the same weights lie as an older file, under a name with digits of its hash.
    pub fn release(&self) -> Option<String> {
        self.file.filter(|_| self.source == Source::Timm).map(|file| format!("{RELEASES}{file}"))
    }

    /// The licence of the weights, as the source states it. torchvision says that its weights "may have their own
    /// licenses or terms" and names none; timm@1.0.31 gives one for each.
    pub fn licence(&self) -> Option<&'static str> {
        match self.source {
            Source::Torchvision => None,
            Source::Timm => Some("apache-2.0"),
        }
    }

    /// What the file does not say of itself, under the keys of a weights file's metadata.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let mut metadata = BTreeMap::new();
        let mut say = |key: &str, value: String| _ = metadata.insert(key.to_owned(), value);
        if let Some(photos) = self.photos {
            say("preprocessing", serde_json::to_string(&photos).expect("numbers and words are JSON"));
        }
        if let (Source::Timm, Reads::As(..)) = (self.source, self.reads) {
            let (padding, epsilon) = timm_conventions(self.model);
            say("padding", padding.into());
            say("bn_epsilon", epsilon.into());
        }
        metadata
    }

    /// The graph that the file's tensors fit; `None` where this project does not open it.
    ///
    /// # Errors
    /// None: every network named here is registered.
    pub fn graph(&self) -> Result<Option<Graph>, Error> {
        let Reads::As(network, width) = self.reads else { return Ok(None) };
        let width_rule = match self.source {
            Source::Torchvision => arch::WidthRule::Torchvision,
            Source::Timm => arch::WidthRule::Timm,
        };
        let spec = arch::Spec { width, width_rule, classes: self.classes, ..arch::Spec::default() };
        arch::find(network)?.graph(&spec).map(Some)
    }
}

/// Where timm's networks pad, and their batch norm's epsilon (timm@1.0.31 models/mobilenetv3.py, efficientnet.py:
/// `pad_type='same'` and `BN_EPS_TF_DEFAULT` for `tf_`, PyTorch's defaults otherwise).
pub(crate) fn timm_conventions(model: &str) -> (&'static str, &'static str) {
    if model.starts_with("tf_") { ("same", "0.001") } else { ("symmetric", "0.00001") }
}

/// All entries, by source, then in the source's order.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    torchvision::ENTRIES.iter().chain(timm::ENTRIES)
}

/// How photos are resized and cut: short side, then crop, in pixels.
const fn photos(short_side: usize, crop: usize, filter: Filter, [mean, std]: [[f32; 3]; 2]) -> Option<Preprocessing> {
    let (resize, size) = (Resize::ShortSide(short_side), [crop; 2]);
    Some(Preprocessing { resize, size, filter, mean, std, channel_order: ChannelOrder::Rgb, background_class: false })
}

/// Mean and deviation of ImageNet (timm@1.0.31 data/constants.py `IMAGENET_DEFAULT_MEAN`, `_STD`; torchvision@0.29.2
/// transforms/_presets.py).
const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What the packages publish.
    const PUBLISHED: &str = include_str!("../../tests/published.tsv");

    /// Its rows, a map from column to cell each.
    fn published() -> Vec<BTreeMap<&'static str, &'static str>> {
        let mut lines = PUBLISHED.lines().filter(|line| !line.starts_with('#'));
        let columns: Vec<_> = lines.next().unwrap().split('\t').collect();
        lines.map(|line| columns.iter().copied().zip(line.split('\t')).collect()).collect()
    }

    fn entry(name: &str) -> &'static Entry {
        entries().find(|entry| entry.name() == name).unwrap_or_else(|| panic!("{name} is missing"))
    }

    fn numbers(values: &[f32]) -> String {
        values.iter().map(f32::to_string).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn every_published_name_is_known_and_no_other() {
        let ours: BTreeSet<_> = entries().map(Entry::name).collect();
        let theirs: BTreeSet<_> = published().iter().map(|row| row["name"].to_owned()).collect();
        assert_eq!(ours, theirs);
        assert_eq!((ours.len(), entries().count()), (35, 35));
    }

    #[test]
    fn addresses_and_defaults_are_the_published_ones() {
        for row in published() {
            let entry = entry(row["name"]);
            assert_eq!(entry.address(), row["address"]);
            assert_eq!(entry.release().as_deref().unwrap_or("-"), row["release"]);
            assert_eq!(entry.is_default, row["default"] == "default", "{}", row["name"]);
        }
    }

    #[test]
    fn photos_and_accuracies_are_the_published_ones() {
        for row in published() {
            let entry = entry(row["name"]);
            let top1 = row["top1"].parse::<f64>().ok();
            assert_eq!(entry.top1, top1, "{}", row["name"]);
            let Some(photos) = entry.photos else {
                assert_eq!(row["crop"], "-", "{}", row["name"]);
                continue;
            };
            let Resize::ShortSide(short_side) = photos.resize else { panic!("{photos:?}") };
            let filter = if photos.filter == Filter::Bilinear { "bilinear" } else { "bicubic" };
            let ours = [short_side.to_string(), photos.size[0].to_string(), filter.into()];
            assert_eq!(ours, [row["resize"], row["crop"], row["filter"]], "{}", row["name"]);
            assert_eq!([numbers(&photos.mean), numbers(&photos.std)], [row["mean"], row["std"]], "{}", row["name"]);
        }
    }

    #[test]
    fn networks_that_are_read_have_the_published_parameters() {
        let mut counted = 0;
        for row in published() {
            let Some(graph) = entry(row["name"]).graph().unwrap() else { continue };
            // Without batch norm's running statistics, as PyTorch counts parameters.
            let is_trained = |name: &str| !name.ends_with("running_mean") && !name.ends_with("running_var");
            let parameters = graph.parameters();
            let sizes = parameters.iter().filter(|p| is_trained(&p.name)).map(|p| p.shape.iter().product::<usize>());
            let count: usize = sizes.sum();
            let ours = match row["parameters"].strip_suffix('M') {
                Some(_) => format!("{:.2}M", count as f64 / 1e6),
                None => count.to_string(),
            };
            // timm's table leaves out the networks of other classes.
            if row["parameters"] != "-" {
                assert_eq!(ours, row["parameters"], "{}", row["name"]);
                counted += 1;
            }
        }
        assert_eq!(counted, 22);
    }
}
