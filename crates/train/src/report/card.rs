//! What the network was made of, what it costs, and under which terms.

use std::path::Path;

use maud::{Markup, html};
use mobilenet_net::{Card as WeightsCard, weights};

use super::text::{count, counted, duration, milliseconds};
use crate::trainer::Origin;

/// A network's card.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// The network's name.
    pub model: String,
    /// Its width multiplier.
    pub width: f64,
    /// Its strides together.
    pub total_stride: usize,
    /// Height and width of a photo in pixels.
    pub resolution: usize,
    /// Numbers that are learned.
    pub parameters: u64,
    /// Multiply-adds for a photo.
    pub multiply_adds: u64,
    /// Bytes of the network's file.
    pub file_bytes: u64,
    /// How long a photo takes here.
    pub latencies: Vec<Latency>,
    /// The instruction set that was used here.
    pub isa: String,
    /// Where the photos to learn from lie.
    pub photos_in: String,
    /// How many they are.
    pub photos: usize,
    /// Where the photos to check with lie, where there are any, and how many they are.
    pub validation: Option<(String, usize)>,
    /// Classes of both.
    pub classes: usize,
    /// What training began with.
    pub origin: Origin,
    /// The weights of the network that was learned from as well.
    pub teacher: Option<String>,
    /// Epochs.
    pub epochs: f64,
    /// Seconds of training.
    pub seconds: f64,
    /// Under which terms the network's file says that it may be used.
    pub licence: Option<String>,
    /// Every setting, as TOML.
    pub recipe: String,
}

/// How long one photo takes, from pixels in memory to logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Threads that share the work.
    pub threads: usize,
    /// The median.
    pub milliseconds: f64,
}

impl Card {
    /// The network in a few words.
    pub fn network(&self) -> String {
        let Card { model, width, resolution, .. } = self;
        let width = if *width == 1.0 { String::new() } else { format!(", width {width}") };
        format!("{model}{width}, {resolution}×{resolution} pixels")
    }

    pub(super) fn table(&self) -> Markup {
        let Card { photos, classes, teacher, .. } = self;
        let rows = [
            ("network", html! { (self.network()) ", total stride " (self.total_stride) }),
            (
                "size",
                html! {
                    (count(self.parameters)) " parameters, " (count(self.multiply_adds)) " multiply-adds a photo, file of "
                    (count(self.file_bytes)) "B"
                },
            ),
            ("latency here", html! { (self.latency()) }),
            (
                "photos",
                html! {
                    (counted(*photos, "photo", "photos")) " of " (counted(*classes, "class", "classes")) ", from "
                    code { (self.photos_in) }
                },
            ),
            (
                "validation",
                match &self.validation {
                    Some((path, photos)) => html! { (counted(*photos, "photo", "photos")) ", from " code { (path) } },
                    None => html! { "none: the figures that others go by are missing" },
                },
            ),
            ("started from", self.origin()),
            ("trained for", html! { (self.epochs) " epochs, " (duration(self.seconds)) }),
            ("licence", html! { (self.licence()) }),
        ];
        html! {
            table class="card" {
                @for (name, value) in rows { tr { th scope="row" { (name) } td { (value) } } }
                @if let Some(teacher) = teacher { tr { th scope="row" { "teacher" } td { code { (teacher) } } } }
            }
            details { summary { "Recipe: every setting" } pre { (self.recipe) } }
        }
    }

    fn latency(&self) -> String {
        let one = |latency: &Latency| {
            format!("{} with {}", milliseconds(latency.milliseconds), counted(latency.threads, "thread", "threads"))
        };
        let all: Vec<String> = self.latencies.iter().map(one).collect();
        format!("{} ({})", all.join(", "), self.isa)
    }

    fn origin(&self) -> Markup {
        match &self.origin {
            Origin::Fresh => html! { "fresh weights" },
            Origin::File { file, taken, fresh, .. } => {
                html! { code { (file) } ": " (taken) " of " (taken + fresh.len()) " tensors" }
            }
            Origin::Checkpoint { file, .. } => html! { code { (file) } ", whose log is lost" },
        }
    }

    /// The file's own terms, else what is known of the weights before it.
    fn licence(&self) -> String {
        if let Some(licence) = &self.licence {
            return licence.clone();
        }
        let before = match &self.origin {
            Origin::File { file, .. } => licence_of(Path::new(file)),
            _ => None,
        };
        match before {
            Some(licence) => {
                format!(
                    "none stated; the weights that it started from are under {licence}, and the photos have their own terms"
                )
            }
            None => "none stated; what it started from and the photos have their own terms".to_owned(),
        }
    }
}

/// What a weights file, or the card beside it, says of its terms; whatever keeps them from being read, none are known.
fn licence_of(file: &Path) -> Option<String> {
    let own = weights::open_where(file, |_| false).ok().and_then(|mut file| file.metadata.remove("licence"));
    own.or_else(|| WeightsCard::read(file).ok().flatten()?.licence)
}
