//! What a recipe's keys are where a file leaves them out.

use mobilenet_net::arch::WidthRule;

use super::{
    Augmentation, Auto, BnStatistics, Border, Cache, ClassWeights, Crop, LossKind, MemoryChoice, OptimizerRecipe,
    Pixels, RandAugment, Recipe, Sampling, ScheduleKind, ScheduleRecipe, Teacher,
};
use crate::optim::OptimizerKind;

impl Default for Recipe {
    /// V2 at 224 pixels, by SGD with Nesterov's momentum on a cosine.
    fn default() -> Recipe {
        Recipe {
            model: "mobilenet_v2".into(),
            width: 1.0,
            width_rule: WidthRule::TensorFlow,
            total_stride: 32,
            resolution: 224,
            resolutions: Vec::new(),
            batch: 32,
            accumulate: 1,
            epochs: 30.0,
            lr: 0.05,
            weight_decay: 4e-5,
            decay_depthwise: true,
            decay_all: false,
            clip_norm: None,
            loss: LossKind::CrossEntropy,
            label_smoothing: 0.0,
            class_weights: ClassWeights::None,
            sampling: Sampling::Natural,
            average: None,
            average_warmup: true,
            dropout: None,
            bn_momentum: 0.1,
            bn_statistics: BnStatistics::Batch,
            bn_reestimate: 0,
            head_first: false,
            patience: None,
            validation_share: 0.0,
            refused: None,
            freeze: Vec::new(),
            memory: MemoryChoice::Auto,
            cache: Cache::Auto,
            seed: 0,
            checkpoint_every: 120.0,
            optimizer: OptimizerRecipe::default(),
            schedule: ScheduleRecipe::default(),
            augmentation: Augmentation::default(),
            preprocessing: Pixels::default(),
            teacher: None,
        }
    }
}

impl Default for OptimizerRecipe {
    fn default() -> OptimizerRecipe {
        let kind = OptimizerKind::Sgd;
        OptimizerRecipe { kind, momentum: 0.9, nesterov: false, alpha: None, beta2: None, eps: None }
    }
}

impl Default for ScheduleRecipe {
    fn default() -> ScheduleRecipe {
        let kind = ScheduleKind::Cosine;
        ScheduleRecipe { kind, warmup: 0.0, warmup_from: 0.0, every: 1.0, factor: 0.98, floor: 0.0 }
    }
}

impl Default for Augmentation {
    /// torchvision's reference: `RandomResizedCrop` and a mirror image every other time.
    fn default() -> Augmentation {
        Augmentation {
            crop: Crop::RandomResized,
            scale: [0.08, 1.0],
            ratio: [0.75, 4.0 / 3.0],
            padding: 4,
            border: Border::Zero,
            flip: 0.5,
            color_jitter: 0.0,
            auto: Auto::None,
            randaugment: RandAugment::default(),
            erasing: 0.0,
            mixup: 0.0,
            cutmix: 0.0,
        }
    }
}

impl Default for RandAugment {
    /// The paper's for ResNet-50, and torchvision's.
    fn default() -> RandAugment {
        RandAugment { n: 2, m: 9.0 }
    }
}

impl Default for Pixels {
    /// ImageNet's, as torchvision and timm have them.
    fn default() -> Pixels {
        Pixels { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }
    }
}

impl Default for Teacher {
    fn default() -> Teacher {
        Teacher { weights: String::new(), temperature: 4.0, mix: 0.7 }
    }
}
