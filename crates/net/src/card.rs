//! What is known of a weights file that the file does not say itself: a card beside it.
//!
//! Published files tell neither their preprocessing nor, under timm's names, where convolutions pad. Whoever fetched such
//! a file knows from where, and leaves that beside it: `FILE.card.json`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::built_in;
use crate::error::Error;
use crate::file;

/// Most bytes of a card that are read. The longest thing in one are names of classes.
const MAX_BYTES: u64 = 4 << 20;

/// A weights file's origin, and the metadata that it should have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// What it is called where it comes from.
    pub name: String,
    /// Where it was fetched, or may be.
    pub address: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256, 64 hexadecimal digits.
    pub sha256: String,
    /// The first digits of the SHA-256 as its publisher gives them, which the file's were found to begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_sha256: Option<String>,
    /// The licence of the weights, where their publisher states one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// What the file's own metadata lacks, under the same keys.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

impl Card {
    /// Where the card of a weights file lies.
    pub fn path(weights: &Path) -> PathBuf {
        let mut name = weights.as_os_str().to_owned();
        name.push(".card.json");
        name.into()
    }

    /// The card of a weights file, where there is one.
    ///
    /// # Errors
    /// A card that cannot be read, or is none.
    pub fn read(weights: &Path) -> Result<Option<Card>, Error> {
        let path = Card::path(weights);
        let kind = match std::fs::metadata(&path) {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            found => found.map_err(Error::io(&path))?,
        };
        if !kind.is_file() || kind.len() > MAX_BYTES {
            return Err(Error::format(&path, "is no card of a weights file; remove it"));
        }
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
        read.map_err(Error::io(&path))?;
        let card = serde_json::from_str(&text);
        card.map(Some).map_err(|e| Error::format(&path, format!("is no card of a weights file ({e}); remove it")))
    }

    /// Puts the card beside its weights file.
    ///
    /// # Errors
    /// [`Error::Write`] where that is not possible.
    pub fn write(&self, weights: &Path) -> Result<(), Error> {
        let json = serde_json::to_vec_pretty(self).expect("words and numbers are JSON");
        file::write(Card::path(weights), &json)
    }
}

/// What the card of the file at `path` adds to its own `metadata`, which has the last word. `Some` line where the card is
/// about another file.
pub(crate) fn complete(path: &Path, metadata: &mut BTreeMap<String, String>) -> Result<Option<String>, Error> {
    if built_in::file(path)?.is_some() {
        return Ok(None);
    }
    let Some(card) = Card::read(path)? else { return Ok(None) };
    let bytes = std::fs::metadata(path).map_err(Error::io(path))?.len();
    if bytes != card.bytes {
        let (card, of) = (Card::path(path), card.bytes);
        return Ok(Some(format!("nothing from {}: it is about a file of {of} bytes, not {bytes}", card.display())));
    }
    let about = [("source", Some(card.address)), ("licence", card.licence)];
    let about = about.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    for (key, value) in card.metadata.into_iter().chain(about) {
        metadata.entry(key).or_insert(value);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(bytes: u64) -> Card {
        Card {
            name: "timm/tf_mobilenetv3_small_100.in1k".into(),
            address: "https://huggingface.co/timm/tf_mobilenetv3_small_100.in1k".into(),
            bytes,
            sha256: "00".repeat(32),
            published_sha256: None,
            licence: Some("apache-2.0".into()),
            metadata: [("padding".into(), "same".into()), ("bn_epsilon".into(), "0.001".into())].into(),
        }
    }

    #[test]
    fn a_card_completes_metadata_and_replaces_none() {
        let folder = tempfile::tempdir().unwrap();
        let weights = folder.path().join("w.safetensors");
        std::fs::write(&weights, "12345").unwrap();
        let mut metadata: BTreeMap<String, String> = [("padding".into(), "symmetric".into())].into();
        assert_eq!(complete(&weights, &mut metadata).unwrap(), None);
        assert_eq!(metadata.len(), 1);
        card(5).write(&weights).unwrap();
        assert_eq!(Card::read(&weights).unwrap(), Some(card(5)));
        assert_eq!(complete(&weights, &mut metadata).unwrap(), None);
        assert_eq!((metadata["padding"].as_str(), metadata["bn_epsilon"].as_str()), ("symmetric", "0.001"));
    }

    #[test]
    fn a_card_of_another_file_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let weights = folder.path().join("w.safetensors");
        std::fs::write(&weights, "123456").unwrap();
        card(5).write(&weights).unwrap();
        let mut metadata = BTreeMap::new();
        let said = complete(&weights, &mut metadata).unwrap().unwrap();
        assert!(said.ends_with("w.safetensors.card.json: it is about a file of 5 bytes, not 6"), "{said}");
        assert!(metadata.is_empty());
    }

    #[test]
    fn what_is_no_card_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let weights = folder.path().join("w.safetensors");
        let path = Card::path(&weights);
        for text in ["", "{}", "[1, 2]", "{\"bytes\": -1}", "\u{0}"] {
            std::fs::write(&path, text).unwrap();
            let error = Card::read(&weights).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{}: is no card of a weights file", path.display())), "{error}");
        }
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(Card::read(&weights).unwrap_err().to_string().ends_with("is no card of a weights file; remove it"));
    }
}
