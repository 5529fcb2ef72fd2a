//! Flags from photo to tensor.

use std::path::PathBuf;

use clap::Args;
use mobilenet::net::preprocessing::{ChannelOrder, Filter, Resize};
use mobilenet::run::classifier::PreprocessingOverrides;

use super::Resolution;

/// From photo to tensor. Left out, all this is the weights' own.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Photos")]
pub struct PhotoArgs {
    /// Short side after resizing, or `squash` for the whole photo to the network's size
    #[arg(long, value_name = "PIXELS|squash", value_parser = resize)]
    resize: Option<Resize>,
    /// The network's input, cut from the middle: a number, or HEIGHTxWIDTH
    #[arg(long, value_name = "SIZE", value_parser = input_size)]
    crop: Option<Resolution>,
    /// bilinear or bicubic, antialiased as Pillow's
    #[arg(long, value_parser = filter)]
    filter: Option<Filter>,
    /// Subtracted from red, green and blue between 0 and 1
    #[arg(long, value_name = "R,G,B", value_parser = three, allow_hyphen_values = true)]
    mean: Option<[f32; 3]>,
    /// Divides the differences
    #[arg(long, value_name = "R,G,B", value_parser = deviation, allow_hyphen_values = true)]
    std: Option<[f32; 3]>,
    /// The input's order of colours: rgb or bgr
    #[arg(long, value_name = "ORDER", value_parser = channel_order)]
    channel_order: Option<ChannelOrder>,
    /// Whether output 0 is a background class
    #[arg(long, value_name = "true|false")]
    background: Option<bool>,
    /// A file with one class name a line
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
}

impl PhotoArgs {
    /// What was given, in place of the weights' own.
    pub fn overrides(&self) -> PreprocessingOverrides {
        PreprocessingOverrides {
            resize: self.resize,
            size: self.crop.map(|Resolution { h, w }| [h, w]),
            filter: self.filter,
            mean: self.mean,
            std: self.std,
            channel_order: self.channel_order,
            background_class: self.background,
        }
    }
}

fn resize(text: &str) -> Result<Resize, String> {
    match text {
        "squash" => Ok(Resize::Squash),
        _ => match text.parse() {
            Ok(pixels @ 1..=8192) => Ok(Resize::ShortSide(pixels)),
            _ => Err("give 1 to 8192 pixels, or squash".into()),
        },
    }
}

fn input_size(text: &str) -> Result<Resolution, String> {
    let size: Resolution = text.parse()?;
    if size.h.max(size.w) <= 8192 { Ok(size) } else { Err("give at most 8192 pixels a side".into()) }
}

fn filter(text: &str) -> Result<Filter, String> {
    match text {
        "bilinear" => Ok(Filter::Bilinear),
        "bicubic" => Ok(Filter::Bicubic),
        _ => Err("give bilinear or bicubic".into()),
    }
}

fn channel_order(text: &str) -> Result<ChannelOrder, String> {
    match text {
        "rgb" => Ok(ChannelOrder::Rgb),
        "bgr" => Ok(ChannelOrder::Bgr),
        _ => Err("give rgb or bgr".into()),
    }
}

fn three(text: &str) -> Result<[f32; 3], String> {
    let values: Result<Vec<f32>, _> = text.split(',').map(|v| v.trim().parse()).collect();
    let values = values.ok().filter(|v| v.iter().all(|x| x.is_finite()));
    match values.as_deref() {
        Some([all]) => Ok([*all; 3]),
        Some([r, g, b]) => Ok([*r, *g, *b]),
        _ => Err("give three numbers with commas between, or one for all".into()),
    }
}

fn deviation(text: &str) -> Result<[f32; 3], String> {
    three(text).and_then(|v| if v.iter().all(|&x| x > 0.0) { Ok(v) } else { Err("give numbers above 0".into()) })
}
