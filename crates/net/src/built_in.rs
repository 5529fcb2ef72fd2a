//! The network inside the program, for whoever has no weights yet: a classifier that this program has trained.
//!
//! Whatever reads a weights file takes [`NAME`] in place of its path. What the network is, its licence and its figures are in
//! its metadata, as in every file of ours.

use std::path::Path;

use crate::error::Error;

/// In place of a path, the network inside the program. A file of that name is `./built-in`.
pub const NAME: &str = "built-in";

/// The network's file: V3-Large of width 0.65, trained by `recipes/tiny-imagenet.toml`, then
/// `recipes/tiny-imagenet-64.toml`.
#[cfg(feature = "built-in")]
const FILE: Option<&[u8]> = Some(include_bytes!("../built-in.safetensors"));
/// Left out where every byte of a program counts.
#[cfg(not(feature = "built-in"))]
const FILE: Option<&[u8]> = None;

/// The bytes of the file that `path` stands for; `None` for the path of a file proper.
///
/// # Errors
/// Where the program was compiled without it.
pub(crate) fn file(path: &Path) -> Result<Option<&'static [u8]>, Error> {
    match FILE {
        _ if path.as_os_str() != NAME => Ok(None),
        Some(bytes) => Ok(Some(bytes)),
        None => {
            Err(Error::format(path, "this program was compiled without it (feature `built-in`); give a weights file"))
        }
    }
}
