//! `mobilenet similar`: the photos that look most like one.

use std::path::{Path, PathBuf};

use clap::Args;
use mobilenet::Image;
use mobilenet::run::embed::cosine;
use mobilenet::run::image::check_writable;
use mobilenet::run::{ContactSheet, Embeddings};
use serde::Serialize;

use crate::embed::{FeatureArgs, embed};
use crate::failure::Failure;
use crate::inputs::{self, Inputs};
use crate::print;

/// Find the photos that look most like one
#[derive(Args)]
#[command(after_help = "Photos are compared by the cosine between their feature vectors: 1 is the same.
A folder's vectors are computed on every call; `mobilenet embed FOLDER -o FILE.safetensors` computes them once.

Examples:
  mobilenet similar owl.jpg photos/ --weights mobilenet_v2.pth --draw owls.png
  mobilenet similar owl.jpg photos.safetensors --weights mobilenet_v2.pth --json")]
pub struct Similar {
    /// The photo that others are compared with
    query: PathBuf,
    /// A folder of photos, or embeddings that `embed` wrote as .safetensors with the same weights
    #[arg(value_name = "FOLDER|FILE")]
    among: PathBuf,
    /// How many to name
    #[arg(long, default_value_t = 5, value_name = "K", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    top: u64,
    /// Draw them as a contact sheet, the photo first
    #[arg(long, value_name = "PICTURE")]
    draw: Option<PathBuf>,
    /// Print one JSON object a photo and line: {"path", "cosine"}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    features: FeatureArgs,
}

#[derive(Serialize)]
struct Found<'a> {
    path: &'a str,
    cosine: f32,
}

impl Similar {
    pub fn run(self) -> Result<(), Failure> {
        self.draw.as_deref().map_or(Ok(()), check_writable)?;
        if let Some(picture) = &self.draw {
            inputs::expect_other(picture, [&*self.query, &*self.among])?;
        }
        let embedder = self.features.open()?;
        let photo = inputs::read(&self.query).map_err(Failure::bad)?;
        let mut query = embedder.embeddings();
        query.push(self.query.display().to_string(), &embedder.embed(&photo)?);
        let (all, failed) = if self.among.is_dir() {
            let photos = Inputs::find(std::slice::from_ref(&self.among)).all()?;
            if let Some(picture) = &self.draw {
                inputs::expect_other(picture, photos.iter().map(PathBuf::as_path))?;
            }
            embed(&embedder, &photos)?
        } else {
            let all = Embeddings::open(&self.among)?;
            if let Some(picture) = &self.draw {
                inputs::expect_other(picture, all.names.iter().map(Path::new))?;
            }
            (all, 0)
        };
        self.check_comparable(&query, &all)?;
        // A photo is most like itself: that is no answer.
        let others = all.iter().filter(|(name, _)| !inputs::is_same(Path::new(name), &self.query));
        let mut found: Vec<Found> =
            others.map(|(path, vector)| Found { path, cosine: cosine(vector, &query.values) }).collect();
        if found.is_empty() {
            return Err(Failure::bad(format!("{}: there is no other photo", self.among.display())));
        }
        found.sort_by(|a, b| b.cosine.total_cmp(&a.cosine));
        found.truncate(self.top as usize);
        for photo in &found {
            if self.json {
                print::json(photo)?;
            } else {
                print::line(format!("{:6.3}  {}", photo.cosine, photo.path))?;
            }
        }
        self.draw.as_deref().map_or(Ok(()), |path| self.sheet(&photo, &found, path))?;
        if failed == 0 { Ok(()) } else { Err(Failure::Some) }
    }

    /// Refuses embeddings of another network: their angles mean nothing.
    fn check_comparable(&self, query: &Embeddings, all: &Embeddings) -> Result<(), Failure> {
        let among = self.among.display();
        if !all.names.is_empty() && all.len != query.len {
            let (theirs, ours) = (all.len, query.len);
            return Err(Failure::bad(format!(
                "{among}: its vectors have {theirs} values, and these weights give {ours}: they are of another network"
            )));
        }
        if !all.source.is_empty() && all.source != query.source {
            return Err(Failure::bad(format!(
                "{among}: its vectors are {}, and these would be {}; give the weights and flags that `embed` was given",
                all.source, query.source
            )));
        }
        Ok(())
    }

    /// The photo, and those found, in their order. What cannot be read any more is left out.
    fn sheet(&self, query: &Image, found: &[Found], path: &Path) -> Result<(), Failure> {
        const COLUMNS: usize = 6;
        const CELL: [usize; 2] = [160, 160];
        const QUERY: [u8; 3] = [30, 110, 210];
        let mut sheet = ContactSheet::new(COLUMNS, CELL);
        sheet.add(query, &[inputs::name(&self.query)], Some(QUERY));
        let mut left_out = 0;
        for photo in found {
            let path = Path::new(photo.path);
            match Image::open(path) {
                Ok(image) if sheet.add(&image, &[inputs::name(path), format!("{:.3}", photo.cosine)], None) => {}
                _ => left_out += 1,
            }
        }
        if left_out > 0 {
            note!("{left_out} photos are not on the sheet: it is full, or they cannot be read");
        }
        Ok(sheet.save(path)?)
    }
}
