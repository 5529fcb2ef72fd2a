//! Photos that the command line names.

use std::io::Read;
use std::path::{Path, PathBuf};

use mobilenet::Image;
use mobilenet::run::image::MAX_FILE_BYTES;

/// A path's photos: itself, or those in a folder and its subfolders, by name.
pub fn list(path: &Path) -> Result<Vec<PathBuf>, String> {
    const EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "png", "webp", "bmp", "gif"];
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for entry in entries {
            let entry = entry.map_err(|e| format!("{}: {e}", folder.display()))?;
            // Links to folders are not followed: they may lead in circles.
            let is_folder = entry.file_type().is_ok_and(|t| t.is_dir());
            let extension = entry.path().extension().map(|e| e.to_string_lossy().to_lowercase());
            if is_folder {
                folders.push(entry.path());
            } else if extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str())) {
                found.push(entry.path());
            }
        }
    }
    if found.is_empty() {
        return Err(format!("{}: the folder holds no photo ({})", path.display(), EXTENSIONS.join(", ")));
    }
    found.sort();
    Ok(found)
}

/// A file's photo, or standard input's for `-`.
pub fn read(path: &Path) -> Result<Image, String> {
    if path != Path::new("-") {
        return Image::open(path).map_err(|e| e.to_string());
    }
    let mut bytes = Vec::new();
    let limit = MAX_FILE_BYTES + 1;
    std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    Image::decode(&bytes, "-").map_err(|e| e.to_string())
}

/// Whether two paths lead to one file that exists.
pub fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
