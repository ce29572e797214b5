//! FlatBuffers read in place: tables, their fields, texts and vectors as borrowed slices, every offset checked.
//!
//! Unlike protobuf's messages, tables are found by offsets, which may lead to one place many times: so tables are
//! counted over the whole file, and whoever follows them into one another says how deep. What the fields mean is
//! [`super::ort`]'s.

use super::fault::Fault;
use super::limits::Meter;

/// What is shared by all tables of one file.
#[derive(Debug)]
pub(super) struct Buffer<'a> {
    bytes: &'a [u8],
    tables: Meter,
}

/// One table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    buffer: &'a Buffer<'a>,
    /// Its type, for the errors.
    kind: &'static str,
    at: usize,
    /// Where its fields' places are listed, and how many bytes that list has.
    fields: usize,
    fields_len: usize,
}

/// A vector: where its elements begin and how many there are; `len * size` bytes from there on are in the file.
#[derive(Debug, Clone, Copy)]
struct Vector {
    at: usize,
    len: usize,
}

impl<'a> Buffer<'a> {
    /// `most` is how many tables may be read, counted each time that one is.
    pub(super) fn new(bytes: &'a [u8], most: u64) -> Self {
        Buffer { bytes, tables: Meter::new("FlatBuffers tables", most) }
    }

    /// The table that the whole file is.
    pub(super) fn root(&'a self, kind: &'static str) -> Result<Table<'a>, Fault> {
        self.table(kind, self.follow(kind, 0)?)
    }

    fn table(&'a self, kind: &'static str, at: usize) -> Result<Table<'a>, Fault> {
        self.tables.take(1)?;
        let back = i64::from(i32::from_le_bytes(self.array(kind, at)?));
        let fields = i64::try_from(at).ok().and_then(|at| at.checked_sub(back)).and_then(|at| usize::try_from(at).ok());
        let fields = fields.ok_or_else(|| broken(kind, at, "its list of fields is outside the file"))?;
        let fields_len = usize::from(u16::from_le_bytes(self.array(kind, fields)?));
        self.slice(kind, fields, fields_len)?;
        Ok(Table { buffer: self, kind, at, fields, fields_len })
    }

    /// The place that the offset at `at` leads to.
    fn follow(&self, kind: &'static str, at: usize) -> Result<usize, Fault> {
        let offset = u32::from_le_bytes(self.array(kind, at)?);
        let to = usize::try_from(offset).ok().and_then(|offset| at.checked_add(offset));
        to.filter(|to| *to < self.bytes.len()).ok_or_else(|| broken(kind, at, "an offset leads out of the file"))
    }

    fn slice(&self, kind: &'static str, at: usize, len: usize) -> Result<&'a [u8], Fault> {
        let end = at.checked_add(len);
        end.and_then(|end| self.bytes.get(at..end)).ok_or_else(|| broken(kind, at, "the file ends in it"))
    }

    fn array<const N: usize>(&self, kind: &'static str, at: usize) -> Result<[u8; N], Fault> {
        let bytes = self.bytes.get(at..).and_then(<[u8]>::first_chunk);
        bytes.copied().ok_or_else(|| broken(kind, at, "the file ends in it"))
    }

    /// The vector at `at`, of elements of `size` bytes.
    fn vector(&self, kind: &'static str, at: usize, size: usize) -> Result<Vector, Fault> {
        let len = usize::try_from(u32::from_le_bytes(self.array(kind, at)?)).unwrap_or(usize::MAX);
        let bytes = len.checked_mul(size).ok_or_else(|| broken(kind, at, "it is too long"))?;
        let at = at + 4;
        self.slice(kind, at, bytes)?;
        Ok(Vector { at, len })
    }
}

fn broken(kind: &'static str, at: usize, what: &str) -> Fault {
    Fault::Malformed { offset: at as u64, message: kind, what: what.into() }
}

impl<'a> Table<'a> {
    /// Where it begins in the file.
    pub(super) fn offset(self) -> u64 {
        self.at as u64
    }

    /// A fault of this table.
    pub(super) fn fault(self, what: &str) -> Fault {
        broken(self.kind, self.at, what)
    }

