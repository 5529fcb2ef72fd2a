//! How a photo becomes the tensor that a set of weights was trained on. It belongs to the weights, not to the graph.

/// From a photo of any size to a normalised tensor, as data. `mobilenet_run::preprocess` carries it out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocessing {
    /// How the photo is brought near the network's size.
    pub resize: Resize,
    /// The network's input, height and width in pixels: what is cut from the middle after resizing.
    pub size: [usize; 2],
    /// The filter that resizes.
    pub filter: Filter,
    /// Subtracted from red, green and blue, which lie in 0..=1.
    pub mean: [f32; 3],
    /// Divides red, green and blue after [`mean`](Self::mean) is subtracted.
    pub std: [f32; 3],
    /// Whether output 0 is a background class, as in TensorFlow's 1001 outputs.
    pub background_class: bool,
}

/// How a photo is brought near the network's size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Resize {
    /// The short side to so many pixels, the long one in proportion; then the middle is cut out. torchvision, timm.
    ShortSide(usize),
    /// The whole photo to the network's size, out of proportion.
    Squash,
    /// The middle of the photo, this fraction of either side, to the network's size, out of proportion. TensorFlow slim
    /// (0.875).
    CentralFraction(f32),
}

/// A filter that resizes as Pillow does: widened by the factor when shrinking, so that nothing aliases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Filter {
    /// A triangle, one pixel to either side.
    #[default]
    Bilinear,
    /// Keys' cubic with a = −0.5, two pixels to either side.
    Bicubic,
}
