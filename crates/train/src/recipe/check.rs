//! What a recipe's values may be.

use std::fmt;

use mobilenet_net::Error;

use super::{BnStatistics, ClassWeights, LossKind, Recipe, Sampling};
use crate::optim::OptimizerKind;

/// What a number may be.
#[derive(Clone, Copy)]
enum Range {
    /// Above zero, up to this.
    Positive(f64),
    /// From zero up to this.
    UpTo(f64),
    /// From zero, and less than this.
    Below(f64),
}

impl Range {
    /// False for NaN.
    fn contains(self, x: f64) -> bool {
        match self {
            Range::Positive(most) => x > 0.0 && x <= most,
            Range::UpTo(most) => x >= 0.0 && x <= most,
            Range::Below(limit) => x >= 0.0 && x < limit,
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Range::Positive(most) => write!(f, "above 0, at most {most}"),
            Range::UpTo(most) => write!(f, "from 0 to {most}"),
            Range::Below(limit) => write!(f, "from 0, below {limit}"),
        }
    }
}

impl Recipe {
    /// Refuses values out of their range, and values that contradict each other.
    ///
    /// # Errors
    /// [`Error::Config`], naming the key.
    pub fn check(&self) -> Result<(), Error> {
        self.check_bounds()?;
        let refuse = |text: String| Err(Error::Config(text));
        if self.schedule.warmup > self.epochs {
            let (warmup, epochs) = (self.schedule.warmup, self.epochs);
            return refuse(format!("schedule.warmup is {warmup} epochs, and epochs is {epochs}"));
        }
        if let Some([epoch, _]) = self.resolutions.last().filter(|[epoch, _]| *epoch as f64 >= self.epochs) {
            return refuse(format!("resolutions begin with epoch {epoch}, and epochs is {}", self.epochs));
        }
        let o = &self.optimizer;
        if o.kind == OptimizerKind::Sgd && o.nesterov && o.momentum == 0.0 {
            return refuse("optimizer.nesterov needs optimizer.momentum above 0".into());
        }
        if self.loss == LossKind::Binary && self.teacher.is_some() {
            return refuse("teacher belongs to loss = \"cross_entropy\"".into());
        }
        if self.loss == LossKind::Binary && self.class_weights == ClassWeights::Balanced {
            return refuse("class_weights = \"balanced\" belongs to loss = \"cross_entropy\": in the other every label counts the same".into());
        }
        if self.epochs == 0.0 && !self.head_first {
            return refuse(
                "epochs is 0, which only a classifier that is learned first (head_first = true) needs no more than"
                    .into(),
            );
        }
        if self.bn_reestimate > 0 && self.patience.is_some() {
            return refuse("bn_reestimate is for the last epoch's weights, and patience keeps the best epoch's; leave one of them out".into());
        }
        if self.sampling == Sampling::Balanced && self.class_weights == ClassWeights::Balanced {
            return refuse("sampling and class_weights are both \"balanced\": rare classes would count too much; leave one of them out".into());
        }
        if self.bn_reestimate > 0 && self.bn_statistics == BnStatistics::Frozen {
            return refuse("bn_reestimate changes what bn_statistics = \"frozen\" keeps; leave one of them out".into());
        }
        if self.teacher.as_ref().is_some_and(|teacher| teacher.weights.is_empty()) {
            return refuse("teacher.weights is missing: give the teacher's weights file".into());
        }
        Ok(())
    }

    /// Refuses values out of their range.
    pub(super) fn check_bounds(&self) -> Result<(), Error> {
        for (key, value, range) in self.numbers() {
            if !range.contains(value) {
                return Err(Error::Config(format!("{key} is {value}; give a number {range}")));
            }
        }
        // TOML's integers end here; as a float, this limit would be rounded.
        if self.seed > i64::MAX as u64 {
            return Err(Error::Config(format!("seed is {}; give a number from 0 to {}", self.seed, i64::MAX)));
        }
        let ordered =
            [("augmentation.scale", self.augmentation.scale), ("augmentation.ratio", self.augmentation.ratio)];
        for (key, [low, high]) in ordered {
            if low > high {
                return Err(Error::Config(format!("{key} is [{low}, {high}]; give the smaller number first")));
            }
        }
        if self.resolutions.windows(2).any(|pair| pair[0][0] >= pair[1][0]) {
            return Err(Error::Config("resolutions must be pairs of an epoch and pixels, earlier epochs first".into()));
        }
        if ![32, 16, 8].contains(&self.total_stride) {
            return Err(Error::Config(format!("total_stride is {}; give 32, 16 or 8", self.total_stride)));
        }
        if self.model.is_empty() {
            return Err(Error::Config("model is empty; give a network's name".into()));
        }
        if self.freeze.iter().any(String::is_empty) {
            return Err(Error::Config("freeze has an empty name, which every parameter starts with".into()));
        }
        Ok(())
    }

