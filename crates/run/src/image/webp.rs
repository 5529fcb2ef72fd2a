//! What a WebP file claims, before its decoder takes memory for it (the container's specification, RFC 9649).

/// Bytes before the first chunk.
const FILE_HEADER: usize = 12;
/// Bytes before the chunks in a frame of an animation.
const FRAME_HEADER: usize = 16;

/// A chunk's name and what is there of its bytes; how many it claims.
struct Chunk<'a> {
    name: [u8; 4],
    bytes: &'a [u8],
    length: usize,
}

/// The chunks in `rest`, the last of which may be cut.
fn chunks(mut rest: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    std::iter::from_fn(move || {
        let (&[n, a, m, e, l0, l1, l2, l3], behind) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        // Chunks begin at even places.
        rest = behind.get(length.next_multiple_of(2)..).unwrap_or_default();
        Some(Chunk { name: [n, a, m, e], bytes: &behind[..length.min(behind.len())], length })
    })
}

fn of_file(bytes: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    chunks(bytes.get(FILE_HEADER..).unwrap_or_default())
}

/// Whether every chunk lies within the file: for metadata the decoder takes as much memory as they claim.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    of_file(bytes).all(|chunk| chunk.length == chunk.bytes.len())
}

/// Width and height of every frame, which the decoder believes before the picture's own.
pub(super) fn frames(bytes: &[u8]) -> Vec<(u32, u32)> {
    let within = |chunk: &Chunk| match &chunk.name {
        b"ANMF" => chunks(chunk.bytes.get(FRAME_HEADER..).unwrap_or_default()).filter_map(|c| size(&c)).collect(),
        _ => size(chunk).into_iter().collect::<Vec<_>>(),
    };
    of_file(bytes).flat_map(|chunk| within(&chunk)).collect()
}

/// The size that stands in the bits of a lossy (RFC 6386 §9.1) or lossless picture (RFC 9649 §3.4).
fn size(chunk: &Chunk) -> Option<(u32, u32)> {
    const BITS: u32 = 0x3fff;
    match (&chunk.name, chunk.bytes) {
        (b"VP8 ", &[_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..]) => {
            let side = |low, high| u32::from(u16::from_le_bytes([low, high])) & BITS;
            Some((side(w0, w1), side(h0, h1)))
        }
        (b"VP8L", &[0x2f, a, b, c, d, ..]) => {
            let bits = u32::from_le_bytes([a, b, c, d]);
            Some(((bits & BITS) + 1, (bits >> 14 & BITS) + 1))
        }
        _ => None,
    }
}
