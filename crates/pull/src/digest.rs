//! SHA-256, and how much of it is known beforehand.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::Error;

/// Hexadecimal digits of a whole SHA-256.
const WHOLE: usize = 64;

/// Bytes that are hashed at once.
pub(crate) const PIECE: usize = 64 << 10;

/// The first hexadecimal digits of a SHA-256, in small letters; all of them where there are [`WHOLE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digits(String);

impl Digits {
    /// A whole hash.
    pub fn whole(text: &str) -> Option<Digits> {
        let is_hash = text.len() == WHOLE && text.bytes().all(|b| b.is_ascii_hexdigit());
        is_hash.then(|| Digits(text.to_ascii_lowercase()))
    }

    /// The eight digits that end a file's name, behind a hyphen and before its ending, as torch/hub.py looks for them.
    pub fn in_name(file: &str) -> Option<Digits> {
        let (_, digits) = file.strip_suffix(".pth")?.rsplit_once('-')?;
        let is_digits = digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        is_digits.then(|| Digits(digits.to_owned()))
    }

    pub fn fit(&self, sha256: &str) -> bool {
        sha256.starts_with(&self.0)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What was hashed, as hexadecimal digits.
pub(crate) fn hexadecimal(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Adds all of what `file` still holds; how many bytes that were.
pub(crate) fn add(hasher: &mut Sha256, mut file: &File) -> std::io::Result<u64> {
    let (mut piece, mut bytes) = (vec![0; PIECE], 0);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(bytes),
            read => {
                hasher.update(&piece[..read]);
                bytes += read as u64;
            }
        }
    }
}

/// A file's size and SHA-256.
pub(crate) fn of(path: &Path) -> Result<(u64, String), Error> {
    let mut hasher = Sha256::new();
    let bytes = File::open(path).and_then(|file| add(&mut hasher, &file)).map_err(Error::read(path))?;
    Ok((bytes, hexadecimal(hasher)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_found_where_torch_finds_them() {
        let digits = |file| Digits::in_name(file).map(|digits| digits.0);
        assert_eq!(digits("mobilenet_v2-b0353104.pth").as_deref(), Some("b0353104"));
        for file in
            ["mobilenet_v2_qnnpack_37f702c5.pth", "model-b0353104.bin", "v2-small.pth", "v2-B0353104.pth", ".pth"]
        {
            assert_eq!(digits(file), None, "{file}");
        }
    }

    #[test]
    fn the_hash_is_sha_256() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        // FIPS 180-4's example.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of(&path).unwrap(), (3, expected.to_owned()));
        assert!(Digits::whole(&expected.to_uppercase()).unwrap().fit(expected));
    }
}
