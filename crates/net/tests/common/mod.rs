//! What the tests of weights files share: builders of good and bad files.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::io::{Cursor, Write};
use std::path::Path;

use mobilenet_net::{Params, weights};

/// Opens `bytes` as a file called `name`.
pub fn open(name: &str, bytes: &[u8]) -> Result<Params, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    weights::open(&path).map_err(|e| local(&e.to_string(), folder.path()))
}

/// An error's text without the temporary folder.
pub fn local(text: &str, folder: &Path) -> String {
    text.replace(&format!("{}/", folder.display()), "")
}

/// Asserts the exact text with which a file is refused.
#[track_caller]
pub fn refused(name: &str, bytes: &[u8], text: &str) {
    assert_eq!(open(name, bytes).expect_err("the file should be refused"), format!("{name}: {text}"));
}

/// A safetensors file of this header and data.
pub fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A zip archive of stored entries.
pub fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in entries {
        zip.start_file(*name, stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A `.pth` of this pickle and one storage, `0`, of twelve bytes: the floats 1, 2 and 3.
pub fn pth(pickle: &[u8]) -> Vec<u8> {
    let storage: Vec<u8> = [1f32, 2., 3.].iter().flat_map(|x| x.to_le_bytes()).collect();
    zip(&[("archive/data.pkl", pickle), ("archive/byteorder", b"little"), ("archive/data/0", &storage)])
}

/// A pickle of protocol 2 around `body`.
pub fn pickle(body: &[u8]) -> Vec<u8> {
    [b"\x80\x02", body, b"."].concat()
}

/// Instructions that push a string.
pub fn text(s: &str) -> Vec<u8> {
    [b"X", &(s.len() as u32).to_le_bytes()[..], s.as_bytes()].concat()
}

/// Instructions that push a 32-bit integer.
pub fn int(i: i32) -> Vec<u8> {
    [b"J", &i.to_le_bytes()[..]].concat()
}

/// Instructions that push a tuple of integers.
pub fn ints(all: &[i32]) -> Vec<u8> {
    [b"(", all.iter().flat_map(|&i| int(i)).collect::<Vec<_>>().as_slice(), b"t"].concat()
}

/// A tensor, as torch pickles it.
pub struct View<'a> {
    /// The storage's type.
    pub storage: &'a str,
    /// Its key.
    pub key: &'a str,
    /// Elements that it claims.
    pub elements: i32,
    /// First element.
    pub offset: i32,
    /// Sizes.
    pub shape: &'a [i32],
    /// Steps.
    pub strides: &'a [i32],
}

impl Default for View<'_> {
    /// The three floats of [`pth`].
    fn default() -> Self {
        View { storage: "FloatStorage", key: "0", elements: 3, offset: 0, shape: &[3], strides: &[1] }
    }
}

impl View<'_> {
    /// Instructions that push it.
    pub fn instructions(&self) -> Vec<u8> {
        [
            b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
            text("storage"),
            format!("ctorch\n{}\n", self.storage).into_bytes(),
            text(self.key),
            text("cpu"),
            int(self.elements),
            b"tQ".to_vec(),
            int(self.offset),
            ints(self.shape),
            ints(self.strides),
            b"\x89ccollections\nOrderedDict\n)RtR".to_vec(),
        ]
        .concat()
    }
}

/// Instructions that push a dictionary of values, each given by its instructions.
pub fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let items = entries.iter().flat_map(|(key, value)| [text(key), value.clone()]).flatten();
    [b"}(".to_vec(), items.collect(), b"u".to_vec()].concat()
}

/// A `.pth` whose state dict is one tensor, `weight`.
pub fn pth_of(view: &View) -> Vec<u8> {
    pth(&pickle(&dict(&[("weight", view.instructions())])))
}
