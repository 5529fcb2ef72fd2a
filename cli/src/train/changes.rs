//! A network's classes added, renamed and dropped, without training it again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use mobilenet::data::Dataset;
use mobilenet::train::RunFolder;
use mobilenet::train::checkpoint::NEWEST;
use mobilenet::train::classes::{self, Changed, Changes};
use mobilenet::train::trainer::{MODEL, Machine};

use crate::failure::Failure;
use crate::{check, print};

/// Flags of a training, which this is none of.
const OTHERS: [&str; 6] = ["recipe", "resume", "head_only", "validation", "epochs", "teacher"];

/// What is to become of the classes of --from.
#[derive(Args)]
pub struct ChangeArgs {
    /// Add the class whose photos are in this folder, or those of its folders; DATA, if given, is photos of the old classes, in place of what the file knows of them
    #[arg(long, value_name = "FOLDER", requires = "from", conflicts_with_all = OTHERS, help_heading = super::HEADINGS[4])]
    add: Option<PathBuf>,
    /// Call a class otherwise; may be repeated
    #[arg(long, value_name = "OLD=NEW", requires = "from", conflicts_with_all = OTHERS, help_heading = super::HEADINGS[4])]
    rename: Vec<String>,
    /// Leave a class out; may be repeated
    #[arg(long, value_name = "CLASS", requires = "from", conflicts_with_all = OTHERS, help_heading = super::HEADINGS[4])]
    drop: Vec<String>,
}

impl ChangeArgs {
    /// Whether anything is to be changed.
    pub fn is_given(&self) -> bool {
        self.add.is_some() || !self.rename.is_empty() || !self.drop.is_empty()
    }

    /// Writes the changed network of `from` into the folder `to`.
    pub fn run(
        &self,
        from: &Path,
        old: Option<&Path>,
        to: &Path,
        is_json: bool,
        machine: &Machine,
    ) -> Result<(), Failure> {
        let (file, _held) = (to.join(MODEL), RunFolder::open(to)?);
        if let Some(found) = [file.clone(), to.join(NEWEST)].iter().find(|found| found.exists()) {
            return Err(Failure::bad(format!("{} is there already: give another folder with -o", found.display())));
        }
        let add = self.add.as_ref().map(Dataset::open_new).transpose()?.map(Arc::new);
        add.iter().for_each(|photos| print::ignored(photos));
        let old = match old {
            Some(path) => Some(Arc::new(old_photos(from, path)?)),
            None => None,
        };
        let pair = |text: &String| match text.split_once('=') {
            Some((old, new)) if !new.is_empty() => Ok((old.to_owned(), new.to_owned())),
            _ => Err(Failure::bad(format!("--rename {text}: give OLD=NEW"))),
        };
        let rename = self.rename.iter().map(pair).collect::<Result<_, _>>()?;
        let changes = Changes { add, rename, drop: self.drop.clone() };
        let bar = check::bar();
        let changed = classes::change(from, &file, changes, old.as_ref(), machine, &mut |done, total| {
            check::show(&bar, done, total);
        });
        bar.finish_and_clear();
        let changed = changed?;
        if is_json {
            print::json(&changed)?;
        } else {
            print::line(said(&changed))?;
        }
        note!("done: mobilenet classify photo.jpg --weights {}", print::quoted(&file));
        Ok(())
    }
}

/// Photos of the classes of `from`.
fn old_photos(from: &Path, path: &Path) -> Result<Dataset, Failure> {
    let loaded = mobilenet::net::load(from, &Default::default())?;
    let labels = loaded.recognised.labels.unwrap_or_default();
    Ok(Dataset::open_as(path, &labels)?)
}

fn said(Changed { classes, held_out, held_out_top1, kept }: &Changed) -> String {
    let mut text = format!("classes: {}", classes.join(", "));
    if let Some(top1) = held_out_top1 {
        text += &format!("\nof {held_out} new photos that were held out {:.1} % are named right", 100.0 * top1);
    }
    if let Some(kept) = kept {
        text += &format!("\nof the photos of old classes in the file {:.1} % are answered as before", 100.0 * kept);
    }
    text
}
