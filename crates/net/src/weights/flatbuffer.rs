//! FlatBuffers: tables whose fields are found through offsets, every one of them checked against the buffer.
//!
//! Little enough to be our own: the accessors of the `flatbuffers` crate are `unsafe`, those of `planus` need thousands of
//! generated lines, and two dozen fields are read here. Offsets are followed where a field is asked for and nowhere else,
//! so that a buffer that refers to itself costs nothing. Format: <https://flatbuffers.dev/internals/>.

/// Why a buffer was refused.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum Damaged {
    #[error("{bytes} bytes at {at} lie beyond its end ({len} bytes): it is cut short or damaged")]
    Outside { at: usize, bytes: usize, len: usize },
    #[error("the offset at byte {0} leads out of it: it is cut short or damaged")]
    Offset(usize),
    #[error("the text at byte {0} is not UTF-8")]
    Text(usize),
    #[error("it has {found} {what}; {limit} are allowed")]
    Count { what: &'static str, found: usize, limit: usize },
}

/// The longest text: a thousand tables may share one.
const MAX_TEXT: usize = 1 << 16;

/// A table of a buffer.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    buffer: &'a [u8],
    at: usize,
    /// Where the fields lie, two bytes each; 0 for a field that is left out.
    fields: &'a [u8],
}

fn array<const N: usize>(buffer: &[u8], at: usize) -> Result<[u8; N], Damaged> {
    let found = buffer.get(at..).and_then(|rest| rest.first_chunk());
    found.copied().ok_or(Damaged::Outside { at, bytes: N, len: buffer.len() })
}

/// Where the offset at `at` leads: forward from itself.
fn target(buffer: &[u8], at: usize) -> Result<usize, Damaged> {
    let offset = u32::from_le_bytes(array(buffer, at)?) as usize;
    at.checked_add(offset).filter(|&to| to < buffer.len()).ok_or(Damaged::Offset(at))
}

impl<'a> Table<'a> {
    /// The table that the buffer stands for.
    pub(super) fn root(buffer: &'a [u8]) -> Result<Table<'a>, Damaged> {
        Table::new(buffer, target(buffer, 0)?)
    }

    fn new(buffer: &'a [u8], at: usize) -> Result<Table<'a>, Damaged> {
        let back = i64::from(i32::from_le_bytes(array(buffer, at)?));
        let start = usize::try_from(at as i64 - back).map_err(|_| Damaged::Offset(at))?;
        let size = usize::from(u16::from_le_bytes(array(buffer, start)?));
        // The first four bytes are the sizes of this list and of the table.
        let fields = buffer.get(start..).and_then(|rest| rest.get(4.min(size)..size));
        Ok(Table { buffer, at, fields: fields.ok_or(Damaged::Outside { at: start, bytes: size, len: buffer.len() })? })
    }

    /// Where a field lies; `None` where it is left out.
    fn field(&self, index: usize) -> Option<usize> {
        let offset = usize::from(u16::from_le_bytes(*self.fields.get(2 * index..)?.first_chunk()?));
        (offset != 0).then(|| self.at + offset)
    }

    fn scalar<const N: usize>(&self, index: usize) -> Result<Option<[u8; N]>, Damaged> {
        self.field(index).map(|at| array(self.buffer, at)).transpose()
    }

    /// A byte, a truth value or a small enumeration; 0 where it is left out.
    pub(super) fn byte(&self, index: usize) -> Result<u8, Damaged> {
        Ok(self.scalar::<1>(index)?.map_or(0, |[byte]| byte))
    }

    /// An integer; `default` where it is left out.
    pub(super) fn int(&self, index: usize, default: i32) -> Result<i32, Damaged> {
        Ok(self.scalar(index)?.map_or(default, i32::from_le_bytes))
    }

    /// A natural number; 0 where it is left out.
    pub(super) fn natural(&self, index: usize) -> Result<usize, Damaged> {
        Ok(self.scalar(index)?.map_or(0, u32::from_le_bytes) as usize)
    }

    /// A natural number of 64 bits; 0 where it is left out.
    pub(super) fn long(&self, index: usize) -> Result<u64, Damaged> {
        Ok(self.scalar(index)?.map_or(0, u64::from_le_bytes))
    }

    /// Start and bytes of a vector of elements of `size` bytes; no bytes where it is left out.
    fn vector(&self, index: usize, size: usize) -> Result<(usize, &'a [u8]), Damaged> {
        let Some(field) = self.field(index) else { return Ok((0, &[])) };
        let at = target(self.buffer, field)?;
        let elements = u32::from_le_bytes(array(self.buffer, at)?) as usize;
        let bytes = elements.saturating_mul(size);
        let found = self.buffer.get(at + 4..).and_then(|rest| rest.get(..bytes));
        Ok((at + 4, found.ok_or(Damaged::Outside { at: at + 4, bytes, len: self.buffer.len() })?))
    }

    /// A vector of bytes.
    pub(super) fn bytes(&self, index: usize) -> Result<&'a [u8], Damaged> {
        Ok(self.vector(index, 1)?.1)
    }

    /// A vector of at most `limit` integers, which are `what`.
    pub(super) fn ints(&self, index: usize, what: &'static str, limit: usize) -> Result<Vec<i32>, Damaged> {
        let words = self.vector(index, 4)?.1.as_chunks().0;
        check_count(what, words.len(), limit)?;
        Ok(words.iter().map(|&word| i32::from_le_bytes(word)).collect())
    }

    /// A vector of at most `limit` floats, which are `what`.
    pub(super) fn floats(&self, index: usize, what: &'static str, limit: usize) -> Result<Vec<f32>, Damaged> {
        let words = self.vector(index, 4)?.1.as_chunks().0;
        check_count(what, words.len(), limit)?;
        Ok(words.iter().map(|&word| f32::from_le_bytes(word)).collect())
    }

    /// A text; empty where it is left out.
    pub(super) fn text(&self, index: usize) -> Result<&'a str, Damaged> {
        let (at, bytes) = self.vector(index, 1)?;
        check_count("bytes in a text", bytes.len(), MAX_TEXT)?;
        std::str::from_utf8(bytes).map_err(|_| Damaged::Text(at))
    }

