//! timm@1.0.31: `default_cfgs` of models/efficientnet.py (MobileNetV1, V2) and models/mobilenetv3.py, those with weights.
//! Accuracies: results/results-imagenet.csv of huggingface/pytorch-image-models at 4e5207c, at the size given here.
//!
//! Files lie at huggingface.co/timm/NAME, whose server states each one's SHA-256; older copies of many lie among the
//! project's releases at github.com, under names that end in the first eight digits of it.
//!
//! The short side is the crop divided by `crop_pct`, rounded down (data/transforms_factory.py
//! `transforms_imagenet_eval`).

use mobilenet_net::preprocessing::Filter::{self, Bicubic, Bilinear};
use mobilenet_net::preprocessing::Preprocessing;

use super::{Entry, IMAGENET, Reads, Source, photos};

/// data/constants.py `IMAGENET_INCEPTION_MEAN`, `_STD`.
const INCEPTION: [[f32; 3]; 2] = [[0.5; 3], [0.5; 3]];

/// What `mean=(0., 0., 0.), std=(1., 1., 1.)` stands for.
const NONE: [[f32; 3]; 2] = [[0.0; 3], [1.0; 3]];

/// A `crop_pct` of 0.875 at 224 pixels.
const fn usual(filter: Filter, values: [[f32; 3]; 2]) -> Option<Preprocessing> {
    photos(256, 224, filter, values)
}

/// A line: network, weights, release, photos, top-1, what reads it.
const fn line(
    model: &'static str,
    tag: &'static str,
    release: Option<&'static str>,
    photos: Option<Preprocessing>,
    top1: Option<f64>,
    reads: Reads,
) -> Entry {
    Entry { source: Source::Timm, model, tag, is_default: true, file: release, photos, classes: 1000, top1, reads }
}

/// Not the network's first set of weights.
const fn further(entry: Entry) -> Entry {
    Entry { is_default: false, ..entry }
}

/// Trained on ImageNet-21k, for which timm publishes no accuracy.
const fn imagenet21k(entry: Entry) -> Entry {
    Entry { classes: 11221, ..entry }
}

const HEAD: Reads = Reads::NotYet("a head with a convolution, which no registered network has");
const DEEPER: Reads = Reads::NotYet("more blocks a stage, which no registered network has");
const RW: Reads = Reads::NotYet("a variant of V3-Large that no registered network is");

const fn v1(width: f64) -> Reads {
    Reads::As("mobilenet_v1", width)
}

const fn v2(width: f64) -> Reads {
    Reads::As("mobilenet_v2", width)
}

const fn large(width: f64) -> Reads {
    Reads::As("mobilenet_v3_large", width)
}

const fn small(width: f64) -> Reads {
    Reads::As("mobilenet_v3_small", width)
}

const LARGE_MINIMAL: Reads = Reads::As("mobilenet_v3_large_minimal", 1.0);
const SMALL_MINIMAL: Reads = Reads::As("mobilenet_v3_small_minimal", 1.0);

