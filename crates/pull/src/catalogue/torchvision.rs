//! torchvision@0.29.2: models/mobilenetv2.py, mobilenetv3.py, quantization/, segmentation/, detection/.
//!
//! The eight hexadecimal digits before `.pth` are the first of the file's SHA-256 (torch/hub.py `download_url_to_file`).
//! torch finds them behind a hyphen only, so those of `mobilenet_v2_qnnpack_37f702c5.pth` are checked by nobody.

use mobilenet_net::preprocessing::Filter::Bilinear;

use super::{Entry, IMAGENET, Reads, Source, photos};

/// A classifier's line: network, weights, file, short side, top-1, what reads it.
const fn classifier(
    model: &'static str,
    tag: &'static str,
    file: &'static str,
    short_side: usize,
    top1: f64,
    reads: Reads,
) -> Entry {
    Entry {
        source: Source::Torchvision,
        model,
        tag,
        is_default: true,
        file: Some(file),
        photos: photos(short_side, 224, Bilinear, IMAGENET),
        classes: 1000,
        top1: Some(top1),
        reads,
    }
}

/// Not what torchvision's `DEFAULT` stands for.
const fn earlier(entry: Entry) -> Entry {
    Entry { is_default: false, ..entry }
}

/// A line of a network that does something else than classify.
const fn other(
    model: &'static str,
    tag: &'static str,
    file: &'static str,
    classes: usize,
    what: &'static str,
) -> Entry {
    Entry {
        source: Source::Torchvision,
        model,
        tag,
        is_default: true,
        file: Some(file),
        photos: None,
        classes,
        top1: None,
        reads: Reads::NotYet(what),
    }
}

const V2: Reads = Reads::As("mobilenet_v2", 1.0);
const V3_LARGE: Reads = Reads::As("mobilenet_v3_large", 1.0);
const V3_SMALL: Reads = Reads::As("mobilenet_v3_small", 1.0);
const QUANTIZED: Reads = Reads::NotYet("quantized to 8 bits");

/// COCO's classes with background, and Pascal VOC's.
const COCO: usize = 91;
const VOC: usize = 21;

#[rustfmt::skip]
pub(super) const ENTRIES: &[Entry] = &[
    earlier(classifier("mobilenet_v2", "IMAGENET1K_V1", "mobilenet_v2-b0353104.pth", 256, 71.878, V2)),
    classifier("mobilenet_v2", "IMAGENET1K_V2", "mobilenet_v2-7ebf99e0.pth", 232, 72.154, V2),
    earlier(classifier("mobilenet_v3_large", "IMAGENET1K_V1", "mobilenet_v3_large-8738ca79.pth", 256, 74.042, V3_LARGE)),
    classifier("mobilenet_v3_large", "IMAGENET1K_V2", "mobilenet_v3_large-5c1a4163.pth", 232, 75.274, V3_LARGE),
    classifier("mobilenet_v3_small", "IMAGENET1K_V1", "mobilenet_v3_small-047dcff4.pth", 256, 67.668, V3_SMALL),
    classifier("quantized_mobilenet_v2", "IMAGENET1K_QNNPACK_V1", "quantized/mobilenet_v2_qnnpack_37f702c5.pth", 256, 71.658, QUANTIZED),
    classifier("quantized_mobilenet_v3_large", "IMAGENET1K_QNNPACK_V1", "quantized/mobilenet_v3_large_qnnpack-5bcacf28.pth", 256, 73.004, QUANTIZED),
    other("lraspp_mobilenet_v3_large", "COCO_WITH_VOC_LABELS_V1", "lraspp_mobilenet_v3_large-d234d4ea.pth", VOC, "segmentation"),
    other("deeplabv3_mobilenet_v3_large", "COCO_WITH_VOC_LABELS_V1", "deeplabv3_mobilenet_v3_large-fc3c493d.pth", VOC, "segmentation"),
    other("ssdlite320_mobilenet_v3_large", "COCO_V1", "ssdlite320_mobilenet_v3_large_coco-a79551df.pth", COCO, "detection"),
    other("fasterrcnn_mobilenet_v3_large_fpn", "COCO_V1", "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth", COCO, "detection"),
    other("fasterrcnn_mobilenet_v3_large_320_fpn", "COCO_V1", "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth", COCO, "detection"),
];