    /// The place of a field, by its number in the schema; `None` where it isn't there.
    fn field(self, number: usize) -> Result<Option<usize>, Fault> {
        let entry = 4 + 2 * number;
        if entry + 2 > self.fields_len {
            return Ok(None);
        }
        let offset = usize::from(u16::from_le_bytes(self.buffer.array(self.kind, self.fields + entry)?));
        Ok((offset > 0).then_some(self.at.saturating_add(offset)))
    }

    /// A number of 64 bits.
    pub(super) fn long(self, number: usize) -> Result<Option<i64>, Fault> {
        let Some(at) = self.field(number)? else { return Ok(None) };
        Ok(Some(i64::from_le_bytes(self.buffer.array(self.kind, at)?)))
    }

    /// A number of 32 bits; 0 where it isn't there.
    pub(super) fn int(self, number: usize) -> Result<i32, Fault> {
        let Some(at) = self.field(number)? else { return Ok(0) };
        Ok(i32::from_le_bytes(self.buffer.array(self.kind, at)?))
    }

    /// A number of 8 bits; 0 where it isn't there.
    pub(super) fn byte(self, number: usize) -> Result<u8, Fault> {
        let Some(at) = self.field(number)? else { return Ok(0) };
        Ok(u8::from_le_bytes(self.buffer.array(self.kind, at)?))
    }

    /// A table of type `kind`.
    pub(super) fn table(self, number: usize, kind: &'static str) -> Result<Option<Table<'a>>, Fault> {
        let Some(at) = self.field(number)? else { return Ok(None) };
        let to = self.buffer.follow(self.kind, at)?;
        self.buffer.table(kind, to).map(Some)
    }

    /// The bytes of a text or a vector of bytes; none where it isn't there.
    pub(super) fn bytes(self, number: usize) -> Result<&'a [u8], Fault> {
        let Some(at) = self.field(number)? else { return Ok(&[]) };
        self.bytes_at(at)
    }

    fn bytes_at(self, at: usize) -> Result<&'a [u8], Fault> {
        let to = self.buffer.follow(self.kind, at)?;
        let vector = self.buffer.vector(self.kind, to, 1)?;
        self.buffer.slice(self.kind, vector.at, vector.len)
    }

    fn vector(self, number: usize, size: usize) -> Result<Vector, Fault> {
        let Some(at) = self.field(number)? else { return Ok(Vector { at: 0, len: 0 }) };
        let to = self.buffer.follow(self.kind, at)?;
        self.buffer.vector(self.kind, to, size)
    }

    /// How many elements of `size` bytes a vector has.
    pub(super) fn len(self, number: usize, size: usize) -> Result<u64, Fault> {
        Ok(self.vector(number, size)?.len as u64)
    }

    /// Numbers of 64 bits, at most `most`.
    pub(super) fn longs(self, number: usize, most: usize) -> Result<Vec<i64>, Fault> {
        let vector = self.vector(number, 8)?;
        if vector.len > most {
            return Err(Fault::Limit { what: "dimensions of a tensor", limit: most as u64 });
        }
        let bytes = self.buffer.slice(self.kind, vector.at, vector.len * 8)?;
        Ok(bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
    }

    /// Tables of type `kind`, in their order; ends after the first fault.
    pub(super) fn tables(
        self,
        number: usize,
        kind: &'static str,
    ) -> Result<impl Iterator<Item = Result<Table<'a>, Fault>>, Fault> {
        let vector = self.vector(number, 4)?;
        let mut failed = false;
        Ok((0..vector.len).map_while(move |k| {
            if failed {
                return None;
            }
            let to = self.buffer.follow(self.kind, vector.at + 4 * k);
            let table = to.and_then(|to| self.buffer.table(kind, to));
            failed = table.is_err();
            Some(table)
        }))
    }

    /// Texts, in their order.
    pub(super) fn texts(self, number: usize) -> Result<impl Iterator<Item = Result<&'a [u8], Fault>>, Fault> {
        let vector = self.vector(number, 4)?;
        Ok((0..vector.len).map(move |k| {
            self.buffer.tables.take(1)?;
            self.bytes_at(vector.at + 4 * k)
        }))
    }
}
