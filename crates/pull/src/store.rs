//! The cache folder: where fetched files lie, and finding them by name. No network here.

use std::path::{Path, PathBuf};

use etcetera::base_strategy::{BaseStrategy, choose_native_strategy};
use mobilenet_net::Card;

use crate::digest::{self, Digits};
use crate::error::{Error, PUBLISHED};
use crate::name::{Name, Place, file_name};

/// The variable that names the cache folder.
pub const VARIABLE: &str = "MOBILENET_CACHE";

/// A file of a store, and its card or what is wrong with it.
pub type Stored = (PathBuf, Result<Card, Error>);

/// A folder of fetched weights files.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The folder that [`VARIABLE`] names, or `mobilenet/weights` in the user's folder of caches.
    ///
    /// # Errors
    /// [`Error::NoCache`] where the system knows no such folder.
    pub fn from_env() -> Result<Store, Error> {
        let given = std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty()).map(PathBuf::from);
        let folder = match given {
            Some(folder) => folder,
            None => {
                let strategy = choose_native_strategy().map_err(|_| Error::NoCache)?;
                strategy.cache_dir().join("mobilenet").join("weights")
            }
        };
        Ok(Store::new(folder))
    }

    /// A store in `folder`, which need not exist yet.
    pub fn new(folder: impl Into<PathBuf>) -> Store {
        Store { folder: folder.into() }
    }

    /// Where files are kept.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the file of `place` lies, or would.
    pub fn path(&self, place: &Place) -> PathBuf {
        place.path.iter().fold(self.folder.clone(), |path, part| path.join(part))
    }

    /// The file of `name` where it is here already. One that was put there by hand is checked, as far as its hash is
    /// known, and gets its card.
    ///
    /// # Errors
    /// [`Error::Hash`] where it is not the published one; a folder that cannot be read or written.
    pub fn find(&self, name: &Name) -> Result<Option<(PathBuf, Card)>, Error> {
        for place in name.places() {
            let path = self.path(&place);
            if path.is_file() {
                let card = match Card::read(&path)? {
                    Some(card) => card,
                    None => adopt(name, &place, &path)?,
                };
                return Ok(Some((path, card)));
            }
        }
        Ok(None)
    }

    /// All files with a card, by path, each with what is wrong with its card.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn files(&self) -> Result<Vec<Stored>, Error> {
        let mut found = Vec::new();
        collect(&self.folder, DEPTH, &mut found)?;
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(found)
    }

    /// The file of `name`.
    ///
    /// # Errors
    /// As [`Store::find`]; [`Error::Missing`] where it is not here.
    pub fn get(&self, name: &Name) -> Result<PathBuf, Error> {
        let found = self.find(name)?;
        found.map(|(path, _)| path).ok_or_else(|| Error::Missing { name: name.to_string() })
    }
}

/// Folders of a store within each other: its own, a repository's four and those of a path in it.
const DEPTH: usize = 16;

/// Adds the weights files with a card in `folder` and its folders.
fn collect(folder: &Path, depth: usize, found: &mut Vec<Stored>) -> Result<(), Error> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::read(folder))?,
    };
    for entry in entries {
        let entry = entry.map_err(Error::read(folder))?;
        let (kind, path) = (entry.file_type().map_err(Error::read(folder))?, entry.path());
        // Links are not followed: they may lead in circles.
        if kind.is_dir() && depth > 0 {
            collect(&path, depth - 1, found)?;
        } else if kind.is_file()
            && let Some(card) = Card::read(&path).transpose()
        {
            found.push((path, card.map_err(Error::from)));
        }
    }
    Ok(())
}

/// The digits of a file's hash that its name has.
pub(crate) fn known_digits(place: &Place) -> Option<Digits> {
    Digits::in_name(file_name(&place.address))
}

/// The card of a file of this content.
pub(crate) fn card(name: &Name, place: &Place, bytes: u64, sha256: String, published: Option<&Digits>) -> Card {
    Card {
        name: name.to_string(),
        address: place.address.clone(),
        bytes,
        sha256,
        published_sha256: published.map(|digits| digits.as_str().to_owned()),
        licence: name.entry().and_then(|entry| entry.licence()).map(str::to_owned),
        metadata: name.entry().map(|entry| entry.metadata()).unwrap_or_default(),
    }
}

/// Checks a file that has no card, and writes one.
fn adopt(name: &Name, place: &Place, path: &Path) -> Result<Card, Error> {
    let (bytes, sha256) = digest::of(path)?;
    let digits = known_digits(place);
    if let Some(digits) = digits.as_ref().filter(|digits| !digits.fit(&sha256)) {
        return Err(Error::Hash {
            of: PUBLISHED,
            what: path.display().to_string(),
            expected: digits.as_str().into(),
            found: sha256,
            remedy: "remove it and fetch it anew",
        });
    }
    let card = card(name, place, bytes, sha256, digits.as_ref());
    card.write(path)?;
    Ok(card)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name of an entry without digits, and the path of its file in `store`.
    fn by_hand(store: &Store) -> (Name, PathBuf) {
        let name: Name = "timm/tf_mobilenetv3_small_100".parse().unwrap();
        let path = store.path(&name.places()[0]);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        (name, path)
    }

    #[test]
    fn a_file_put_there_by_hand_gets_its_card() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let (name, path) = by_hand(&store);
        assert!(store.find(&name).unwrap().is_none());
        std::fs::write(&path, "weights").unwrap();
        assert_eq!(store.get(&name).unwrap(), path);
        let card = Card::read(&path).unwrap().unwrap();
        assert_eq!((card.bytes, card.metadata["padding"].as_str()), (7, "same"));
        assert_eq!((card.published_sha256, card.licence.as_deref()), (None, Some("apache-2.0")));
    }

    #[test]
    fn a_wrong_file_put_there_by_hand_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let name: Name = "mobilenet_v2-b0353104.pth".parse().unwrap();
        let path = store.path(&name.places()[0]);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "abc").unwrap();
        let error = store.get(&name).unwrap_err().to_string();
        let expected = format!(
            "{}: its SHA-256 is ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad, and the published one \
             begins with b0353104: it is damaged or was replaced; remove it and fetch it anew",
            path.display()
        );
        assert_eq!(error, expected);
        assert!(!Card::path(&path).exists());
    }

    #[test]
    fn what_is_missing_names_the_command_that_fetches_it() {
        let store = Store::new("/nowhere");
        let error = store.get(&"mobilenet_v2".parse().unwrap()).unwrap_err().to_string();
        let name = "torchvision/mobilenet_v2.IMAGENET1K_V2";
        assert_eq!(error, format!("{name} is not on this machine yet: run `mobilenet pull {name}` first"));
    }
}