    /// A table; `None` where it is left out.
    pub(super) fn table(&self, index: usize) -> Result<Option<Table<'a>>, Damaged> {
        let Some(field) = self.field(index) else { return Ok(None) };
        Table::new(self.buffer, target(self.buffer, field)?).map(Some)
    }

    /// A vector of at most `limit` tables, which are `what`.
    pub(super) fn tables(&self, index: usize, what: &'static str, limit: usize) -> Result<Vec<Table<'a>>, Damaged> {
        let (start, bytes) = self.vector(index, 4)?;
        check_count(what, bytes.len() / 4, limit)?;
        let one = |at| Table::new(self.buffer, target(self.buffer, at)?);
        (start..start + bytes.len()).step_by(4).map(one).collect()
    }
}

fn check_count(what: &'static str, found: usize, limit: usize) -> Result<(), Damaged> {
    if found > limit { Err(Damaged::Count { what, found, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A buffer of one table with the fields 7 (a byte), [1, 2] (integers) and a table that is the same one.
    const CYCLE: [u8; 40] = [
        14, 0, 0, 0, // root
        10, 0, 12, 0, 4, 0, 8, 0, 12, 0, // sizes, then the three fields
        10, 0, 0, 0, // back to the sizes
        7, 0, 0, 0, // a byte
        8, 0, 0, 0, // the vector
        244, 255, 255, 255, // the table: forward beyond the end
        2, 0, 0, 0, 1, 0, 0, 0, 2, 0, // the vector, cut short
    ];

    #[test]
    fn fields_are_found_and_what_leads_out_is_refused() {
        let table = Table::root(&CYCLE).unwrap();
        assert_eq!(table.byte(0), Ok(7));
        assert_eq!(table.int(5, -1), Ok(-1));
        assert_eq!(table.text(9), Ok(""));
        let outside = Damaged::Outside { at: 34, bytes: 8, len: 40 };
        assert_eq!(table.ints(1, "sizes", 8), Err(outside));
        assert_eq!(table.table(2).err(), Some(Damaged::Offset(26)));
        let whole = [&CYCLE[..], &[0, 0]].concat();
        let table = Table::root(&whole).unwrap();
        assert_eq!(table.ints(1, "sizes", 8), Ok(vec![1, 2]));
        let many = Damaged::Count { what: "sizes", found: 2, limit: 1 };
        assert_eq!(table.ints(1, "sizes", 1), Err(many));
        for cut in 0..18 {
            assert!(Table::root(&CYCLE[..cut]).is_err(), "cut at {cut}");
        }
    }
}