#[rustfmt::skip]
pub(super) const ENTRIES: &[Entry] = &[
    line("mobilenetv1_100", "ra4_e3600_r224_in1k", None, usual(Bicubic, INCEPTION), Some(75.388), v1(1.0)),
    line("mobilenetv1_100h", "ra4_e3600_r224_in1k", None, usual(Bicubic, INCEPTION), Some(75.664), HEAD),
    line("mobilenetv1_125", "ra4_e3600_r224_in1k", None, photos(248, 224, Bicubic, INCEPTION), Some(76.920), v1(1.25)),
    line("mobilenetv2_050", "lamb_in1k", Some("v0.1-weights/mobilenetv2_050-3d30d450.pth"), usual(Bicubic, IMAGENET), Some(65.928), v2(0.5)),
    line("mobilenetv2_100", "ra_in1k", Some("v0.1-weights/mobilenetv2_100_ra-b33bc2c4.pth"), usual(Bicubic, IMAGENET), Some(72.910), v2(1.0)),
    line("mobilenetv2_110d", "ra_in1k", Some("v0.1-weights/mobilenetv2_110d_ra-77090ade.pth"), usual(Bicubic, IMAGENET), Some(75.056), DEEPER),
    line("mobilenetv2_120d", "ra_in1k", Some("v0.1-weights/mobilenetv2_120d_ra-5987e2ed.pth"), usual(Bicubic, IMAGENET), Some(77.300), DEEPER),
    line("mobilenetv2_140", "ra_in1k", Some("v0.1-weights/mobilenetv2_140_ra-21a4e913.pth"), usual(Bicubic, IMAGENET), Some(76.528), v2(1.4)),
    line("mobilenetv3_large_100", "ra_in1k", Some("v0.1-weights/mobilenetv3_large_100_ra-f55367f5.pth"), usual(Bicubic, IMAGENET), Some(75.784), large(1.0)),
    further(line("mobilenetv3_large_100", "ra4_e3600_r224_in1k", None, photos(235, 224, Bicubic, INCEPTION), Some(76.310), large(1.0))),
    further(line("mobilenetv3_large_100", "miil_in21k_ft_in1k", Some("v0.1-tresnet/mobilenetv3_large_100_1k_miil_78_0-66471c13.pth"), usual(Bilinear, NONE), Some(77.920), large(1.0))),
    imagenet21k(further(line("mobilenetv3_large_100", "miil_in21k", Some("v0.1-tresnet/mobilenetv3_large_100_in21k_miil-d71cc17b.pth"), usual(Bilinear, NONE), None, large(1.0)))),
    line("mobilenetv3_large_150d", "ra4_e3600_r256_in1k", None, photos(269, 256, Bilinear, INCEPTION), Some(80.994), DEEPER),
    line("mobilenetv3_small_050", "lamb_in1k", Some("v0.1-weights/mobilenetv3_small_050_lambc-4b7bbe87.pth"), usual(Bicubic, IMAGENET), Some(57.918), small(0.5)),
    line("mobilenetv3_small_075", "lamb_in1k", Some("v0.1-weights/mobilenetv3_small_075_lambc-384766db.pth"), usual(Bicubic, IMAGENET), Some(65.284), small(0.75)),
    line("mobilenetv3_small_100", "lamb_in1k", Some("v0.1-weights/mobilenetv3_small_100_lamb-266a294c.pth"), usual(Bicubic, IMAGENET), Some(67.636), small(1.0)),
    line("mobilenetv3_rw", "rmsp_in1k", Some("v0.1-weights/mobilenetv3_100-35495452.pth"), usual(Bicubic, IMAGENET), Some(75.616), RW),
    line("tf_mobilenetv3_large_075", "in1k", Some("v0.1-weights/tf_mobilenetv3_large_075-150ee8b0.pth"), usual(Bilinear, INCEPTION), Some(73.442), large(0.75)),
    line("tf_mobilenetv3_large_100", "in1k", Some("v0.1-weights/tf_mobilenetv3_large_100-427764d5.pth"), usual(Bilinear, INCEPTION), Some(75.510), large(1.0)),
    line("tf_mobilenetv3_large_minimal_100", "in1k", Some("v0.1-weights/tf_mobilenetv3_large_minimal_100-8596ae28.pth"), usual(Bilinear, INCEPTION), Some(72.270), LARGE_MINIMAL),
    line("tf_mobilenetv3_small_075", "in1k", Some("v0.1-weights/tf_mobilenetv3_small_075-da427f52.pth"), usual(Bilinear, INCEPTION), Some(65.706), small(0.75)),
    line("tf_mobilenetv3_small_100", "in1k", Some("v0.1-weights/tf_mobilenetv3_small_100-37f49e2b.pth"), usual(Bilinear, INCEPTION), Some(67.922), small(1.0)),
    line("tf_mobilenetv3_small_minimal_100", "in1k", Some("v0.1-weights/tf_mobilenetv3_small_minimal_100-922a7843.pth"), usual(Bilinear, INCEPTION), Some(62.892), SMALL_MINIMAL),
];
