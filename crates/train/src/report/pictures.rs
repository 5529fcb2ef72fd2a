//! Photos in the page: wrong answers, and the first batch as training showed it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use mobilenet_data::{Batch, Dataset, Target};
use mobilenet_net::preprocessing::Preprocessing;
use mobilenet_run::sheet::Layout;
use mobilenet_run::{ContactSheet, Image};

use super::text::percent;
use crate::assess::{Mistake, Predictions};
use crate::error::Error;

/// Of JPEG's 100.
const QUALITY: u8 = 80;
/// Pixels along the longer side of a wrongly answered photo.
const THUMBNAIL: usize = 160;
/// Photos of the first batch that are shown, in rows of so many, of so many pixels.
const BATCH: usize = 32;
const COLUMNS: usize = 8;
const CELL: usize = 96;

/// A picture within the page.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// A JPEG file.
    pub jpeg: Vec<u8>,
}

/// A photo that was answered wrongly.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistaken {
    /// The photo, small.
    pub picture: Picture,
    /// Its file.
    pub file: String,
    /// What it shows.
    pub shows: String,
    /// What was answered; of labels, what was said or denied wrongly.
    pub answer: String,
    /// The probability that the network gives that.
    pub probability: f64,
}

impl Picture {
    fn new(image: &Image) -> Result<Picture, Error> {
        Ok(Picture { width: image.width, height: image.height, jpeg: image.to_jpeg(QUALITY)? })
    }

    fn draw(&self, about: &str) -> Markup {
        let data = format!("data:image/jpeg;base64,{}", STANDARD.encode(&self.jpeg));
        html! { img src=(data) width=(self.width) height=(self.height) alt=(about); }
    }
}

/// The `most` worst mistakes. Photos that cannot be read any more are left out.
///
/// # Errors
/// A picture that JPEG cannot hold.
pub fn mistakes(predictions: &Predictions, dataset: &Dataset, most: usize) -> Result<Vec<Mistaken>, Error> {
    let layout = Layout { cell: [THUMBNAIL; 2], ..Layout::default() };
    let mut found = Vec::new();
    for Mistake { place, class, probability, is_missed } in predictions.worst(most) {
        let photo = predictions.photos()[place];
        let Ok(image) = dataset.read(photo) else { continue };
        let answer = &dataset.classes()[class];
        found.push(Mistaken {
            picture: Picture::new(layout.thumbnail(&image).image())?,
            file: dataset.name(photo),
            shows: names(&predictions.targets()[place], dataset.classes()),
            answer: if is_missed { format!("not {answer}") } else { answer.clone() },
            probability,
        });
    }
    Ok(found)
}

/// Photos of a batch as one picture, their pixels as they were before `preprocessing` made values of them, each with what it
/// shows.
///
/// # Errors
/// A picture that JPEG cannot hold.
pub fn sheet(batch: &Batch, preprocessing: &Preprocessing, classes: &[String]) -> Result<Picture, Error> {
    let [height, width] = batch.size;
    let mut sheet = ContactSheet::new(COLUMNS, [CELL; 2]);
    for (i, values) in batch.images.chunks_exact(3 * height * width).take(BATCH).enumerate() {
        let image = Image::from_rgb(width, height, pixels(values, preprocessing))?;
        let mut caption = vec![names(&batch.targets[i], classes)];
        if let Some(mixed) = &batch.mixed {
            let share = f64::from(mixed.shares[i]);
            caption[0] = format!("{:.0} % {}", 100.0 * share, caption[0]);
            caption.push(format!("{:.0} % {}", 100.0 * (1.0 - share), names(&mixed.others[i], classes)));
        }
        sheet.add(&image, &caption, None);
    }
    Picture::new(sheet.draw()?.image())
}

/// Red, green and blue of 3×H×W values.
fn pixels(values: &[f32], preprocessing: &Preprocessing) -> Vec<u8> {
    let size = values.len() / 3;
    let Preprocessing { mean, std, channel_order, .. } = preprocessing;
    let mut rgb = vec![0; values.len()];
    for (plane, color) in values.chunks_exact(size).zip(channel_order.colors()) {
        for (value, pixel) in plane.iter().zip(rgb.chunks_exact_mut(3)) {
            pixel[color] = ((value * std[color] + mean[color]) * 255.0).round() as u8;
        }
    }
    rgb
}

fn names(target: &Target, classes: &[String]) -> String {
    let names: Vec<&str> = target.labels().iter().map(|&label| classes[label as usize].as_str()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The wrong answers, with what they should have been.
pub fn gallery(mistakes: &[Mistaken]) -> Markup {
    html! {
        div class="gallery" {
            @for Mistaken { picture, file, shows, answer, probability } in mistakes {
                figure title=(file) {
                    (picture.draw(file))
                    figcaption { (shows) " → " strong { (answer) } ", " (percent(Some(*probability))) }
                }
            }
        }
    }
}

/// The first batch.
pub fn first_batch(picture: &Picture) -> Markup {
    html! { figure class="scroll" { (picture.draw("The first batch of training photos")) } }
}

#[cfg(test)]
mod tests {
    use mobilenet_data::Mixed;

    use super::*;
    use crate::recipe::Recipe;

    #[test]
    fn pixels_are_what_preprocessing_made_values_of() {
        let preprocessing = Recipe::default().preprocessing();
        let image = Image::from_rgb(1, 2, vec![0, 128, 255, 7, 200, 90]).unwrap();
        let mean_std = |color: usize| (preprocessing.mean[color], preprocessing.std[color]);
        let values: Vec<f32> = (0..3)
            .flat_map(|color| (0..2).map(move |at| (color, at)))
            .map(|(color, at)| {
                let (mean, std) = mean_std(color);
                (f32::from(image.rgb[at * 3 + color]) / 255.0 - mean) / std
            })
            .collect();
        assert_eq!(pixels(&values, &preprocessing), image.rgb);
        // What augmentation pushed beyond a pixel's range ends there.
        assert_eq!(pixels(&[-9.0, 9.0, 0.0], &preprocessing), [0, 255, 104]);
    }

    #[test]
    fn mixed_photos_tell_both_classes() {
        let batch = Batch {
            images: vec![0.0; 2 * 3 * 4 * 4],
            size: [4, 4],
            targets: vec![Target::Class(0), Target::Class(1)],
            mixed: Some(Mixed { others: vec![Target::Class(1), Target::Class(0)], shares: vec![0.75, 0.75] }),
            indices: vec![0, 1],
            first: 0,
        };
        let plain = Batch { mixed: None, ..batch.clone() };
        let classes = ["a".to_owned(), "b".to_owned()];
        let height = |batch| sheet(batch, &Recipe::default().preprocessing(), &classes).unwrap().height;
        assert!(height(&batch) > height(&plain), "a line more");
    }
}
