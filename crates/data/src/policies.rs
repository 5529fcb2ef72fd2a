//! AutoAugment's policies, row for row torchvision 0.29's `AutoAugment._get_policies`.

use crate::auto::Op::{self, *};

/// An operation, how often it is carried out, and its magnitude (0 where it has none).
pub(crate) struct Step(pub(crate) Op, pub(crate) f32, pub(crate) usize);

/// Two operations, one after the other.
pub(crate) type Policy = [Step; 2];

/// Learned on ImageNet.
pub(crate) const IMAGENET: &[Policy] = &[
    [Step(Posterize, 0.4, 8), Step(Rotate, 0.6, 9)],
    [Step(Solarize, 0.6, 5), Step(AutoContrast, 0.6, 0)],
    [Step(Equalize, 0.8, 0), Step(Equalize, 0.6, 0)],
    [Step(Posterize, 0.6, 7), Step(Posterize, 0.6, 6)],
    [Step(Equalize, 0.4, 0), Step(Solarize, 0.2, 4)],
    [Step(Equalize, 0.4, 0), Step(Rotate, 0.8, 8)],
    [Step(Solarize, 0.6, 3), Step(Equalize, 0.6, 0)],
    [Step(Posterize, 0.8, 5), Step(Equalize, 1.0, 0)],
    [Step(Rotate, 0.2, 3), Step(Solarize, 0.6, 8)],
    [Step(Equalize, 0.6, 0), Step(Posterize, 0.4, 6)],
    [Step(Rotate, 0.8, 8), Step(Color, 0.4, 0)],
    [Step(Rotate, 0.4, 9), Step(Equalize, 0.6, 0)],
    [Step(Equalize, 0.0, 0), Step(Equalize, 0.8, 0)],
    [Step(Invert, 0.6, 0), Step(Equalize, 1.0, 0)],
    [Step(Color, 0.6, 4), Step(Contrast, 1.0, 8)],
    [Step(Rotate, 0.8, 8), Step(Color, 1.0, 2)],
    [Step(Color, 0.8, 8), Step(Solarize, 0.8, 7)],
    [Step(Sharpness, 0.4, 7), Step(Invert, 0.6, 0)],
    [Step(ShearX, 0.6, 5), Step(Equalize, 1.0, 0)],
    [Step(Color, 0.4, 0), Step(Equalize, 0.6, 0)],
    [Step(Equalize, 0.4, 0), Step(Solarize, 0.2, 4)],
    [Step(Solarize, 0.6, 5), Step(AutoContrast, 0.6, 0)],
    [Step(Invert, 0.6, 0), Step(Equalize, 1.0, 0)],
    [Step(Color, 0.6, 4), Step(Contrast, 1.0, 8)],
    [Step(Equalize, 0.8, 0), Step(Equalize, 0.6, 0)],
];

/// Learned on CIFAR-10.
pub(crate) const CIFAR10: &[Policy] = &[
    [Step(Invert, 0.1, 0), Step(Contrast, 0.2, 6)],
    [Step(Rotate, 0.7, 2), Step(TranslateX, 0.3, 9)],
    [Step(Sharpness, 0.8, 1), Step(Sharpness, 0.9, 3)],
    [Step(ShearY, 0.5, 8), Step(TranslateY, 0.7, 9)],
    [Step(AutoContrast, 0.5, 0), Step(Equalize, 0.9, 0)],
    [Step(ShearY, 0.2, 7), Step(Posterize, 0.3, 7)],
    [Step(Color, 0.4, 3), Step(Brightness, 0.6, 7)],
    [Step(Sharpness, 0.3, 9), Step(Brightness, 0.7, 9)],
    [Step(Equalize, 0.6, 0), Step(Equalize, 0.5, 0)],
    [Step(Contrast, 0.6, 7), Step(Sharpness, 0.6, 5)],
    [Step(Color, 0.7, 7), Step(TranslateX, 0.5, 8)],
    [Step(Equalize, 0.3, 0), Step(AutoContrast, 0.4, 0)],
    [Step(TranslateY, 0.4, 3), Step(Sharpness, 0.2, 6)],
    [Step(Brightness, 0.9, 6), Step(Color, 0.2, 8)],
    [Step(Solarize, 0.5, 2), Step(Invert, 0.0, 0)],
    [Step(Equalize, 0.2, 0), Step(AutoContrast, 0.6, 0)],
    [Step(Equalize, 0.2, 0), Step(Equalize, 0.6, 0)],
    [Step(Color, 0.9, 9), Step(Equalize, 0.6, 0)],
    [Step(AutoContrast, 0.8, 0), Step(Solarize, 0.2, 8)],
    [Step(Brightness, 0.1, 3), Step(Color, 0.7, 0)],
    [Step(Solarize, 0.4, 5), Step(AutoContrast, 0.9, 0)],
    [Step(TranslateY, 0.9, 9), Step(TranslateY, 0.7, 9)],
    [Step(AutoContrast, 0.9, 0), Step(Solarize, 0.8, 3)],
    [Step(Equalize, 0.8, 0), Step(Invert, 0.1, 0)],
    [Step(TranslateY, 0.7, 9), Step(AutoContrast, 0.9, 0)],
];