    /// Every number with its key and its range.
    fn numbers(&self) -> Vec<(&'static str, f64, Range)> {
        use Range::{Below, Positive, UpTo};
        let (o, s, a, p) = (&self.optimizer, &self.schedule, &self.augmentation, &self.preprocessing);
        let mut numbers = vec![
            ("width", self.width, Positive(16.0)),
            ("resolution", self.resolution as f64, Positive(8192.0)),
            ("batch", self.batch as f64, Positive(65536.0)),
            ("accumulate", self.accumulate as f64, Positive(65536.0)),
            ("epochs", self.epochs, UpTo(1e6)),
            ("lr", self.lr, Positive(1e3)),
            ("weight_decay", self.weight_decay, UpTo(1e3)),
            ("label_smoothing", self.label_smoothing, Below(1.0)),
            ("bn_momentum", self.bn_momentum, UpTo(1.0)),
            ("bn_reestimate", self.bn_reestimate as f64, UpTo(1e9)),
            ("validation_share", self.validation_share, UpTo(0.5)),
            ("checkpoint_every", self.checkpoint_every, UpTo(86400.0)),
            ("optimizer.momentum", o.momentum, Below(1.0)),
            ("schedule.warmup", s.warmup, UpTo(1e6)),
            ("schedule.warmup_from", s.warmup_from, UpTo(1.0)),
            ("schedule.every", s.every, Positive(1e6)),
            ("schedule.factor", s.factor, Positive(1.0)),
            ("schedule.floor", s.floor, UpTo(1.0)),
            ("augmentation.padding", a.padding as f64, UpTo(8192.0)),
            ("augmentation.flip", a.flip, UpTo(1.0)),
            ("augmentation.color_jitter", a.color_jitter, UpTo(1.0)),
            ("augmentation.randaugment.n", a.randaugment.n as f64, Positive(16.0)),
            ("augmentation.randaugment.m", a.randaugment.m, UpTo(30.0)),
            ("augmentation.erasing", a.erasing, UpTo(1.0)),
            ("augmentation.mixup", a.mixup, UpTo(1e3)),
            ("augmentation.cutmix", a.cutmix, UpTo(1e3)),
        ];
        let optional = [
            ("clip_norm", self.clip_norm, Positive(1e6)),
            ("average", self.average, Below(1.0)),
            ("dropout", self.dropout, Below(1.0)),
            ("patience", self.patience, Positive(1e6)),
            ("refused", self.refused, Below(1.0)),
            ("optimizer.alpha", o.alpha, Below(1.0)),
            ("optimizer.beta2", o.beta2, Below(1.0)),
            ("optimizer.eps", o.eps, Positive(1e3)),
            ("teacher.temperature", self.teacher.as_ref().map(|t| t.temperature), Positive(1e3)),
            ("teacher.mix", self.teacher.as_ref().map(|t| t.mix), UpTo(1.0)),
        ];
        numbers.extend(optional.into_iter().filter_map(|(key, value, range)| Some((key, value?, range))));
        numbers.extend(self.resolutions.iter().map(|r| ("resolutions", r[1] as f64, Positive(8192.0))));
        numbers.extend(a.scale.map(|value| ("augmentation.scale", value, Positive(1.0))));
        numbers.extend(a.ratio.map(|value| ("augmentation.ratio", value, Positive(100.0))));
        numbers.extend(p.mean.map(|value| ("preprocessing.mean", value, UpTo(1.0))));
        numbers.extend(p.std.map(|value| ("preprocessing.std", value, Positive(1e3))));
        numbers
    }
}
