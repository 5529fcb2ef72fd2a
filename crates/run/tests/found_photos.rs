//! What fuzzing found to be wrong with photos, once.

use std::path::Path;
use std::time::{Duration, Instant};

use mobilenet_run::Image;
use mobilenet_testing::allocations::Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Most bytes that may be asked for at once on behalf of a small file.
const LIMIT: usize = 64 << 20;

/// One test, as allocations of another would count.
#[test]
fn small_files_take_little_memory_and_time() {
    found_photos();
    many_pixels();
}

fn found_photos() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/found");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let start = Instant::now();
        let largest = Counting::largest(|| _ = Image::decode(&bytes, "photo"));
        assert!(largest < LIMIT, "{}: {largest} bytes at once", path.display());
        assert!(start.elapsed() < Duration::from_secs(1), "{}: {:?}", path.display(), start.elapsed());
    }
}

fn many_pixels() {
    // 6000×4000 pixels of one color, as a GIF would have them; none is there.
    let mut gif = b"GIF89a".to_vec();
    gif.extend([0x70, 0x17, 0xa0, 0x0f, 0, 0, 0]);
    gif.extend(b";");
    let largest = Counting::largest(|| {
        let error = Image::decode(&gif, "photo").unwrap_err().to_string();
        let text = "photo: the file has 14 bytes, and its pixels would take 96000000: ";
        assert!(error.starts_with(text), "{error}");
    });
    assert!(largest < LIMIT, "{largest} bytes at once");
}
